"""On a page only code that is to be read stands open: set-up, drawing, tables and sentences are folded."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from bookproof.notebooks import PARAMETERS, code_cells, tags

NOTEBOOKS = sorted((Path(__file__).parents[2] / "book").glob("*.ipynb"))

SHOWS = {"say", "figure", "show", "interactive", "open_chapter"}
FOLDED = {"hide-input", "hide-cell"}


def only_formats(source: str) -> bool:
    """Whether a cell imports, opens the chapter, or shows what was computed, so that nobody needs to read it."""
    tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return bool(called & SHOWS) or all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_open_code_only_formats(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    unread = [cell.id for _, cell in cells if PARAMETERS in tags(cell) or only_formats(cell.source)]
    assert [name for name in unread if not FOLDED & set(tags(next(c for _, c in cells if c.id == name)))] == []


@pytest.mark.parametrize(
    ("source", "formats"),
    [
        ("import numpy as np\nfrom keras import ops", True),
        ('values = np.ones(3)\nsay(f"{values.sum()}")', True),
        ("if found:\n    figure(plots.images(x), 'See.', 'Seen.')", True),
        ("%pip install -q x\nimport x", False),
        ("scores = q @ k.T\nprint(scores.shape)", False),
    ],
)
def test_what_formats_is_told_from_what_computes(source, formats):
    assert only_formats(source) is formats


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_and_checks_of_exercises_are_folded(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    folded = {"solution": "hide-cell", "check": "hide-input"}
    due = [(cell.id, folded[tag]) for _, cell in cells for tag in set(tags(cell)) & set(folded)]
    assert [name for name, how in due if how not in tags(next(c for _, c in cells if c.id == name))] == []
