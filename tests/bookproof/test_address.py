"""The repository's address: one place, and a command that carries it from there into the chapters."""

import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from verification import address, hygiene

FORK = "https://github.com/someone/a-fork"
FIRST_CELL = """try:
    from vattn_utils.show import chapter
except ModuleNotFoundError:
    %pip install -q git+{}
    from vattn_utils import notebook"""


@pytest.fixture
def book(tmp_path):
    """A book of one chapter, whose address is the fork's while its chapter still installs from the original."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(f"title: A book\nrepository:\n  url: {FORK}\n")
    cell = new_code_cell(
        FIRST_CELL.format(address.repository()), execution_count=1, outputs=[new_output("stream", text="ö 0.5\n")]
    )
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A chapter"), cell]), tmp_path / "book/vit.ipynb")
    return tmp_path


def chapter(book):
    return nbformat.read(book / "book/vit.ipynb", as_version=4)


def test_a_fork_changes_its_config_and_the_command_does_the_rest(book, capsys):
    before = chapter(book)
    assert address.main(book) == 0
    assert f"{FORK}: vit.ipynb" in capsys.readouterr().out
    assert address.installed(chapter(book)) == [(2, FORK)]
    assert chapter(book).cells[1].source == FIRST_CELL.format(FORK)
    assert chapter(book).cells[1].outputs == before.cells[1].outputs


def test_a_second_run_changes_nothing(book, capsys):
    address.main(book)
    text = (book / "book/vit.ipynb").read_bytes()
    assert address.main(book) == 0
    assert "already" in capsys.readouterr().out
    assert (book / "book/vit.ipynb").read_bytes() == text


@pytest.mark.parametrize("path", sorted((address.ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_committed_chapter_loses_nothing_on_the_way_to_a_fork_and_back(path, tmp_path):
    copy = shutil.copy(path, tmp_path / path.name)
    assert address.write(copy, FORK)
    assert address.write(copy, address.repository())
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", sorted((address.ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_installs_from_the_one_address(path):
    assert [found for _, found in address.installed(nbformat.read(path, as_version=4))] == [address.repository()]


def test_the_address_stands_in_no_other_file():
    name = address.repository().partition("://")[2].partition("/")[2]  # owner/name
    files = [
        path
        for pattern in ("*", "book/*.md", "vattn_utils/*", "verification/*", ".github/workflows/*", ".ci/*")
        for path in address.ROOT.glob(pattern)
        if path.is_file()
    ]
    assert len(files) > 20
    assert [path.name for path in files if name in path.read_text(encoding="utf-8")] == ["_config.yml"]


@pytest.mark.parametrize(
    "config", ["title: A book", "repository: {}", "repository: {url: someone/a-fork}", "repository: {url: 7}", ""]
)
def test_a_config_without_an_address_is_refused(book, config, capsys):
    (book / "_config.yml").write_text(config)
    before = (book / "book/vit.ipynb").read_bytes()
    assert address.main(book) == 1
    assert "https://HOST/OWNER/NAME" in capsys.readouterr().err
    assert (book / "book/vit.ipynb").read_bytes() == before


def test_hygiene_fails_a_chapter_that_installs_from_elsewhere():
    notebook = new_notebook(cells=[new_code_cell(FIRST_CELL.format(FORK))])
    (problem,) = hygiene.installs_from_the_books_address(notebook)
    for part in ("cell 1", FORK, address.repository(), "python -m verification.address"):
        assert part in problem
    notebook.cells[0].source = FIRST_CELL.format(address.repository())
    assert list(hygiene.installs_from_the_books_address(notebook)) == []
