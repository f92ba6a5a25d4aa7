"""Figures on the page: in the proportions that they were drawn in, and at home in the dark."""

from pathlib import Path

import pytest

from .visits import DESK, PHONE, served

BUILT = Path(__file__).parents[2] / "_build" / "html"
SHOWN = """async () => {
  const shown = [...document.querySelectorAll(".cell_output img")].filter(e => e.checkVisibility());
  for (const image of shown) image.loading = "eager";
  await Promise.all(shown.map(image => image.decode()));
  return shown.map(e => [e.clientWidth / e.clientHeight, e.naturalWidth / e.naturalHeight,
    getComputedStyle(e).backgroundColor, e.className]);
}"""


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_theme_shows_its_own_picture_undistorted_and_on_no_other_paper(browser, theme, width):
    with served(BUILT) as address:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        page.goto(f"{address}/book/porting.html", wait_until="load")
        figures = page.evaluate(SHOWN)
        page.close()
    assert figures
    for shown, drawn, paper, name in figures:
        assert shown == pytest.approx(drawn, rel=0.03)
        assert paper == "rgba(0, 0, 0, 0)"
        assert name == f"only-{theme}"


def test_a_drawing_of_boxes_is_turned_over_in_the_dark_with_the_words_on_them(browser):
    with served(BUILT) as address:
        page = browser.new_page(color_scheme="dark")
        page.goto(f"{address}/book/vit.html", wait_until="load")
        drawings = page.locator(".cell_output img[alt^='Boxes from top to bottom']")
        shown = [(one.get_attribute("class"), one.is_visible()) for one in drawings.all()]
        turned = drawings.first.evaluate("e => getComputedStyle(e).filter")
        page.close()
    assert shown == [("only-light", True), ("only-dark", False)]
    assert "invert(1)" in turned


def test_a_click_shows_a_figure_as_large_as_the_window_and_escape_closes_it(browser):
    with served(BUILT) as address:
        page = browser.new_page(viewport={"width": PHONE, "height": 800})
        page.goto(f"{address}/book/porting.html", wait_until="load")
        first = page.locator(".cell_output img.only-light").first
        first.click()
        enlarged = page.locator("dialog.enlarged img")
        assert enlarged.evaluate("image => image.clientWidth") > first.evaluate("image => image.clientWidth")
        assert enlarged.get_attribute("alt") == first.get_attribute("alt")
        page.keyboard.press("Escape")
        assert not page.locator("dialog.enlarged").is_visible()
        page.close()


def test_one_switch_opens_all_folded_code_and_the_next_page_remembers(browser):
    with served(BUILT) as address:
        page = browser.new_page()
        page.goto(f"{address}/book/cost.html", wait_until="load")
        folded = page.locator("details.hide.above-input")
        assert folded.count() > 10
        assert page.locator("details.hide.above-input[open]").count() == 0
        page.get_by_role("button", name="Show all code").click()
        assert page.locator("details.hide.above-input[open]").count() == folded.count()
        page.goto(f"{address}/book/results.html", wait_until="load")
        assert page.locator("details.hide.above-input[open]").count() == folded.count()
        page.get_by_role("button", name="Hide code").click()
        assert page.locator("details.hide.above-input[open]").count() == 0
        page.close()


def test_on_a_phone_the_smallest_text_of_a_figure_is_nine_pixels_high(browser):
    """No text is below 9 points (`bookproof.picture`), 12.5 pixels where a figure is as large as it was drawn."""
    with served(BUILT) as address:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(f"{address}/book/cost.html", wait_until="load")
        shown = page.locator(".cell_output img.only-light")
        scales = [one.evaluate("e => e.clientWidth / e.getAttribute('width')") for one in shown.all()]
        page.close()
    assert scales
    assert all(scale * 9 / 72 * 100 >= 8.95 for scale in scales)
