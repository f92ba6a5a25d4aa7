"""The house: a module fits on a few screens, and imports run one way, from what is shown to the data."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vattn_utils"
# A station imports from those to the right of it; those that stand together may use one another, but in no circle.
WAY = ("__main__", "show audit cost publish", "maps", "training", "models", "data statistics")
RANK = {station: rank for rank, stations in enumerate(reversed(WAY)) for station in stations.split()}
MODULES = sorted(PACKAGE.rglob("*.py"))


def station(path):
    inner = path.relative_to(PACKAGE)
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


def imported(tree):
    """The stations that a syntax tree imports from."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vattn_utils":
            inner = node.module.split(".")[1:]
            names |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("vattn_utils.")}
    return names & set(RANK)


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "bookproof" / "src").rglob("*.py"))], ids=lambda p: p.stem)
def test_no_module_has_more_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_imports_run_one_way():
    uses = {}
    for path in MODULES:
        if station(path) != "__init__":
            uses.setdefault(station(path), set()).update(imported(ast.parse(path.read_text())) - {station(path)})
    assert uses.keys() <= RANK.keys()
    against = {(one, other) for one, others in uses.items() for other in others if RANK[other] > RANK[one]}
    assert not against
    level = {(one, other) for one, others in uses.items() for other in others if RANK[other] == RANK[one]}
    assert not {(one, other) for one, other in level if (other, one) in level}


def test_no_import_hides_in_a_function():
    hidden = []
    for path in MODULES:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and imported(function):
                hidden.append(f"{path.relative_to(ROOT)}: {function.name}")
    assert not hidden


def test_the_package_does_not_need_what_verifies_it():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "bookproof" not in ast.unparse(node), path
