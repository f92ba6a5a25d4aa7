"""What helps reading: a citation says its source where it stands, and a wide table says its rows on a phone."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from .visits import DESK, PHONE, served

BUILT = Path(__file__).parents[2] / "_build" / "html"


@pytest.fixture(scope="module")
def address():
    with served(BUILT) as address:
        yield address


def test_a_citation_shows_its_source_to_the_pointer_and_to_the_keyboard(browser, address):
    page = browser.new_page(viewport={"width": DESK, "height": 800})
    page.goto(f"{address}/book/index.html", wait_until="load")
    link, source = page.locator("article a.cited").first, page.locator("#source")
    assert source.is_hidden()
    link.hover()
    assert "An Image is Worth 16x16 Words" in source.inner_text()
    page.keyboard.press("Escape")
    assert source.is_hidden()
    page.mouse.move(0, 0)
    link.focus()
    assert source.is_visible()
    beside = source.evaluate("it => it.getBoundingClientRect().top") - link.evaluate(
        "it => it.getBoundingClientRect().top"
    )
    assert 0 < beside < 60
    page.close()


def test_the_first_column_of_a_wide_table_stays_on_a_phone(browser, address):
    page = browser.new_page(viewport={"width": PHONE, "height": 800})
    page.goto(f"{address}/book/results.html", wait_until="load")
    table = page.locator("article table:has(th:nth-child(4))").first
    name = table.locator("tbody td").first
    before = name.evaluate("it => it.getBoundingClientRect().left")
    table.evaluate("""table => {
      let box = table;
      const scrolls = () => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
      while (!scrolls()) box = box.parentElement;
      box.scrollLeft = 80;
    }""")
    assert name.evaluate("it => it.getBoundingClientRect().left") == pytest.approx(before, abs=1)
    assert table.evaluate("it => it.getBoundingClientRect().left") < before - 50
    page.close()


@pytest.mark.parametrize("path", sorted(BUILT.glob("book/*.html")), ids=lambda path: path.stem)
def test_no_open_table_has_more_than_six_columns(path):
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    for table in page.select("article table"):
        columns = max(len(row.find_all(["td", "th"])) for row in table.find_all("tr"))
        assert columns <= 6 or table.find_parent("details"), table.get_text(" ", strip=True)[:100]


SCREENS = 25  # of 1440 x 900 pixels, with what is folded closed
CUT = """() => [...document.querySelectorAll(".cell_input pre")].filter(e => e.checkVisibility()
  && !e.closest("details") && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""


@pytest.mark.parametrize("path", sorted(BUILT.glob("book/*.html")), ids=lambda path: path.stem)
def test_no_line_of_open_code_is_wider_than_its_box_and_no_page_too_long(browser, address, path):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{address}/book/{path.name}", wait_until="load")
    assert page.evaluate(CUT) == []
    height = page.evaluate("document.documentElement.scrollHeight")
    assert 900 <= height <= SCREENS * 900 or path.stem == "api"
    page.close()
