"""The short runs: each way of training, on a handful of shapes, and what is written of it."""

import itertools
import json

import keras
import numpy as np
import pytest

from benchmarks import short_runs
from benchmarks.short_runs import (
    EXPERIMENTS,
    Experiment,
    by_recipe,
    by_script,
    by_tail,
    by_vit_script,
    in_hand,
    main,
    missing,
    multiplied_out,
    run,
)

TINY = {
    "by-recipe": Experiment(
        by_recipe,
        "shapes10",
        300,
        {
            name: dict(
                kind="eanet",
                overrides=dict(dim=8, depth=1, heads=2, memory_slots=4, mlp_dim=8, mixing=mixing),
                epochs=1,
                validation=100,
                batch_size=100,
            )
            for name, mixing in (("with", True), ("without", False))
        },
        seeds=(0, 1),
    ),
    "by-script": Experiment(by_script, "shapes100", 300, {"tiny": dict(dim=8, depth=1, epochs=1)}, seeds=(0,)),
    "by-vit-script": Experiment(
        by_vit_script, "shapes100", 300, {"tiny": dict(normalization="Keras 3.0.0", epochs=1)}, seeds=(0,)
    ),
    "by-tail": Experiment(
        lambda dataset, *arguments, **arm: by_tail(dataset, *arguments, **arm, name="patch_convnet-shapes10-book"),
        "shapes10",
        5200,
        {"tiny": dict(optimizer="addons", epochs=1)},
        seeds=(0,),
    ),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(short_runs, "EXPERIMENTS", TINY)


@pytest.mark.parametrize("name", TINY)
def test_a_run_is_recorded_with_all_that_it_takes_to_repeat_it(name, tmp_path):
    arm = next(iter(TINY[name].arms))
    with in_hand(name, arm, 0, tmp_path / "state") as directory:
        run(name, arm, 0, directory, tmp_path)
    (line,) = (tmp_path / f"{name}.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["arm"], found["seed"], found["images"]) == (arm, 0, TINY[name].images)
    assert len(found["history"]["val_accuracy"]) == 1
    assert 0 <= found["test"]["accuracy"] <= 1
    assert found["parameters"] > 0
    assert found["run"]["precision"] == found["provenance"]["precision"]
    assert missing(name, tmp_path) == [(a, s) for s in TINY[name].seeds for a in TINY[name].arms if (a, s) != (arm, 0)]
    assert not any((tmp_path / "state" / name).iterdir())


def test_what_is_missing_is_listed_seed_by_seed_and_run(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(short_runs, "run", lambda *what: asked.append(what[:3]) or {"test": {"accuracy": 0.5}})
    monkeypatch.setattr(short_runs, "missing", lambda name: missing(name, tmp_path))
    state = ["--state", str(tmp_path / "state")]
    main(["by-recipe", "--list"])
    assert capsys.readouterr().out.splitlines() == [
        "by-recipe: 0 of 4 runs are there",
        "by-recipe: with, seed 0 is missing",
        "by-recipe: without, seed 0 is missing",
        "by-recipe: with, seed 1 is missing",
        "by-recipe: without, seed 1 is missing",
    ]
    assert not asked
    main(["by-recipe", *state])
    assert asked == [("by-recipe", arm, seed) for seed in (0, 1) for arm in ("with", "without")]
    with pytest.raises(SystemExit):
        main(["resnet"])
    assert "resnet is not known; there are by-recipe" in capsys.readouterr().err


def test_processes_divide_the_runs_among_them(tmp_path, monkeypatch):
    """Each process leaves alone what another has in hand, and what another has finished since it began."""
    asked = []
    left = [("with", 0), ("without", 0), ("with", 1)]

    def elsewhere(*what):
        asked.append(what[1:3])
        if len(asked) == 1:
            left.remove(("without", 0))  # the other process finishes this one meanwhile
        return {"test": {"accuracy": 0.5}}

    monkeypatch.setattr(short_runs, "run", elsewhere)
    monkeypatch.setattr(short_runs, "missing", lambda name: list(left))
    with in_hand("by-recipe", "with", 1, tmp_path):
        main(["by-recipe", "--state", str(tmp_path)])
    assert asked == [("with", 0)]
    assert not (tmp_path / "by-recipe" / "without-0").exists()
    main(["by-recipe", "--state", str(tmp_path)])
    assert asked == [("with", 0), ("with", 0), ("with", 1)]


def test_the_arms_of_an_experiment_differ_in_what_is_compared_only():
    for experiment in EXPERIMENTS.values():
        common, arms = {"kind", "variant", "epochs", "validation"}, list(experiment.arms.values())
        assert len(arms) >= 2
        assert all(arm.get(key) == arms[0].get(key) for arm in arms for key in common)
        assert all(one != other for one, other in itertools.combinations(arms, 2))


def test_attention_multiplied_out_is_the_backends_attention():
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 3, 4)).astype("float32")  # (B, N, heads, d) each
    expected = keras.ops.dot_product_attention(query, key, value)
    found = multiplied_out(*(array.swapaxes(1, 2) for array in (query, key, value)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found).swapaxes(1, 2), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="is_causal=True"):
        multiplied_out(query, key, value, is_causal=True)
