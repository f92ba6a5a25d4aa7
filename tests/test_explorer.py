"""The explorer's HTML: what it holds, how exact it is, how large, and what it refuses."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from shutil import which

import keras
import nbformat
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from bookproof import fingerprint
from tests.browser.explorers import EXPLORER, maps, rooted, shares, unpacked
from tests.test_models import tiny_model
from vattn_utils import models
from vattn_utils.maps import attention, attribution
from vattn_utils.models import eanet, patch_convnet, vit
from vattn_utils.show import explorer, explorer_page
from vattn_utils.show.explorer import Explorer
from vattn_utils.training import records

ROOT = Path(__file__).parents[1]

MODELS = {
    "vit": (vit, "book", {}),
    "vit with a class token": (vit, "paper", {}),
    "eanet": (eanet, "book", {}),
    "patch_convnet": (patch_convnet, "book", {}),
    "patch_convnet per class": (patch_convnet, "book", {"queries": "per-class"}),
}
NAMES = ("night", "dusk", "day", "noon", "</script><script>alert(1)</script>")


@cache
def model_of(kind):
    keras.utils.set_random_seed(0)
    module, variant, overrides = MODELS[kind]
    return tiny_model(module, variant, **overrides)


def assert_within_half_a_level(about, arrays, name, exact):
    """Each value is within half a level of its map's maximum of the array, and the strongest place keeps its value."""
    found, top = maps(about, arrays, name), exact.max(axis=-1, keepdims=True)
    assert found.shape == exact.shape
    assert (np.abs(found - exact) <= (0.5 / about["levels"] + 1e-3) * top).all()
    assert (found.max(axis=-1) >= (1 - 0.5 / about["levels"] - 1e-3) * exact.max(axis=-1)).all()


@cache
def made(kind):
    """The explorer of a tiny model on four images, and the attention that it shows."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
    return explorer.explorer(model_of(kind), images), attention.maps(model_of(kind), images)


@pytest.mark.parametrize("kind", MODELS)
def test_every_map_on_the_page_is_that_of_the_model(kind):
    found, layers = made(kind)
    about, arrays = unpacked(found.html)
    assert about["levels"] == 255
    for depth, layer in enumerate(layers):
        name = about["layers"][depth]["name"]
        assert about["layers"][depth]["kind"] == layer.kind
        assert_within_half_a_level(about, arrays, name, with_places(layer))
        if layer.prefix_tokens:
            np.testing.assert_allclose(arrays[f"{name}.own"], layer.own_share(), atol=1e-7)
    self_attention = [layer for layer in layers if layer.kind == "self"]
    assert ("rollout.bytes" in arrays) == bool(self_attention)
    if self_attention:
        rollout = attention.rollout(self_attention)[:, None, :, self_attention[0].prefix_tokens :]
        assert_within_half_a_level(about, arrays, "rollout", rollout)


def test_the_page_knows_where_the_tokens_look():
    about, _ = unpacked(made("vit")[0].html)
    assert about["shift"] == [0.5, 0.5]  # one stage of its tokenizer is padded behind only
    assert about["shift"] == [*attention.receptive_field(model_of("vit")).shift]


def with_places(layer):
    """A layer's maps over the patches."""
    return layer.weights[..., layer.prefix_tokens :] if layer.slot_maps is None else layer.slot_maps


@pytest.mark.parametrize("levels", explorer_page.LEVELS)
@pytest.mark.parametrize("kind", ["vit", "eanet"])
def test_every_value_is_within_half_a_level(kind, levels):
    layer = made(kind)[1][1]
    arrays = explorer_page.in_levels("1", layer, levels)
    about = {"levels": levels, "layers": [{"name": "1", "kind": layer.kind}]}
    assert arrays["1.bytes"].max() <= levels
    assert_within_half_a_level(about, arrays, "1", with_places(layer))
    if kind == "eanet":
        assert np.abs(shares(about, arrays, "1") - layer.weights).max() <= 0.5 / levels + 1e-3


@pytest.mark.parametrize("overrides", [dict(mixing=False), dict(pooling="class")], ids=str)
def test_slots_are_right_without_mixing_and_beside_a_class_token(overrides, pictures):
    layer = attention.maps(tiny_model(eanet, "book", **overrides), pictures)[1]
    arrays = explorer_page.in_levels("1", layer, 255, overrides.get("mixing", True))
    about = {"levels": 255, "layers": [{"name": "1", "kind": "external"}]}
    assert_within_half_a_level(about, arrays, "1", layer.slot_maps[..., -16:])
    assert np.abs(shares(about, arrays, "1") - layer.weights[:, :, -16:]).max() <= 0.5 / 255 + 1e-3


def test_small_numbers_keep_their_digits_beside_large_ones():
    values = np.array([[1e-4, 0.03, 20.0]])
    read, arrays = explorer_page._rooted("x", values)
    np.testing.assert_allclose(read, values, rtol=1e-2)
    np.testing.assert_allclose(read[0, 1:], values[0, 1:], rtol=1e-3)
    np.testing.assert_array_equal(read, rooted(arrays, "x"))
    assert explorer_page._rooted("x", np.zeros((2, 3)))[0].max() <= 1e-30


def test_images_and_evidence_are_there_as_they_are(pictures):
    model, labels = model_of("vit"), np.array([0, 1, 2, 3])
    about, arrays = unpacked(explorer.explorer(model, pictures, labels, NAMES).html)
    np.testing.assert_array_equal(arrays["images"], pictures)
    expected = attribution.evidence(model, pictures, labels).reshape(4, -1)
    np.testing.assert_allclose(arrays["evidence"], expected, rtol=1e-4, atol=1e-6)
    assert [image["evidence"] for image in about["images"]] == list(NAMES[:4])
    assert about["images"][2]["caption"].startswith("day; predicted: ")


def test_it_opens_on_the_patch_that_is_attended_to_most(pictures):
    for kind in MODELS:
        found, layers = made(kind)
        exact = with_places(layers[-1]).mean(axis=(1, 2))
        np.testing.assert_array_equal(unpacked(found.html)[1]["focus"], exact.argmax(axis=-1))
    layers = attention.maps(tiny_model(eanet, "keras-io"), pictures)  # without a pooling
    assert layers[-1].kind == "external"
    np.testing.assert_array_equal(explorer._focus(layers), layers[-1].slot_maps.sum(axis=(1, 2)).argmax(axis=-1))


def test_it_opens_on_the_head_that_spreads_widest():
    found, layers = made("vit")
    spread = attention.spread(layers[1].weights).mean(axis=(0, 2))
    assert unpacked(found.html)[0]["opens"] == {"layer": 1, "head": spread.argmax()}


def test_a_model_without_evidence_has_no_view_of_it(pictures):
    about, arrays = unpacked(explorer.explorer(tiny_model(eanet, "keras-io"), pictures).html)
    assert "evidence" not in [layer["name"] for layer in about["layers"]]
    assert "evidence" not in arrays


def test_without_labels_the_evidence_is_for_the_predicted_class():
    found, _ = made("vit")
    about, _ = unpacked(found.html)
    predicted = np.array(model_of("vit")(found.arrays["images"])).argmax(axis=-1)
    assert [image["evidence"] for image in about["images"]] == [f"class {index}" for index in predicted]


def test_classes_can_be_chosen_where_each_has_its_own_query():
    told = {kind: unpacked(made(kind)[0].html)[0]["classes"] for kind in MODELS}
    assert {kind for kind in told if told[kind]} == {"patch_convnet per class"}
    assert told["patch_convnet per class"] == [f"class {index}" for index in range(5)]


def test_names_titles_and_presets_cannot_end_their_block(pictures):
    title, presets = "</script> {{payload}}", {"</script>": {"layer": 1}}
    found = explorer.explorer(model_of("vit"), pictures, [4] * 4, NAMES, title, presets)
    assert found.html.count("</script>") == explorer_page.TEMPLATE.count("</script>")
    about, _ = unpacked(found.html)
    assert (about["title"], about["presets"]) == (title, {"</script>": {"layer": "1"}})
    assert about["images"][0]["evidence"] == NAMES[4]


def test_a_notebook_gets_html_and_a_sentence_and_who_verifies_it_the_arrays(pictures):
    model = model_of("eanet")
    found = explorer.explorer(model, pictures, title="Slots")
    bundle = found._repr_mimebundle_()
    assert list(bundle) == ["text/html", "text/plain"]
    assert bundle["text/plain"] == "Interactive: Slots (images: 4, layers of attention: 3)."
    json.dumps(fingerprint.of_tree(found.arrays), allow_nan=False)
    other = explorer.explorer(model, pictures[::-1].copy(), title="Slots")
    for name in ("images", "layers", "slot_maps", "evidence"):
        assert fingerprint.of_tree(found.arrays[name]) != fingerprint.of_tree(other.arrays[name]), name


def test_the_same_input_gives_the_same_html():
    found, _ = made("vit")
    assert explorer.explorer(model_of("vit"), found.arrays["images"]).html == found.html


def test_the_html_names_no_address_and_no_id():
    html = made("vit")[0].html
    assert not re.search(r"https?:|//\w+\.|\bsrc=|\bhref=|@import|url\(|\sid=|\bfetch\(|\bimport\(", html)


@pytest.mark.skipif(not which("node"), reason="node is not installed")
@pytest.mark.parametrize("name", explorer_page.SCRIPTS)
def test_each_script_is_one_by_itself(name):
    subprocess.run(["node", "--check", explorer_page.FOLDER / name], check=True)


def test_eight_images_of_64_tokens_in_4_layers_of_4_heads_fit(random):
    images = random.integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    for kind in ("vit", "eanet"):
        model = models.build(kind, "book", num_classes=10, depth=4, heads=4, dim=32, mlp_dim=32)
        found = explorer.explorer(model, images)
        assert unpacked(found.html)[1]["3.bytes"].shape == (8, 4, 64, 64)
        assert len(found.html.encode()) <= explorer.MAX_BYTES == 500_000


def test_as_many_levels_as_fit_and_then_too_many_images_are_refused(pictures, monkeypatch):
    model, whole = model_of("vit"), made("vit")[0]
    monkeypatch.setattr(explorer, "MAX_BYTES", len(whole.html) - 1)
    fewer = explorer.explorer(model, pictures)
    assert unpacked(fewer.html)[0]["levels"] == 127
    assert len(fewer.html) < len(whole.html)
    monkeypatch.setattr(explorer_page, "LEVELS", (255,))
    with pytest.raises(ValueError, match=r"4 images make [\d,]+ bytes of HTML, the limit is .* give at most 3 images"):
        explorer.explorer(model, pictures)
    assert isinstance(explorer.explorer(model, pictures[:3]), Explorer)
    monkeypatch.setattr(explorer, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="not even one fits; use a model of fewer layers"):
        explorer.explorer(model, pictures)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (dict(model=None), TypeError, "an explorer needs a Classifier"),
        (dict(images=np.zeros((0, 8, 8, 3), "uint8")), ValueError, "hold no image"),
        (dict(images=np.zeros((65, 8, 8, 3), "uint8")), ValueError, "65 images cannot be chosen from; give 1 to 64"),
        (dict(images=np.zeros((8, 8, 3), "uint8")), ValueError, r"use images\[None\]"),
        (dict(labels=[0, 1]), ValueError, "do not fit 4 images"),
        (dict(labels=[0.0] * 4), TypeError, "float64"),
        (dict(labels=[0, 1, 2, 5]), ValueError, "labels go from 0 to 5"),
        (dict(class_names=["a", "b"]), ValueError, "2 class_names do not fit a model of 5 classes"),
        (dict(class_names=dict.fromkeys("abcde")), TypeError, "class_names is dict"),
        (dict(class_names=["a", None, "c", "d", "e"]), TypeError, r"class_names\[1\]=None is no name"),
        (dict(class_names=["a", "b", "\ud800", "d", "e"]), ValueError, "half a character"),
        (dict(class_names=["a", "b", "c", "d", "e" * 10**6]), ValueError, "1000000 characters that show; use 1 to 200"),
        (dict(title=""), ValueError, "title has 0 characters"),
        (dict(title=None), TypeError, "title=None is no name"),
        (dict(presets=["the ear"]), TypeError, "presets is list; give a dict"),
        (dict(presets={"the ear": 3}), TypeError, "presets.'the ear'. is int; give a dict"),
        (dict(presets={"the ear": dict(layer=2)}), ValueError, "layer='2' is not known; use one of '0', '1'"),
        (dict(presets={"the ear": dict(layer=1, head=2)}), ValueError, "head=2 .* 1"),
        (dict(presets={"the ear": dict(row=0)}), ValueError, "row=0"),
        (dict(presets={"the ear": dict(image=5)}), ValueError, "image=5"),
        (dict(presets={"the ear": dict(zoom=5)}), ValueError, "'zoom' is not known"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_way_out(given, error, words, pictures):
    with pytest.raises(error, match=words):
        explorer.explorer(**{"model": model_of("vit"), "images": pictures, **given})


def test_images_divided_by_255_are_warned_of(pictures):
    with pytest.warns(UserWarning, match="nearly black"):
        explorer.explorer(model_of("vit"), pictures / 255)


def test_a_model_without_attention_is_refused(pictures, monkeypatch):
    model = tiny_model(vit, "book")
    monkeypatch.setattr(type(model), "attention_layers", [])
    with pytest.raises(ValueError, match="vit has no layer of attention; there is nothing to explore"):
        explorer.explorer(model, pictures)


def test_numbers_that_are_none_are_refused(pictures):
    with pytest.raises(ValueError, match="the attention holds NaN or infinity; look at the model's weights"):
        explorer_page._rooted("", np.array([[0.5, np.nan]]))
    model = tiny_model(vit, "book")
    bias = model.trainable_weights[-1]
    bias.assign(np.full(bias.shape, np.nan))
    with pytest.raises(ValueError, match="the logits hold NaN or infinity; look at the model's weights"):
        explorer.explorer(model, pictures)


def test_the_page_travels_with_the_package():
    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    parts = ("explorer.py", "explorer_page.py", "explorer.html", "explorer.css", *explorer_page.SCRIPTS)
    assert {f"vattn_utils/show/{name}" for name in parts} <= shipped


# What is committed


def committed():
    """Every explorer in a committed chapter: (chapter, its output's data)."""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if EXPLORER.search(output.get("data", {}).get("text/html", "")):
                    yield path.stem, output["data"]


RECORDS = {"vit": "vit-cifar100-book", "eanet": "eanet-cifar100-book", "patch_convnet": "patch_convnet-cifar10-book"}


@pytest.mark.parametrize("chapter", RECORDS)
def test_the_arrays_in_a_committed_explorer_are_those_that_its_model_makes_of_its_images(chapter, monkeypatch):
    """The images are those of the fingerprint, which every execution compares; all else follows from them."""
    (data,) = [data for name, data in committed() if name == chapter]
    record = records.load(RECORDS[chapter])
    about, arrays = unpacked(data["text/html"])
    assert fingerprint.of_array(arrays["images"]) == data[fingerprint.MIME]["images"]
    assert len(about["images"]) >= 8
    monkeypatch.setattr(explorer_page, "LEVELS", (about["levels"],))
    fresh = unpacked(explorer.explorer(record.model(), arrays["images"]).html)[1]
    assert fresh.keys() == arrays.keys()
    if "evidence" in arrays:  # for classes of which only the names stand there
        assert fingerprint.of_array(arrays["evidence"]) == data[fingerprint.MIME]["evidence"]
    for name in set(fresh) - {"evidence"}:
        apart = np.abs(arrays[name].astype(float) - fresh[name])
        limit = 1 if name.endswith("bytes") else 1e-3 * np.abs(fresh[name]).max()
        assert apart.max() <= limit, name
