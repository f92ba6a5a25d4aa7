"""The committed notebooks keep the rules of `verification.hygiene`. `make pages` calls this."""

import pytest

from verification import hygiene
from verification.execute import ROOT

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert hygiene.problems(path) == []


def test_there_are_notebooks():
    assert NOTEBOOKS
