"""The moving figures in a real browser: what they show is what NumPy computes, for mouse, finger and keyboard.

The pages are files on the disk, opened without a server; those of the built book are in test_pages.py.
"""

import re

import numpy as np
import pytest

from tests.test_moving import KINDS, NAMES, made, told
from vattn_utils.show.moving_stills import softmax

from . import checks
from .test_explorer import INSERT, PAGE
from .test_pages import none
from .visits import DESK, PHONE, Visit, visited

TIMES = {"query": (0, 0.6, 3, 5.6, 7.6, 10, 13), "normalise": (0, 3.5, 9.5), "pooling": (0, 2.6, 6)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A function: the path of a page with a figure of that kind, and the figure's HTML."""
    folder, figures = tmp_path_factory.mktemp("pages"), {}

    def page(kind):
        if kind not in figures:
            path = folder / f"{kind}.html"
            html = made(kind).html
            path.write_text(PAGE.format(html), encoding="utf-8")
            figures[kind] = path, html
        return figures[kind]

    return page


class Figure:
    """A moving figure in an open page, and the arrays that its HTML holds."""

    def __init__(self, visit, html, number=0):
        self.visit, self.root = visit, visit.page.locator(".vattn-moving").nth(number)
        self.told, self.arrays = told(html)
        self.root.locator(".vm-bar").wait_for()

    def at(self, seconds):
        """What is drawn at that time: plain numbers by name."""
        self.root.evaluate(
            """(root, at) => {
              const time = root.querySelector(".vm-bar input");
              time.value = at;
              time.dispatchEvent(new Event("input"));
            }""",
            seconds,
        )
        return self.drawn

    @property
    def drawn(self):
        return self.root.evaluate("root => root.drawn")

    @property
    def time(self):
        return float(self.root.locator(".vm-bar input").input_value())

    @property
    def said(self):
        return self.root.locator(".vm-said").inner_text()

    def press(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def opened(browser, pages, request):
    """The figure that the test names, to a reader who wants no motion; nothing may be asked for or complained about."""
    path, html = pages(getattr(request, "param", "query"))
    context = browser.new_context(viewport={"width": DESK, "height": 800}, reduced_motion="reduce")
    visit = Visit(context.new_page())
    visit.page.goto(path.as_uri())
    yield Figure(visit, html)
    assert [address for address in visit.asked if not address.startswith("data:")] == [path.as_uri()]
    none(checks.complaints(visit))
    context.close()


def attended(arrays, patch):
    scores = arrays["key"] @ arrays["query"][patch] / np.sqrt(arrays["query"].shape[1])
    return scores, softmax(scores), softmax(scores) @ arrays["value"]


def test_scores_shares_and_answer_of_a_patch_are_those_of_numpy(opened):
    picker = opened.root.get_by_role("slider", name="The patch that asks")
    box = picker.bounding_box()
    for patch in (0, 11, 37, 63):
        row, column = divmod(patch, 8)
        picker.click(position={"x": (column + 0.5) * box["width"] / 8, "y": (row + 0.5) * box["height"] / 8})
        scores, weights, answer = attended(opened.arrays, patch)
        drawn = opened.drawn
        assert drawn["patch"] == patch
        np.testing.assert_allclose(drawn["scores"], scores, atol=1e-12)
        np.testing.assert_allclose(drawn["weights"], weights, atol=1e-12)
        np.testing.assert_allclose(drawn["sum"], answer, atol=1e-12)
        best = divmod(int(weights.argmax()), 8)
        assert opened.said.startswith(
            f"The patch in row {row + 1}, column {column + 1} asks. Best match: row {best[0] + 1}, "
            f"column {best[1] + 1}, with a score of {scores.max():.2f} and {100 * weights.max():.1f} %"
        )


def test_the_answer_is_formed_of_the_heaviest_patches_first(opened):
    scores, weights, _ = attended(opened.arrays, 32)
    order = np.argsort(-weights)
    for seconds in (7, 8, 9, 9.9):
        drawn = opened.at(seconds)
        count = int(re.search(r"(\d+) of 64 patches", opened.said)[1])
        np.testing.assert_allclose(
            drawn["sum"], weights[order[:count]] @ opened.arrays["value"][order[:count]], atol=1e-12
        )
        assert drawn["held"] == pytest.approx(weights[order[:count]].sum())
    softer = opened.at(5.5)["weights"]  # half of the way from equal scores to those that it has
    np.testing.assert_allclose(softer, softmax(scores * 0.5), atol=1e-12)


def test_the_query_walks_across_the_picture_and_down(opened):
    walk = [*range(32, 40), *range(4, 64, 8)]
    assert [opened.at(10 + 0.6 * step + 0.3)["patch"] for step in range(16)] == walk


def test_arrows_choose_the_patch_that_asks(opened):
    picker = opened.root.get_by_role("slider", name="The patch that asks")
    picker.focus()
    for key, patch in (("ArrowUp", 24), ("ArrowRight", 25), ("Home", 0), ("ArrowLeft", 0), ("ArrowUp", 0), ("End", 63)):
        opened.visit.page.keyboard.press(key)
        assert opened.drawn["patch"] == patch, key
        assert picker.get_attribute("aria-valuetext") == f"row {patch // 8 + 1}, column {patch % 8 + 1}"
    assert opened.visit.page.evaluate("window.scrollY") == 0


def normalised(scores):
    slot_maps = softmax(scores, axis=0)
    return slot_maps, slot_maps / slot_maps.sum(axis=1, keepdims=True), softmax(scores)


def rows_changed(new, old):
    return (np.abs(new - old) > 0.005).any(axis=1)


@pytest.mark.parametrize("opened", ["normalise"], indirect=True)
def test_both_normalisations_of_the_readers_scores_are_those_of_numpy(opened):
    scores = opened.arrays["scores"].copy()
    before = normalised(scores)
    slider = opened.root.get_by_role("slider", name="score of token 3 with slot 2", exact=True)
    slider.focus()
    for _ in range(15):
        opened.visit.page.keyboard.press("ArrowRight")
    scores[2, 1] += 1.5
    drawn = opened.drawn
    np.testing.assert_allclose(drawn["scores"], scores, atol=1e-12)
    for name, expected in zip(("maps", "shares", "alone"), normalised(scores), strict=True):
        np.testing.assert_allclose(drawn[name], expected, atol=1e-12)
    assert drawn["there"] == [False, False, True, False]  # a softmax over the slots knows its own row only
    assert drawn["here"] == rows_changed(normalised(scores)[1], before[1]).tolist()
    assert sum(drawn["here"]) > 1
    assert opened.said == (
        f"1 of 12 scores moved. Double normalisation: {sum(drawn['here'])} of 4 rows change. "
        "Softmax over slots: 1 of 4."
    )
    opened.press("as they are")
    np.testing.assert_allclose(opened.drawn["scores"], opened.arrays["scores"])


@pytest.mark.parametrize("opened", ["normalise"], indirect=True)
def test_a_score_that_rises_moves_other_rows_and_a_whole_slot_that_rises_moves_none(opened):
    one, slot = opened.at(3.5), opened.at(9.5)
    scores = opened.arrays["scores"].copy()
    scores[1, 0] += 2
    np.testing.assert_allclose(one["scores"], scores, atol=1e-9)
    np.testing.assert_allclose(one["shares"], normalised(scores)[1], atol=1e-9)
    assert sum(one["here"]) > 1 == sum(one["there"])
    np.testing.assert_allclose(slot["shares"], normalised(opened.arrays["scores"])[1], atol=1e-9)
    assert (sum(slot["here"]), sum(slot["there"])) == (0, 4)


@pytest.mark.parametrize("opened", ["pooling"], indirect=True)
def test_weights_vector_and_logits_go_from_the_mean_to_the_learned_ones(opened):
    arrays, steps = opened.arrays, opened.told["steps"]
    logits = arrays["logits"].reshape(3, steps, 5)
    for number in range(3):
        opened.root.locator(".vm-pictures button").nth(number).click()
        for seconds in (0, 0.8, 1.9, 3, 5.2, 6):
            way = np.clip((seconds - 0.8) / 4.4, 0, 1)
            drawn = opened.at(seconds)
            for name, start, end in (("weights", "equal", "learned"), ("pooled", "mean", "attended")):
                mixed = (1 - way) * arrays[start][number] + way * arrays[end][number]
                np.testing.assert_allclose(drawn[name], mixed[1:] if name == "weights" else mixed, atol=1e-9)
            np.testing.assert_allclose(drawn["logits"], logits[number, round(way * (steps - 1))])
            best = drawn["logits"].index(max(drawn["logits"]))
            share = softmax(np.array(drawn["logits"]))[best]
            assert opened.said.endswith(f"The model says {NAMES[best]}, with {100 * share:.1f} %.")


def test_who_wants_no_motion_gets_none_until_asked_and_then_step_by_step(opened):
    assert opened.time == 10
    opened.visit.page.wait_for_timeout(300)
    assert opened.time == 10
    time = opened.root.get_by_role("slider", name="Time")
    time.focus()
    stops = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        opened.visit.page.keyboard.press(key)
        stops.append(opened.time)
    assert stops == [6.4, 4.6, 1.2, 0, 1.2]
    opened.press("mix")
    assert opened.time == 10
    assert time.get_attribute("aria-valuetext") == opened.said
    opened.at(0)
    opened.press("Play")
    assert opened.time == 1.2
    opened.press("Pause")
    opened.visit.page.wait_for_timeout(100)
    assert opened.time == 1.2


def test_it_plays_by_itself_once_it_is_seen_and_can_be_paused(browser, pages):
    path, html = pages("pooling")
    with visited(browser, path.as_uri()) as visit:
        figure = Figure(visit, html)
        visit.page.wait_for_function("document.querySelector('.vattn-moving').drawn.t > 0.05")
        assert figure.root.locator(".vm-said").get_attribute("aria-live") == "off"  # nobody can listen that fast
        figure.press("Pause")
        stopped = figure.time
        visit.page.wait_for_timeout(150)
        assert figure.time == stopped < 6
        assert figure.root.locator(".vm-said").get_attribute("aria-live") == "polite"
        figure.press("Play")
        visit.page.wait_for_function("at => Number(document.querySelector('.vm-bar input').value) > at", arg=stopped)


def test_out_of_sight_nothing_moves(browser, pages, tmp_path):
    _, html = pages("pooling")
    (tmp_path / "page.html").write_text(PAGE.format(f'<div style="height: 3000px"></div>{html}'), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        figure = Figure(visit, html)
        visit.page.wait_for_timeout(200)
        assert figure.time == 6
        figure.root.scroll_into_view_if_needed()
        visit.page.wait_for_function("document.querySelector('.vm-bar button').ariaLabel === 'Pause'")
        visit.page.evaluate("window.scrollTo(0, 0)")
        visit.page.wait_for_function("document.querySelector('.vm-bar button').ariaLabel === 'Play'")


SIZES = """root => {
  const visible = names => [...root.querySelectorAll(names)].filter(it => it.checkVisibility());
  const shown = visible("svg text, p, button").filter(it => it.textContent.trim());
  const touched = visible("button, input, [role=slider]");
  return [Math.min(...shown.map(it => parseFloat(getComputedStyle(it).fontSize))),
    touched.map(it => it.getBoundingClientRect()).map(({width, height}) => [width, height])];
}"""
# Text that reaches beyond the drawing, or over other text.
CROWDED = """root => {
  const texts = [...root.querySelectorAll("svg text")];
  const edge = root.querySelector(".vm-stage svg").getBoundingClientRect();
  const boxes = texts.map(it => it.getBoundingClientRect()), found = [];
  boxes.forEach((one, i) => {
    const beyond = one.left < edge.left - 1 || one.right > edge.right + 1 || one.bottom > edge.bottom + 4;
    if (beyond) found.push(texts[i].textContent);
    boxes.slice(i + 1).forEach((other, j) => {
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (wide > 1 && high > 5) found.push(`${texts[i].textContent} / ${texts[i + 1 + j].textContent}`);
    });
  });
  return found;
}"""


@pytest.mark.parametrize("opened", KINDS, indirect=True)
def test_it_is_for_every_eye_and_every_thumb_and_fits_a_phone(opened):
    kind = opened.root.get_attribute("data-idea")
    for theme, width in (("light", DESK), ("dark", 670), ("dark", PHONE), ("light", 366)):
        opened.visit.look(theme, width)
        for seconds in TIMES[kind]:
            opened.at(seconds)
            none(checks.overhang(opened.visit))
            assert not opened.root.evaluate(CROWDED), (width, seconds)
        if width in (DESK, PHONE):
            none(checks.barriers(opened.visit))
        smallest, targets = opened.root.evaluate(SIZES)
        assert smallest >= 9
        if width <= 366:
            assert np.min(targets) >= 44


@pytest.mark.parametrize(
    ("mark", "dark"),
    [
        ("document.documentElement.dataset.theme = 'dark'", True),
        ("document.body.dataset.jpThemeLight = 'true'", False),
    ],
)
def test_the_page_around_it_sets_the_theme_whatever_the_system(opened, mark, dark):
    opened.visit.look("light" if dark else "dark", DESK)
    opened.visit.page.evaluate(mark)
    paper = opened.root.evaluate("root => getComputedStyle(root).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_a_tap_chooses_the_patch_that_asks(browser, pages):
    path, html = pages("query")
    context = browser.new_context(has_touch=True, viewport={"width": PHONE, "height": 800}, reduced_motion="reduce")
    visit = Visit(context.new_page())
    visit.page.goto(path.as_uri())
    figure = Figure(visit, html)
    picker = figure.root.get_by_role("slider", name="The patch that asks")
    box = picker.bounding_box()
    picker.tap(position={"x": 2.5 * box["width"] / 8, "y": 5.5 * box["height"] / 8})
    assert figure.drawn["patch"] == 42
    none(checks.complaints(visit))
    context.close()


@pytest.mark.parametrize("linked", [False, True])
def test_the_still_gives_way_on_a_screen_and_is_there_on_paper_and_without_script(browser, pages, tmp_path, linked):
    _, html = pages("query")
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    image = f'<img alt="still" src="{pixel}">'
    twins = f'<a href="#">{image}</a>' if linked else image  # as a page of the book has it
    shown = f'<div class="cell_output"><div class="output text_html">{html}</div>{twins}</div>'
    (tmp_path / "page.html").write_text(PAGE.format(shown), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        figure, still = Figure(visit, html), visit.page.get_by_alt_text("still")
        assert (figure.root.is_visible(), still.is_visible()) == (True, False)
        visit.page.emulate_media(media="print")
        assert (figure.root.is_visible(), still.is_visible()) == (False, True)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.get_by_alt_text("still").is_visible()
    assert "It needs JavaScript" in page.locator(".vm-fallback").inner_text()
    context.close()


def test_two_on_a_page_and_one_inserted_later_keep_to_themselves(browser, pages, tmp_path):
    (_, one), (_, other) = pages("query"), pages("pooling")
    (tmp_path / "page.html").write_text(PAGE.format(one + other), encoding="utf-8")
    with visited(browser, (tmp_path / "page.html").as_uri()) as visit:
        visit.look("light", DESK)
        visit.page.evaluate(INSERT, one)
        first, second, third = Figure(visit, one), Figure(visit, other, 1), Figure(visit, one, 2)
        first.at(10.3)
        second.at(3)
        third.at(13.5)
        assert (first.drawn["patch"], third.drawn["patch"]) == (32, 37)
        assert second.drawn["t"] == pytest.approx(0.5)
        none(checks.complaints(visit))
