"""The small benchmarks: what they print and write. (`test_cost.py` and `test_short_runs.py` have the large ones.)"""

import json
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_notebook

from benchmarks import maps, minutes, throughput
from bookproof.book import Book
from tests.test_models import tiny_model
from vattn_utils.models import vit


def test_throughput_is_written_for_every_model_and_variant(tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(throughput, "stepper", lambda *which: (lambda: called.append(str(which)), 128, 1000))
    throughput.main(
        ["--steps", "3", "--models", "patch_convnet", "eanet", "--result", str(tmp_path / "new" / "rates.jsonl")]
    )
    lines = [json.loads(line) for line in (tmp_path / "new" / "rates.jsonl").read_text().splitlines()]
    found = [(line["model"], line["variant"]) for line in lines]
    own = [(model, variant) for model in ("patch_convnet", "eanet") for variant in ("keras-io", "book")]
    assert found == [*own, ("eanet", "book, self-attention")]
    assert all(line["images_per_second"] > 0 and line["provenance"]["precision"] == "mixed_bfloat16" for line in lines)
    assert [line["optimizer"] for line in lines] == ["adamw", "muon", "adamw", "adamw", "adamw"]
    assert len(called) == 5 * (2 + 3)
    assert called[10:15] == called[15:20] == [*dict.fromkeys(called)]  # they take turns
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_step_of_throughput_trains_the_model_on_its_next_batch(tiny, monkeypatch):
    monkeypatch.setattr(throughput.data, "load", lambda name: tiny)
    monkeypatch.setattr(throughput, "build", lambda *_: tiny_model(vit, num_classes=4))
    monkeypatch.setattr(throughput.training, "recipe", lambda *_, **__: recipe)
    recipe = throughput.training.Recipe(epochs=1, batch_size=32, validation=32)
    step, images, parameters = throughput.stepper("vit", "book", "float32")
    assert (images, parameters) == (32, tiny_model(vit, num_classes=4).count_params())
    assert step()[0] > 0  # the loss


def test_maps_are_compared_with_a_plain_pass_in_time_and_memory(monkeypatch, capsys):
    monkeypatch.setattr(
        maps.records, "load", lambda name: type("Record", (), {"model": lambda self: tiny_model(vit)})()
    )
    asked = []

    def run(command, **_):
        asked.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout=str(2**20 * len(asked)))

    monkeypatch.setattr(maps.subprocess, "run", run)
    maps.main(["--images", "70", "--repeats", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert asked == [line[:23].strip() for line in lines[1:]] == list(maps.WAYS)
    assert "(1.00 times the time, 1.00 times the memory)" in lines[1]
    assert "3.00 times the memory" in lines[3]


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


def test_an_unknown_record_is_refused(capsys):
    with pytest.raises(SystemExit):
        maps.main(["--record", "resnet"])
    assert "no record 'resnet'" in capsys.readouterr().err
