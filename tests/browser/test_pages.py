"""Every page of the built book, as a reader's browser shows it: offline, without an error, for every eye, on a phone.

`make book` first; then `pytest tests/browser`.
"""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bookproof.book import Book

from . import checks
from .explorers import EXPLORER, Page
from .visits import DESK, PHONE, served, visited

BOOK = Book(Path(__file__).parents[2])
ENTRIES = BOOK.entries()
VIEWS = [("light", DESK), ("dark", DESK), ("dark", PHONE), ("light", PHONE)]


def staleness(html, root):
    """Why the book in `html` is not the one that `root` holds, in a sentence; None if it is."""
    pages = [html / f"{entry}.html" for entry in Book(root).entries()]
    for page in pages:
        if not page.is_file():
            return f"{page.relative_to(html)} is not built; run `make book`"
    sources = [root / "_toc.yml", root / "_config.yml", *(root / "book").rglob("*")]
    sources = [source for source in sources if source.is_file() and source.suffix != ".pyc"]
    newest = max(sources, key=lambda source: source.stat().st_mtime)
    if newest.stat().st_mtime > min(page.stat().st_mtime for page in pages):
        return f"the built book is older than {newest.relative_to(root)}; run `make book`"
    return None


def none(problems):
    assert not problems, "\n" + "\n".join(problems)


@pytest.fixture(scope="module")
def address():
    """Where the book is served; fails if it is not built, or was built before its sources last changed."""
    why = staleness(BOOK.html, BOOK.root)
    if why:
        pytest.fail(why, pytrace=False)
    with served(BOOK.html) as address:
        yield address


@pytest.fixture(scope="module", params=ENTRIES)
def visit(browser, address, request):
    with visited(browser, f"{address}/{request.param}.html") as visit:
        yield visit


@pytest.fixture(params=VIEWS, ids="{0[0]}-{0[1]}".format)
def view(visit, request):
    """The same visit, in each theme on a desk and on a phone."""
    theme, width = request.param
    visit.look(theme, width)
    assert visit.page.evaluate("() => document.documentElement.dataset.theme") == theme
    return visit


def test_images_are_described_and_load(visit):
    none(checks.blind_images(visit))


def test_maths_is_set_by_the_copy_in_the_book(visit):
    asked = any("/_static/mathjax/" in address for address in visit.asked)
    assert asked or not visit.page.locator(".math").count(), "the page has equations and did not ask for MathJax"
    none(checks.unset_maths(visit))


def test_links_within_the_book_lead_somewhere(visit):
    none(checks.dead_links(visit, BOOK.html))


def test_nothing_reaches_past_the_right_edge_and_there_is_no_serious_barrier(view):
    none([*checks.overhang(view), *checks.barriers(view)])


def test_pointing_into_an_explorer_shows_exactly_its_arrays(visit):
    found = EXPLORER.findall((BOOK.html / urlsplit(visit.page.url).path.lstrip("/")).read_text(encoding="utf-8"))
    assert visit.page.locator(".vattn-explorer").count() == len(found)
    visit.look("dark", DESK)
    for number, html in enumerate(found):
        page = Page(visit, html, number)
        sheet = page.root.evaluate("root => getComputedStyle(root.parentElement).backgroundColor")
        assert sheet == "rgba(0, 0, 0, 0)", "the theme lays a sheet of its own under it"
        for row, column in ((1, 2), (0, 0)):
            page.patch(row, column).hover()
            assert page.shows(page.expected(row, column)), page.said


# Last of those that share a visit: by now the page has been shown in both themes and widths.
def test_page_asks_no_other_host(visit):
    none(checks.requests_to_others(visit))


def test_page_logs_no_error(visit):
    none(checks.complaints(visit))


@pytest.mark.parametrize("entry", ENTRIES)
def test_page_opens_from_the_disk_too(browser, address, entry):
    # `make book` ends with the path of a file, and a reader double-clicks it.
    with visited(browser, (BOOK.html / f"{entry}.html").as_uri()) as visit:
        for check in (checks.requests_to_others, checks.complaints, checks.blind_images, checks.unset_maths):
            none(check(visit))
