"""A Sphinx extension: figures of notebooks have alt text, a number, and a twin for the dark page.

A cell tagged `figure-heads` shows a figure that prose refers to: in the book the words of `[the map of all
heads](#figure-heads)` become "Figure 3", in Colab and on GitHub they stand as they are.

`bookproof.figure` keeps the alt text where nbconvert looks for it too, in the output's metadata
`{"image/png": {"alt": ...}}`. MyST-NB reads only width and height there. It names each picture by the SHA-256 of
its bytes, which is how a picture on the page finds its output again.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from docutils import nodes
from sphinx import addnodes

from bookproof import picture
from bookproof.notebooks import FIGURE

CAPTION = "Figure."  # how `bookproof.figure` begins a caption
SIZED = re.compile(r'(<img\b[^>]*?) style="width: (\d+)px; height: (\d+)px;"')


def alt_texts(notebook: Any) -> dict[str, str]:
    """Return {SHA-256 of the PNG: alt text} of all outputs of a notebook that have one."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                found[sha256(b64decode(output.data["image/png"])).hexdigest()] = alt
    return found


def finish_figures(app: Any, doctree: Any) -> None:
    """Give each figure of a page that was a notebook its alt text and twin, and its caption a number."""
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix != ".ipynb":
        return
    alts = alt_texts(nbformat.read(source, as_version=4))
    for image in list(doctree.findall(nodes.image)):
        alt = alts.get(PurePosixPath(image["uri"]).stem)
        if alt:
            image["alt"], image["loading"] = alt, "lazy"
            add_twin(app, image)
    named = number_captions(doctree)
    # Where MyST looks for what another page links to.
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    slugs.update({name: (0, name, told) for name, told in named.items()})


def add_twin(app: Any, image: Any) -> None:
    """Put the picture for a dark page beside `image`, if it has one; the theme shows one of the two."""
    path = Path(app.srcdir, image["uri"])
    twin = picture.dark(path.read_bytes())
    if twin is None:
        return
    # Of another name than the picture that is looked up by its digest, and made once.
    beside = path.with_name(f"{path.stem}-dark.png")
    beside.write_bytes(twin)
    uri = PurePosixPath(image["uri"]).with_name(beside.name).as_posix()
    app.env.images.add_file(app.env.docname, uri)
    copy = image.deepcopy()
    copy["uri"], copy["candidates"] = uri, {"*": uri}
    copy["classes"] = [*image["classes"], "only-dark"]
    image["classes"] = [*image["classes"], "only-light"]
    image.parent.insert(image.parent.index(image) + 1, copy)


def number_captions(doctree: Any) -> dict[str, str]:
    """ "Figure." at the beginning of a caption becomes "Figure 3.", and can be linked to as `#figure-3`.

    Links to the name of a figure, the tag of its cell, become that number.
    Returns {name: "Figure 3"} of those that have a name.
    """
    captions = [strong for strong in doctree.findall(nodes.strong) if strong.astext() == CAPTION]
    named: dict[str, str] = {}
    for number, strong in enumerate(captions, 1):
        told = f"{CAPTION[:-1]} {number}"
        strong.children[:] = [nodes.Text(f"{told}.")]
        strong["ids"] = [*strong["ids"], f"figure-{number}"]
        strong.parent["classes"] = [*strong.parent["classes"], "figure-caption"]
        for cell, name in _named(strong):
            if name not in named:  # of a cell with several figures the first
                named[name] = told
                cell["ids"] = [*cell["ids"], name]
    for link in list(doctree.findall(addnodes.pending_xref)):
        name = link.get("reftarget", "")
        if name in named:
            link.replace_self(nodes.reference(named[name], named[name], internal=True, refid=name))
    return named


def _named(node: Any) -> Iterator[tuple[Any, str]]:
    """The cell that holds a node, if its tags name a figure, with the name."""
    while node.parent is not None:
        node = node.parent
        for kind in node.get("classes", ()):
            if kind.startswith(f"tag_{FIGURE}"):
                yield node, kind.removeprefix("tag_")


def size_by_attributes(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Say a picture's size by attributes and not by a style: its room is kept, in proportion, until it is loaded.

    Its width is a variable of styles too: on a phone a wide picture is as large as its text asks, and scrolls.
    """
    if "body" in context:
        context["body"] = SIZED.sub(r'\1 width="\2" height="\3" style="--width: \2px"', context["body"])


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", finish_figures)
    app.connect("html-page-context", size_by_attributes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
