"""A Sphinx extension: a built page asks for what it uses, and no more.

The theme ships style rules for everything that anybody might build with it, icons as fonts, and the same icons once
more as a script of 1.5 MB; Jupyter Book loads MathJax on every page. Here mathematics is loaded where there is some,
rules and icons that no page of this book can use are dropped from the built files, and the script of icons is not
loaded.
Nothing is added, and what a script may put on a page later counts as used. No script keeps a page from being shown: all
of the head wait until it is read.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ICONS_SCRIPT = re.compile(
    r"\s*<!-- So that users can add custom icons -->\s*<script[^>]*fontawesome\.js[^>]*></script>"
)
PRELOADS = re.compile(r'\s*(?:<!-- Pre-loaded scripts[^>]*-->|<link rel="preload" as="script"[^>]*>)')
OPTIONS = re.compile(r'<script src="[^"]*documentation_options\.js[^"]*"></script>')
BLOCKING = re.compile(r"<script (?=src=)")
PLAIN = re.compile(r'<span class="[npw]">([^<]*)</span>')  # names, punctuation and spaces
TEXT = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''  # in which braces and slashes are letters
COMMENT = re.compile(rf"(?P<text>{TEXT})|/\*.*?\*/", re.DOTALL)
BRACE = re.compile(rf"{TEXT}|[{{}}]")
CLASS = re.compile(r"\.(-?[A-Za-z_](?:\\.|[\w-])*)")
ICON = re.compile(r'content:\s*"\\([0-9a-f]+)')
COMPRESSED_FONT = re.compile(r'url\([^)]*\.woff2[^)]*\)\s*format\("woff2"\),\s*')


def only_with_mathematics(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take MathJax off a page that has no mathematics."""
    if doctree is None or not any(doctree.findall(lambda node: isinstance(node, nodes.math | nodes.math_block))):
        context["script_files"] = [
            script
            for script in context["script_files"]
            if "mathjax" not in str(getattr(script, "filename", script) or "")
            and "MathJax" not in str(getattr(script, "attributes", {}).get("body", ""))
        ]


def drop_plain_marks(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take off code the marks of words that look as the code around them does: a sixth of a page of listings."""
    if "body" in context:
        context["body"] = PLAIN.sub(r"\1", context["body"])


def drop_what_no_page_uses(app: Any, exception: Exception | None) -> None:
    """Drop the script of icons, and rules and icons that no page and no script names."""
    if exception or app.builder.format != "html":
        return
    built = Path(app.outdir)
    pages = [path for path in built.rglob("*.html") if "_static" not in path.relative_to(built).parts]
    words = set()
    options = (built / "_static" / "documentation_options.js").read_text(encoding="utf-8")
    for path in pages:
        page = without_waiting(ICONS_SCRIPT.sub("", path.read_text(encoding="utf-8")), options)
        path.write_text(page, encoding="utf-8")
        words |= set(re.findall(r"[\w-]+", page))
    for path in built.rglob("*.js"):
        if path.name != "fontawesome.js" and "mathjax" not in path.parts:
            words |= set(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    for path in (built / "_static").rglob("fontawesome.js*"):
        path.unlink()
    icons: set[int] = set()
    for path in (built / "_static").rglob("*.css"):
        style = COMPRESSED_FONT.sub("", "".join(used(path.read_text(encoding="utf-8"), words)))
        path.write_text(style, encoding="utf-8")
        icons |= {int(code, 16) for code in ICON.findall(style)}
    for path in (built / "_static" / "vendor").rglob("fa-*.ttf"):
        subset(path, icons)
    for path in (built / "_static" / "vendor").rglob("fa-*.woff2"):
        path.unlink()


def without_waiting(page: str, options: str) -> str:
    """A page that is shown before its head's scripts have come; `options`, which the others read, stand in it."""
    head, end, body = page.partition("</head>")
    head = OPTIONS.sub(lambda _: f"<script>{options}</script>", PRELOADS.sub("", head))
    return BLOCKING.sub("<script defer ", head) + end + body


def used(style: str, words: set[str]) -> Iterator[str]:
    """The rules of a style sheet that can apply to a page that has only `words` for classes, in their order.

    A rule stays as long as one of its selectors has no class that is missing. Rules within `@media` and the like are
    looked at too; other rules with an @ stay.
    """
    style = COMMENT.sub(lambda found: found.group("text") or "", style)
    place = 0
    while (start := style.find("{", place)) >= 0:
        head, end = style[place:start], closing(style, start)
        body = style[start + 1 : end]
        # Statements without a block, such as @charset, stand before the selector.
        before, _, selector = head.rpartition(";")
        name = selector.strip()
        if before:
            yield before + ";"
        if re.match(r"@(media|supports|layer|container)\b", name):
            inner = "".join(used(body, words))
            if inner.strip():
                yield f"{selector}{{{inner}}}"
        elif name.startswith("@"):
            yield f"{selector}{{{body}}}"
        else:
            kept = [part for part in selectors(name) if all(plain(found) in words for found in CLASS.findall(part))]
            if kept:
                yield f"{','.join(kept)}{{{body}}}"
        place = end + 1
    yield style[place:]


def closing(style: str, start: int) -> int:
    """The place of the brace that closes the one at `start`."""
    depth = 0
    for found in BRACE.finditer(style, start):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.start()
    return len(style)


def selectors(text: str) -> list[str]:
    """A list of selectors, taken apart at its commas, but not at those within brackets. `:not(.x)` asks for no `.x`."""
    parts, depth, begin = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]


def plain(name: str) -> str:
    """A class as HTML writes it: without the backslashes that CSS asks for."""
    return re.sub(r"\\(.)", r"\1", name)


def subset(path: Path, icons: set[int]) -> None:
    """Leave in a font only the glyphs of `icons`."""
    options = Options(notdef_outline=True, recalc_timestamp=False)
    font = TTFont(path, recalcTimestamp=False)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=icons)
    subsetter.subset(font)
    font.save(path)


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-page-context", only_with_mathematics, priority=900)
    app.connect("html-page-context", drop_plain_marks)
    app.connect("build-finished", drop_what_no_page_uses)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
