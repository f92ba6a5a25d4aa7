"""The small benchmarks: what they print and write. (`test_cost.py` and `test_short_runs.py` have the large ones.)"""

import json
import subprocess

import pytest

from benchmarks import maps, throughput
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


def test_an_unknown_record_is_refused(capsys):
    with pytest.raises(SystemExit):
        maps.main(["--record", "resnet"])
    assert "no record 'resnet'" in capsys.readouterr().err
