"""A book of no pages to try things on; what is `toy` stands for a package of the book's own."""

import sys

import pytest

from bookproof.book import Book

PROJECT = """
[tool.bookproof]
profiles = ["published", "quick", "full"]
profile-variable = "TOY_PROFILE"
profile-line = "Profile {profile}:"
parameters = "book/parameters.toml"
packages = {toy = "toy"}
data = ["records"]
copied = {TOY_RECORDS = "records"}
"""
CONFIG = "title: A book\nrepository:\n  url: https://github.com/someone/a-book\n"
PARAMETERS = """
every.profile = {published = "published", quick = "quick", full = "full"}
maps.images = {published = 512, quick = 16, full = 512}
mini.n = {published = 2, quick = 1, full = 2}
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book in a folder of its own: its settings, and nothing else."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # a command puts the book there
    for folder in ("book", "toy", "records"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/mini\n")
    (tmp_path / "book" / "index.md").write_text("# Index\n")
    (tmp_path / "book" / "parameters.toml").write_text(PARAMETERS)
    return Book(tmp_path)
