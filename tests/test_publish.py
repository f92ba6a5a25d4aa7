"""What is published of a record is the record: its model in three formats, its numbers, its log, a card that runs."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

from vattn_utils import models, training
from vattn_utils.__main__ import main
from vattn_utils.data import Dataset
from vattn_utils.maps.passport import Passport
from vattn_utils.maps.pixels import ReceptiveField
from vattn_utils.publish import PublishError, card, example, hub, litert, metadata, samples, space
from vattn_utils.publish.example import Example
from vattn_utils.training import durable, records, schema, writing
from vattn_utils.training.provenance import provenance
from vattn_utils.training.records import RecordError

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs are made by TensorFlow")

SIZES = dict(image_size=8, patch_size=2, dim=16, depth=1, heads=2, mlp_dim=16, tokenizer="patch")
METRICS = {"loss": 1.5, "top1": 0.5, "top5": 0.875}
SHIPPED = [record for record in records.load_all() if record.ships_weights]
NAME = "vit-cifar10-book"


def written(root, **sizes):
    """A record of a tiny ViT on CIFAR-10, as if it had been trained for an epoch."""
    images, labels = np.zeros((10, 8, 8, 3), "uint8"), np.arange(10)
    dataset = Dataset("cifar10", images, labels, images, labels, tuple(map(str, labels)), digest="0" * 64)
    run = training.Run({name: [1.0] for name in schema.AT_LEAST}, images=80, epoch=1)
    recipe = training.Recipe(epochs=1, batch_size=8, validation=5)
    keras.utils.set_random_seed(0)
    model = models.build("vit", num_classes=10, **{**SIZES, **sizes})
    what = dict(variant="book", dataset=dataset, recipe=recipe, run=run, provenance=provenance())
    return writing.write(NAME, model, **what, metrics=METRICS, rounding=-0.25, root=root)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return written(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def content(record):
    """The files of its repository."""
    return hub.files(record, "someone/tiny")


@pytest.fixture(scope="module")
def folder(content, tmp_path_factory):
    """The repository on disk."""
    folder = tmp_path_factory.mktemp("published") / "hub"
    hub.write(folder, content)
    return folder


@pytest.fixture
def quick(record, monkeypatch):
    """The command, whose record is the tiny one and whose files are two words; returns what to give it behind DIR."""
    monkeypatch.setenv("VATTN_RECORDS", str(record.path.parent))
    monkeypatch.setattr(hub, "files", lambda record, repository: {"README.md": b"---\nnew", "tensorboard/log": b"new"})
    return lambda folder, *more: main(["publish", NAME, "--to", str(folder), *more])


def front(content):
    """The head of a card as PyYAML reads it."""
    return yaml.safe_load(content["README.md"].decode().split("---\n")[1])


# The repository


def test_a_repository_holds_model_card_log_picture_and_licence(folder):
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "README.md", "LICENSE", "model.keras", "model.tflite", "model.safetensors", "labels.json", "record.json",
        "attention.png", "cat.jpg", "horse.jpg", "tensorboard/events.out.tfevents",
    }  # fmt: skip


def test_the_lines_of_the_card_run_in_a_fresh_process_and_print_what_it_says(folder):
    lines = "\n".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))
    use, _, where = lines.partition("from vattn_utils.maps")
    assert len(list(filter(None, use.splitlines()))) == 5
    assert "attribution" in where
    done = subprocess.run([sys.executable, "-c", lines], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"print\(.*  # (.*)", lines)


def test_the_keras_file_needs_no_unsafe_mode_and_holds_every_weight(folder, record):
    again = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    for found, expected in zip(again.get_weights(), record.model().get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_graph_computes_logits_and_attention_as_keras_does(content, record, random):
    images = random.integers(0, 256, (3, 8, 8, 3)).astype("float32")
    logits, attention = record.model()(images, return_attention=True)
    for index, image in enumerate(images):
        found = litert.run(content["model.tflite"], images=image[None])
        np.testing.assert_allclose(found["logits"][0], logits[index], atol=litert.BOUND)
        for layer, weights in enumerate(attention):
            np.testing.assert_allclose(found[f"attention_{layer}"][0], weights[index], atol=litert.BOUND)


def test_the_weights_are_those_of_the_record(folder, record):
    assert (folder / "model.safetensors").read_bytes() == (record.path / "model.safetensors").read_bytes()


def test_weights_on_another_records_encoder_are_whole():
    per_class = records.load("patch_convnet-cifar10-book-per-class")
    own = load_file(per_class.path / "model.safetensors")
    found = hub.weights(per_class.model())
    assert per_class.base is not None
    assert set(found) == set(own) | set(load_file(per_class.base.path / "model.safetensors"))
    assert all(np.array_equal(found[name], array) for name, array in own.items())


def test_the_log_holds_the_history_as_tensorboard_reads_it(folder, record):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder / "tensorboard"))
    log.Reload()
    assert set(log.Tags()["tensors"]) == set(record.history)


def test_the_picture_shows_two_pictures_whose_licences_the_card_names(content, folder):
    width, height = Image.open(folder / "attention.png").size
    assert width > 2 * height > 500
    assert "cat, by Stefan van der Walt (CC0 1.0); horse, by Andreas Preuss (CC0 1.0)" in " ".join(
        content["README.md"].decode().split()
    )


def test_the_map_lies_where_the_tokens_look(monkeypatch):
    model = SimpleNamespace(image_size=32)
    monkeypatch.setattr(example, "receptive_field", lambda model: ReceptiveField((9.0, 9.0), (0.0, 2.0)))
    maps = np.zeros((1, 8, 8))
    maps[0, 3, 4] = 1  # a token whose patch reaches from pixel 16 to 20 of 32, and which looks 2 pixels to the right
    for method, centre in (("pooling", (14, 20)), ("occlusion", (14, 18))):
        row, column = np.argwhere(example._over_the_picture(model, maps, method)[0] > 0.9).mean(axis=0) / 8 + 1 / 16
        assert (row, column) == pytest.approx(centre)


def test_every_sample_is_known_by_the_name_of_its_file():
    assert set(samples.pictures()) == {*samples.FILES, "samples.json"}


def test_labels_stand_in_the_order_of_the_logits(folder):
    assert json.loads((folder / "labels.json").read_text())[3] == "cat"


def test_a_model_file_that_computes_something_else_is_not_published(content, record):
    other, images = record.model(), np.zeros((1, 8, 8, 3), "uint8")
    bias = other.weights[-1]
    bias.assign(bias + np.arange(10, dtype="float32"))
    with pytest.raises(PublishError, match=r"model\.keras does not hold the record's model"):
        hub.verify(other, content, images)
    with pytest.raises(PublishError, match=r"of model\.tflite differs from Keras' by"):
        hub.verify(other, {**content, "model.keras": hub.saved(other)}, images)


# The card


@pytest.mark.parametrize("record", SHIPPED, ids=lambda record: record.name)
def test_every_metric_of_every_record_is_a_result_on_its_card(record):
    head = metadata.of_record(record)
    metadata.check(head, record)
    assert yaml.safe_load(metadata.to_yaml(head)) == head
    (model,) = head["model-index"]
    assert sorted(metric["value"] for metric in model["results"][0]["metrics"]) == sorted(record.metrics.values())
    assert len(metadata.class_names(record)) == record.config["num_classes"]


def test_the_hubs_own_parser_reads_every_metric(content, record):
    parser = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    found = parser.ModelCard(content["README.md"].decode()).data
    assert {result.metric_type: result.metric_value for result in found.eval_results} == {
        "accuracy": 0.5, "top_5_accuracy": 0.875, "cross_entropy": 1.5,
    }  # fmt: skip
    assert (found.library_name, found.license, found.model_name) == ("keras", "apache-2.0", record.name)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda head: head["model-index"][0]["results"][0].update(metrics=[]), "model-index: 0: results: 0: metrics"),
        (lambda head: head["model-index"][0].update(results=[]), "model-index has None for top1, the record 0.5"),
        (lambda head: head["model-index"][0]["results"][0]["metrics"][0].update(value=0.51), "has 0.51 for top1"),
        (lambda head: head["model-index"][0]["results"][0].update(dataset={}), "has no type of dataset"),
        (lambda head: head.update(license=None), "license is None"),
        (lambda head: head.pop("pipeline_tag"), "pipeline_tag is no str"),
        (lambda head: head.update(tags="vit"), "tags is no list"),
    ],
)
def test_a_head_that_lacks_something_is_refused(record, spoil, words):
    head = metadata.of_record(record)
    spoil(head)
    with pytest.raises(PublishError, match=words):
        metadata.check(head, record)


@pytest.mark.parametrize("value", ["yes", "a: b", "- x", "#x", "", "1e-05", "Häggström", "a ", "null", "~", "a\nb"])
def test_a_text_stays_that_text_in_yaml(value):
    assert yaml.safe_load(metadata.to_yaml({"a": [{"b": value}, value]})) == {"a": [{"b": value}, value]}


@pytest.mark.parametrize("value", [0, 1, -3, 0.5, 1e-05, 1.5e-07, 1e300, True, False])
def test_a_number_stays_that_number_in_yaml(value):
    assert yaml.safe_load(metadata.to_yaml({"a": value})) == {"a": value}


def test_all_that_the_card_links_beside_it_is_there(content, folder):
    links = re.findall(r"\]\((?!https://)([^), ]+)\)", content["README.md"].decode())
    assert len(links) > 7
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_card_tells_the_run_the_recipe_and_the_results(content, record):
    text = " ".join(content["README.md"].decode().split())
    for due in (
        "# ViT on CIFAR-10", "**50.00 % of the test images right", f"{record.parameters:,} parameters",
        "hf download someone/tiny", "1 epochs, 80 images seen", "python -m vattn_utils train vit --dataset cifar10",
        "| batch_size | 8 |", "| Top-5 accuracy | 87.50 % |", "| Cross-entropy, in nats | 1.5000 |",
        "all 10,000 test images", "changed top-1 by -25.00 points", "1 × self-attention, token to token, then 1 ×",
        "## Limits", "@misc{attention_in_vision", "https://arxiv.org/abs/2010.11929",
    ):  # fmt: skip
        assert due in text, due


def test_classes_of_pictures_of_ones_own_have_the_names_that_the_record_has_or_are_numbered(record):
    own = replace(record, dataset="flowers")
    assert metadata.class_names(own) == [f"class {index}" for index in range(10)]
    assert metadata.class_names(replace(own, class_names=["rose", "tulip"])) == ["rose", "tulip"]
    assert card.title(own) == "ViT on flowers"
    metadata.check(metadata.of_record(own), own)


def test_a_card_says_what_its_maps_are_worth_or_that_nobody_measured_it(record, content, monkeypatch):
    assert "Nobody has measured it for this run." in content["README.md"].decode()
    worth = Passport(
        NAME, "cifar10", "rollout", 0.5, "in the mean colour", 8, np.array([0.25, 0.35]), {"random": np.zeros(2)},
        np.array([0.5]), np.array([0.3, 0.4]),
    )  # fmt: skip
    monkeypatch.setattr(card, "all_recorded", lambda: [worth, replace(worth, record="another")])
    words = [dict(file="cat.jpg", title="Cat", alt="A cat", licence="CC0", credit="Nobody")]
    shown = Example({}, words, np.zeros((1, 8, 8, 3)), np.array([3]), "rollout")
    text = " ".join(card.text(record, record.model(), shown).split())
    assert "Nobody has measured" not in text
    assert f"**rollout**, {NAME}: difference of the removal curves 0.300" in text
    assert "another" not in text.partition("## What its maps are worth")[2].partition("## Limits")[0]
    assert "hf download" not in text


# The folder


def test_the_command_writes_a_folder_and_says_what_is_in_it(quick, tmp_path, capsys):
    assert quick(tmp_path / "new" / "hub") == 0
    assert (tmp_path / "new" / "hub" / "tensorboard" / "log").read_bytes() == b"new"
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'hub'}: 2 files\n"


def test_the_folder_one_stands_in_is_replaced_too(quick, tmp_path, monkeypatch):
    quick(tmp_path / "hub")
    monkeypatch.chdir(tmp_path / "hub")
    assert quick(".", "--replace") == 0
    assert (tmp_path / "hub" / "README.md").read_bytes() == b"---\nnew"


def refused(capsys, call):
    with pytest.raises(SystemExit) as stopped:
        call()
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_is_there_is_replaced_only_when_asked(quick, tmp_path, capsys):
    (tmp_path / "README.md").write_text("---\nold")
    assert "is there; replace it with --replace, or give another folder" in refused(capsys, lambda: quick(tmp_path))
    assert (tmp_path / "README.md").read_text() == "---\nold"
    quick(tmp_path, "--replace")
    assert (tmp_path / "README.md").read_text() == "---\nnew"


@pytest.mark.parametrize("foreign", [".git", "thesis.tex", "holiday.jpg"])
def test_a_folder_with_anything_else_in_it_is_never_replaced(foreign, quick, tmp_path, capsys):
    (tmp_path / "README.md").write_text("---\nold")
    (tmp_path / foreign).mkdir()
    assert f"holds {foreign}, which was not published" in refused(capsys, lambda: quick(tmp_path, "--replace"))
    assert (tmp_path / foreign).is_dir()


@pytest.mark.parametrize("readme", [None, "# A project of mine"])
def test_a_folder_without_a_card_is_never_replaced(readme, quick, tmp_path, capsys):
    (tmp_path / "LICENSE").write_text("mine")
    if readme:
        (tmp_path / "README.md").write_text(readme)
    assert "holds LICENSE, which was not published" in refused(capsys, lambda: quick(tmp_path, "--replace"))


def test_a_file_or_a_link_in_the_place_of_the_folder_is_left_alone(quick, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        assert "is no folder of its own" in refused(capsys, lambda name=name: quick(tmp_path / name, "--replace"))


def test_a_folder_is_whole_or_not_there(quick, tmp_path, capsys, monkeypatch):
    quick(tmp_path / "old")
    written = durable._write

    def full(path, content):
        if path.name == "log":
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(durable, "_write", full)
    monkeypatch.setattr(hub, "files", lambda *given: {"README.md": b"newer", "tensorboard/log": b"newer"})
    assert "could not be written: [Errno 28]" in refused(capsys, lambda: quick(tmp_path / "new"))
    assert "could not be written: [Errno 28]" in refused(capsys, lambda: quick(tmp_path / "old", "--replace"))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "README.md").read_bytes() == b"---\nnew"


def test_a_record_that_ships_no_weights_is_one_sentence(record, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VATTN_RECORDS", str(record.path.parent))
    monkeypatch.setattr(records, "SHIPPED_BYTES", 1000)
    monkeypatch.setattr(records.Record, "has_weights", False)
    moved = record.path / "model.safetensors"
    moved.rename(record.path / "away")
    try:
        said = refused(capsys, lambda: main(["publish", NAME, "--to", str(tmp_path / "hub")]))
    finally:
        (record.path / "away").rename(moved)
    assert f"record {NAME} ships no weights" in said
    assert list(tmp_path.iterdir()) == []


def test_another_backend_is_told_which_one_makes_graphs(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RecordError, match="Keras runs on jax; set KERAS_BACKEND=tensorflow"):
        hub.publish(NAME, tmp_path / "hub")


@pytest.mark.parametrize("module", ["skimage.data", "tensorboard.summary"])
def test_what_is_not_installed_is_named_with_the_way_to_have_it(module, record, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(litert, "whole", lambda model: b"")
    with pytest.raises(PublishError, match=r"; pip install (scikit-image|tensorboard)$"):
        hub.files(record)


@pytest.mark.parametrize("arguments", [[], ["vit-cifar100-book", "--space"]])
def test_either_a_record_or_the_space_is_published(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["publish", *arguments, "--to", str(tmp_path / "x")])
    assert list(tmp_path.iterdir()) == []


def test_an_installed_package_knows_its_repository_and_has_its_licence(tmp_path, monkeypatch):
    there = metadata.home(), hub.licence()
    links = SimpleNamespace(get_all=lambda name: ["Changelog, https://elsewhere", f"Repository, {there[0]}"])
    monkeypatch.setattr(metadata, "installed", lambda package: links)
    monkeypatch.setattr(hub, "distribution", lambda package: SimpleNamespace(read_text={"licenses/LICENSE": "L"}.get))
    monkeypatch.setattr(metadata.made, "ROOT", tmp_path)
    assert (metadata.home(), hub.licence()) == (there[0], b"L")
    assert there[0].startswith("https://")
    assert there[1].lstrip().startswith(b"Apache License")


# The Space


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The Space's files, with one model that is a word."""
    (tmp_path / "models.json").write_text(json.dumps({"models": [{"file": "a.tflite"}]}))
    (tmp_path / "a.tflite").write_bytes(b"a graph")
    monkeypatch.setattr(space.made, "FOLDER", tmp_path)
    return space.files()


def test_a_space_is_static_and_holds_all_that_its_page_asks_for(page):
    assert front(page)["sdk"] == "static"
    assert set(page) > {"index.html", "LICENSE", "look/look.js", "look/models/a.tflite", "look/samples/cat.jpg"}
    asked = re.findall(r'(?:href|src): ?"([^":]+)"|(?:href|src)="([^":]+)"', page["index.html"].decode())
    assert {name for pair in asked for name in pair if name} == {"look/look.css", "look/look.js"}


def test_links_of_the_space_lead_to_the_books_chapters(page):
    links = set(re.findall(r'<a href="([^"]+)"', page["index.html"].decode()))
    home = metadata.home()
    assert links == {home, *(f"{home}/blob/main/book/{name}.ipynb" for name in card.MODELS)} | {
        f"{home}/blob/main/book/faithfulness.ipynb"
    }
    assert all((Path(__file__).parents[1] / link.partition("/blob/main/")[2]).exists() for link in links)


def test_a_page_of_the_book_that_says_something_else_is_noticed(page, monkeypatch):
    monkeypatch.setitem(space.ELSEWHERE, "what nobody says", "")
    with pytest.raises(PublishError, match=r"look\.html no longer says 'what nobody says'"):
        space.files()
