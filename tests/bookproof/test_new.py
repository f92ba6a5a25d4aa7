"""A new chapter is written from the book's template, whole and with a place, or not at all."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from bookproof.__main__ import main
from bookproof.config import ConfigError

TEMPLATE = new_notebook(
    cells=[
        new_markdown_cell("# CHAPTER TITLE", id="CHAPTER-NAME-0"),
        new_code_cell("%pip install -q git+https://example.org/some/body", id="CHAPTER-NAME-1"),
        new_code_cell('chapter = "CHAPTER_NAME"', id="CHAPTER-NAME-2"),
    ]
)


@pytest.fixture
def templated(book):
    nbformat.write(TEMPLATE, book.root / "book" / "template.ipynb.in")
    project = (book.root / "pyproject.toml").read_text()
    (book.root / "pyproject.toml").write_text(
        project.replace("packages", 'template = "book/template.ipynb.in"\npackages')
    )
    return book


def begin(book, name):
    return main(["--root", str(book.root), "new", name])


def test_a_new_chapter_has_its_name_title_and_address_and_stands_last(templated, capsys):
    toc = templated.root / "_toc.yml"
    toc.write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/mini  # first\n")
    assert begin(templated, "slow_start") == 0
    assert "bookproof refresh --chapter slow_start" in capsys.readouterr().out
    written = nbformat.read(templated.root / "book" / "slow_start.ipynb", as_version=4)
    assert [cell.source for cell in written.cells] == [
        "# Slow start",
        "%pip install -q git+https://github.com/someone/a-book",
        'chapter = "slow_start"',
    ]
    assert [cell.id for cell in written.cells] == ["slow-start-0", "slow-start-1", "slow-start-2"]
    assert toc.read_text().endswith("  - file: book/mini  # first\n  - file: book/slow_start\n")
    assert list(templated.chapters()) == ["slow_start"]  # mini is not written here


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("../mine", "'../mine' is no name of a chapter; use small letters"),
        ("Mine", "'Mine' is no name of a chapter"),
        ("index", "there is a page 'book/index' already"),
        ("mini", "there is a page 'book/mini' already"),
    ],
)
def test_what_cannot_be_a_chapter_is_not_begun(templated, name, complaint, capsys):
    before = {path: path.read_bytes() for path in templated.root.rglob("*") if path.is_file()}
    assert begin(templated, name) == 1
    assert complaint in capsys.readouterr().err
    assert {path: path.read_bytes() for path in templated.root.rglob("*") if path.is_file()} == before


def test_a_book_without_a_template_says_how_to_have_one(book, capsys):
    assert begin(book, "mine") == 1
    assert "[tool.bookproof] lacks 'template'; name a notebook" in capsys.readouterr().err


def test_a_template_that_is_not_there_is_named(templated):
    (templated.root / "book" / "template.ipynb.in").unlink()
    with pytest.raises(ConfigError, match=r"template names the file 'book/template\.ipynb\.in', which does not exist"):
        _ = templated.settings
