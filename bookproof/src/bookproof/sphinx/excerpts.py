"""A Sphinx extension: what a chapter found, on another page, out of the chapter's own output.

    ```{excerpt} porting
    ```

shows the first output of the cell that is tagged `excerpt-porting` in a chapter of the book, Markdown or an interactive
page: a number that stands on the front page is the one that the chapter computed; there is no second copy to differ.
"""

from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from bookproof.notebooks import Node, code_cells, tags

TAG = "excerpt-"
KINDS = ("text/html", "text/markdown")


def excerpt(notebook: Node, name: str) -> tuple[str, str] | None:
    """Kind and text of the first output of the cell tagged `excerpt-<name>` that is one of `KINDS`, or None without it.

    Raises ValueError if the cell shows neither.
    """
    for number, cell in code_cells(notebook):
        if TAG + name in tags(cell):
            for output in cell.outputs:
                for kind in KINDS:
                    if kind in output.get("data", {}):
                        return kind, str(output.data[kind])
            raise ValueError(f"cell {number} is tagged {TAG}{name} and shows no Markdown; let it `say` something")
    return None


class Excerpt(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        for document in sorted(self.env.found_docs):
            source = Path(self.env.doc2path(document))
            if source.suffix != ".ipynb":
                continue
            try:
                found = excerpt(nbformat.read(source, as_version=4), name)
            except ValueError as error:
                raise self.error(f"{source.name}: {error}") from None
            if found is not None:
                kind, text = found
                self.env.note_dependency(str(source))
                if kind == "text/html":
                    return [nodes.raw("", text, format="html")]
                shown = nodes.container(classes=["excerpt"])
                self.state.nested_parse(StringList(text.splitlines(), str(source)), 0, shown)
                return [shown]
        raise self.error(f"no chapter has a cell tagged {TAG}{name}; tag the one that says it")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("excerpt", Excerpt)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
