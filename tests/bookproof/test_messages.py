"""What is wrong with a book as it is written is told by the command line in a sentence, never in a traceback."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from bookproof.__main__ import main

PARAMETERS = 'profile: str = "published"\nn: int = 2'


def chapter(book, *cells, parameters=PARAMETERS):
    """Write the chapter `mini`, as if it had been refreshed when its code was another one."""
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[tagged, *map(new_code_cell, cells)])
    inputs = {"code": "another", "modules": {}, "listings": {}, "files": {}}
    notebook.metadata["executed"] = {"inputs": inputs, "date": "", "seconds": 0}
    nbformat.write(notebook, book.root / "book" / "mini.ipynb")


@pytest.fixture
def told(book, capsys):
    """A function: what a command prints that ends with 1."""

    def told(*command):
        assert main(["--root", str(book.root), *command]) == 1
        captured = capsys.readouterr()
        return captured.out + captured.err

    return told


def test_a_cell_that_is_not_python_is_named(book, told):
    chapter(book, "x = 1", "if True:\n    x = = 2")
    sentence = "cell 3: `x = = 2` is not Python: invalid syntax; mend the cell"
    assert f"mini is stale: {sentence}" in told("stale")
    assert f"mini.ipynb, {sentence}" in told("check", "--only", "prose")
    assert sentence in told("execute", "--chapter", "mini")


def test_a_parameters_cell_that_is_not_python_is_named(book, told):
    chapter(book, parameters="profile: str = ")
    assert "mini.ipynb: cell 1: not Python: invalid syntax" in told("execute", "--chapter", "mini")


def test_a_listing_of_nothing_is_named(book, told):
    (book.root / "toy" / "layer.py").write_text("")
    chapter(book, "from toy import layer", "show(layer.Missing)")
    sentence = "layer.py defines no Missing; list something that it does"
    assert f"mini is stale: {sentence}" in told("stale")
    assert sentence in told("execute", "--chapter", "mini")


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("_toc.yml", "", "_toc.yml names no page; write `root: PAGE`"),
        ("_toc.yml", "root: [", "_toc.yml is not YAML: while parsing"),
        ("_toc.yml", "- file: book/mini", "_toc.yml holds \"[{'file': 'book/mini'}]\", not a table"),
        ("_toc.yml", "root: i\nchapters: book/mini", "_toc.yml: chapters: 'book/mini' is not a list"),
        ("_config.yml", "title: [", "_config.yml is not YAML: while parsing"),
        ("_config.yml", "- title", "_config.yml holds \"['title']\", not a table"),
        ("_config.yml", "repository: here", "_config.yml: repository url is 'here'"),
    ],
)
def test_yaml_that_does_not_do_is_named(book, told, file, text, sentence):
    (book.root / file).write_text(text)
    assert sentence in told("address")


def test_parameters_that_are_no_table_are_named(book, told):
    chapter(book)
    (book.root / "book" / "parameters.toml").write_text("every = 3\n")
    assert "book/parameters.toml: every = 3 is no table" in told("execute", "--chapter", "mini")


def test_a_file_that_is_not_there_is_named(told):
    assert told("check", "no-such-file.ipynb").startswith("no-such-file.ipynb is no file; name pages of the book")


def test_a_book_without_config_is_not_laid_out(book, told):
    (book.root / "_config.yml").unlink()
    assert told("lay-out", "--profile", "quick").startswith("there is no _config.yml beside _toc.yml")
    assert not (book.root / "_build").exists()
