"""One ViT on all backends: what is written down is there, and tells the two gradients apart."""

import json

import numpy as np
import pytest

from benchmarks import backends
from vattn_utils import data
from vattn_utils.audit import upstream


@pytest.fixture(scope="module")
def few():
    return data.load("shapes100").take(40)


def test_fixed_weights_give_the_same_logits_twice(few):
    first, second = backends.logits(few), backends.logits(few)
    assert np.shape(first) == (8, 8)
    assert first == second


def test_the_early_normalisation_changes_the_gradients_and_not_the_outputs(few):
    now, early = (
        np.array(backends.gradients(few, layer))
        for layer in (backends.layers.LayerNormalization, upstream.older.EarlyLayerNormalization)
    )
    assert np.abs(now - early).max() > 0.01 * now.max()
    images = few.x_test[:8]
    outputs = [
        backends.build(few, layer).predict(images, verbose=0)
        for layer in (backends.layers.LayerNormalization, upstream.older.EarlyLayerNormalization)
    ]
    np.testing.assert_allclose(*outputs, atol=1e-4)


def test_every_random_layer_changes_each_copy_of_an_image_for_itself(few):
    for name, found in backends.random_layers(few).items():
        assert found["distance"] > 0, name
        assert found["spread"] > 0, name
        assert found["between"] > 0, name


def test_a_line_takes_the_place_of_the_older_one_of_the_same_backend(tmp_path, monkeypatch):
    load = data.load
    monkeypatch.setattr(backends.data, "load", lambda name: load("shapes100"))
    for name in ("logits", "gradients", "random_layers"):
        monkeypatch.setattr(backends, name, lambda *arguments: [])
    out = tmp_path / "backends.jsonl"
    for _ in range(2):
        backends.main(["--out", str(out)])
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["backend"] == line["provenance"]["backend"]
