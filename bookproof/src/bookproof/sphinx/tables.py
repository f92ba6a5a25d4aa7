"""A Sphinx extension: in a table, a deviation is smaller than its number, which is what one compares."""

import re
from typing import Any

CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
DEVIATION = re.compile(r"(?<=\d)\s?±\s?\d+(?:[.,]\d+)*")


def small(body: str) -> str:
    """The HTML `body` of a page with the deviations in its tables' cells set small."""
    return CELL.sub(lambda cell: DEVIATION.sub(lambda found: f"<small>{found[0]}</small>", cell[0]), body)


def set_deviations(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = small(context["body"])


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-page-context", set_deviations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
