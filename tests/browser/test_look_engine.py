"""The live page's engine in a real browser: models against Keras, removal against Python's, every kind of picture.

`book/_static/look` is served as it stands, with the models of `_build/live`, which are made here if they are not fresh.
"""

import base64
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Error

from vattn_utils import data
from vattn_utils.data import read_picture
from vattn_utils.maps import attention, attribution, faithfulness
from vattn_utils.publish import controls, live, made
from vattn_utils.training import records

from . import checks
from .visits import served, visited

LOOK = Path(__file__).parents[2] / "book" / "_static" / "look"
SAMPLES = json.loads((LOOK / "samples" / "samples.json").read_text())
PAGE = """<!DOCTYPE html><html lang="en"><head><title>Engine</title><link rel="icon" href="data:,">
<script type="importmap">{"imports": {"@litertjs/wasm-utils": "./look/vendor/litertjs/wasm-utils.js"}}</script>
<script type="module">
import * as input from "./look/input.js";
import * as numbers from "./look/numbers.js";
import * as runtime from "./look/runtime.js";
const floats = async name => new Float32Array(await (await fetch(name, {cache: "no-store"})).arrayBuffer());
const apart = (found, expected) => found.reduce((most, value, at) => Math.max(most, Math.abs(value - expected[at])), 0);
const models = {};
const model = async name => {
  await runtime.openRuntime("./look/");
  const entry = (await runtime.readModels("./look/")).find(it => it.name === name);
  return models[name] ??= await runtime.loadModel(entry);
};
window.engine = {input, numbers, runtime, floats, apart, model};
</script></head><body></body></html>"""


@cache
def recorded(name):
    """The Keras model that the page calls `name`."""
    return records.load(made.RECORDS[name]).model()


def small(file):
    """A sample as Python gives it to a model, `(1, 32, 32, 3)`."""
    return read_picture(LOOK / "samples" / file, 32).astype("float32")


@cache
def shown(dataset):
    """What the models are shown: all samples and, where the data is at hand, 100 of its test images."""
    samples = np.concatenate([small(sample["file"]) for sample in SAMPLES])
    if not data.at_hand(dataset):
        return samples
    return np.concatenate([samples, data.load(dataset).x_test[:100].astype("float32")])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the engine and its models, and the address where it is served."""
    if not made.fresh(made.FOLDER):
        live.export()
    folder = tmp_path_factory.mktemp("look")
    (folder / "look").mkdir()
    for path in LOOK.iterdir():
        (folder / "look" / path.name).symlink_to(path)
    (folder / "look" / "models").symlink_to(made.FOLDER)
    (folder / "page.html").write_text(PAGE)
    with served(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def visit(browser, site):
    with visited(browser, f"{site[1]}/page.html") as visit:
        yield visit


@pytest.fixture
def told(visit, site):
    """A function: what a JavaScript function of one argument returns; arrays by name lie beside the page as floats."""

    def told(function, argument=None, **arrays):
        for name, array in arrays.items():
            np.ascontiguousarray(array, "float32").tofile(site[0] / f"{name}.bin")
        return visit.page.evaluate(function, argument)

    return told


COMPARE = """async ([name, count]) => {
  const {apart, floats} = engine, model = await engine.model(name);
  const [pixels, logits, maps] = await Promise.all(["pixels.bin", "logits.bin", "maps.bin"].map(floats));
  const most = {logits: 0, attention: 0}, times = [];
  for (let image = 0; image < count; image++) {
    const of = array => array.subarray(image * array.length / count, (image + 1) * array.length / count);
    const found = await model.run(of(pixels));
    most.logits = Math.max(most.logits, apart(found.logits, of(logits)));
    let start = 0;
    for (const {weights, slotMaps} of found.maps)
      for (const array of [weights, slotMaps ?? []]) {
        most.attention = Math.max(most.attention, apart(array, of(maps).subarray(start, start + array.length)));
        start += array.length;
      }
    if (start !== of(maps).length) throw new Error(`${start} numbers of attention, expected ${of(maps).length}`);
    times.push(found.ms);
  }
  return {...most, ms: times.sort((a, b) => a - b)[count >> 1]};
}"""


@pytest.mark.parametrize("name", made.RECORDS)
def test_logits_and_attention_are_those_of_keras(told, name, record_property):
    model, images = recorded(name), shown(records.load(made.RECORDS[name]).dataset)
    logits = attribution.logits(model, images)
    layers = [array for layer in attention.maps(model, images) for array in (layer.weights, layer.slot_maps)]
    flat = np.concatenate([array.reshape(len(images), -1) for array in layers if array is not None], axis=1)
    found = told(COMPARE, [name, len(images)], pixels=images, logits=logits, maps=flat)
    for measure, value in found.items():
        record_property(measure, value)
    print(f"{name}, {len(images)} images: {found}")
    assert found["logits"] < 5e-3
    assert found["attention"] < 1e-3


CONTROLLED = """async ([name, controls]) => {
  const model = await engine.model(name);
  if (controls.headMask) controls.headMask = Float32Array.from(controls.headMask);
  const found = await model.run(await engine.floats("pixels.bin"), controls);
  return engine.apart(found.logits, await engine.floats("logits.bin"));
}"""


@pytest.mark.parametrize("name", made.RECORDS)
def test_controls_do_in_the_browser_what_they_do_in_python(told, name):
    model, image = recorded(name), small("cat.jpg")
    shape, randomise = controls.mask_shape(model), np.zeros(len(controls.units(model)), "float32")
    randomise[[0, -2]] = 1
    mask = np.random.default_rng(0).integers(0, 2, shape).astype("float32") if shape else None
    logits, _, _ = controls.forward(model, image, np.full(1, 1.5, "float32"), randomise, mask)
    given = dict(temperature=1.5, randomise=randomise.tolist(), headMask=mask.ravel().tolist() if shape else None)
    assert told(CONTROLLED, [name, given], pixels=image, logits=logits) < 1e-2


MAIN = """async ([name, label]) => {
  const model = await engine.model(name), {maps} = await model.run(await engine.floats("pixels.bin"));
  return engine.apart(engine.numbers.mainMap(model.entry, maps, label), await engine.floats("map.bin"));
}"""


@pytest.mark.parametrize("name", made.RECORDS)
def test_the_map_of_a_picture_is_that_of_the_book(told, name):
    image, model = small("cat.jpg"), recorded(name)
    method, _ = live.MAPS[records.load(made.RECORDS[name]).kind]
    expected = attribution.METHODS[method](model, image, [3])
    assert told(MAIN, [name, 3], pixels=image, map=expected) < 1e-3


REMOVAL = """async ([count, labels, fill]) => {
  const {numbers, floats} = engine, model = await engine.model("eanet");
  const [pixels, maps, altered] = await Promise.all(["pixels.bin", "maps.bin", "altered.bin"].map(floats));
  const filled = fill ? numbers.fillColour(fill) : numbers.fillBlur;
  const curves = [];
  let most = 0;
  for (let image = 0; image < count; image++) {
    const of = array => array.subarray(image * array.length / count, (image + 1) * array.length / count);
    const half = numbers.removePatches(of(pixels), numbers.order(of(maps)), 42.5 / 64, [8, 8], filled);
    most = Math.max(most, engine.apart(half, of(altered)));
    const shares = Float64Array.from({length: 9}, (_, step) => step / 8), order = numbers.order(of(maps));
    const curve = async places => {
      const found = [];
      for (const share of shares) {
        const {logits} = await model.run(numbers.removePatches(of(pixels), places, share, [8, 8], filled));
        found.push(numbers.softmax(logits)[labels[image]]);
      }
      return found;
    };
    const mostFirst = await curve(order), leastFirst = await curve(order.slice().reverse());
    curves.push([mostFirst, leastFirst, Object.values(numbers.areas({shares, mostFirst, leastFirst}))]);
  }
  return [most, curves];
}"""


@pytest.mark.parametrize("fill", ["colour", "blur"])
def test_removal_by_map_is_that_of_faithfulness(told, fill):
    count = 20 if fill == "colour" else 2
    model = recorded("eanet")
    images = np.resize(shown("cifar100")[::-1], (count, 32, 32, 3))
    labels = attribution.logits(model, images).argmax(axis=1)
    maps = np.random.default_rng(0).random((count, 8, 8)).astype("float32")
    colour = list(model.mean) if fill == "colour" else None

    def filled(pixels, removed):
        return faithfulness.fill_mean(pixels, removed, colour) if colour else faithfulness.fill_blur(pixels, removed)

    def predict(pixels):
        return attribution.probabilities(model, pixels)

    removed = faithfulness.order(maps).argsort(axis=1).reshape(maps.shape) < round(42.5)  # to the even one
    altered = filled(images, removed.repeat(4, axis=1).repeat(4, axis=2))
    given = [count, labels.tolist(), colour]
    apart, curves = told(REMOVAL, given, pixels=images, maps=maps, altered=altered)
    assert apart < 1e-3  # of 255
    expected = faithfulness.remove_by_rank(predict, images, labels, maps, filled)
    for index, (most_first, least_first, areas) in enumerate(curves):
        np.testing.assert_allclose(most_first, expected.most_first[index], atol=5e-3)
        np.testing.assert_allclose(least_first, expected.least_first[index], atol=5e-3)
        np.testing.assert_allclose(areas, np.stack(expected.areas())[:, index], atol=2e-3)


def test_shuffled_patches_are_the_same_patches_elsewhere(told):
    image = small("cat.jpg")
    function = """async () => {
      const found = engine.numbers.shufflePatches(await engine.floats("pixels.bin"), [4, 4], 7);
      return [Array.from(found.pixels), Array.from(found.order)];
    }"""
    pixels, order = told(function, pixels=image)
    cells = image.reshape(4, 8, 4, 8, 3).swapaxes(1, 2).reshape(16, 8, 8, 3)
    found = np.reshape(pixels, (4, 8, 4, 8, 3)).swapaxes(1, 2).reshape(16, 8, 8, 3)
    assert sorted(order) == list(range(16))
    assert order != list(range(16))
    np.testing.assert_array_equal(found, cells[order])


READ = """async ([content, type, name]) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt());
  const {small, width, height, notes, canvas} = await engine.input.readPicture(new File([bytes], name, {type}));
  return {small: Array.from(small), width, height, notes, shown: canvas.width};
}"""


@pytest.fixture
def read(told):
    """A function: what `readPicture` makes of a file, its small picture as an array."""

    def read(content, kind="image/png", name="picture"):
        found = told(READ, [base64.b64encode(content).decode(), kind, name])
        return {**found, "small": np.reshape(found["small"], (32, 32, 3))}

    return read


def file(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width, height, mode="RGB"):
    """A picture with soft colours and hard edges, different in all its corners."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    grey = (np.sin(23 * x) * np.cos(17 * y) > 0) * 90
    channels = [255 * x, 255 * y, 160 - grey, 255 * (x + y < 0.7)][: len(mode)]
    return Image.fromarray((np.stack(channels, axis=-1) % 256).astype("uint8"), mode)


@pytest.mark.parametrize(
    ("size", "mode"), [((300, 200), "RGB"), ((31, 640), "RGB"), ((90, 90), "RGBA"), ((32, 32), "RGB"), ((1, 1), "RGB")]
)
def test_a_picture_is_read_as_python_reads_it(read, size, mode):
    image = scene(*size, mode)
    found = read(file(image))
    assert (found["width"], found["height"]) == size
    np.testing.assert_allclose(found["small"], read_picture(image, 32)[0], atol=2)


def test_every_sample_is_read_as_python_reads_it(read):
    for sample in SAMPLES:
        content = (LOOK / "samples" / sample["file"]).read_bytes()
        kind = "image/png" if sample["file"].endswith("png") else "image/jpeg"
        apart = np.abs(read(content, kind)["small"] - small(sample["file"])[0])
        assert apart.max() <= 3, sample["id"]


def test_a_photograph_of_twelve_megapixels_is_read(read):
    image = scene(400, 300).resize((4000, 3000), Image.Resampling.NEAREST)
    found = read(file(image, "JPEG"), "image/jpeg")
    assert found["shown"] == 1024
    assert "4000 x 3000" in found["notes"][0]
    assert np.abs(found["small"] - read_picture(image, 32)[0]).mean() < 3


def test_what_a_camera_turned_is_turned_back(read):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    image = scene(64, 64)
    found = read(file(image, "JPEG", quality=95, exif=exif), "image/jpeg")
    np.testing.assert_allclose(found["small"], read_picture(image.rotate(-90), 32)[0], atol=25)


def test_a_printers_picture_is_read(read):
    image = scene(64, 64).convert("CMYK")
    found = read(file(image, "JPEG", quality=95), "image/jpeg")
    assert np.abs(found["small"] - read_picture(image.convert("RGB"), 32)[0]).mean() < 40  # inks are no colours


def test_of_an_animation_the_first_frame_is_read(read):
    first, second = Image.new("RGB", (40, 40), (250, 0, 0)), Image.new("RGB", (40, 40), (0, 0, 250))
    found = read(file(first, "GIF", save_all=True, append_images=[second], duration=20), "image/gif")
    np.testing.assert_array_equal(found["small"], np.full((32, 32, 3), (250, 0, 0)))
    assert "first frame" in found["notes"][-1]


def test_transparent_parts_are_laid_on_white(read):
    found = read(file(Image.new("RGBA", (40, 40), (0, 0, 0, 0))))
    np.testing.assert_array_equal(found["small"], 255)
    assert found["notes"] == ["Transparent parts are laid on white."]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"Dear model,", "text/plain", "“picture” is not a picture; choose a JPEG, PNG, WebP or GIF file."),
        (b"Dear model,", "image/png", "“picture” is broken, or of a kind that this browser cannot show"),
        (file(scene(200, 200))[:300], "image/png", "“picture” is broken"),
        (file(scene(200, 200), "JPEG")[:1000], "image/jpeg", "“picture” is broken"),
        (b"", "image/png", "“picture” is empty"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(read, content, kind, words):
    with pytest.raises(Error, match=words):
        read(content, kind)


def test_of_calls_that_wait_the_newest_runs(told):
    function = """async () => {
      const model = await engine.model("eanet"), picture = grey => new Float32Array(32 * 32 * 3).fill(grey);
      const late = new Promise((_, reject) => setTimeout(reject, 60_000, new Error("a call is never answered")));
      const found = await Promise.race([late, Promise.all([10, 20, 30].map(grey => model.run(picture(grey))))]);
      const alone = await model.run(picture(30));
      return [found.map(result => result !== null), engine.apart(found[2].logits, alone.logits)];
    }"""
    assert told(function) == [[True, False, True], 0]


@pytest.mark.parametrize(
    ("pixels", "given", "words"),
    [
        (12, "{}", "pixels has 12 numbers; use 3072"),
        (3072, "{temperature: 0}", "temperature=0 must be above 0"),
        (3072, "{randomise: [1]}", "randomise has 1 numbers; use 8"),
    ],
)
def test_what_does_not_fit_a_model_is_refused(told, pixels, given, words):
    with pytest.raises(Error, match=words):
        told(f'async () => (await engine.model("eanet")).run(new Float32Array({pixels}), {given})')


def test_memory_is_steady_over_200_pictures(told):
    function = """async () => {
      const litert = await import("./look/vendor/litertjs/core.js"), model = await engine.model("eanet");
      const used = () => litert.getGlobalLiteRt().liteRtWasm.HEAPU8.length;
      const show = async count => {
        for (let image = 0; image < count; image++) await model.run(new Float32Array(32 * 32 * 3).fill(image));
      };
      await show(5);
      const before = used();
      await show(200);
      return used() - before;
    }"""
    assert told(function) == 0


def test_a_browser_without_webassembly_gets_a_sentence(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.WebAssembly")
    page.goto(f"{site[1]}/page.html")
    assert not page.evaluate("engine.runtime.supported()")
    with pytest.raises(Error, match="This browser has no WebAssembly"):
        page.evaluate('engine.runtime.openRuntime("./look/")')
    context.close()


# Last: by now the page has loaded and shown everything.
def test_the_engine_asks_no_other_host_and_logs_nothing(visit):
    assert checks.requests_to_others(visit) + checks.complaints(visit) == []
