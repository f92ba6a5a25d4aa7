"""The front page: its picture answers the pointer, a finger and the keyboard, and stands still without JavaScript."""

from pathlib import Path

import pytest

from .visits import DESK, PHONE, served

BUILT = Path(__file__).parents[2] / "_build" / "html"
LIGHT = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 3)"

LOADED = "async image => { image.loading = 'eager'; await image.decode(); return image.naturalWidth }"


@pytest.fixture(scope="module")
def address():
    with served(BUILT) as address:
        yield f"{address}/book/index.html"


def opened(browser, address, width=DESK, **context):
    page = browser.new_context(viewport={"width": width, "height": 800}, **context).new_page()
    page.goto(address, wait_until="load")
    return page


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_pointing_at_a_patch_lights_what_belongs_to_it_in_every_panel(browser, address, width):
    page = opened(browser, address, width)
    side, squares = page.locator(".vattn-side"), page.locator(".vattn-side .vs-square")
    assert squares.count() == 3
    squares.first.scroll_into_view_if_needed()
    before = [square.locator("canvas").evaluate(LIGHT) for square in squares.all()]
    box = squares.nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)
    assert side.get_attribute("data-patch") == "7"
    self_attention, external, pooling = [square.locator("canvas").evaluate(LIGHT) for square in squares.all()]
    assert self_attention != before[0]
    assert external != before[1]
    assert pooling == before[2], "one map for all patches"
    assert min(self_attention) == min(external) == min(pooling) == 0, "the highest value is as bright as the photograph"
    page.close()


def test_a_touch_and_the_arrow_keys_choose_a_patch_and_say_so(browser, address):
    page = opened(browser, address, PHONE, has_touch=True, is_mobile=True)
    side, square = page.locator(".vattn-side"), page.locator(".vattn-side .vs-square").first
    square.scroll_into_view_if_needed()
    box = square.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    assert side.get_attribute("data-patch") == str(2 * 8 + 2)
    page.locator(".vattn-side .vs-panels").focus()
    page.keyboard.press("ArrowDown")
    assert side.get_attribute("data-patch") == str(3 * 8 + 2)
    assert side.get_by_role("status").inner_text().startswith("Row 4, column 3. Self-attention")
    page.close()


def test_another_photograph_has_other_maps(browser, address):
    page = opened(browser, address)
    canvas = page.locator(".vattn-side canvas").nth(2)
    before = canvas.evaluate(LIGHT)
    page.get_by_role("button", name="Astronaut").click()
    assert canvas.evaluate(LIGHT) != before
    page.close()


def test_without_javascript_the_still_stands_there_and_with_it_the_picture_that_answers(browser, address):
    page = opened(browser, address, java_script_enabled=False)
    assert page.locator("article img.still").is_visible()
    page.close()
    page = opened(browser, address)
    assert not page.locator("article img.still").is_visible()
    assert page.locator(".vattn-side .vs-panels").is_visible()
    page.close()


def test_every_chapter_of_the_gallery_has_picture_question_and_minutes(browser, address):
    page = opened(browser, address)
    cards = page.locator(".gallery > .tile")
    assert cards.count() >= 7
    for card in cards.all():
        assert card.locator("p.minutes").inner_text().partition(" ")[2].startswith("min to read")
        assert "?" in card.inner_text()
        assert card.locator("img:visible").evaluate(LOADED) > 0
    page.close()
