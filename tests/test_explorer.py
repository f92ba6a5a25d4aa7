"""The explorer's HTML: what it holds, how exact it is, how large, and what it refuses."""

import json
import re
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from bookproof import fingerprint
from tests.browser.explorers import unpacked
from tests.test_models import tiny_model
from vattn_utils import models
from vattn_utils.maps import attention, attribution
from vattn_utils.models import eanet, patch_convnet, vit
from vattn_utils.show import explorer
from vattn_utils.show.explorer import Explorer

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


def assert_quantised(arrays, name, maps):
    """Each map is within 1/255 of its own maximum of the array, and the strongest place keeps its value."""
    top = arrays[f"{name}top"][..., None]
    found = arrays[f"{name}bytes"] / 255 * top
    assert found.shape == maps.shape
    assert (np.abs(found - maps) <= maps.max(axis=-1, keepdims=True) / 255).all()
    np.testing.assert_allclose(found.max(axis=-1), maps.max(axis=-1), rtol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_every_map_is_within_a_255th_of_its_maximum(kind, pictures):
    model = model_of(kind)
    about, arrays = unpacked(explorer.explorer(model, pictures).html)
    layers = attention.maps(model, pictures)
    for name, layer in enumerate(layers):
        assert about["layers"][name]["kind"] == layer.kind
        assert_quantised(arrays, f"{name}.", layer.weights[..., layer.prefix_tokens :])
        if layer.prefix_tokens:
            np.testing.assert_allclose(arrays[f"{name}.own"], layer.own_share(), atol=1e-7)
        if layer.kind == "external":
            assert_quantised(arrays, f"{name}.slot_", layer.slot_maps)
    mixing = [layer for layer in layers if layer.kind == "self"]
    assert ("rollout.bytes" in arrays) == bool(mixing)
    if mixing:
        assert_quantised(arrays, "rollout.", attention.rollout(mixing)[:, None, :, mixing[0].prefix_tokens :])


def test_a_map_of_zeros_stays_one():
    found = explorer._bytes_and_top(np.zeros((2, 3)), "")
    assert found["bytes"].max() == found["top"].max() == 0


def test_images_and_evidence_are_there_as_they_are(pictures):
    model, labels = model_of("vit"), np.array([0, 1, 2, 3])
    about, arrays = unpacked(explorer.explorer(model, pictures, labels, NAMES).html)
    np.testing.assert_array_equal(arrays["images"], pictures)
    expected = attribution.evidence(model, pictures, labels).reshape(4, -1)
    np.testing.assert_allclose(arrays["evidence"], expected, rtol=1e-4, atol=1e-6)
    assert [image["evidence"] for image in about["images"]] == list(NAMES[:4])
    assert about["images"][2]["caption"].startswith("day; predicted: ")


def test_a_model_without_evidence_has_no_view_of_it(pictures):
    about, arrays = unpacked(explorer.explorer(tiny_model(eanet, "keras-io"), pictures).html)
    assert about["evidence"] is False
    assert "evidence" not in arrays


def test_without_labels_the_evidence_is_for_the_predicted_class(pictures):
    model = model_of("vit")
    about, _ = unpacked(explorer.explorer(model, pictures).html)
    predicted = np.array(model(pictures)).argmax(axis=-1)
    assert [image["evidence"] for image in about["images"]] == [f"class {index}" for index in predicted]


def test_classes_can_be_chosen_where_each_has_its_own_query(pictures):
    told = {kind: unpacked(explorer.explorer(model_of(kind), pictures, class_names=NAMES).html)[0] for kind in MODELS}
    assert {kind for kind in told if told[kind]["classes"]} == {"patch_convnet per class"}
    assert told["patch_convnet per class"]["classes"] == list(NAMES)


def test_names_and_title_cannot_end_their_block(pictures):
    found = explorer.explorer(model_of("vit"), pictures, [4] * 4, NAMES, title="</script> {{payload}}")
    assert found.html.count("</script>") == explorer.TEMPLATE.read_text().count("</script>")
    about, _ = unpacked(found.html)
    assert about["title"] == "</script> {{payload}}"
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


def test_the_same_input_gives_the_same_html(pictures):
    model = model_of("vit")
    assert explorer.explorer(model, pictures).html == explorer.explorer(model, pictures).html


def test_the_html_names_no_address_and_no_id(pictures):
    html = explorer.explorer(model_of("vit"), pictures).html
    assert not re.search(r"https?:|//\w+\.|\bsrc=|\bhref=|@import|url\(|\sid=|\bfetch\(|\bimport\(", html)


def test_eight_images_of_64_tokens_in_8_layers_of_4_heads_fit(random):
    model = models.build("vit", "book", num_classes=10, depth=8, heads=4, dim=32, mlp_dim=32)
    images = random.integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    found = explorer.explorer(model, images)
    _, arrays = unpacked(found.html)
    assert arrays["7.bytes"].shape == (8, 4, 64, 64)
    assert len(found.html.encode()) <= explorer.MAX_BYTES == 1_500_000


def test_too_many_images_are_refused_with_the_number_that_fit(pictures, monkeypatch):
    model = model_of("vit")
    monkeypatch.setattr(explorer, "MAX_BYTES", len(explorer.explorer(model, pictures).html) - 1)
    with pytest.raises(ValueError, match=r"4 images make [\d,]+ bytes of HTML, the limit is .* give at most 3 images"):
        explorer.explorer(model, pictures)
    assert isinstance(explorer.explorer(model, pictures[:3]), Explorer)
    monkeypatch.setattr(explorer, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="not even one fits; use a model of fewer layers"):
        explorer.explorer(model, pictures)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(labels=[0, 1]), r"labels of shape \(2,\) and dtype int64 do not fit 4 images; give one integer for each"),
        (dict(labels=[0.0] * 4), "dtype float64 do not fit"),
        (dict(labels=[0, 1, 2, 5]), "labels go from 0 to 5; those of this model are 0 to 4"),
        (dict(labels=[-1, 1, 2, 4]), "labels go from -1 to 4"),
        (dict(class_names=["a", "b"]), "2 class_names do not fit a model of 5 classes; give one for each"),
        (dict(images=np.zeros((0, 8, 8, 3), "uint8")), "0 images cannot be chosen from; give 1 to 64"),
        (dict(images=np.zeros((65, 8, 8, 3), "uint8")), "65 images cannot be chosen from; give 1 to 64"),
        (dict(images=np.zeros((8, 8, 3), "uint8")), r"use images\[None\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(given, words, pictures):
    with pytest.raises(ValueError, match=words):
        explorer.explorer(model_of("vit"), **{"images": pictures, **given})


def test_attention_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="the attention holds NaN or infinity; look at the model's weights"):
        explorer._bytes_and_top(np.array([[0.5, np.nan]]), "")


def test_the_page_travels_with_the_package():
    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"vattn_utils/show/explorer.py", "vattn_utils/show/explorer.html"} <= shipped
