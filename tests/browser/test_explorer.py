"""The explorer in a real browser: what is pointed at is shown, what was chosen stays, for mouse, finger and keys.

The pages are files on the disk, opened without a server; those of the built book are in test_pages.py.
"""

import re
from html import escape

import numpy as np
import pytest

from tests.test_explorer import MODELS, model_of
from vattn_utils.maps import attention
from vattn_utils.show import explorer

from . import checks
from .explorers import READY, Page, maps, shares
from .test_pages import none
from .visits import DESK, PHONE, Visit, visited

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"></head><body><main><h1>A page</h1>
{}</main></body></html>"""
NAMES = ("night", "dusk", "day", "noon", "midnight")
SIDE = 4  # patches a row of the tiny models
PRESETS = {"the ear": dict(image=3, layer=0, head=1, row=2, column=4), "the evidence": dict(layer="evidence")}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A function: an explorer of a tiny model on four images as (its HTML, the path of a page that holds it)."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(kind):
        if kind not in made:
            presets = PRESETS if kind == "vit" else None
            html = explorer.explorer(model_of(kind), images, [0, 1, 2, 3], NAMES, f"A {kind}", presets).html
            path = folder / f"{kind}.html"
            path.write_text(PAGE.format(html), encoding="utf-8")
            made[kind] = html, path
        return made[kind]

    page.images = images
    return page


@pytest.fixture
def opened(browser, pages, request):
    """The explorer of the model that the test names, or of the ViT; nothing may be asked for or complained about."""
    html, path = pages(getattr(request, "param", "vit"))
    with visited(browser, path.as_uri()) as visit:
        yield Page(visit, html)
        assert visit.asked == [path.as_uri()]
        none(checks.complaints(visit))


@pytest.fixture
def touched(browser, pages):
    """The explorer of the ViT on a phone."""
    html, path = pages("vit")
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    visit = Visit(context.new_page())
    visit.page.goto(path.as_uri())
    yield Page(visit, html)
    none(checks.complaints(visit))
    context.close()


def exact(pages, kind, layer):
    return attention.maps(model_of(kind), pages.images)[layer]


@pytest.mark.parametrize(("picture", "layer", "head"), [(0, 0, 0), (3, 1, 1)])
def test_pointing_at_a_patch_shows_exactly_the_arrays_row(opened, pages, picture, layer, head):
    opened.picture(picture)
    opened.open(layer, head)
    weights = exact(pages, "vit", layer).weights[picture, head]
    for patch in range(SIDE * SIDE):
        opened.patch(*divmod(patch, SIDE)).hover()
        assert opened.shows(weights[patch])
        best = weights[patch].argmax()
        told = f"Row {patch // SIDE + 1}, column {patch % SIDE + 1} looks most at "
        assert opened.said.startswith(f"{told}row {best // SIDE + 1}, column {best % SIDE + 1}: ")
        share = float(re.search(r"([\d.e-]+) %", opened.said)[1]) / 100
        assert share == pytest.approx(weights[patch].max(), rel=0.05)


def test_it_opens_on_the_most_attended_patch_of_each_image(opened, pages):
    pooled = exact(pages, "vit", 2).weights.mean(axis=(1, 2))
    for picture in range(4):
        opened.picture(picture)
        row, column = divmod(pooled[picture].argmax(), SIDE)
        assert opened.said.startswith(f"Row {row + 1}, column {column + 1} looks most at ")
        assert (
            opened.patch(row, column).get_attribute("class") == "vx-from"
            or "vx-top" in opened.part("cells").inner_html()
        )


def test_a_click_pins_and_escape_releases(opened):
    opened.open(0, 0)
    opened.patch(1, 2).click()
    pinned = maps(opened.about, opened.arrays, "0")[0, 0, SIDE + 2]
    for row, column in ((0, 0), (3, 1)):
        opened.patch(row, column).hover()
        assert opened.shows(pinned)
        assert opened.said.startswith("Row 2, column 3 looks most at ")
        share = f"{100 * pinned[row * SIDE + column]:.2g}"
        assert f"In row {row + 1}, column {column + 1}: {share} %." in opened.said or "most at" in opened.said
    assert opened.part("how").inner_text().startswith("Pinned: pointing now reads values; Escape, or a second click,")
    opened.open(1, 1)
    assert opened.said.startswith("Row 2, column 3 looks most at "), "another head, and the same patch"
    opened.picture(2)
    assert opened.said.startswith("Row 2, column 3 looks most at "), "another image, and the same patch"
    opened.visit.page.keyboard.press("Escape")
    opened.patch(0, 1).hover()
    assert opened.said.startswith("Row 1, column 2 looks most at ")
    opened.patch(0, 1).click()
    opened.patch(0, 1).click()
    opened.patch(3, 3).hover()
    assert opened.said.startswith("Row 4, column 4 looks most at "), "a second click lets go"


@pytest.mark.parametrize("opened", ["vit with a class token"], indirect=True)
def test_pointing_leaves_the_class_token_out_of_the_map_and_says_its_share(opened, pages):
    opened.open(1, 1)
    weights = exact(pages, "vit with a class token", 1).weights[0, 1]
    opened.patch(1, 2).hover()
    assert opened.shows(weights[1 + SIDE + 2, 1:])
    assert re.search(r"Class token: [\d.]+ %\.$", opened.said)
    opened.part("token").click()
    assert opened.part("token").get_attribute("aria-pressed") == "true"
    assert opened.shows(weights[0, 1:])
    assert opened.said.startswith("The class token looks most at ")
    opened.part("token").click()
    opened.patch(0, 0).hover()
    assert opened.shows(weights[1, 1:])


def test_the_overview_shows_every_layer_and_head_and_a_click_chooses(opened, pages):
    opened.patch(2, 1).click()
    for layer in range(2):
        for head in range(2):
            weights = exact(pages, "vit", layer).weights[0, head, 2 * SIDE + 1]
            assert opened.shows(weights, opened.tile(layer, head).locator("canvas"))
            opened.open(layer, head)
            assert opened.tile(layer, head).get_attribute("aria-checked") == "true"
            assert opened.shows(weights)
    assert opened.part("overview").get_by_role("radio", checked=True).count() == 1
    assert opened.part("overview").get_by_role("radio").count() == 2 * 2 + 3  # pooling, rollout, evidence


def test_the_scale_is_relative_or_fixed_and_says_its_numbers(opened):
    opened.open(0, 0)
    opened.patch(2, 1).click()
    shown = maps(opened.about, opened.arrays, "0")[0, 0, 2 * SIDE + 1]
    highest = max(maps(opened.about, opened.arrays, name).max() for name in "01")
    said = opened.part("scale-said")
    assert opened.shows(shown)
    assert f"the most of this map, {100 * shown.max():.0f}" in said.inner_text()
    opened.root.locator("[data-scale=fixed]").click()
    assert opened.shows(shown, top=highest)
    assert f"The brightest is {100 * highest:.0f}" in said.inner_text()
    other = maps(opened.about, opened.arrays, "1")[0, 1, 2 * SIDE + 1]
    assert opened.shows(other, opened.tile(1, 1).locator("canvas"), top=highest)


def test_the_map_lies_over_the_picture_as_thick_as_the_slider_says(opened):
    slider = opened.part("opacity").locator("input")
    box, picture, cells = (opened.part(name).bounding_box() for name in ("map", "picture", "cells"))
    assert box == cells  # a value is pointed at where it is drawn, and drawn where its token looks
    for axis, edge, shift, size in zip(
        "yx", ("height", "width"), opened.about["shift"], opened.about["size"], strict=True
    ):
        assert box[edge] == picture[edge]
        assert box[axis] - picture[axis] == pytest.approx(shift / size * box[edge], abs=0.1)
    for value in ("0", "100", "35"):
        slider.fill(value)
        assert opened.part("map").evaluate("map => getComputedStyle(map).opacity") == f"{int(value) / 100:g}"
        assert opened.part("opacity").locator("output").inner_text() == f"{value} %"


def test_rollout_is_shown_for_the_patch(opened, pages):
    layers = [layer for layer in attention.maps(model_of("vit"), pages.images) if layer.kind == "self"]
    opened.open("rollout")
    opened.patch(3, 0).hover()
    assert opened.shows(attention.rollout(layers)[0, 3 * SIDE])
    assert opened.said.endswith("followed through all layers.")


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_evidence_has_a_unit_and_a_sentence(opened):
    opened.picture(1)
    opened.open("evidence")
    share = opened.arrays["evidence"][1].astype(float)
    share /= share.sum() or 1
    assert opened.shows(share)
    if share.any():
        row, column = divmod(share.argmax(), SIDE)
        assert re.match(
            rf"Most evidence for dusk is in row {row + 1}, column {column + 1}: \d+ % of the picture's", opened.said
        )
        assert opened.said.endswith("attention times the gradient of the class's logit, where that is positive.")
    else:
        assert opened.said == "Nothing attended to speaks for dusk."


@pytest.mark.parametrize("opened", ["eanet"], indirect=True)
def test_a_patch_shows_its_slots_and_a_slot_where_it_is_read_from(opened, pages):
    slot_maps = maps(opened.about, opened.arrays, "1")
    opened.open(1, 1)
    opened.patch(1, 3).hover()
    read = exact(pages, "eanet", 1).weights[0, 1, SIDE + 3]
    slots = opened.part("slots").get_by_role("option")
    labels = [slot.get_attribute("aria-label").replace("\xa0", " ") for slot in slots.all()]
    assert [label.split(":")[0] for label in labels] == [f"slot {slot}" for slot in range(4)]
    found = [float(label.split(": ")[1].removesuffix(" %")) / 100 for label in labels]
    np.testing.assert_allclose(found, read, atol=0.01)
    assert slots.nth(read.argmax()).get_attribute("aria-selected") == "true"
    assert opened.shows(slot_maps[0, 1, read.argmax()])
    for slot in range(4):
        slots.nth(slot).hover()
        assert opened.shows(slot_maps[0, 1, slot])
        assert f"Slot {slot} is read most from row " in opened.said
    slots.nth(2).click()
    opened.picture(3)
    slots.nth(0).hover()
    assert opened.shows(slot_maps[3, 1, 2]), "a slot that was chosen stays"
    opened.visit.page.keyboard.press("Escape")
    opened.patch(0, 1).hover()
    most = shares(opened.about, opened.arrays, "1")[3, 1, 1].argmax()
    assert opened.said.startswith(f"Row 1, column 2 reads most from slot {most}: ")


@pytest.mark.parametrize("opened", ["patch_convnet per class"], indirect=True)
def test_a_class_shows_what_its_query_attends_to(opened, pages):
    layer = exact(pages, "patch_convnet per class", 0)
    opened.picture(2)
    for query, name in enumerate(NAMES):
        opened.part("class").locator("select").select_option(str(query))
        assert opened.shows(layer.weights[2, 0, query, 1:])
        assert opened.said.startswith(f"For {name} the answer is read most from row ")


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_there_is_a_choice_only_where_there_is_something_to_choose(opened):
    kind = opened.visit.page.url.rsplit("/")[-1].removesuffix(".html").replace("%20", " ")
    assert opened.part("memory").is_visible() == (kind == "eanet")
    assert opened.part("token").is_visible() == (kind == "vit with a class token")
    assert opened.part("class").is_visible() == (kind == "patch_convnet per class")
    assert opened.part("presets").is_visible() == (kind == "vit")
    singles = opened.part("single").inner_text().split()
    pooling = ["pooling"] if kind != "vit with a class token" else []
    assert singles == [*pooling, *(["rollout"] if "vit" in kind.split() else []), "evidence"]


def test_presets_lead_where_the_chapter_says(opened):
    button = opened.part("presets").get_by_role("button", name="the ear")
    button.click()
    assert opened.shows(maps(opened.about, opened.arrays, "0")[2, 1, SIDE + 3])
    assert opened.said.startswith("Row 2, column 4 looks most at ")
    assert button.get_attribute("aria-pressed") == "true"
    opened.patch(0, 0).hover()
    assert opened.said.startswith("Row 2, column 4 "), "it is pinned"
    opened.part("presets").get_by_role("button", name="the evidence").click()
    assert opened.said.startswith("Most evidence for day ")
    assert button.get_attribute("aria-pressed") == "false"


def test_the_address_says_what_was_chosen_and_leads_back_to_it(opened, browser):
    assert opened.fragment == ""
    opened.patch(0, 0).hover()
    assert opened.fragment == "", "pointing is no choice"
    opened.picture(2)
    opened.open(0, 1)
    opened.patch(1, 3).click()
    opened.root.locator("[data-scale=fixed]").click()
    assert opened.fragment == "explorer-a-vit:image=3,layer=0,head=1,row=2,column=4,scale=fixed"
    page, said = opened.visit.page, opened.said
    page.reload()
    opened.root.locator(READY).wait_for()
    assert opened.said == said
    page.evaluate("location.hash = 'explorer-a-vit:image=1,layer=1,head=0,row=4,column=1'")
    page.wait_for_function("document.querySelector('.vx-said').textContent.startsWith('Row 4, column 1 ')")
    for nonsense in ("image=99,layer=7,head=-1,row=x", "layer=evidence,slot=3", "=,,", "image=2,__proto__=1,row=1e0"):
        page.evaluate(f"location.hash = 'explorer-a-vit:{nonsense}'")
        page.wait_for_function("() => !document.querySelector('.vx-pinned')")
    opened.visit.asked[:] = opened.visit.asked[:1]  # it was loaded again


def test_arrows_move_between_the_patches_and_the_map_follows(opened):
    opened.open(0, 0)
    keyboard = opened.visit.page.keyboard
    grid = opened.part("cells").get_by_role("gridcell")
    opened.patch(2, 2).click()
    keyboard.press("Escape")
    assert [cell.get_attribute("tabindex") for cell in grid.all()].count("0") == 1
    shown = maps(opened.about, opened.arrays, "0")[0, 0]
    for key, (row, column) in [
        ("ArrowUp", (1, 2)), ("ArrowRight", (1, 3)), ("ArrowRight", (1, 3)), ("Home", (1, 0)), ("ArrowLeft", (1, 0)),
        ("ArrowDown", (2, 0)), ("End", (2, 3)), ("ArrowDown", (3, 3)), ("ArrowDown", (3, 3)),
    ]:  # fmt: skip
        keyboard.press(key)
        focused = opened.visit.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert focused.startswith(f"row {row + 1}, column {column + 1}: "), key
        assert opened.shows(shown[row * SIDE + column])
        assert opened.said.startswith(f"Row {row + 1}, column {column + 1} looks most at ")
    keyboard.press("Enter")
    keyboard.press("ArrowUp")
    assert opened.said.startswith("Row 4, column 4 looks most at "), "Enter pins"
    assert opened.shows(shown[15])
    keyboard.press("Escape")
    keyboard.press("Home")
    assert opened.said.startswith("Row 3, column 1 looks most at ")
    assert opened.visit.page.evaluate("window.scrollY") == 0


def test_arrows_choose_in_the_overview(opened):
    opened.open(0, 0)
    for key, (layer, head) in [("ArrowRight", (0, 1)), ("ArrowDown", (1, 1)), ("ArrowDown", ("rollout", 0))]:
        opened.visit.page.keyboard.press(key)
        assert opened.tile(layer, head).get_attribute("aria-checked") == "true", key
        assert opened.tile(layer, head).evaluate("tile => tile === document.activeElement")


@pytest.mark.parametrize("opened", ["eanet"], indirect=True)
def test_arrows_move_between_the_slots(opened):
    opened.open(0, 0)
    opened.part("slots").get_by_role("option").nth(2).click()
    opened.visit.page.keyboard.press("Escape")
    opened.part("slots").get_by_role("option").nth(2).focus()
    opened.visit.page.keyboard.press("ArrowRight")
    assert opened.shows(maps(opened.about, opened.arrays, "0")[0, 0, 3])


def test_a_tap_pins_and_a_second_tap_lets_go(touched):
    touched.tile(0, 1).tap()
    assert touched.part("how").inner_text().startswith("Tap a patch to see where it looks.")
    shown = maps(touched.about, touched.arrays, "0")[0, 1]
    for row, column in ((3, 1), (0, 2)):
        touched.patch(row, column).tap()
        assert touched.shows(shown[row * SIDE + column])
        assert touched.root.locator(".vx-pinned").count() == 1
    assert (
        touched.part("how").inner_text().startswith("Pinned: sliding sideways now reads values; a second tap lets go")
    )
    touched.patch(0, 2).tap()
    assert touched.root.locator(".vx-pinned").count() == 0


def test_on_a_phone_targets_have_44_pixels_panels_are_stacked_and_drags_scroll(touched):
    small = touched.root.evaluate(
        """root => [...root.querySelectorAll("button, select, input, [role=gridcell], [role=option]")]
          .filter(one => one.checkVisibility()).map(one => [one.outerHTML.slice(0, 60), one.getBoundingClientRect()])
          .filter(([, {width, height}]) => width < 44 || height < 44).map(([html]) => html)"""
    )
    assert small == []
    look, overview = (touched.part(name).bounding_box() for name in ("look", "overview"))
    assert overview["y"] >= look["y"] + look["height"]
    assert look["width"] > 340
    none(checks.overhang(touched.visit))


def test_a_finger_that_scrolls_the_page_chooses_nothing_and_one_that_slides_keeps_the_pin(touched):
    page, said = touched.visit.page, touched.said
    device, box = page.context.new_cdp_session(page), touched.part("cells").bounding_box()
    middle, line = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(*places):
        for kind, points in [
            ("touchStart", places[:1]),
            *(("touchMove", [place]) for place in places),
            ("touchEnd", []),
        ]:
            told = [{"x": middle + x, "y": line + y} for x, y in points]
            device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    drag(*((0, -step) for step in range(0, 200, 20)))
    page.wait_for_function("() => window.scrollY > 100")
    assert touched.said == said
    assert touched.root.locator(".vx-pinned").count() == 0
    touched.patch(3, 3).tap()
    line = touched.part("cells").bounding_box()["y"] + 10
    drag(*((step, 0) for step in range(-20, 120, 20)))
    assert touched.said.startswith("Row 4, column 4 looks most at ")


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_every_view_is_for_every_eye_and_fits_a_phone(opened):
    for theme, width in [("light", DESK), ("dark", PHONE)]:
        opened.visit.look(theme, width)
        opened.open("evidence" if width == PHONE else opened.about["layers"][0]["name"])
        none(checks.overhang(opened.visit))
        none(checks.barriers(opened.visit))


@pytest.mark.parametrize(
    ("mark", "dark"),
    [
        ("document.documentElement.dataset.theme = 'dark'", True),
        ("document.documentElement.setAttribute('theme', 'dark')", True),
        ("document.body.dataset.jpThemeLight = 'false'", True),
        ("document.body.dataset.jpThemeLight = 'true'", False),
        ("document.documentElement.dataset.theme = 'light'", False),
    ],
)
def test_the_page_around_it_sets_the_theme_whatever_the_system(opened, mark, dark):
    opened.visit.look("light" if dark else "dark", DESK)
    opened.visit.page.evaluate(mark)
    paper = opened.root.evaluate("root => getComputedStyle(root).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


INSERT = """html => {  // as a notebook does: scripts in what is inserted do not run, so it makes new ones
  const output = document.createElement("div");
  output.innerHTML = html;
  for (const script of output.querySelectorAll("script")) {
    const again = document.createElement("script");
    for (const {name, value} of script.attributes) again.setAttribute(name, value);
    again.textContent = script.textContent;
    script.replaceWith(again);
  }
  document.querySelector("main").append(output);
}"""


def test_two_on_a_page_and_one_inserted_later_keep_to_themselves(browser, pages, tmp_path):
    one, _ = pages("vit")
    other, _ = pages("eanet")
    (tmp_path / "page.html").write_text(PAGE.format(one + one), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        visit.page.evaluate(INSERT, other)
        first, second, third = Page(visit, one), Page(visit, one, 1), Page(visit, other, 2)
        first.open(0, 0)
        second.open(1, 1)
        third.open(0, 1)
        first.patch(0, 1).click()
        second.patch(3, 3).click()
        assert first.shows(maps(first.about, first.arrays, "0")[0, 0, 1])
        assert second.shows(maps(first.about, first.arrays, "1")[0, 1, 15])
        third.part("slots").get_by_role("option").nth(1).click()
        assert third.shows(maps(third.about, third.arrays, "0")[0, 1, 1])
        told = [entry.split(":")[0] for entry in third.fragment.split(";")]
        assert told == ["explorer-a-vit", "explorer-a-vit~2", "explorer-a-eanet"]
        visit.page.keyboard.press("Escape")
        assert visit.page.locator(".vx-pinned").count() == 2, "Escape is for the one in use"
        said = [page.said for page in (first, second)]
        visit.page.reload()
        assert [Page(visit, one, number).said for number in range(2)] == said
        none(checks.complaints(visit))
        none(checks.barriers(visit))


def test_it_lives_in_a_sandboxed_frame(browser, pages, tmp_path):
    html, _ = pages("vit")
    frame = f'<iframe title="an output" sandbox="allow-scripts" srcdoc="{escape(html)}" height="700"></iframe>'
    (tmp_path / "page.html").write_text(PAGE.format(frame), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        inner = visit.page.frame_locator("iframe")
        inner.locator(READY).wait_for()
        inner.get_by_role("gridcell").nth(3).click()
        assert inner.locator(".vx-said").inner_text().startswith("Row 1, column 4 looks most at ")
        none(checks.complaints(visit))


def test_a_browser_that_cannot_unpack_it_keeps_the_sentence_that_says_so(browser, pages):
    _, path = pages("vit")
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(path.as_uri())
    assert page.locator(".vx-fallback").is_visible()
    assert not page.locator(".vx-page").is_visible()
    context.close()


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        (r"(?<=data-fingerprinted>)[^<]*", "", "its data are missing"),
        (r"(?<=data-fingerprinted>)[^<]*", "§§", "its data are no base64"),
        (r"(?<=data-fingerprinted>.{400}).{40}", "A" * 40, "its data cannot be unpacked"),
        (r"(?<=data-fingerprinted>).{4000}", "", "its data cannot be unpacked"),
        (r'"1.bytes"', '"1.bites"', 'its data lack the array "1.bytes"'),
        (r'\["images", "u1", \[4, ', '["images", "u1", [3, ', "bytes, and [0-9]+ are described"),
        (r'\["images", "u1", \[4, ', '["images", "u1", [400, ', 'its data end within the array "images"'),
        (r'(?<=class="vx-about">).', "", "what it shows cannot be read"),
    ],
)
def test_what_is_damaged_says_what_and_not_the_browser(browser, pages, tmp_path, pattern, instead, words):
    html, changes = re.subn(pattern, lambda _: instead, pages("vit")[0], count=1)
    assert changes
    (tmp_path / "page.html").write_text(PAGE.format(html), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        told = visit.page.locator(".vx-fallback", has_text="damaged")
        told.wait_for()
        assert re.search(rf"^This explorer is damaged: .*{words}.*\. Load the page anew", told.inner_text())
        assert not visit.page.locator(".vx-page").is_visible()
        none(checks.complaints(visit))
