"""Whether anybody changed a chapter's outputs, code, tags or tolerances after it was last executed.

A tolerance says which numbers may stand for one another when a chapter is executed again; it cannot say whether a
number was moved within it by hand, or by a careless merge. So `bookproof refresh` and `accept` leave a digest of every
code cell in the notebook's metadata, and one of them all with what is said of the execution; `bookproof stale` computes
them again. Nothing else seals: what nobody executed has no seal.

Prose is not sealed, as a typing error needs no execution, nor are the tags of `PRESENTATION`.
"""

import json
from difflib import SequenceMatcher

from bookproof import address
from bookproof.freshness import digest
from bookproof.notebooks import Node, own_cells, tags
from bookproof.verify import place

KEY = "seal"  # in the notebook's metadata
# Tags that say how a cell stands on the page (folded, wide, in the margin), and nothing of what it does or shows.
PRESENTATION = {"hide-input", "hide-cell", "full-width", "full_width", "margin", "popout", "output_scroll"}


def of(notebook: Node) -> dict[str, object]:
    """The seal of a notebook: `{"cells": [digest of each code cell], "whole": digest of them and of the execution}`.

    What papermill injected is no cell of the chapter's own.
    """
    cells = [of_cell(cell) for _, cell in own_cells(notebook)]
    return {"cells": cells, "whole": digest(canonical([cells, notebook.metadata.get("executed", {})]))}


def of_cell(cell: Node) -> str:
    """The digest of a code cell: its source, its outputs with their metadata, its tags and its tolerance.

    The address that a chapter installs from changes in a fork, and nothing that it shows.
    """
    counted = sorted(set(tags(cell)) - PRESENTATION)
    verify = cell.metadata.get("verify", {})
    return digest(canonical([address.replaced(cell.source, ""), cell.outputs, counted, verify]))


def broken(notebook: Node, name: str) -> list[str]:
    """What of the notebook was changed after it was sealed, a phrase each with its place; empty if nothing was."""
    noted = notebook.metadata.get(KEY, {})
    if not noted:
        return [f"{name} carries no seal, so nothing says that its outputs came from an execution"]
    if of(notebook) == noted:
        return []
    now = [of_cell(cell) for _, cell in own_cells(notebook)]
    positions = [position for position, _ in own_cells(notebook)]
    found: list[str] = []
    changes = SequenceMatcher(isjunk=None, a=noted.get("cells", []), b=now, autojunk=False).get_opcodes()
    for change, start, end, first, last in changes:
        where = [place(notebook, positions[index], name) for index in range(first, last)]
        if change == "delete":
            found.append(f"{name}: {end - start} cells are gone that it was executed with")
        elif change == "insert":
            found += [f"{cell} was not there when the chapter was executed" for cell in where]
        elif change == "replace":
            found += [f"{cell}: its code, outputs, tags or tolerance changed after its execution" for cell in where]
    return found or [f"{name}: what it says of its execution (date, device, versions) or its seal changed afterwards"]


def canonical(content: object) -> str:
    """Content as JSON that is the same however a notebook was read, and whatever wrote it."""
    return json.dumps(_plain(content), sort_keys=True, ensure_ascii=False)


def _plain(content: object) -> object:
    """Content with 1 in place of 1.0, as a notebook holds it once JavaScript, and so JupyterLab, has saved it."""
    if isinstance(content, dict):
        return {key: _plain(inner) for key, inner in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(inner) for inner in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content
