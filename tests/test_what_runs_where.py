"""`make backends`: what it does, what it does not do again, and what it calls agreement. It installs nothing here."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.backends import __main__ as backends


@pytest.fixture
def done(monkeypatch, tmp_path):
    """The steps that were done, none of which takes time; `test_muon` fails."""
    steps = []

    def run(*step):
        steps.append(" ".join(step))
        return "failed: 1 failed" if "test_muon" in step else "2 passed"

    monkeypatch.setattr(backends, "run", run)
    monkeypatch.setattr(backends, "NOTES", tmp_path / "notes.json")
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: "one\n")
    return steps


def test_words_name_versions_backends_and_steps_and_all_is_meant_where_none_is_named():
    assert backends.chosen(["oldest", "jax", "torch", "eanet"]) == [
        ("oldest", one, "eanet") for one in ("jax", "torch")
    ]
    assert len(backends.chosen([])) == 2 * 3 * len(backends.STEPS)
    assert {"test_models", "test_distribution", "records", "vit", "cost"} <= set(backends.STEPS)
    assert len(set(backends.STEPS)) == len(backends.STEPS)
    with pytest.raises(SystemExit, match="mxnet is no version, backend, test or chapter; there are newest"):
        backends.chosen(["mxnet"])


def test_tests_of_what_stands_on_maps_and_training_are_left_out():
    assert not {"test_publish", "test_audit", "test_live", "test_cost"} & set(backends.TESTS)
    assert all((backends.ROOT / path).exists() for path in backends.TESTS.values())


def test_what_passed_is_not_done_again_at_the_same_commit_and_what_failed_is(done, monkeypatch, capsys):
    words = ["newest", "jax", "test_layers", "test_muon"]
    assert backends.main(words) == 1
    assert backends.main(words) == 1
    assert done == ["newest jax test_layers", "newest jax test_muon", "newest jax test_muon"]
    assert backends.main(["newest", "jax", "test_layers"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-2].split() == ["test_layers", "2", "passed"]
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: "another\n")
    backends.main(["newest", "jax", "test_layers"])
    assert done[-1] == "newest jax test_layers"
    assert backends.main([backends.TABLE]) == 0
    assert len(done) == 4


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        ("..s\n2 passed, 1 skipped in 0.31s\n", 0, "2 passed, 1 skipped"),
        ("F.\n1 failed, 1 passed, 3 warnings in 2.00s\n", 1, "failed: 1 failed, 1 passed"),
        ("1 skipped in 0.01s\n", 5, "1 skipped"),
        ("1 chapter in 61s\n", 0, "1 chapter"),
        ("Killed\n", -9, "failed, status -9"),
    ],
)
def test_a_cell_of_the_table_says_what_the_last_line_counted(log, status, said):
    assert backends.told(log, status) == said


def test_records_are_as_far_apart_as_their_farthest_array():
    one = {"a logits": np.array([2.0, 4.0]), "a gradient of w": np.array([1e-3]), "b logits": np.ones(3)}
    other = {"a logits": np.array([2.0, 4.4]), "a gradient of w": np.array([2e-3]), "b logits": np.ones(3)}
    found = backends.apart(one, other)
    assert found["a"] == pytest.approx((0.1, 1.0))
    assert found["b"] == (0.0, 0.0)


def test_records_that_disagree_fail(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "FOLDER", tmp_path)
    for place, value in (("newest-tensorflow", 1.0), ("newest-jax", 1.00001), ("newest-torch", 1.01)):
        Path(tmp_path, place).mkdir()
        np.savez(tmp_path / place / "records.npz", **{"a logits": np.array([value]), "a gradient of w": np.ones(1)})
    assert backends.compared("newest", "jax").startswith("1e-05, gradients 0e+00")
    assert backends.compared("newest", "torch").startswith("failed: 1e-02")
