"""The book as `make book` built it: every page, every figure, no error, no other host. `make pages` calls this."""

import re
from pathlib import Path

import pytest

from bookproof.book import Book
from bookproof.checks import pages

BOOK = Book(Path(__file__).parents[2])


@pytest.mark.parametrize("entry", BOOK.entries())
def test_page_is_there_and_sound(entry):
    page = BOOK.html / f"{entry}.html"
    assert page.is_file(), f"{page} is not built; run `make book`"
    assert list(pages.page_problems(page, BOOK.root / f"{entry}.ipynb")) == []


def test_book_has_a_front_door():
    assert (BOOK.html / "index.html").is_file(), "run `make book`"
    assert pages.problems(BOOK) == []


def test_names_punctuation_and_spaces_in_code_look_as_the_code_around_them():
    """So that pages do without a mark for each of them (`bookproof.sphinx.light`)."""
    style = (BOOK.html / "_static" / "pygments.css").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        (around,) = re.findall(rf'data-theme="{theme}"\] \.highlight {{[^}}]*(?<!-)color: (#\w+)', style)
        for name in "npw":
            assert re.search(rf'data-theme="{theme}"\] \.highlight \.{name} {{ color: {around} }}', style)
