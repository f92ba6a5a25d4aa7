"""The repository's address: one place, and a command that carries it from there into the chapters."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bookproof import address
from bookproof.__main__ import main
from bookproof.checks import hygiene

ORIGINAL, FORK = "https://github.com/someone/a-book", "https://github.com/another/a-fork"
FIRST_CELL = """try:
    from bookproof import say
except ModuleNotFoundError:
    %pip install -q git+{0} git+{0}#subdirectory=bookproof
    from bookproof import say"""


@pytest.fixture
def book(book):
    """A book of one chapter, whose address is the fork's while its chapter still installs from the original."""
    (book.root / "_config.yml").write_text(f"title: A book\nrepository:\n  url: {FORK}\n")
    cell = new_code_cell(FIRST_CELL.format(ORIGINAL), execution_count=1, outputs=[new_output("stream", text="ö 0.5\n")])
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A chapter"), cell]), book.root / "book" / "mini.ipynb")
    return book


def run(book):
    return main(["--root", str(book.root), "address"])


def chapter(book):
    return nbformat.read(book.root / "book" / "mini.ipynb", as_version=4)


def test_a_fork_changes_its_config_and_the_command_does_the_rest(book, capsys):
    before = chapter(book)
    assert run(book) == 0
    assert f"{FORK}: mini.ipynb" in capsys.readouterr().out
    assert address.installed(chapter(book)) == [(2, FORK), (2, FORK)]
    assert chapter(book).cells[1].source == FIRST_CELL.format(FORK)
    assert chapter(book).cells[1].outputs == before.cells[1].outputs


def test_the_metadata_of_the_books_package_name_it_too(book):
    project = book.root / "pyproject.toml"
    text = project.read_text() + f'\n[project.urls]\nHome = "https://a.host"\nRepository = "{ORIGINAL}"\n'
    project.write_text(text)
    assert run(book) == 0
    assert project.read_text() == text.replace(ORIGINAL, FORK)


def test_a_second_run_changes_nothing(book, capsys):
    run(book)
    text = (book.root / "book" / "mini.ipynb").read_bytes()
    assert run(book) == 0
    assert "already" in capsys.readouterr().out
    assert (book.root / "book" / "mini.ipynb").read_bytes() == text


def test_a_chapter_loses_nothing_on_the_way_to_a_fork_and_back(book):
    path = book.root / "book" / "mini.ipynb"
    before = path.read_bytes()
    assert address.write(path, FORK)
    assert address.write(path, ORIGINAL)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "config", ["title: A book", "repository: {}", "repository: {url: someone/a-fork}", "repository: {url: 7}", ""]
)
def test_a_config_without_an_address_is_refused(book, config, capsys):
    (book.root / "_config.yml").write_text(config)
    before = (book.root / "book" / "mini.ipynb").read_bytes()
    assert run(book) == 1
    assert "https://HOST/OWNER/NAME" in capsys.readouterr().err
    assert (book.root / "book" / "mini.ipynb").read_bytes() == before


def test_hygiene_fails_a_chapter_that_installs_from_elsewhere(book):
    notebook = new_notebook(cells=[new_code_cell(FIRST_CELL.format(ORIGINAL))])
    problem, same = hygiene.installs_from_the_books_address(book, notebook)
    assert problem == same
    for part in ("cell 1", FORK, ORIGINAL, "bookproof address"):
        assert part in problem
    notebook.cells[0].source = FIRST_CELL.format(FORK)
    assert list(hygiene.installs_from_the_books_address(book, notebook)) == []


def test_one_package_that_comes_from_elsewhere_is_enough(book):
    source = FIRST_CELL.format(FORK).replace(f"{FORK}#", f"{ORIGINAL}#")
    (problem,) = hygiene.installs_from_the_books_address(book, new_notebook(cells=[new_code_cell(source)]))
    assert ORIGINAL in problem


def test_a_chapter_that_installs_nothing_needs_no_address(book):
    (book.root / "_config.yml").unlink()
    assert list(hygiene.installs_from_the_books_address(book, new_notebook(cells=[new_code_cell("x = 1")]))) == []
