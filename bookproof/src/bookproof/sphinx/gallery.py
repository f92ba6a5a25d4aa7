"""A Sphinx extension: all chapters at a glance, each with its picture, question, answer, and the minutes it takes.

    ```{gallery}
    ```

shows the notebooks of the table of contents, in its order, that say what they ask (`bookproof_question`, see
`preview`). The answer is what stands first in bold in the output of the cell tagged `excerpt-...`; the picture is the
chapter's first that is no higher than wide, made small, with its twin for a dark page. The minutes to run are what the
chapter itself printed:

    bookproof_minutes: (\\d+) min published    # a regular expression; its first group is the number
"""

import html
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.util.docutils import SphinxDirective

from bookproof import picture
from bookproof.notebooks import Node, code_cells, printed, tags
from bookproof.sphinx import preview
from bookproof.sphinx.excerpts import TAG

WORDS = 200  # that are read in a minute
EDGE = (480, 288)  # pixels that a picture in the gallery has at most
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)


class Place(nodes.General, nodes.Element):
    """Where the gallery will stand, once all pages have been read."""


class Gallery(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # whenever a chapter changes
        return [Place()]


def answer(notebook: Node) -> str:
    """What stands first in bold in the output of the cell tagged `excerpt-...`; "" if there is none."""
    for _, cell in code_cells(notebook):
        if any(tag.startswith(TAG) for tag in tags(cell)):
            for output in cell.outputs:
                found = BOLD.search(output.get("data", {}).get("text/markdown", ""))
                if found:
                    return " ".join(found[1].split())
    return ""


def minutes(notebook: Node, doctree: nodes.document, pattern: str) -> str:
    """How long a chapter takes to read, by its prose, and to run, by what it printed, if it did."""
    words = sum(len(paragraph.astext().split()) for paragraph in doctree.findall(nodes.paragraph))
    found = re.search(pattern, printed(notebook)) if pattern else None
    run = f" · {found[1]} min to run" if found else ""
    return f"{max(1, round(words / WORDS))} min to read{run}"


def small(data: bytes) -> bytes:
    """A picture at no more than `EDGE`, as WebP."""
    shrunk = Image.open(io.BytesIO(data)).convert("RGBA")
    shrunk.thumbnail(EDGE)
    written = io.BytesIO()
    shrunk.save(written, "webp", quality=50)
    return written.getvalue()


def shades(data: bytes) -> dict[str, bytes]:
    """{class: picture} for light and dark pages: the picture and its twin, or the one on white paper in both."""
    twin = picture.dark(data)
    return {"on-paper": data} if twin is None else {"only-light": data, "only-dark": twin}


def lies(path: Path) -> bool:
    """Whether a picture is no higher than it is wide: what stands would be small in a card."""
    width, height = Image.open(path).size
    return height <= width


def chapters(app: Any) -> Iterator[str]:
    """The notebooks of the table of contents that ask something, in its order."""
    env, order = app.env, [app.config.root_doc]
    for name in order:
        order += env.toctree_includes.get(name, [])
    for name in order:
        asked = f"{app.config.bookproof_question} "
        if env.doc2path(name).endswith(".ipynb") and any(
            paragraph.astext().startswith(asked) for paragraph in env.get_doctree(name).findall(nodes.paragraph)
        ):
            yield name


def card(app: Any, page: str, name: str) -> nodes.container:
    """A chapter as a card on `page`."""
    env, doctree = app.env, app.env.get_doctree(name)
    notebook = nbformat.read(env.doc2path(name), as_version=4)
    shown = nodes.container(classes=["tile"])
    uri = app.builder.get_relative_uri(page, name)
    for image in doctree.findall(nodes.image):
        if image["uri"] in env.images and image.get("alt") and lies(Path(app.srcdir, image["uri"])):
            folder, up, alt = Path(app.outdir, "_images"), "../" * page.count("/"), html.escape(image["alt"])
            folder.mkdir(parents=True, exist_ok=True)
            for kind, data in shades(Path(app.srcdir, image["uri"]).read_bytes()).items():
                target = folder / f"{Path(name).name}-{kind}.webp"
                target.write_bytes(small(data))
                told = f'<img class="{kind}" src="{up}_images/{target.name}" alt="{alt}" loading="lazy">'
                shown += nodes.raw("", told, format="html")
            break
    title = env.titles[name].astext()
    shown += nodes.paragraph("", "", nodes.reference(title, title, internal=True, refuri=uri))
    shown += nodes.paragraph("", preview.description(doctree, app.config.bookproof_question))
    told = answer(notebook)
    if told:
        shown += nodes.paragraph("", "", nodes.strong(told, told))
    told = minutes(notebook, doctree, app.config.bookproof_minutes)
    shown += nodes.paragraph("", told, classes=["minutes"])
    return shown


def fill(app: Any, doctree: nodes.document, page: str) -> None:
    """Put the cards where the gallery stands; runs when all pages have been read."""
    for place in list(doctree.findall(Place)):
        place.replace_self(
            nodes.container("", *(card(app, page, name) for name in chapters(app)), classes=["tiles", "gallery"])
        )


def setup(app: Any) -> dict[str, Any]:
    app.add_config_value("bookproof_minutes", "", "html", str)
    app.add_node(Place)
    app.add_directive("gallery", Gallery)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
