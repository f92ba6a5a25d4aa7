"""The scripts of keras.io in short runs: each on a handful of shapes, and what is written of it."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from vattn_utils import models
from vattn_utils.maps import attention
from vattn_utils.training import sweep_file, sweep_run
from vattn_utils.training.measurements import from_lines

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {
    "by_script": ("shapes100", 300, "{dim = 8, depth = 1, epochs = 1}"),
    "by_vit_script": ("shapes100", 300, '{normalization = "Keras 3.0.0", epochs = 1}'),
    "by_tail": ("shapes10", 5200, '{optimizer = "addons", epochs = 1, name = "patch_convnet-shapes10-book"}'),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_run_is_told_with_all_that_it_takes_to_repeat_it(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    dataset, images, arguments = SCRIPTS[script]
    (tmp_path / "runs.toml").write_text(
        f'[[run]]\nvalue = 1\nexperiment = "e"\narm = "tiny"\ncall = "short_runs:{script}"\n'
        f'dataset = "{dataset}"\nimages = {images}\nwith = {arguments}\n'
    )
    of = sweep_file.read(tmp_path / "runs.toml")
    found = sweep_run.run(of.tasks[0], of, tmp_path / "state")
    (line,) = from_lines((of.results / "e.jsonl").read_text(), "e.jsonl")
    assert (line["arm"], line["seed"], line["images"]) == ("tiny", 0, images)
    assert len(line["history"]["val_accuracy"]) == 1
    assert found.judged == line["test"]["accuracy"]
    assert line["parameters"] > 0
    assert line["run"]["precision"] == line["provenance"]["precision"]
    assert not list((tmp_path / "state").rglob("epoch-*"))


def test_the_maps_of_a_model_with_a_query_for_each_class_are_compared(monkeypatch, random):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import short_runs

    model = models.build("patch_convnet", num_classes=3, dim=16, depth=1, mlp_dim=16, queries="per-class")
    images = random.integers(0, 256, (5, 32, 32, 3), dtype="uint8")
    found = short_runs.class_maps(model, images, None)
    (layer,) = attention.maps(model, images)
    maps = layer.patches()[:, 0].reshape(5, 3, -1)
    pairs = [np.corrcoef(of[i], of[j])[0, 1] for of in maps for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["two classes, one image"] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert len(found) == 3


@pytest.mark.parametrize("name", ["short_runs.toml", "runs.toml"])
def test_the_arms_of_an_experiment_share_images_and_judge_and_no_two_are_the_same(name):
    experiments = {}
    for task in sweep_file.read(BENCHMARKS / name).tasks:
        if task.experiment:
            experiments.setdefault((task.experiment, task.model), []).append(task)
    for tasks in experiments.values():
        assert len({(task.dataset, task.images, task.judge, task.recipe.validation) for task in tasks}) == 1
        assert len({task.arm for task in tasks}) >= 2
        same = [t for t in tasks if t.seed == tasks[0].seed]
        assert all(one.said() != other.said() for one, other in itertools.combinations(same, 2))
