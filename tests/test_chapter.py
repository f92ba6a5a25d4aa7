"""A chapter opens in a profile, seeded, and its kernel says nothing of the machine."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from vattn_utils.show import chapter
from vattn_utils.training import records
from vattn_utils.training.run_folder import TrainingError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("profile", chapter.PROFILES)
def test_a_chapter_knows_its_profile(profile, monkeypatch, capsys):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    opened = chapter.open_chapter("vit", profile)
    assert (opened.name, opened.profile) == ("vit", profile)
    assert [opened.published, opened.quick, opened.full] == [profile == p for p in ("published", "quick", "full")]
    assert f"Profile {profile}:" in capsys.readouterr().out


def test_the_environment_overrides_the_literal(monkeypatch):
    monkeypatch.setenv("VATTN_PROFILE", "quick")
    assert chapter.open_chapter("vit", "published").quick


def test_what_a_chapter_asks_for_twice_is_made_once(monkeypatch):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    opened, trained = chapter.open_chapter("vit", "quick"), []
    monkeypatch.setattr(chapter.train, "train", lambda *given, **named: trained.append(given) or object())
    dataset = opened.data("cifar10")
    assert opened.data("cifar10") is dataset
    first = opened.run("vit", dataset)
    assert opened.run("vit", dataset) is first
    assert opened.run("vit", dataset, depth=2) is not first
    assert len(trained) == 2


@pytest.fixture
def small(monkeypatch, tiny):
    """A function: opens a chapter in the quick profile, and trains a very small model in it."""
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    monkeypatch.setattr(chapter, "QUICK_IMAGES", 100)

    def run(directory, epochs=1):
        opened = chapter.open_chapter("vit", "quick", epochs=epochs, directory=str(directory))
        return opened.run("vit", tiny, image_size=8, depth=1, dim=8, heads=2, mlp_dim=8)

    return run


def test_a_run_that_was_cut_off_goes_on_in_its_directory(small, tmp_path, monkeypatch, capsys):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as runtime:
        runtime.setattr(chapter.train, "evaluate_as_stored", cut_off)
        with pytest.raises(KeyboardInterrupt):
            small(tmp_path)
    assert "epoch 1" in capsys.readouterr().out
    record = small(tmp_path)
    assert "epoch 1" not in capsys.readouterr().out  # nothing was trained again
    assert record.epochs == 1
    assert record.path == tmp_path / "records" / "vit-tiny-book"
    assert small(tmp_path).history == record.history  # and so it is when the cell runs in another kernel
    with pytest.raises(TrainingError, match=r"holds another run .* give another directory"):
        small(tmp_path, epochs=2)


def test_what_is_trained_nowhere_is_trained_as_long_as_is_asked_and_as_the_profile_has_it(small, monkeypatch):
    trained = []
    monkeypatch.setattr(chapter.train, "train", lambda *given, **named: trained.append((given[3].epochs, named)))
    small("", epochs=3)
    small("", epochs=0)
    assert [epochs for epochs, _ in trained] == [3, 2]
    assert all(named["replace"] and "directory" not in named for _, named in trained)


@pytest.mark.parametrize("asked", [{"epochs": 3}, {"directory": "drive"}])
def test_the_published_profile_trains_nothing_and_says_so(asked, monkeypatch):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    with pytest.raises(ValueError, match="but the published profile trains nothing; use quick or full"):
        chapter.open_chapter("vit", "published", **asked)


def test_a_run_of_ones_own_stands_beside_the_recorded_one(monkeypatch):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    recorded = records.load("vit-cifar100-book")
    published = chapter.open_chapter("vit", "published").beside(recorded)
    assert f"| recorded | cifar100 | {recorded.epochs} | {100 * recorded.metrics['top1']:.2f} % |" in published
    mine = dataclasses.replace(recorded, name="vit-shapes100-book", dataset="shapes100", metrics={"top1": 0.25})
    lines = chapter.open_chapter("vit", "quick").beside(mine).splitlines()
    assert lines[2].startswith(f"| trained here | shapes100 | {recorded.epochs} | 25.00 % |")
    assert lines[3] == published.splitlines()[2]


def test_a_chapter_says_how_long_it_takes_in_each_profile_and_on_what(monkeypatch):
    one, two = "1 CPU core (x86_64)", "2 CPU cores (x86_64)"
    rows = [
        ("vit", "published", 125, two), ("vit", "quick", 20, two), ("vit", "full", 9864, one),
        ("cost", "quick", 60, one),
    ]  # fmt: skip
    rows = [dict(zip(("chapter", "profile", "seconds", "device"), row, strict=True)) for row in rows]
    monkeypatch.setattr(chapter.records, "measured", lambda name: rows)
    assert chapter.told_minutes("vit") == (
        "It takes about 2 min published, 1 min quick (2 CPU cores); 164 min full (1 CPU core)."
    )
    assert chapter.told_minutes("cost") == "It takes about 1 min quick (1 CPU core)."
    assert chapter.told_minutes("new") == ""


def test_an_unknown_profile_names_the_choices(monkeypatch):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    with pytest.raises(ValueError, match=r"'fast'.*parameters cell.*published, quick, full"):
        chapter.open_chapter("vit", "fast")
    monkeypatch.setenv("VATTN_PROFILE", "slow")
    with pytest.raises(ValueError, match=r"'slow'.*\$VATTN_PROFILE"):
        chapter.open_chapter("vit", "quick")


def test_opening_a_chapter_seeds_all_random_numbers(monkeypatch):
    monkeypatch.setenv("VATTN_PROFILE", "quick")
    drawn = [(chapter.open_chapter("vit", "quick", seed=3), np.random.rand())[1] for _ in range(2)]  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_a_kernel_that_trains_writes_nothing_to_stderr(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # a reader's machine does not set it
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)  # where it is set, ipykernel catches Python's stderr only
    source = """
from vattn_utils.show.chapter import open_chapter
chapter = open_chapter("sample", "quick")
import sys
sys.modules["ipywidgets"] = None  # without them tqdm warns, whichever library imports it
from tqdm.auto import tqdm
import keras, numpy
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(numpy.ones((8, 2)), numpy.ones((8, 1)), verbose=2)
model.count_params()"""
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = notebook.cells[0].outputs
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert outputs[-1].data["text/plain"] == "3"
