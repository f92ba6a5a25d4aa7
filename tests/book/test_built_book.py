"""The book as `make book` built it: every page, every figure, no error, no other host. `make pages` calls this."""

import pytest

from verification import pages
from verification.execute import ROOT

HTML = ROOT / "_build" / "html"


@pytest.mark.parametrize("entry", pages.entries(ROOT / "_toc.yml"))
def test_page_is_there_and_sound(entry):
    page = HTML / f"{entry}.html"
    assert page.is_file(), f"{page} is not built; run `make book`"
    assert list(pages.page_problems(page, ROOT / f"{entry}.ipynb")) == []


def test_book_has_a_front_door():
    assert (HTML / "index.html").is_file(), "run `make book`"
    assert pages.problems(HTML, ROOT) == []
