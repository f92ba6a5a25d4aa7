"""The scripts of keras.io in short runs: each on a handful of shapes, and what is written of it."""

import itertools
from pathlib import Path

import pytest

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
