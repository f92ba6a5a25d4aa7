"""The explorer in a real browser: what is pointed at is what is shown, to the last bit, for mouse, finger and keyboard.

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
from .explorers import READY, Page
from .test_pages import none
from .visits import DESK, PHONE, Visit, visited

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"></head><body><main><h1>A page</h1>
{}</main></body></html>"""
NAMES = ("night", "dusk", "day", "noon", "midnight")
SIDE = 4  # patches a row of the tiny models


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A function: an explorer of a tiny model on four images as (its HTML, the path of a page that holds it)."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(kind):
        if kind not in made:
            html = explorer.explorer(model_of(kind), images, [0, 1, 2, 3], NAMES).html
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


def every_patch():
    return [(row, column) for row in range(SIDE) for column in range(SIDE)]


def quantised(row):
    return np.rint(row / row.max() * 255).astype(int)


@pytest.mark.parametrize(("picture", "layer", "head"), [(0, 0, 0), (2, 0, 1), (3, 1, 0)])
def test_pointing_at_a_patch_shows_exactly_the_arrays_row(opened, pages, picture, layer, head):
    opened.picture(picture)
    opened.choose(layer=layer, head=head)
    weights = attention.maps(model_of("vit"), pages.images)[layer].weights[picture, head]
    for row, column in every_patch():
        opened.patch(row, column).hover()
        expected = weights[row * SIDE + column]
        assert opened.shows(quantised(expected))
        best = quantised(expected).argmax()  # of equal bytes the first
        assert opened.said.startswith(
            f"Patch row {row}, column {column}; strongest: row {best // SIDE}, column {best % SIDE}, "
        )
        share = float(re.search(r"([\d.e-]+) %", opened.said)[1]) / 100
        assert share == pytest.approx(expected.max(), rel=0.05)


@pytest.mark.parametrize("opened", ["vit with a class token"], indirect=True)
def test_pointing_leaves_the_class_token_out_of_the_map_and_says_its_share(opened, pages):
    opened.choose(layer=1, head=1)
    weights = attention.maps(model_of("vit with a class token"), pages.images)[1].weights[0, 1]
    opened.patch(1, 2).hover()
    assert opened.shows(quantised(weights[1 + SIDE + 2, 1:]))
    assert re.search(r"class token: [\d.]+ %\.$", opened.said)
    opened.part("token").click()
    assert opened.part("token").get_attribute("aria-pressed") == "true"
    assert opened.shows(quantised(weights[0, 1:]))
    assert opened.said.startswith("Class token; strongest: ")
    opened.patch(0, 0).hover()
    assert opened.shows(quantised(weights[1, 1:]))


def test_all_heads_are_drawn_on_one_scale(opened):
    opened.choose(layer=0, head=-1)
    opened.patch(2, 1).hover()
    bytes_, tops = (opened.arrays[f"0.{name}"][0, :, 2 * SIDE + 1] for name in ("bytes", "top"))
    assert not opened.part("map").is_visible()
    for head, canvas in enumerate(opened.part("heads").locator("canvas").all()):
        # Half of a step is rounded up there and to even here.
        assert opened.shows(np.floor(bytes_[head] * (tops[head] / tops.max()) + 0.5).astype(int), canvas)
    assert f"strongest: head {tops.argmax()}, " in opened.said
    opened.part("heads").locator("button").nth(1).click()
    assert opened.shows(bytes_[1])


def test_rollout_is_shown_for_the_patch(opened, pages):
    layers = [layer for layer in attention.maps(model_of("vit"), pages.images) if layer.kind == "self"]
    opened.choose(view="rollout")
    opened.patch(3, 0).hover()
    assert opened.shows(quantised(attention.rollout(layers)[0, 3 * SIDE]))


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_evidence_is_shown_on_a_scale_about_zero_if_some_is_against(opened):
    opened.picture(1)
    opened.choose(view="evidence")
    evidence = opened.arrays["evidence"][1].astype(float)
    assert opened.about["signed"] == (opened.arrays["evidence"].min() < 0)
    share = evidence / (np.abs(evidence).max() or 1)
    indices = 127.5 + 127.5 * share if opened.about["signed"] else 255 * share
    assert opened.shows(np.floor(indices + 0.5).astype(int), table="signed" if opened.about["signed"] else "attention")
    assert opened.said.startswith("Evidence for dusk; row 2, column 2: ")


@pytest.mark.parametrize("opened", ["eanet"], indirect=True)
def test_a_patch_shows_its_slots_and_a_slot_where_it_is_read_from(opened, pages):
    layer = attention.maps(model_of("eanet"), pages.images)[1]
    opened.choose(layer=1, head=1)
    opened.patch(1, 3).hover()
    shares = layer.weights[0, 1, SIDE + 3]
    slots = opened.part("slots").get_by_role("option")
    labels = [slot.get_attribute("aria-label") for slot in slots.all()]
    assert [label.split(":")[0] for label in labels] == [f"slot {slot}" for slot in range(4)]
    found = [float(label.split(": ")[1].removesuffix(" %")) / 100 for label in labels]
    np.testing.assert_allclose(found, shares, atol=shares.max() / 255 + 0.005)
    assert slots.nth(shares.argmax()).get_attribute("aria-selected") == "true"
    assert opened.shows(quantised(layer.slot_maps[0, 1, shares.argmax()]))
    for slot in range(4):
        slots.nth(slot).hover()
        assert opened.shows(quantised(layer.slot_maps[0, 1, slot]))
        assert f"Slot {slot}; row 1, column 3: " in opened.said
    opened.choose(head=-1)
    opened.patch(0, 1).hover()
    won = attention.winning_slot(layer)[0, 0, 1]
    assert f"all heads; strongest: slot {won}, " in opened.said


@pytest.mark.parametrize("opened", ["patch_convnet per class"], indirect=True)
def test_a_class_shows_what_its_query_attends_to(opened, pages):
    layer = attention.maps(model_of("patch_convnet per class"), pages.images)[0]
    opened.picture(2)
    for query, name in enumerate(NAMES):
        opened.choose(query=query)
        assert opened.shows(quantised(layer.weights[2, 0, query, 1:]))
        assert opened.said.startswith(f"{name}; row 2, column 2: ")


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_there_is_a_choice_only_where_there_is_something_to_choose(opened):
    kind = opened.visit.page.url.rsplit("/")[-1].removesuffix(".html").replace("%20", " ")
    shown = {select.get_attribute("data-of") for select in opened.root.locator("select").all() if select.is_visible()}
    assert shown == {"view"} | {
        "vit": {"layer", "head"},
        "vit with a class token": {"layer", "head"},
        "eanet": {"layer", "head"},
        "patch_convnet": set(),
        "patch_convnet per class": {"query"},
    }[kind]  # fmt: skip
    assert opened.part("memory").is_visible() == (kind == "eanet")
    views = opened.root.locator("[data-of=view] option").all_inner_texts()
    rollout = ["rollout"] if "vit" in kind.split() else []
    assert views == ["attention", *rollout, "evidence for night"]


def test_arrows_move_between_the_patches_and_the_map_follows(opened):
    opened.choose(layer=0, head=0)
    keyboard = opened.visit.page.keyboard
    grid = opened.part("patches").get_by_role("gridcell")
    assert [cell.get_attribute("tabindex") for cell in grid.all()].count("0") == 1
    opened.root.locator("[data-of=head]").focus()
    keyboard.press("Tab")
    for key, (row, column) in [
        ("ArrowUp", (1, 2)), ("ArrowRight", (1, 3)), ("ArrowRight", (1, 3)), ("Home", (1, 0)), ("ArrowLeft", (1, 0)),
        ("ArrowDown", (2, 0)), ("End", (2, 3)), ("ArrowDown", (3, 3)), ("ArrowDown", (3, 3)),
    ]:  # fmt: skip
        keyboard.press(key)
        focused = opened.visit.page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert focused == f"row {row}, column {column}", key
        assert opened.shows(opened.arrays["0.bytes"][0, 0, row * SIDE + column])
        assert opened.said.startswith(f"Patch {focused}; strongest: ")
    assert opened.visit.page.evaluate("window.scrollY") == 0
    keyboard.press("Tab")  # on to the map, whose cells say their values
    keyboard.press("Home")
    said = opened.visit.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"row \d, column 0: [\d.e-]+ %", said)
    assert said in opened.said


@pytest.mark.parametrize("opened", ["eanet"], indirect=True)
def test_arrows_move_between_the_slots(opened):
    opened.choose(layer=0, head=0)
    opened.part("slots").get_by_role("option").nth(2).hover()
    opened.part("slots").locator("[tabindex='0']").focus()
    opened.visit.page.keyboard.press("ArrowRight")
    assert opened.shows(opened.arrays["0.slot_bytes"][0, 0, 3])


def test_a_tap_chooses_a_patch(browser, pages):
    html, path = pages("vit")
    context = browser.new_context(has_touch=True, viewport={"width": PHONE, "height": 800})
    visit = Visit(context.new_page())
    visit.page.goto(path.as_uri())
    page = Page(visit, html)
    page.choose(layer=0, head=1)
    page.patch(3, 1).tap()
    assert page.shows(page.arrays["0.bytes"][0, 1, 3 * SIDE + 1])
    none(checks.complaints(visit))
    context.close()


@pytest.mark.parametrize("opened", MODELS, indirect=True)
def test_every_view_is_for_every_eye_and_fits_a_phone(opened):
    for theme, width in [("light", DESK), ("dark", PHONE)]:
        opened.visit.look(theme, width)
        for view in [option.get_attribute("value") for option in opened.root.locator("[data-of=view] option").all()]:
            opened.choose(view=view)
            if opened.root.locator("[data-of=head]").is_visible():
                opened.choose(head=-1 if width == PHONE else 0)
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
        first.choose(layer=0, head=0)
        second.choose(layer=1, head=1)
        third.choose(layer=0, head=1)
        first.patch(0, 1).hover()
        second.patch(3, 3).hover()
        assert first.shows(first.arrays["0.bytes"][0, 0, 1])
        assert second.shows(second.arrays["1.bytes"][0, 1, 15])
        third.part("slots").get_by_role("option").nth(1).hover()
        assert third.shows(third.arrays["0.slot_bytes"][0, 1, 1])
        assert second.said.startswith("Patch row 3, column 3; ")
        none(checks.complaints(visit))
        none(checks.barriers(visit))


def test_it_lives_in_a_sandboxed_frame(browser, pages, tmp_path):
    html, _ = pages("vit")
    frame = f'<iframe title="an output" sandbox="allow-scripts" srcdoc="{escape(html)}"></iframe>'
    (tmp_path / "page.html").write_text(PAGE.format(frame), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        visit.page.frame_locator("iframe").locator(READY).wait_for()
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
