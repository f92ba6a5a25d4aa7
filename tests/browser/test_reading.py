"""What helps reading: a citation says its source where it stands, and a wide table says its rows on a phone."""

from pathlib import Path

import pytest

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
