"""A Sphinx extension: what is folded under an exercise is called its solution."""

import re
from typing import Any


def name_solutions(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the fold of each cell tagged `solution` say what is in it; runs before the page is written."""
    if "body" in context:
        context["body"] = named(context["body"])


def named(body: str) -> str:
    """The HTML `body` of a page with the folds of its solutions named; MyST-NB has one name for all folded cells."""
    parts = re.split(r'(?=<div class="cell\b)', body)
    return "".join(_named(part) if part.startswith('<div class="cell') else part for part in parts)


def _named(cell: str) -> str:
    if "tag_solution" not in cell.partition(">")[0]:
        return cell
    return cell.replace("Show code cell content", "Show the solution").replace(
        "Hide code cell content", "Hide the solution"
    )


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-page-context", name_solutions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
