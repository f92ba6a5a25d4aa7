"""A Sphinx extension: a table shows what decides, and a deviation smaller than its number, which is what one compares.

Of a table with more than `MOST` columns the first `MOST` stand open, and under them, folded, all of it.
"""

import re
from typing import Any

from docutils import nodes

MOST = 6  # columns that stand open

CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
DEVIATION = re.compile(r"(?<=\d)\s?±\s?\d+(?:[.,]\d+)*")


def small(body: str) -> str:
    """The HTML `body` of a page with the deviations in its tables' cells set small."""
    return CELL.sub(lambda cell: DEVIATION.sub(lambda found: f"<small>{found[0]}</small>", cell[0]), body)


def set_deviations(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = small(context["body"])


def fold_wide_tables(app: Any, doctree: nodes.document) -> None:
    """Show the first columns of each wide table, and fold the whole one under them; one within a fold stays whole."""
    for table in list(doctree.findall(nodes.table)):
        columns = len(list(table.findall(nodes.colspec)))
        if columns <= MOST or _folded(table):
            continue
        short = table.deepcopy()
        short["ids"], short["names"] = [], []
        for group in short.findall(nodes.tgroup):
            group["cols"] = MOST
        for spec in list(short.findall(nodes.colspec))[MOST:]:
            spec.parent.remove(spec)
        for row in short.findall(nodes.row):
            row.children[MOST:] = []
        opening = f"<details>\n<summary>All {columns} columns</summary>\n"
        whole = nodes.raw("", opening, format="html"), table.deepcopy(), nodes.raw("", "</details>\n", format="html")
        table.replace_self([short, *whole])


def _folded(node: nodes.Node) -> bool:
    """Whether a node stands within `<details>`, which Markdown opens and closes in pieces of HTML beside it."""
    before = node.parent.children[: node.parent.index(node)]
    html = "".join(other.astext() for other in before if isinstance(other, nodes.raw))
    return html.count("<details") > html.count("</details>")


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", fold_wide_tables)
    app.connect("html-page-context", set_deviations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
