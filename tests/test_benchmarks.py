"""The small benchmarks: what they print and write. (`test_cost.py` and `test_short_runs.py` have the large ones.)"""

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_notebook

from benchmarks import minutes, speed
from bookproof.book import Book
from tests.test_models import tiny_model
from vattn_utils.models import vit
from vattn_utils.models.counting import parameters
from vattn_utils.training.measurements import from_lines


def test_every_form_takes_its_turn_and_ends_in_a_ratio_and_a_line(tmp_path, monkeypatch, capsys):
    stepped, tiny = [], tiny_model(vit)

    def contender(kind, form):
        return speed.Contender(tiny, lambda: stepped.append(form), 128, 1.5)

    monkeypatch.setattr(speed, "contender", contender)
    monkeypatch.setattr(speed, "ceiling", lambda precision: 1e12)
    monkeypatch.setattr(speed.models, "build", lambda *_, **__: tiny)
    monkeypatch.setattr(speed, "pixels", lambda count: np.zeros((count, 8, 8, 3), "uint8"))
    speed.main(["--quick", "--only", "vit", "--turns", "2"])
    assert stepped == speed.QUICK * 3  # one turn is not counted
    printed = capsys.readouterr().out
    assert all(label in printed for label in speed.RATIOS)

    for _ in range(2):  # what is measured again takes the place of what was
        speed.main(["--only", "vit", "--turns", "2", "--result", str(tmp_path / "new" / "speed.jsonl")])
    lines = from_lines((tmp_path / "new" / "speed.jsonl").read_text(), "speed")
    trained = [line for line in lines if line["measure"] == "training"]
    assert [speed.form_of(line) for line in trained] == speed.ALL
    assert [line["optimizer"] for line in trained] == ["adamw"] * 5
    assert all(line["seconds_to_first_step"] == 1.5 and line["share_of_ceiling"] > 0 for line in trained)
    low, high = trained[0]["middle_half"]
    assert low <= trained[0]["images_per_second"] <= high
    assert [line["measure"] for line in lines if line["name"] == "ours" and line["variant"] == "book"] == [
        "forward",
        "maps",
    ]


@pytest.mark.parametrize("kind", speed.SAME)
def test_upstreams_formulation_and_ours_have_the_same_parameters(kind):
    (theirs, *_), (ours, *_) = (speed.alike(kind, form) for form in (speed.UPSTREAM, speed.OURS))
    assert parameters(theirs) == parameters(ours)


def test_upstream_is_timed_without_its_augmentation_and_as_published_with_it():
    images = speed.pixels(2).astype("float32")
    plain, published = (speed.alike("patch_convnet", form)[0] for form in (speed.UPSTREAM, speed.PUBLISHED))
    assert plain.augmentation is plain.preprocessing
    assert published.augmentation is not published.preprocessing
    vit_model = speed.upstream.vit.build(depth=1, head_units=()).model
    speed.leave_augmentation_out(vit_model)
    random = [layer for layer in vit_model._flatten_layers() if type(layer).__name__.startswith("Random")]
    assert len(random) == 3
    for layer in random:
        np.testing.assert_array_equal(np.array(layer(images, training=True)), images)


def test_a_step_by_recipe_trains_the_model_on_its_next_batch(tiny, monkeypatch):
    monkeypatch.setattr(speed.data, "load", lambda name: tiny)
    monkeypatch.setattr(speed, "pixels", lambda count: tiny.x_train)
    monkeypatch.setattr(speed, "build", lambda *_: tiny_model(vit, num_classes=4))
    monkeypatch.setattr(speed.training, "recipe", lambda *_, **__: recipe)
    recipe = speed.training.Recipe(epochs=1, batch_size=12, validation=32)
    _, step, images = speed.by_recipe("vit", speed.BOOK)
    assert images == 12
    assert step()[0] > 0  # the loss


def test_the_data_are_timed_on_their_own(monkeypatch):
    monkeypatch.setattr(speed.data, "at_hand", lambda name: "here")
    monkeypatch.setattr(speed.data, "load", lambda name: None)
    lines = speed.of_data(1)
    assert [line["measure"] for line in lines] == ["augmentation", "augmentation", "load"]
    assert lines[0]["images_per_second"] > lines[1]["images_per_second"] > 0
    assert len(speed.table(lines)) == 3


def test_the_minutes_of_a_chapter_are_those_of_its_executions_and_of_the_runs_it_trains(tmp_path):
    def executed(path, seconds, **noted):
        made = {
            "seconds": seconds,
            "date": "2026-11-28",
            "inputs": {"files": ["records/vit-cifar100-book/model.safetensors"]},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(metadata={"executed": {**made, **noted}}), path)

    for name in ("vit", "results"):
        executed(tmp_path / "book" / f"{name}.ipynb", 60, device="abacus")
    table = "every.profile = {published = 'published', quick = 'quick', full = 'full'}\n"
    table += "vit.epochs = {published = 0, quick = 0, full = 0}"
    (tmp_path / "parameters.toml").write_text(table)
    (tmp_path / "_toc.yml").write_text("root: index\nchapters:\n- file: book/vit\n- file: book/results\n")
    profiles = 'profiles = ["published", "quick", "full"]\nprofile-variable = "X"\nprofile-line = "{profile}"'
    (tmp_path / "pyproject.toml").write_text(f"[tool.bookproof]\n{profiles}")
    quick = tmp_path / "_build" / "executed" / "quick"
    executed(quick / "vit.ipynb", 20, parameters={"profile": "quick", "epochs": 9})  # not the profile's own
    executed(quick / "results.ipynb", 30, parameters={"profile": "quick"})

    found = {(line["chapter"], line["profile"]): line for line in minutes.measured(Book(tmp_path))}
    run = minutes.records.load("vit-cifar100-book")
    assert {key: line["seconds"] for key, line in found.items()} == {
        ("vit", "published"): 60,
        ("vit", "full"): round(60 + run.seconds, 1),
        ("results", "published"): 60,
        ("results", "quick"): 30,
    }
    assert found["vit", "published"]["device"] == "abacus"
    assert (found["vit", "full"]["runs"], found["vit", "full"]["device"]) == ([run.name], run.provenance["device"])
