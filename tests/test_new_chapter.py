"""What `make chapter` writes is a chapter that keeps every rule, before anybody has written a word of it."""

import shutil
from pathlib import Path

import nbformat
import pytest

from bookproof import freshness, new, refresh, seal
from bookproof.book import Book
from bookproof.checks import hygiene, markup, prose

ROOT = Path(__file__).parents[1]


@pytest.fixture
def book(tmp_path):
    """This book without its chapters."""
    (tmp_path / "book").mkdir()
    for name in ("pyproject.toml", "_config.yml", "MANIFEST.sha256", "book/parameters.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("vattn_utils", "bookproof/src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("records", "benchmarks", "book/_static", "templates"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "_toc.yml").write_text("root: book/index\nchapters:\n- file: book/other\n")
    return Book(tmp_path)


def test_a_new_chapter_runs_without_cifar_and_passes_every_check(book, monkeypatch, tmp_path):
    monkeypatch.setenv("VATTN_DATA", str(tmp_path))
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path))
    path = new.chapter(book, "first_light")
    refresh.refresh(book, "first_light")
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith("# First light\n")
    assert hygiene.problems(book, path) == prose.problems(path) == markup.problems(book, path) == []
    assert freshness.reasons(notebook, book) == seal.broken(notebook, path.name) == []
    assert "CHAPTER" not in path.read_text()
