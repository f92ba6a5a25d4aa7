"""Whoever reads a chapter can find out what they understood."""

from collections import Counter
from pathlib import Path

import nbformat
import pytest

from bookproof.notebooks import tags

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = ("vit", "eanet", "patch_convnet", "training", "faithfulness", "cost", "porting", "results", "own_pictures")


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_has_six_exercises_that_check_themselves(name):
    notebook = nbformat.read(BOOK / f"{name}.ipynb", as_version=4)
    found = Counter(tag for cell in notebook.cells for tag in tags(cell))
    assert found["exercise"] >= 6
    assert found["solution"] == found["check"] == found["exercise"]
