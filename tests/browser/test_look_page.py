"""The page Look as a reader uses it: pointing, erasing, removing, by mouse, keyboard and thumb, without a network.

The page is what `book/look.html` holds, in the boxes of the book's theme, with the models of `_build/live`; that the
whole page has no barrier is `test_pages`' matter, and whether the models compute what Keras does, `test_look_engine`'s.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pydata_sphinx_theme
import pytest
import scipy.stats
import sphinx_book_theme
from PIL import Image

from vattn_utils.publish import live, made
from vattn_utils.show.plots import ATTENTION

from . import checks
from .visits import served, visited

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
STYLES = {
    "pydata.css": Path(pydata_sphinx_theme.__file__).parent
    / "theme/pydata_sphinx_theme/static/styles/pydata-sphinx-theme.css",
    "theme.css": Path(sphinx_book_theme.__file__).parent
    / "theme/sphinx_book_theme/static/styles/sphinx-book-theme.css",
    "book.css": STATIC / "book.css",
}
PAGE = (ROOT / "book" / "look.html").read_text()
# The theme's styles and boxes, without what it has around the article.
SHELL = f"""<!DOCTYPE html><html lang="en" data-theme="light"><head><title>Look</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
{"".join(f'<link rel="stylesheet" href="../_static/{name}">' for name in STYLES)}</head><body>
<div class="bd-container"><div class="bd-container__inner bd-page-width"><div id="pst-primary-sidebar" hidden></div>
<main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article"><section>
<h1>Look</h1>{PAGE}</section></article></div></div></main></div></div></body></html>"""
CHAPTERS = ("vit", "eanet", "patch_convnet", "faithfulness")
THUMB = 44  # CSS pixels: the least that a finger needs

# What the page's own modules compute, beside what it shows: the same files, without its state.
ENGINE = """async () => {
  const from = name => import(`../_static/look/${name}.js`);
  const [input, numbers, runtime, steps, weights] =
    await Promise.all(["input", "numbers", "runtime", "steps", "experiments-weights"].map(from));
  await runtime.openRuntime("../_static/look/");
  const entries = Object.fromEntries((await runtime.readModels("../_static/look/")).map(it => [it.name, it]));
  const models = {};
  const model = async name => models[name] ??= await runtime.loadModel(entries[name]);
  const [{file}] = await (await fetch("../_static/look/samples/samples.json")).json();
  const {small} = await input.readPicture(`../_static/look/samples/${file}`);
  window.engine = {numbers, steps, weights, entries, model, small};
}"""
SMALL = """() => [...document.querySelectorAll(
    ".look :is(button, summary, input:not([type=radio]), .look-choice label, .look-slots > div)")]
  .filter(it => it.checkVisibility() && it.getBoundingClientRect().width)
  .map(it => [it.outerHTML.slice(0, 90), it.getBoundingClientRect().width, it.getBoundingClientRect().height])"""


class Look:
    """The open page: what a reader sees and does, by name."""

    def __init__(self, visit):
        self.visit, self.page = visit, visit.page

    def settle(self):
        """Wait until what was asked for has been answered and drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_selector(".look[data-ready] [data-part=page][aria-busy=false]")

    def card(self, model="vit"):
        return self.page.locator(f".look-card[data-model={model}]")

    def answers(self, model="vit"):
        """The top five, in words."""
        return self.card(model).locator(".look-bars").get_attribute("aria-label")

    def caption(self, model="vit"):
        return self.card(model).locator("[data-part=caption]").inner_text()

    def patch(self, row, column, model="vit"):
        return self.card(model).get_by_role("gridcell").nth(8 * (row - 1) + column - 1)

    def stroke(self, begin, end):
        """Draw over the first picture from one place to another, in pixels from its corner."""
        box = self.card().locator(".look-cells").bounding_box()
        self.page.mouse.move(box["x"] + begin[0], box["y"] + begin[1])
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end[0], box["y"] + end[1], steps=10)
        self.page.mouse.up()

    def asking(self, model="vit"):
        """The patch that asks, as the page calls it, or None."""
        found = self.card(model).locator(".look-from")
        return found.get_attribute("aria-label").split(":")[0] if found.count() else None

    def tool(self, name):
        self.page.get_by_role("tab", name=name).click()

    def slide(self, name, value):
        self.page.locator(f".look #look-{name}").evaluate(
            "(it, value) => { it.value = value; it.dispatchEvent(new Event('input', {bubbles: true})); }", value
        )
        self.settle()

    @property
    def changes(self):
        return self.page.locator(".look-changes li").all_inner_texts()

    def fresh(self):
        """As it was when it opened."""
        self.page.mouse.move(0, 0)
        while self.page.locator(".look-changes button").count():
            self.page.locator(".look-changes button").first.click()
            self.settle()
        # A card keeps the record that was chosen last, and PatchConvNet's has two: the first of them first.
        for model in ("patch_convnet", "vit"):
            self.page.evaluate("model => { location.hash = `#image=1&model=${model}&try=heads`; }", model)
            self.page.wait_for_function("() => !document.querySelector('#look-heads').hidden")
            self.settle()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the page is served, with the models, which are made here if they are not fresh."""
    if not made.fresh(made.FOLDER):
        live.export()
    folder = tmp_path_factory.mktemp("page")
    (folder / "_static" / "look").mkdir(parents=True)
    (folder / "book").mkdir()
    for name, path in STYLES.items():
        (folder / "_static" / name).symlink_to(path)
    for path in (STATIC / "look").iterdir():
        (folder / "_static" / "look" / path.name).symlink_to(path)
    (folder / "_static" / "look" / "models").symlink_to(made.FOLDER)
    (folder / "book" / "look.html").write_text(SHELL)
    for chapter in CHAPTERS:
        (folder / "book" / f"{chapter}.html").write_text("")
    with served(folder) as address:
        yield folder, f"{address}/book/look.html"


@pytest.fixture(scope="module")
def opened(browser, site):
    with visited(browser, site[1]) as visit:
        look = Look(visit)
        look.settle()
        visit.page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = false")
        visit.page.evaluate(ENGINE)
        yield look


@pytest.fixture
def look(opened):
    opened.visit.page.set_viewport_size({"width": 1440, "height": 900})
    opened.fresh()
    return opened


def test_everything_is_on_one_screen(look):
    top = look.page.locator(".look-page").bounding_box()["y"]
    bottom = look.page.get_by_role("button", name="layer 3, head 3").first.bounding_box()
    # The theme's head and the paragraph, which stand above the instrument in the book, take 124 of 900 pixels.
    assert bottom["y"] + bottom["height"] - top < 900 - 124
    for model in ("vit", "eanet", "patch_convnet"):
        assert look.card(model).locator(".look-bars li").count() == 5


def test_bars_are_what_the_model_answers(look):
    said = look.page.evaluate("""async () => {
      const {numbers, entries, model, small} = engine, {logits} = await (await model("vit")).run(small);
      return numbers.topK(numbers.softmax(logits), 5).map(({index, value}) => [entries.vit.classes[index], value]);
    }""")
    shown = re.findall(r"([a-z ]+) (\d[\d.]*) %", look.answers())
    assert [name.strip() for name, _ in shown] == [name.replace("_", " ") for name, _ in said]
    for (_, shown_share), (_, share) in zip(shown, said, strict=True):
        assert float(shown_share) == pytest.approx(100 * share, abs=0.5 if share > 0.0995 else 0.05)


def test_map_is_painted_in_the_books_colours(look):
    index = look.page.evaluate("""async () => {
      const {numbers, entries, model, small} = engine, {maps} = await (await model("eanet")).run(small);
      const map = numbers.mainMap(entries.eanet, maps);
      return [...map].map(value => Math.round(255 * value / Math.max(...map)));
    }""")
    painted = (
        look.card("eanet")
        .locator(".look-map")
        .evaluate(
            "it => { const copy = new OffscreenCanvas(8, 8).getContext('2d'); copy.drawImage(it, 0, 0);"
            " return [...copy.getImageData(0, 0, 8, 8).data]; }"
        )
    )
    expected = plt.get_cmap(ATTENTION)(np.arange(256), bytes=True)[index]
    assert (np.reshape(painted, (-1, 4)) == expected).all()


def test_a_click_pins_a_patch_until_escape(look):
    before = look.caption()
    look.patch(3, 4).hover()
    look.settle()
    assert look.asking() == "row 3, column 4"
    look.patch(3, 4).click()
    look.patch(6, 6).hover()
    look.settle()
    assert [look.asking(model) for model in ("vit", "eanet", "patch_convnet")] == ["row 3, column 4"] * 3
    assert "row 3, column 4 looks at" in look.caption()
    look.page.mouse.move(0, 0)
    look.page.keyboard.press("Escape")
    look.settle()
    assert look.asking() is None
    assert look.caption() == before


def test_keyboard_alone_pins_chooses_and_erases(look):
    look.patch(1, 1).focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        look.page.keyboard.press(key)
    look.settle()
    assert look.asking() == "row 2, column 2"
    look.page.get_by_role("button", name="layer 1, head 2").first.focus()
    look.page.keyboard.press("Enter")
    look.settle()
    assert look.caption().startswith("layer 1, head 2: what row 2, column 2")
    look.page.get_by_role("tab", name="Layers and heads").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        look.page.keyboard.press(key)
    before = look.answers()
    look.patch(2, 2).focus()
    look.page.keyboard.press("Enter")
    look.settle()
    assert look.answers() != before
    assert "erased 1.6 % ✕" in look.changes


def test_address_says_what_is_shown(look):
    look.page.get_by_role("button", name="layer 1, head 2").first.click()
    look.patch(5, 6).click()
    look.page.wait_for_function("() => location.hash.includes('patch')")
    assert look.page.evaluate("location.hash") == "#image=1&model=vit&layer=1&head=2&patch=5.6"


def test_erasing_moves_the_bars_and_taking_back_restores_them(look):
    before = {model: look.answers(model) for model in ("vit", "eanet", "patch_convnet")}
    look.tool("Erase")
    look.stroke((60, 60), (160, 140))
    look.settle()
    for model, said in before.items():
        assert look.answers(model) != said
    assert look.card().locator(".look-moved").count()
    look.page.get_by_role("button", name="Take it all back").click()
    look.settle()
    assert {model: look.answers(model) for model in before} == before


def test_removal_by_map_draws_the_curve_that_is_computed_beside_it(look):
    look.tool("Remove by map")
    look.slide("share", 8)
    computed = look.page.evaluate("""async () => {
      const {numbers, entries: {eanet}, model, small} = engine;
      const ask = async it => (await model("eanet")).run(it), {logits, maps} = await ask(small);
      const label = logits.indexOf(Math.max(...logits)), fill = numbers.fillColour(eanet.mean);
      const map = numbers.order(numbers.mainMap(eanet, maps)), curves = {map: [], least: []};
      for (const [name, places] of Object.entries({map, least: map.slice().reverse()}))
        for (let step = 0; step <= 8; step++) {
          const {logits} = await ask(numbers.removePatches(small, places, step / 8, [8, 8], fill));
          curves[name].push(numbers.softmax(logits)[label]);
        }
      return curves;
    }""")
    chart = look.page.locator("#look-remove [data-model=eanet]")
    bottom, top = (float(chart.locator(".look-rule").nth(at).get_attribute("y1")) for at in (0, 2))
    for name in ("map", "least"):
        points = chart.locator(f".look-curve.look-{name}").get_attribute("points").split()
        drawn = [(bottom - float(point.split(",")[1])) / (bottom - top) for point in points]
        assert drawn == pytest.approx(computed[name], abs=0.002)
    assert "Mean along the curve" in chart.locator("[data-part=verdict]").inner_text()
    assert look.changes == ["removed 100 % by map ✕"]


def test_shuffling_keeps_the_pixels_and_can_be_undone(look):
    def seen():
        data = look.page.locator("[data-part=sees]").evaluate(
            "it => { const copy = new OffscreenCanvas(32, 32).getContext('2d'); copy.drawImage(it, 0, 0);"
            " return [...copy.getImageData(0, 0, 32, 32).data]; }"
        )
        return np.reshape(data, (-1, 4))

    before = seen()
    look.tool("Shuffle")
    look.page.get_by_role("button", name="Shuffle", exact=True).click()
    look.settle()
    after = seen()
    assert (after != before).any()
    assert (np.sort(after.view()[:, 0]) == np.sort(before[:, 0])).all()
    look.page.get_by_role("button", name="Put in order").click()
    look.settle()
    assert (seen() == before).all()


def test_model_can_be_muted_heated_and_put_out_of_order(look):
    before = look.answers()
    look.tool("Change the model")
    look.page.locator("#look-weights [data-model=vit]").get_by_role("button", name="mute head 0.0").click()
    look.settle()
    muted = look.answers()
    assert muted != before
    look.slide("heat", 5)
    assert look.answers() != muted
    look.slide("depth", 2)
    shown = look.page.locator("#look-weights [data-model=vit]").inner_text()
    assert "out of order: logits, sequence pooling" in shown
    assert "rank correlation" in shown
    assert look.changes == ["softmax at temperature 8, out of order: the last 2, muted ✕"]
    look.page.locator(".look-changes button").click()
    look.settle()
    assert look.answers() == before


def test_slots_of_eanet_are_chosen_and_muted(look):
    strip = look.page.locator("#look-heads [data-model=eanet]")
    strip.get_by_role("button", name="layer 0, head 1").click()
    strip.get_by_role("option").nth(6).click()
    look.settle()
    assert look.caption("eanet") == "layer 0, head 1: where slot 6 is read from"
    before = look.answers("eanet")
    look.tool("Change the model")
    look.page.get_by_role("button", name="Mute slot 6").click()
    look.settle()
    assert look.answers("eanet") != before


def test_a_class_can_be_asked_of_patch_convnet(look):
    look.page.get_by_role("button", name="Ask for each class").click()
    look.page.get_by_role("button", name="dog: the most").click()
    look.settle()
    assert "“dog”" in look.caption("patch_convnet")


@pytest.mark.parametrize("model", ["vit", "eanet", "patch_convnet"])
def test_steps_end_in_the_attention_that_the_model_gives(look, model):
    apart = look.page.evaluate(
        """async name => {
      const {steps, model, small} = engine, {maps} = await (await model(name)).run(small);
      let most = 0;
      for (const map of maps) for (const head of [0, map.heads - 1]) {
        const query = map.queries - 1, start = (head * map.queries + query) * map.keys;
        steps.stepsOf(map, head, query).weights.forEach((value, i) => {
          most = Math.max(most, Math.abs(value - map.weights[start + i]));
        });
      }
      return most;
    }""",
        model,
    )
    assert apart < 1e-4
    look.page.evaluate(f"location.hash = '#image=1&model={model}&patch=2.7&try=steps'")
    look.settle()
    panel = look.page.locator("#look-steps")
    weight = re.search(r"= ([\d.]+) %$", panel.locator("[data-part=softmax-said]").inner_text())
    most = panel.locator("[data-part=softmax] .look-from").get_attribute("aria-label")
    assert most.endswith(f"{weight[1]} %")


def test_correlation_of_maps_is_spearmans(look):
    one, other = np.random.default_rng(0).integers(0, 9, (2, 64)).tolist()
    found = look.page.evaluate("([one, other]) => engine.weights.spearman(one, other)", [one, other])
    assert found == pytest.approx(scipy.stats.spearmanr(one, other).statistic)


def test_scale_says_its_numbers(look):
    ramp = look.card().locator("[data-part=scale]")
    relative = ramp.inner_text()
    look.page.get_by_label("fixed").check()
    look.settle()
    assert "13 %" in ramp.inner_text() != relative
    assert "8 times an even share" in ramp.get_attribute("title")
    look.page.get_by_label("relative").check()
    look.settle()
    assert ramp.inner_text() == relative


def test_what_a_map_is_worth_is_said_only_of_the_map_that_was_measured(look):
    measured = look.page.evaluate("engine.entries.vit.passport")
    worth = look.card().locator("[data-part=worth]")
    assert (worth.inner_text() == "not measured") == (measured is None)
    if measured:
        assert f"n = {measured['images']}, chance {measured['chance']}" in worth.inner_text()
    look.page.get_by_role("button", name="layer 1, head 2").first.click()
    look.settle()
    assert worth.inner_text() == "not measured"


def test_a_text_file_gets_a_sentence_and_a_dropped_picture_an_answer(look):
    before = look.answers()
    look.page.locator("[data-part=file]").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    notice = look.page.get_by_role("alert")
    notice.wait_for()
    assert "“notes.txt” is not a picture" in notice.inner_text()
    assert look.answers() == before
    look.page.evaluate("""async () => {
      const canvas = new OffscreenCanvas(200, 100), data = new DataTransfer();
      canvas.getContext("2d").fillRect(0, 0, 120, 90);
      data.items.add(new File([await canvas.convertToBlob()], "dropped.png", {type: "image/png"}));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    }""")
    look.page.wait_for_function(
        "() => document.querySelector('.look [data-part=credit]').textContent.includes('dropped')"
    )
    look.settle()
    assert not notice.is_visible()
    assert look.answers() != before
    look.page.wait_for_function("() => !location.hash.includes('image')")


def test_picture_and_map_are_saved(look):
    with look.page.expect_download() as saved:
        look.card().locator("[data-part=save]").click()
    picture = np.asarray(Image.open(saved.value.path()).convert("RGB"))
    left, right = picture[24:536, 24:536], picture[24:536, 560:1072]
    assert left.std() > 10
    assert (left != right).mean() > 0.5


def test_a_listener_is_told_once_after_a_stroke(look):
    look.page.evaluate("""() => {
      const status = document.querySelector(".look [data-part=status]");
      window.told = 0;
      new MutationObserver(() => { window.told++; }).observe(status, {childList: true});
    }""")
    look.tool("Erase")
    look.stroke((20, 20), (200, 200))
    look.page.wait_for_function("() => window.told > 0")
    look.settle()
    said = look.page.get_by_role("status").inner_text()
    assert re.fullmatch(r"ViT: [a-z ]+, [\d.]+ %\. EANet: [a-z ]+, [\d.]+ %\. PatchConvNet: [a-z ]+, [\d.]+ %\.", said)
    assert look.page.evaluate("window.told") <= 2


def test_phone_shows_one_column_of_targets_for_a_thumb(look):
    look.page.set_viewport_size({"width": 390, "height": 844})
    look.page.evaluate("location.hash = '#image=1&model=eanet'")
    look.settle()
    assert not checks.overhang(look.visit)
    for name in ("Layers and heads", "Step by step", "Erase", "Remove by map", "Shuffle", "Change the model"):
        look.tool(name)
        look.settle()
        small = [it for it in look.page.evaluate(SMALL) if min(it[1:]) < THUMB]
        assert not small, f"{name}: {small}"
        assert not checks.overhang(look.visit), name
    assert look.card("eanet").is_visible()
    assert not look.card("vit").is_visible()
    assert look.patch(1, 1, "eanet").bounding_box()["width"] >= THUMB


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_has_no_serious_barrier(look, theme):
    look.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    look.page.add_style_tag(content="html[data-theme=dark] { background: #121212; color: #ddd; }")
    try:
        assert not checks.barriers(look.visit)
    finally:
        look.page.evaluate("document.documentElement.dataset.theme = 'light'")


def test_a_linked_view_is_restored_and_nonsense_is_passed_over(browser, site):
    address = (
        f"{site[1]}#image=3&model=eanet&layer=2&head=9&slot=5&query=5&patch=3.4&scale=fixed&map=30&try=shuffle&vit=99"
    )
    with visited(browser, address) as visit:
        look = Look(visit)
        look.settle()
        assert look.asking("eanet") == "row 3, column 4"
        assert look.caption("eanet") == "layer 2, mean of its heads: where slot 5 is read from"
        assert look.page.get_by_label("fixed").is_checked()
        assert look.page.locator("#look-opacity").input_value() == "30"
        assert look.page.locator("#look-shuffle").is_visible()
        assert (
            look.page.locator("[data-part=samples] [aria-pressed=true] img").get_attribute("alt").startswith("Sample 3")
        )
        loaded = [name for asked in visit.asked for name in re.findall(r"([\w-]+)\.tflite$", asked)]
        # The first model comes alone, and nothing that nobody asked for.
        assert loaded == ["vit-cifar100-book", "eanet-cifar100-book", "patch_convnet-cifar10-book"]
        assert not checks.complaints(visit)


def test_without_webassembly_the_page_says_so(browser, site):
    context = browser.new_context()
    try:
        page = context.new_page()
        page.add_init_script("delete window.WebAssembly")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site[1], wait_until="networkidle")
        assert page.get_by_text("This browser has no WebAssembly").is_visible()
        assert page.get_by_role("link", name="EANet").get_attribute("href") == "eanet.html"
        assert not page.locator(".look-page").is_visible()
        assert not [address for address in asked if address.endswith((".wasm", ".tflite"))]
    finally:
        context.close()


# Last: by now the page has been used in every way.
def test_nothing_was_asked_elsewhere_and_nothing_went_wrong(opened):
    assert not checks.requests_to_others(opened.visit)
    assert not checks.complaints(opened.visit)
