"""A Sphinx extension: the search of a built book finds words, and not what every object of JavaScript has.

Sphinx looks words up in plain objects, so that "constructor" and "__proto__" find a page called "undefined". Here the
index of words is given nothing to inherit but the one method that is asked of it.
"""

from pathlib import Path
from typing import Any

PLACE = "setIndex: (index) => {\n"
MENDED = """\
    for (const words of [index.terms, index.titleterms])
      Object.setPrototypeOf(words, { __proto__: null, hasOwnProperty: Object.prototype.hasOwnProperty });
"""


def mended(program: str) -> str:
    """Sphinx' program of the search, its index of words inheriting nothing. Raises ValueError if it is another."""
    if program.count(PLACE) != 1:
        raise ValueError(
            "Sphinx' searchtools.js takes its index otherwise now; is bookproof.sphinx.search still needed?"
        )
    return program.replace(PLACE, PLACE + MENDED)


def mend_search(app: Any, exception: Exception | None) -> None:
    """Mend the search of the book that was built."""
    if exception or app.builder.format != "html":
        return
    path = Path(app.outdir, "_static", "searchtools.js")
    path.write_text(mended(path.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    app.connect("build-finished", mend_search)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
