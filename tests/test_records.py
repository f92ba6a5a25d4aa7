import dataclasses
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from vattn_utils import models, training
from vattn_utils.__main__ import main
from vattn_utils.training import places, records, schema, train, verification, writing
from vattn_utils.training.provenance import provenance
from vattn_utils.training.records import RecordError
from vattn_utils.training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
RECIPE = training.Recipe(epochs=1, batch_size=16, learning_rate=3e-3, validation=16, augmentation=())
SMALL = dict(image_size=8, patch_size=2, dim=16, depth=1, heads=2, mlp_dim=16, tokenizer="patch")
TRUNK = dict(image_size=8, strides=(2,), dim=16, depth=1, mlp_dim=16)
METRICS = {"loss": 1.5, "top1": 0.5, "top5": 1.0}
SIZES = dict(image_size=8, patch_size=2, dim=16, depth=1, heads=2, mlp_dim=16, memory_slots=4)


@pytest.fixture(scope="module")
def root(tiny, tmp_path_factory):
    """A folder with one record, `eanet-tiny-book`."""
    folder = tmp_path_factory.mktemp("records")
    train.train("eanet", tiny, "book", RECIPE, overrides=SIZES, root=folder, watch=2)
    return folder


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "records")


def test_a_record_gives_the_model_whose_metrics_it_holds(root, tiny):
    record = records.load("eanet-tiny-book", root)
    assert training.evaluate(record.model(), tiny.x_test, tiny.y_test) == record.metrics


def test_a_record_says_what_was_run(root, tiny):
    record = records.load("eanet-tiny-book", root)
    assert record.recipe == RECIPE
    assert record.config["memory_slots"] == 4
    assert record.digest == tiny.digest
    assert record.images_seen == 80
    assert record.provenance["backend"] == keras.backend.backend()
    assert record.provenance["versions"]["keras"] == keras.__version__
    assert len(record.history["val_accuracy"]) == 1


def test_a_record_holds_the_attention_recorded_in_training(root):
    recorded = records.load("eanet-tiny-book", root).attention()
    assert recorded["epoch"].tolist() == [0, 1]
    assert recorded["mixing"].shape == (2, 2, 16, 4)
    np.testing.assert_allclose(recorded["pooling"].astype("float32").sum(axis=-1), 1, atol=5e-3)


def test_weights_are_stored_in_half_precision_under_their_paths(root):
    from safetensors.numpy import load_file

    arrays = load_file(root / "eanet-tiny-book" / "model.safetensors")
    assert {array.dtype for array in arrays.values()} == {np.dtype("float16")}
    assert "block_0/attention/memory_key" in arrays


def written(name, model, dataset, root, base=None, replace=False):
    """A record of `model` as if it had been trained for an epoch."""
    run = training.Run({name: [1.0] for name in schema.AT_LEAST}, images=80, epoch=1)
    what = dict(variant="book", dataset=dataset, recipe=RECIPE, run=run, provenance=provenance())
    return writing.write(name, model, **what, metrics=METRICS, rounding=0.25, root=root, base=base, replace=replace)


def test_shipped_weights_are_the_trained_ones_in_half_precision(tiny, tmp_path):
    model = models.build("eanet", "book", num_classes=4, **SIZES)
    record = written("eanet-tiny-book", model, tiny, tmp_path)
    for shipped, trained in zip(record.model().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(shipped, trained.astype("float16"))


def test_a_record_holds_the_metrics_it_is_given(tiny, tmp_path):
    record = written("eanet-tiny-book", models.build("eanet", "book", num_classes=4, **SIZES), tiny, tmp_path)
    assert (record.metrics, record.rounding) == (METRICS, 0.25)


def test_a_model_is_evaluated_as_it_is_stored_beside_what_rounding_did_to_it(tiny):
    model = models.build("eanet", "book", num_classes=4, **SIZES)
    for weight in model.trainable_weights:  # far below what float16 can tell from zero
        weight.assign(weight * 1e-9)
    exact = training.evaluate(model, tiny.x_test, tiny.y_test)["top1"]
    metrics, rounding = train.evaluate_as_stored(model, tiny)
    assert rounding == metrics["top1"] - exact != 0


def test_weights_that_are_too_large_are_kept_where_they_were_trained_and_not_missed_elsewhere(
    copy, tiny_at_hand, monkeypatch, capsys
):
    record = records.load("eanet-tiny-book", copy)
    monkeypatch.setattr(records, "SHIPPED_BYTES", 1000)
    assert not record.ships_weights
    assert verification.verify(copy) == []
    assert "recorded" in capsys.readouterr().out
    (record.path / "model.safetensors").unlink()
    assert verification.verify(copy) == []
    assert "its weights are too large to be shipped" in capsys.readouterr().out
    with pytest.raises(RecordError, match=r"ships no weights, they take more than 1,000 bytes; train it"):
        record.model()
    assert "eanet-tiny-book" in records.table(copy)


@pytest.mark.parametrize("file", ["model.safetensors", "attention.npz"])
def test_an_altered_byte_is_found(copy, file):
    path = copy / "eanet-tiny-book" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    record = records.load("eanet-tiny-book", copy)
    with pytest.raises(RecordError, match=f"{file} was altered"):
        record.model() if file.startswith("model") else record.attention()


def test_missing_weights_are_named(copy):
    (copy / "eanet-tiny-book" / "model.safetensors").unlink()
    with pytest.raises(RecordError, match=r"lacks model\.safetensors"):
        records.load("eanet-tiny-book", copy).model()


def test_weights_of_another_shape_are_named(copy):
    path = copy / "eanet-tiny-book" / "record.json"
    values = json.loads(path.read_text())
    values["config"]["memory_slots"] = 5
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=r"does not fit its model: block_0/attention/memory_key"):
        records.load("eanet-tiny-book", copy).model()


def test_a_record_that_is_not_whole_is_refused(copy):
    path = copy / "eanet-tiny-book" / "record.json"
    values = json.loads(path.read_text())
    del values["history"]
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match="lacks history"):
        records.load("eanet-tiny-book", copy)
    path.write_text("{")
    with pytest.raises(RecordError, match="is not JSON"):
        records.load("eanet-tiny-book", copy)


def test_an_unknown_record_lists_those_that_exist(root):
    with pytest.raises(RecordError, match=r"no record 'vit-tiny-book'.*there are: eanet-tiny-book"):
        records.load("vit-tiny-book", root)


def test_measurements_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(RecordError, match="no measurements 'taste' in "):
        records.measured("taste")


def test_a_record_that_could_not_be_written_leaves_nothing_and_keeps_the_old_one(copy, tiny, monkeypatch):
    before = (copy / "eanet-tiny-book" / "record.json").read_text()
    model = records.load("eanet-tiny-book", copy).model()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(writing.durable, "sync", full)
    with pytest.raises(RecordError, match=r"could not be written in .*: no space left on device"):
        written("eanet-tiny-book", model, tiny, copy, replace=True)
    assert [path.name for path in copy.iterdir()] == ["eanet-tiny-book"]
    assert (copy / "eanet-tiny-book" / "record.json").read_text() == before


def test_the_table_has_a_row_for_each_record(root):
    heading, row = records.table(root).splitlines()
    assert heading.split()[:2] == ["record", "parameters"]
    assert row.startswith("eanet-tiny-book")
    assert f"{records.load('eanet-tiny-book', root).metrics['top1']:.2%}" in row


@pytest.fixture
def tiny_at_hand(tiny, monkeypatch):
    monkeypatch.setattr(verification.data, "at_hand", lambda name: True)
    monkeypatch.setattr(verification.data, "load", lambda name: tiny)


def test_verification_finds_nothing_in_a_whole_record(root, tiny_at_hand):
    assert verification.verify(root) == []


def test_verification_finds_a_metric_that_is_not_true(copy, tiny_at_hand):
    path = copy / "eanet-tiny-book" / "record.json"
    values = json.loads(path.read_text())
    values["test"]["top1"] += 0.01
    path.write_text(json.dumps(values))
    (fault,) = verification.verify(copy)
    assert fault.startswith("eanet-tiny-book: top1 is")


@pytest.mark.parametrize("file", ["model.safetensors", "attention.npz"])
def test_verification_names_an_altered_file(copy, tiny_at_hand, file):
    path = copy / "eanet-tiny-book" / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (fault,) = verification.verify(copy)
    assert str(path) in fault


def test_the_command_line_trains_and_records(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.data, "load", lambda name: dataclasses.replace(tiny, name=name))
    monkeypatch.setenv("VATTN_RECORDS", str(tmp_path / "records"))
    monkeypatch.chdir(tmp_path)
    sizes = [f"--set={name}={value}" for name, value in SIZES.items()]
    arguments = ["eanet", "--dataset", "shapes10", "--epochs", "1", "--batch-size", "16", "--validation", "16", *sizes]
    main(["train", *arguments])
    assert "eanet-shapes10-book: test top-1" in capsys.readouterr().out
    assert records.load("eanet-shapes10-book").recipe.batch_size == 16
    assert not (tmp_path / "_build/runs/eanet-shapes10-book").exists()


@pytest.fixture(scope="module")
def trunk(tiny, tmp_path_factory):
    """A folder with two records: a PatchConvNet, and `per-class` on its encoder, with a query for each class."""
    folder = tmp_path_factory.mktemp("trunk")
    train.train("patch_convnet", tiny, "book", RECIPE, overrides=TRUNK, root=folder)
    on_trunk(tiny, folder)
    return folder


def on_trunk(tiny, root, kind="patch_convnet", name="per-class", recipe=RECIPE, directory=None, **changes):
    changes, base = TRUNK | {"queries": "per-class"} | changes, "patch_convnet-tiny-book"
    return train.train(kind, tiny, "book", recipe, name, changes, directory, root, base=base, replace=True)


@pytest.fixture
def based(trunk, tmp_path):
    """The record `per-class`, in a copy of its folder."""
    return records.load("per-class", shutil.copytree(trunk, tmp_path / "trunk"))


def test_a_record_on_the_encoder_of_another_ships_the_rest_only(based, tiny):
    from safetensors.numpy import load_file

    names = load_file(based.path / "model.safetensors").keys()
    assert {name.split("/")[0] for name in names} == {"attention_pooling", "logits"}
    model, base = based.model(), based.base.model()
    assert training.evaluate(model, tiny.x_test, tiny.y_test) == based.metrics
    images = tiny.x_test[:4]
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(m.encode(images)[0]) for m in (model, base)))
    assert based.parameters == model.count_params()
    assert based.all_of("images_seen") == "80 + 80"
    assert based.base.all_of("images_seen") == "80"


def test_an_encoder_that_is_another_by_now_or_gone_is_named(based, tiny):
    root, other = based.path.parent, dataclasses.replace(RECIPE, seed=1)
    train.train("patch_convnet", tiny, "book", other, overrides=TRUNK, root=root, replace=True)
    with pytest.raises(
        RecordError, match="per-class has the encoder of patch_convnet-tiny-book, which is another by now"
    ):
        based.model()
    shutil.rmtree(root / "patch_convnet-tiny-book")
    with pytest.raises(RecordError, match="per-class has the encoder of patch_convnet-tiny-book, which is not there"):
        based.model()
    assert "80 + 80" in records.table(root)


def test_an_encoder_that_was_trained_on_is_not_recorded_as_the_bases(based, tiny):
    model = based.model()
    model.stem[0].bias.assign(keras.ops.ones_like(model.stem[0].bias))
    with pytest.raises(RecordError, match="stem_0/bias is not what patch_convnet-tiny-book holds"):
        written("other", model, tiny, based.path.parent, based.base)
    assert not (based.path.parent / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "patch_convnet-tiny-book"}, "name='patch_convnet-tiny-book' is that of the base"),
        ({"kind": "vit", "queries": None}, "patch_convnet-tiny-book has no encoder for a ViT"),
        ({"dim": 8}, "dim=8 does not fit the encoder of patch_convnet-tiny-book; use 16"),
        ({"resize_to": 8}, "resize_to=8 does not fit the encoder of patch_convnet-tiny-book; use None"),
        ({"share_trunk": True}, "share_trunk=True does not fit"),
    ],
    ids=str,
)
def test_an_encoder_that_does_not_fit_is_refused_and_nothing_is_lost(based, tiny, monkeypatch, changes, message):
    if "kind" in changes:
        monkeypatch.setattr(train, "build", lambda *_: models.build("vit", num_classes=4, **SMALL))
    with pytest.raises(ValueError, match=message):
        on_trunk(tiny, based.path.parent, **changes)
    assert based.model().count_params() == based.parameters


def test_a_base_has_its_encoder_itself(based, tiny):
    model = models.build("patch_convnet", num_classes=4, **TRUNK)
    with pytest.raises(ValueError, match="per-class has its encoder from patch_convnet-tiny-book; take that one"):
        train.freeze_backbone(model, based, "another")


def test_a_run_is_not_resumed_on_another_encoder(based, tiny, tmp_path):
    root = based.path.parent
    again = on_trunk(tiny, root, name="again", directory=tmp_path / "run")
    assert again.sha256["model.safetensors"] == based.sha256["model.safetensors"]
    changes = TRUNK | {"queries": "per-class"}
    with pytest.raises(ValueError, match="holds another run"):
        train.train("patch_convnet", tiny, "book", RECIPE, "again", changes, tmp_path / "run", root, replace=True)
    other = dataclasses.replace(RECIPE, seed=1)
    train.train("patch_convnet", tiny, "book", other, overrides=TRUNK, root=root, replace=True)
    with pytest.raises(ValueError, match="holds another run"):
        on_trunk(tiny, root, name="again", directory=tmp_path / "run")


def test_the_command_of_a_record_trains_it_again(based, tiny, monkeypatch):
    root, expected = based.path.parent, based.sha256["model.safetensors"]
    monkeypatch.setattr(train.data, "load", lambda name: tiny)
    monkeypatch.setenv("VATTN_RECORDS", str(root))
    monkeypatch.chdir(root)
    words = shlex.split(train.command(based))
    assert words[:5] == ["python", "-m", "vattn_utils", "train", "patch_convnet"]
    shutil.rmtree(based.path)
    main(words[3:])
    assert records.load("per-class", root).sha256["model.safetensors"] == expected


def test_what_comes_from_the_data_is_not_set_by_hand(tiny):
    with pytest.raises(ValueError, match="cannot be set: a model has it from its data set"):
        train.build("vit", tiny, "book", RECIPE, {"mean": (0.5, 0.5, 0.5)})


def test_the_command_of_a_shipped_record_says_its_model_and_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for record in records.load_all(ROOT / "records"):
        seen = {}
        monkeypatch.setattr(train, "train", lambda *given, seen=seen, **_: seen.update(given=given))
        monkeypatch.setattr(train.data, "load", lambda name: name)
        with pytest.raises(AttributeError):  # there is no record to tell of
            main(shlex.split(train.command(record).partition("vattn_utils ")[2]))
        assert train.command(record).startswith("KERAS_BACKEND=torch ") == (record.provenance["backend"] == "torch")
        kind, dataset, variant, recipe, name, changes, _ = seen["given"]
        name = name or train.default_name(kind, dataset, variant)
        assert (kind, dataset, name, recipe) == (
            record.kind, record.dataset, record.name, record.recipe
        )  # fmt: skip
        told = {name: record.config[name] for name in ("num_classes", "mean", "std")} | changes
        model_class, arguments = models.constructor(kind, variant)
        assert model_class(**{**arguments, **told}).get_config() == model_class(**record.config).get_config()


def test_a_command_leaves_out_what_is_the_default(root):
    record = records.load("eanet-tiny-book", root)
    config = models.build("eanet", num_classes=4).get_config()
    plain = {name: value for name, value in config.items() if name not in ("dtype", "trainable")}
    record = dataclasses.replace(record, recipe=training.recipe("eanet"), config=plain)
    assert train.command(record) == "python -m vattn_utils train eanet --dataset tiny"


def test_the_command_line_does_not_overwrite_a_run(tmp_path, capsys):
    with RunFolder(tmp_path) as folder:
        folder.claim({"recipe": "any"})
    with pytest.raises(SystemExit):
        main(["train", "eanet", "--directory", str(tmp_path)])
    assert "add --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resume", "words"), [(True, "holds no run to go on with"), (False, "is not empty, and what is in it is no run")]
)
def test_a_folder_of_somebody_elses_is_no_runs(tmp_path, resume, words, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit):
        main(["train", "eanet", "--directory", str(tmp_path), *["--resume"] * resume])
    assert words in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["..", ".", "me/vit", "../vit", "/vit", "", ".hidden", "a b"])
def test_a_name_that_is_no_single_part_of_a_path_is_refused_before_the_first_step(name, tmp_path, tiny):
    with pytest.raises(ValueError, match="is no name of a record"):
        places.check_name(name, tmp_path)
    if name:  # without a name the record has its usual one
        with pytest.raises(ValueError, match="is no name of a record"):
            train.train("eanet", tiny, "book", RECIPE, name, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_record_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ValueError, match="is there and is no record"):
        places.check_name("thesis", tmp_path)


def test_a_record_that_cannot_be_read_is_one_fault_and_hides_no_other(copy, tiny_at_hand, capsys):
    shutil.copytree(copy / "eanet-tiny-book", copy / "broken")
    (copy / "broken" / "record.json").write_text('{"name": "broken"}')
    faults = verification.verify(copy)
    assert [fault for fault in faults if "broken" in fault]
    assert "eanet-tiny-book: " in capsys.readouterr().out
    (copy / ".half.written").mkdir()
    (copy / ".half.written" / "record.json").write_text("{")
    assert records.names(copy) == ["broken", "eanet-tiny-book"]


def test_every_shipped_record_is_whole():
    for record in records.load_all(ROOT / "records"):
        record.check_files()
        if record.ships_weights:
            assert record.model().count_params() == record.parameters
        assert abs(record.rounding or 0) <= 0.0005  # those of before it was recorded lack it


def test_the_weights_in_the_repository_are_small():
    listed = subprocess.run(["git", "ls-files", "records"], cwd=ROOT, capture_output=True, text=True, check=False)
    sizes = [(ROOT / file).stat().st_size for file in listed.stdout.split() if file.endswith(".safetensors")]
    if not sizes:
        pytest.skip("not a checkout")
    assert max(sizes) <= records.SHIPPED_BYTES
    assert sum(sizes) <= 30_000_000  # a reader's own records, which are not committed, do not count


def test_tensorboard_reads_the_history_written_beside_a_record(copy):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = records.load("eanet-tiny-book", copy)
    writing.write_events(record)
    writing.write_events(record)  # replaces what it wrote
    assert [path.name for path in (record.path / "tensorboard").iterdir()] == ["events.out.tfevents"]
    log = EventAccumulator(str(record.path / "tensorboard"), size_guidance={"tensors": 0})
    log.Reload()
    assert set(log.Tags()["tensors"]) == set(record.history)
    (event,) = log.Tensors("val_accuracy")
    assert event.step == 1
    assert event.tensor_proto.float_val[0] == pytest.approx(record.history["val_accuracy"][0])
    assert records.load("eanet-tiny-book", copy).model() is not None


def test_what_tensorboard_shows_of_a_shipped_record_is_its_history():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for record in records.load_all(ROOT / "records"):
        log = EventAccumulator(str(record.path / "tensorboard"), size_guidance={"tensors": 0})
        log.Reload()
        assert set(log.Tags()["tensors"]) == set(record.history), record.name
        for name, values in record.history.items():
            shown = [event.tensor_proto.float_val[0] for event in log.Tensors(name)]
            np.testing.assert_allclose(shown, values, rtol=1e-6, err_msg=f"{record.name}, {name}")
