"""A Sphinx extension: alt text from a notebook's outputs reaches the `<img>` of the page.

`bookproof.figure` keeps the alt text where nbconvert looks for it too, in the output's metadata
`{"image/png": {"alt": ...}}`. MyST-NB reads only width and height there. It names each picture by the SHA-256 of
its bytes, which is how a picture on the page finds its output again.
"""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from docutils import nodes


def alt_texts(notebook: Any) -> dict[str, str]:
    """Return {SHA-256 of the PNG: alt text} of all outputs of a notebook that have one."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                found[sha256(b64decode(output.data["image/png"])).hexdigest()] = alt
    return found


def set_alt_texts(app: Any, doctree: Any) -> None:
    """Give each image of a page that was a notebook its alt text; runs after the page is read."""
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix != ".ipynb":
        return
    alts = alt_texts(nbformat.read(source, as_version=4))
    for image in doctree.findall(nodes.image):
        alt = alts.get(PurePosixPath(image["uri"]).stem)
        if alt:
            image["alt"] = alt


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", set_alt_texts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
