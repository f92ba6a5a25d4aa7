"""The live page's graphs compute what the models compute, and under control what a changed model computes."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.test_models import tiny_model
from vattn_utils.models import eanet, patch_convnet, vit
from vattn_utils.models.layers import PerClassLogits
from vattn_utils.publish import book, controls, live, made, samples
from vattn_utils.training.records import RecordError

LOOK = Path(__file__).parents[1] / "book" / "_static" / "look"
MODELS = {
    "vit": lambda: tiny_model(vit),
    "eanet": lambda: tiny_model(eanet),
    "patch_convnet": lambda: tiny_model(patch_convnet),
    "per class": lambda: tiny_model(patch_convnet, queries="per-class"),
}


@pytest.fixture(autouse=True, scope="module")
def seeded():
    """The same tiny models in every run."""
    keras.utils.set_random_seed(0)


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    """A tiny model in whose biases and scales something stands."""
    model, random = MODELS[request.param](), np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 0.2, weight.shape).astype("float32"))
    return model


@pytest.fixture
def changed(model):
    """The same model, to be changed: it has its weights again afterwards."""
    kept = model.get_weights()
    yield model
    model.set_weights(kept)


@pytest.fixture
def image(pictures):
    return pictures[:1].astype("float32")


def neutral(model):
    mask = controls.mask_shape(model)
    found = dict(temperature=np.ones(1, "float32"), randomise=np.zeros(len(controls.units(model)), "float32"))
    return {**found, "mask": np.ones(mask, "float32")} if mask else found


def same(found, expected):
    """Whether two models' logits and attention are equal, to the noise of single precision."""
    (logits, maps), (expected_logits, expected_maps) = found[:2], expected
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=2e-5)
    for one, other in zip(maps, expected_maps, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def plain(model, image):
    return model(image, training=False, return_attention=True)


def test_at_the_neutral_setting_it_is_the_model(model, image):
    same(controls.forward(model, image, **neutral(model)), plain(model, image))


def test_temperature_divides_the_scores_of_every_attention(changed, image):
    found = controls.forward(changed, image, **{**neutral(changed), "temperature": np.full(1, 2.5, "float32")})
    if isinstance(changed, patch_convnet.PatchConvNet):
        halved = changed.attention_pooling.query.weights
    else:
        halved = list(changed.sequence_pooling.score.weights)
        for block in changed.blocks:
            if isinstance(block.attention, eanet.ExternalAttention):
                halved += [block.attention.memory_key, block.attention.memory_key_bias]
            else:  # the first third is the query
                inner = changed.dim
                for weight in block.attention.query_key_value.weights:
                    weight.assign(np.concatenate([weight[..., :inner] / 2.5, weight[..., inner:]], axis=-1))
    for weight in halved:
        weight.assign(weight / 2.5)
    same(found, plain(changed, image))


def test_a_muted_head_is_one_without_values(image):
    model = tiny_model(vit)
    given = neutral(model)
    given["mask"][1, 0] = 0
    found = controls.forward(model, image, **given)
    dense, width = model.blocks[1].attention.query_key_value, model.dim // model.heads
    for weight in dense.weights:
        values = ops.convert_to_numpy(weight).copy()
        values[..., 2 * model.dim : 2 * model.dim + width] = 0
        weight.assign(values)
    same(found, plain(model, image))


def test_a_muted_slot_is_one_without_a_value(image):
    model = tiny_model(eanet)
    given = neutral(model)
    given["mask"][0, :, 2] = 0  # of all heads, which share the memory
    found = controls.forward(model, image, **given)
    memory = model.blocks[0].attention.memory_value
    memory.assign(ops.convert_to_numpy(memory) * np.array([1, 1, 0, 1], "float32")[:, None])
    same(found, plain(model, image))


def kernels(model, unit):
    """The matrices of a unit, each with the axis along which it is multiplied with what comes in."""
    whole = {"stem": getattr(model, "stem", None)}.get(unit) or [getattr(model, unit, None)]
    if unit.startswith("block_"):
        whole = [(model.trunk if hasattr(model, "trunk") else model.blocks)[int(unit.removeprefix("block_"))]]
    names = ("query_kernel", "memory_key", "memory_value", "output_kernel")
    for layer in (layer for part in whole for layer in part._flatten_layers()):
        if isinstance(layer, layers.Dense):
            yield layer.kernel, 0
        elif isinstance(layer, layers.Conv2D):
            yield layer.kernel, 2
        elif isinstance(layer, PerClassLogits):
            yield layer.kernel, 1
        elif isinstance(layer, eanet.ExternalAttention):
            yield from ((getattr(layer, name), 0) for name in names)


def randomised(model, unit):
    """Put the rows of the unit's matrices into its order; of the first convolution, all numbers."""
    shuffle = controls.Shuffle(unit, np.ones(1))
    if unit == "positions":
        model.positions.embedding.assign(shuffle(model.positions.embedding))
    for number, (kernel, axis) in enumerate(() if unit == "positions" else kernels(model, unit)):
        if unit in ("tokens", "stem") and number == 0:
            kernel.assign(shuffle.kernel(kernel))
            continue
        values = ops.convert_to_numpy(kernel).swapaxes(0, axis)
        moved = np.empty_like(values)
        moved[shuffle.order(len(values))] = values
        kernel.assign(moved.swapaxes(0, axis))


def test_a_randomised_unit_has_its_matrices_in_another_order_and_nothing_else(changed, image):
    kept, before = changed.get_weights(), plain(changed, image)
    for number, unit in enumerate(controls.units(changed)):
        given = neutral(changed)
        given["randomise"][number] = 1
        found = controls.forward(changed, image, **given)
        randomised(changed, unit)
        same(found, plain(changed, image))
        assert np.abs(found[0] - before[0]).max() > 1e-3, f"{unit} changes nothing"
        changed.set_weights(kept)


@pytest.mark.parametrize(
    "other", [lambda: tiny_model(vit, "paper"), lambda: tiny_model(patch_convnet, "keras-io")], ids=["vit", "convnet"]
)
def test_another_architecture_is_refused(other, image):
    model = other()
    with pytest.raises(ValueError, match="export a record of variant 'book'"):
        controls.forward(model, image, **neutral(model))


def test_what_leads_to_attention_gives_it_again(image):
    model = tiny_model(vit)
    _, maps, steps = controls.forward(model, image, **neutral(model))
    query, key = steps[0]["query"], steps[0]["key"]  # (heads, N, d)
    scores = np.einsum("hqd,hkd->hqk", query, key) / query.shape[-1] ** 0.5
    np.testing.assert_allclose(ops.softmax(scores), maps[0][0], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def graph():
    """A tiny EANet and its graph."""
    model = tiny_model(eanet, depth=1)
    return model, live.graph(model)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter:UserWarning")
def test_the_graph_computes_what_the_controls_say(graph, image):
    import tensorflow as tf

    model, content = graph
    given = neutral(model)
    given["temperature"][:] = 2
    given["mask"][0, 1] = 0
    logits, maps, steps = controls.forward(model, image, **given)
    run = tf.lite.Interpreter(model_content=content).get_signature_runner()
    found = run(pixels=image, temperature=given["temperature"], randomise=given["randomise"], head_mask=given["mask"])
    for name, expected in (("logits", logits), ("map_0", maps[0]), ("scores_0", steps[0]["scores"])):
        np.testing.assert_allclose(found[name], expected, rtol=5e-3, atol=5e-3)  # of float16 weights


def test_the_same_model_gives_the_same_bytes(graph):
    model, content = graph
    assert live.graph(model) == content


class Nothing(Exception):
    """Raised where a model is made that need not be."""


@pytest.fixture
def few(monkeypatch):
    """One record on the page, whose graph is a word, and measured passports of nothing."""
    monkeypatch.setattr(made, "RECORDS", {"vit": "vit-cifar100-book"})
    monkeypatch.setattr(live, "graph", lambda model: b"a graph")
    monkeypatch.setattr(live, "passport", lambda record, method: None)


def test_what_is_fresh_is_not_made_again(few, tmp_path, monkeypatch):
    assert not made.fresh(tmp_path)
    live.export(tmp_path)
    assert made.fresh(tmp_path)
    monkeypatch.setattr(live, "graph", lambda model: (_ for _ in ()).throw(Nothing))
    live.export(tmp_path)
    (tmp_path / "vit-cifar100-book.tflite").write_bytes(b"altered")
    with pytest.raises(Nothing):
        live.export(tmp_path)


def test_what_follows_from_other_code_is_made_again(few, tmp_path, monkeypatch):
    live.export(tmp_path)
    monkeypatch.setattr(made, "version", lambda tool: "of tomorrow")
    assert not made.fresh(tmp_path)
    monkeypatch.setattr(live, "graph", lambda model: b"another graph")
    live.export(tmp_path)
    assert (tmp_path / "vit-cifar100-book.tflite").read_bytes() == b"another graph"


def test_a_package_without_its_repository_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "ROOT", tmp_path)
    with pytest.raises(RecordError, match="export from a checkout of the repository"):
        live.export(tmp_path / "live")


def test_the_list_says_what_a_page_must_know(few, tmp_path):
    live.export(tmp_path)
    (entry,) = json.loads((tmp_path / made.LIST).read_text())["models"]
    assert entry["sha256"] == hashlib.sha256(b"a graph").hexdigest()
    assert (entry["bytes"], entry["mask"], len(entry["classes"])) == (7, [4, 4], 100)
    assert [layer["kind"] for layer in entry["layers"]] == ["self"] * 4 + ["pooling"]
    assert entry["units"][-2:] == ["sequence_pooling", "logits"]


@pytest.fixture
def built(tmp_path):
    """What Sphinx gives an extension at the end of a build of HTML."""
    return SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path / "html")


def test_the_built_book_has_the_models_beside_its_page(few, tmp_path, built, monkeypatch):
    monkeypatch.setattr(made, "FOLDER", tmp_path / "live")
    live.export(made.FOLDER)
    monkeypatch.setattr(book.subprocess, "run", lambda *given, **named: (_ for _ in ()).throw(Nothing))
    book.lay_out(built, None)
    models = built.outdir / "_static" / "look" / "models"
    assert {path.name for path in models.iterdir()} == {"models.json", "vit-cifar100-book.tflite"}


def test_models_that_cannot_be_made_end_the_build_with_what_was_said(tmp_path, built, monkeypatch):
    monkeypatch.setattr(made, "FOLDER", tmp_path / "live")
    monkeypatch.setattr(book, "COMMAND", [sys.executable, "-c", "raise SystemExit('no record')"])
    with pytest.raises(RuntimeError, match="no record"):
        book.lay_out(built, None)


def test_a_map_that_nobody_measured_has_no_passport(monkeypatch):
    monkeypatch.setattr(live.records, "measured", lambda name: [])
    assert live.passport("vit-cifar100-book", "rollout") is None

    def missing(name):
        raise RecordError("no measurements")

    monkeypatch.setattr(live.records, "measured", missing)
    assert live.passport("vit-cifar100-book", "rollout") is None


def test_a_passport_carries_its_interval_and_its_rivals(monkeypatch):
    line = dict(
        record="r", dataset="cifar10", method="pooling", top1=0.9, fill="in the mean colour", steps=8,
        differences=[0.2, 0.4], smoothed=[0.3, 0.4], rivals={"random": [0.0, 0.1]}, new_weights=[0.5, 0.7],
    )  # fmt: skip
    monkeypatch.setattr(live.records, "measured", lambda name: [{**line, "method": "rollout"}, line])
    found = live.passport("r", "pooling")
    assert (found["images"], found["steps"], found["new_weights"]) == (2, 8, pytest.approx(0.6))
    assert found["difference"] == {"mean": pytest.approx(0.3), "low": 0.2, "high": 0.4}
    assert found["gains"]["random"]["mean"] == pytest.approx(0.25)


def test_the_samples_are_those_that_the_code_makes():
    expected = samples.pictures()
    assert {path.name: path.read_bytes() for path in (LOOK / "samples").iterdir()} == expected
    listed = json.loads(expected["samples.json"])
    assert len(listed) == 10
    assert all(sample["licence"] and sample["alt"] and sample["credit"] for sample in listed)


def test_the_vendored_runtime_is_unchanged():
    folder = LOOK / "vendor" / "litertjs"
    files = json.loads((folder / "VENDORED.json").read_text())["files"]
    assert {path.name for path in folder.iterdir()} == {*files, "VENDORED.json", "README.md", "LICENSE"}
    for name, of in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == of["sha256"], name
