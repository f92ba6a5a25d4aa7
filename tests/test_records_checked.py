"""What a record says is checked, not believed: every field, every tensor, every number that can be derived again."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tests.test_records import SIZES, written
from vattn_utils import models
from vattn_utils.training import records, verification
from vattn_utils.training.records import RecordError

NAME = "eanet-tiny-book"


@pytest.fixture(scope="module")
def root(tiny, tmp_path_factory):
    """A folder with one record, of a model that nobody trained."""
    folder = tmp_path_factory.mktemp("records")
    written(NAME, models.build("eanet", num_classes=4, **SIZES), tiny, folder)
    return folder


@pytest.fixture
def path(root, tmp_path):
    """The folder of the record, in a copy."""
    return shutil.copytree(root / NAME, tmp_path / NAME)


def change(path, *keys, to):
    """Set a field of the record.json in `path`, or take it away."""
    values = json.loads((path / "record.json").read_text())
    part = values
    for key in keys[:-1]:
        part = part[key]
    if to is GONE:
        del part[keys[-1]]
    else:
        part[keys[-1]] = to
    (path / "record.json").write_text(json.dumps(values))


def put(path, content, file="model.safetensors"):
    """Replace a file by what has the digest that the record says."""
    (path / file).write_bytes(content)
    change(path, "sha256", file, to=hashlib.sha256(content).hexdigest())


GONE = "(gone)"  # a word, not an object: its address would be in the test's name
NAN = float("nan")


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        (["test", "top1"], NAN, "test: top1=nan is not possible"),
        (["test", "top1"], 1.5, "test: top1=1.5 is not possible"),
        (["test", "top1"], None, "test: top1=None is no number"),
        (["test", "top5"], 0.25, "top1=0.5 is more than top5=0.25"),
        (["test", "loss"], -1, "test: loss=-1 is not possible"),
        (["test", "top2"], 1, "test has top2, which this version does not know"),
        (["test"], GONE, "record.json lacks test"),
        (["test"], None, "test is None, and no object"),
        (["parameters"], -3, "parameters=-3 is not possible"),
        (["parameters"], 2.5, "parameters=2.5 is no whole number"),
        (["epochs"], True, "epochs=True is no whole number"),
        (["epochs"], 2, "history: accuracy has 1 values for 2 epochs|history: loss has 1 values for 2 epochs"),
        (["selected_epoch"], 9, "selected_epoch=9 is none of 1 epochs"),
        (["seconds"], 5, "seconds=5 is not what follows from its history, 1.0"),
        (["images_per_second"], 5000, "images_per_second=5000 is not what follows from its history, 80.0"),
        (["history", "loss"], [NAN], "history: loss of epoch 1=nan"),
        (["history", "val_accuracy"], [1.2], "history: val_accuracy of epoch 1=1.2 is not possible"),
        (["history", "loss"], 1, "history: loss is 1, and no list"),
        (["history"], {}, "history lacks loss, accuracy"),
        (["model"], "resnet", "model='resnet' is not known; use one of 'vit'"),
        (["class_names"], ["cat", "dog"], "class_names has 2 names, which is not the model's num_classes"),
        (["class_names"], "cat", "class_names is 'cat', and no list"),
        (["variant"], "large", "variant='large' is not known"),
        (["name"], "../../evil", "name='../../evil' is no name of a record"),
        (["name"], "vit", "it is the record vit, in the folder eanet-tiny-book"),
        (["sha256"], {}, "sha256 lacks model.safetensors"),
        (["sha256", "../x"], "0" * 64, "sha256 has ../x, which this version does not know"),
        (["sha256", "model.safetensors"], "abc", "sha256: model.safetensors is 'abc', and no SHA-256"),
        (["recipe", "lookahead"], 3, "recipe has lookahead, which this version does not know"),
        (["recipe", "learning_rate"], NAN, "learning_rate=nan is not possible"),
        (["recipe"], [], "recipe is [], and no object"),
        (["provenance", "date"], "yesterday", "yesterday"),
        (["provenance", "backend"], "theano", "provenance: backend='theano' is not known"),
        (["provenance", "versions"], {"keras": None}, "provenance: versions: keras is None, and no text"),
        (["version"], 3, "record.json has version, which this version does not know"),
        (["base"], {"name": NAME, "sha256": "0" * 64, "epochs": 1, "images_seen": 1}, "it is its own base"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) > 30 else str(value)[:30],
)
def test_a_field_that_cannot_be_is_named(path, keys, to, words):
    change(path, *keys, to=to)
    with pytest.raises(RecordError) as refused:
        records.load(NAME, path.parent)
    assert "record.json cannot be read by this version" in str(refused.value)
    assert any(word in str(refused.value) for word in words.split("|"))
    assert len(verification.verify(path.parent)) == 1


@pytest.mark.parametrize("content", [b"null", b"[]", b"{", b"", b"\xff\xfe", b'"text"', b"1e999"])
def test_what_is_no_record_at_all_is_a_sentence(path, content):
    (path / "record.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"record\.json (is not JSON|cannot be read)"):
        records.load(NAME, path.parent)


@pytest.mark.parametrize("name", [5, b"x", None, "../vit", "a/b", "", ".."])
def test_what_is_no_name_is_not_looked_for(root, name):
    with pytest.raises(RecordError, match="is no name of a record"):
        records.load(name, root)


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("num_classes", 10**9, "num_classes=1000000000"),
        ("depth", 500, "depth=500"),
        ("dim", 4000, "config: dim=4000 needs at least 16,000,000 weights, its files hold"),
        ("mlp_dim", 16_000, "config: mlp_dim=16000 needs at least 256,000 weights"),
        ("depth", "4", "depth='4' is no whole number"),
        ("width", 3, "width"),
    ],
)
def test_a_model_that_its_weights_cannot_be_of_is_not_built(path, monkeypatch, argument, value, words):
    change(path, "config", argument, to=value)
    monkeypatch.setattr(models.EANet, "build", lambda _: pytest.fail("a model was built"))
    with pytest.raises(RecordError, match="has a config that is not that of a model") as refused:
        records.load(NAME, path.parent).model()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda array: array.astype("int8"), r"weights that are not float16: .* \(int8\)"),
        (lambda array: array.astype("float32"), "weights that are not float16"),
        (lambda array: array.astype(bool), "weights that are not float16"),
        (lambda array: np.full_like(array, np.nan), "holds what is not finite"),
        (lambda array: np.full_like(array, np.inf), "holds what is not finite"),
        (lambda array: array[..., None], "does not fit its model"),
    ],
)
def test_tensors_of_another_kind_are_refused_although_their_digest_is_right(path, made, words):
    arrays = load_file(path / "model.safetensors")
    put(path, save({name: made(array) for name, array in arrays.items()}))
    with pytest.raises(RecordError, match=words):
        records.load(NAME, path.parent).model()


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x80\x04N.", (10**6).to_bytes(8, "little") + b"{}"])
def test_what_is_no_safetensors_file_is_a_sentence(path, content):
    put(path, content)
    with pytest.raises(RecordError, match=r"model\.safetensors is no safetensors file of weights"):
        records.load(NAME, path.parent).model()


def test_parameters_that_are_not_the_models_are_refused(path):
    change(path, "parameters", to=7)
    with pytest.raises(RecordError, match="says 7 parameters, its model has"):
        records.load(NAME, path.parent).model()


def test_maps_that_are_none_are_refused(path):
    for content, words in ((b"", "no .npz file"), (b"PK", "no .npz file"), (save({}), "no .npz file")):
        put(path, content, "attention.npz")
        with pytest.raises(RecordError, match=words):
            records.load(NAME, path.parent).attention()
    np.savez(path / "maps.npz", epoch=np.arange(2), mixing=np.full((2, 1), np.nan))
    put(path, (path / "maps.npz").read_bytes(), "attention.npz")
    with pytest.raises(RecordError, match="not finite: mixing"):
        records.load(NAME, path.parent).attention()


def test_a_model_that_is_not_finite_is_not_recorded(tiny, tmp_path):
    model = models.build("eanet", num_classes=4, **SIZES)
    model.logits.bias.assign(np.full(4, 1e6))  # more than float16 can hold
    with pytest.raises(RecordError, match="holds what is not finite: logits/bias"):
        written(NAME, model, tiny, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def at_hand(tiny, monkeypatch):
    monkeypatch.setattr(verification.data, "at_hand", lambda name: True)
    monkeypatch.setattr(verification.data, "load", lambda name: tiny)


def test_every_metric_is_evaluated_again(path, at_hand, tiny):
    true = verification.evaluate(records.load(NAME, path.parent).model(), tiny.x_test, tiny.y_test)
    change(path, "test", to=true)
    assert verification.verify(path.parent) == []
    far = 0.9 if true["top1"] < 0.5 else 0.1  # as good as untrained, it may have no image right
    change(path, "test", to={"loss": true["loss"] - 0.01, "top1": far, "top5": 0.99})
    faults = verification.verify(path.parent)
    assert [fault.split()[1] for fault in faults] == ["top1", "top5", "loss"]


def test_a_record_of_other_data_is_not_evaluated_on_these(path, at_hand):
    change(path, "digest", to="another")
    (fault,) = verification.verify(path.parent)
    assert "it was trained on data of digest another, tiny here has tiny; not evaluated" in fault


def test_a_record_without_weights_says_who_can_check_it_and_how(path, at_hand, monkeypatch, capsys):
    monkeypatch.setattr(records, "SHIPPED_BYTES", 100)
    (path / "model.safetensors").unlink()
    assert verification.verify(path.parent) == []
    said = capsys.readouterr().out
    assert f"put model.safetensors into {path}" in said
    assert "train it: python -m vattn_utils train eanet" in said.replace("KERAS_BACKEND=", "").replace("jax ", "")


def test_a_base_that_has_a_base_is_refused(path, root):
    base = {"name": "trunk", "sha256": json.loads((path / "record.json").read_text())["sha256"]["model.safetensors"]}
    base |= {"epochs": 1, "images_seen": 80}
    change(path, "base", to=base)
    shutil.copytree(path, path.with_name("trunk"))
    change(path.with_name("trunk"), "name", to="trunk")
    change(path.with_name("trunk"), "base", "name", to=NAME)  # and so they go in a circle
    with pytest.raises(RecordError, match="has the encoder of trunk, which itself has another's"):
        records.load(NAME, path.parent).model()


def test_a_record_whose_replacement_was_interrupted_is_said_to_be(path):
    path.rename(path.with_name(f".{NAME}.old"))
    assert records.names(path.parent) == []
    with pytest.raises(RecordError, match="was being replaced; go on with that run, or rename"):
        records.load(NAME, path.parent)
