"""A chapter opens in a profile, seeded, and its kernel says nothing of the machine."""

from pathlib import Path

import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from vattn_utils.show import chapter

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
