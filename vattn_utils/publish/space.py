"""The live page as a static Space of the Hugging Face Hub: a folder that any web server serves, and that asks no other.

It is the book's page, with the same programs and models, in a frame of its own instead of the book's theme.
"""

import re
from pathlib import Path

from vattn_utils.publish import PublishError, hub, live, made, metadata

LOOK = made.ROOT / "book" / "_static" / "look"
# What the page says of its place in the book, and what it says here; {home} is the repository.
ELSEWHERE = {
    "./../_static/look/": "./look/",
    "../_static/look/": "look/",
    'href="vit.html"': 'href="{home}/blob/main/book/vit.ipynb"',
    'href="eanet.html"': 'href="{home}/blob/main/book/eanet.ipynb"',
    'href="patch_convnet.html"': 'href="{home}/blob/main/book/patch_convnet.ipynb"',
    'href="faithfulness.html"': 'href="{home}/blob/main/book/faithfulness.ipynb"',
    "Serve the book and open it there: python -m http.server -d _build/html": (
        "Serve its folder and open it there: python -m http.server"
    ),
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'none'"
)
# What the page takes from the book's theme: a plain base, and light or dark as the reader's system is.
STYLE = """\
*, *::before, *::after { box-sizing: border-box; }
body { margin: 0 auto; padding: 0.8rem 1.5rem 2rem; max-width: 100rem; background: #fff; color: #1f2328;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.25rem; }
body > p { margin: 0 0 0.9rem; }
a { color: #0b62c4; }
figure { margin: 0; }
button, input { font: inherit; margin: 0; }
[data-theme="dark"] body { background: #15181d; color: #e6e8eb; }
[data-theme="dark"] a { color: #6cb2ff; }
@media (max-width: 40rem) { body { padding: 0.8rem; } }"""
THEME = """\
const dark = matchMedia("(prefers-color-scheme: dark)");
const show = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
dark.addEventListener("change", show);
show();"""


def publish(folder: Path, replace: bool = False) -> None:
    """Write the Space into `folder`, which appears whole or not at all; models are made first if they are not fresh.

    Args:
        replace: whether an older publication in `folder` may be replaced.

    Raises `RecordError` where the package is installed without its repository, and `PublishError` for a folder that may
    not or cannot be written.
    """
    hub.check_place(folder, replace)
    if not made.fresh(made.FOLDER):
        live.export()
    hub.write(folder, files())


def files() -> dict[str, bytes]:
    """The files of the Space, by name; the models are those in `made.FOLDER`."""
    look = {path.relative_to(LOOK).as_posix(): path for path in sorted(LOOK.rglob("*")) if path.is_file()}
    models = {f"models/{name}": made.FOLDER / name for name in made.files(made.FOLDER)}
    return {
        "README.md": _card().encode(),
        "LICENSE": hub.licence(),
        "index.html": _page().encode(),
        **{f"look/{name}": path.read_bytes() for name, path in (look | models).items()},
    }


def _lead() -> str:
    """What the book's page says above the instrument."""
    page = (made.ROOT / "book" / "look.md").read_text(encoding="utf-8")
    found = re.search(r"^# Look\n\n(.*?)\n\n```\{raw\} html", page, re.DOTALL | re.MULTILINE)
    if not found:
        raise PublishError("book/look.md has no lead between its title and the page; the Space needs one")
    return " ".join(found[1].split())


def _page() -> str:
    page, home = (made.ROOT / "book" / "look.html").read_text(encoding="utf-8"), metadata.home()
    for there, here in ELSEWHERE.items():
        if there not in page:
            raise PublishError(f"book/look.html no longer says {there!r}; the Space must say something else there")
        page = page.replace(there, here.format(home=home))
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Look: three kinds of attention on your picture</title>
<link rel="icon" href="data:,">
<style>
{STYLE}
</style>
<script>
{THEME}
</script>
</head>
<body>
<h1>Look</h1>
<p>{_lead()} The models and what their maps are worth: <a href="{home}">Attention in Vision</a>.</p>
{page}</body>
</html>
"""


def _card() -> str:
    head = {
        "title": "Look: attention in vision",
        "emoji": "👀",
        "colorFrom": "indigo",
        "colorTo": "purple",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "license": "apache-2.0",
        "short_description": "Three kinds of attention on your own picture",
        "tags": ["attention", "explainability", "litert"],
    }
    return f"""---
{metadata.to_yaml(head)}---

# Look

{_lead()}

The live page of the book [*Attention in Vision*]({metadata.home()}): ViT, EANet and PatchConvNet, as recorded there.
They run in your browser; your picture stays on your device, and the page asks no other host for anything. To open it on
a machine of your own: `python -m http.server` in this folder.

Code and models: Apache-2.0. The photographs are scikit-image's, each under the licence that
[samples.json](look/samples/samples.json) names; the runtime is LiteRT.js ([licence](look/vendor/litertjs/LICENSE)).
"""
