"""A Sphinx extension: what a chapter found, on another page, out of the chapter's own output.

    ```{excerpt} porting
    ```

shows the first Markdown output of the cell that is tagged `excerpt-porting` in a chapter of the book: a number that
stands on the front page is the one that the chapter computed, and there is no second copy that could differ.
"""

from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from bookproof.notebooks import Node, code_cells, tags

TAG = "excerpt-"


def excerpt(notebook: Node, name: str) -> str | None:
    """The first Markdown output of the cell tagged `excerpt-<name>`, None if there is no such cell.

    Raises ValueError if the cell shows no Markdown.
    """
    for number, cell in code_cells(notebook):
        if TAG + name in tags(cell):
            for output in cell.outputs:
                if "text/markdown" in output.get("data", {}):
                    return str(output.data["text/markdown"])
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
                text = excerpt(nbformat.read(source, as_version=4), name)
            except ValueError as error:
                raise self.error(f"{source.name}: {error}") from None
            if text is not None:
                self.env.note_dependency(str(source))
                shown = nodes.container(classes=["excerpt"])
                self.state.nested_parse(StringList(text.splitlines(), str(source)), 0, shown)
                return [shown]
        raise self.error(f"no chapter has a cell tagged {TAG}{name}; tag the one that says it")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("excerpt", Excerpt)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
