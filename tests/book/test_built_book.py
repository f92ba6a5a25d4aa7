"""The book as `make book` built it: every page, every figure, no error, no other host. `make pages` calls this."""

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
