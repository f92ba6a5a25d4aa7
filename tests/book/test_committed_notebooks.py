"""The committed notebooks keep the rules of `bookproof.checks.hygiene`. `make pages` calls this."""

from pathlib import Path

import nbformat
import pytest

from bookproof.book import Book
from bookproof.checks import hygiene
from bookproof.refresh import pictures

BOOK = Book(Path(__file__).parents[2])
NOTEBOOKS = sorted((BOOK.root / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert hygiene.problems(BOOK, path) == []


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_the_hero_picture_is_what_a_chapter_drew():
    drawn = {}
    for path in NOTEBOOKS:
        drawn |= pictures(nbformat.read(path, as_version=4))
    assert "hero" in drawn
    for name, png in drawn.items():
        assert (BOOK.root / "book" / "_static" / f"{name}.png").read_bytes() == png, f"{name}.png: run `make refresh`"
