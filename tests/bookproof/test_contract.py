"""What parameters the chapters have stands in one table, and the chapters keep to it."""

import nbformat
import pytest

from bookproof import contract
from bookproof.book import ChapterError
from bookproof.contract import ContractError
from bookproof.execute import execute_chapter

TABLE = """
every.profile = {published = "published", quick = "quick", full = "full"}
maps.images = {published = 512, quick = 16, full = 512}
"""


def write(book, table):
    (book.root / book.settings.parameters).write_text(table)


def test_a_profile_has_its_own_values(book):
    assert contract.parameters(book, "maps", "quick") == {"profile": "quick", "images": 16}
    assert contract.parameters(book, "vit", "published") == {"profile": "published"}


def test_an_unknown_profile_is_named(book):
    with pytest.raises(ContractError, match="profile='quik' does not exist; use one of published, quick, full"):
        contract.parameters(book, "maps", "quik")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("every.seed = {published = 0, quick = 0}", r"\[every\.seed\] must have a value for each of"),
        ("every.seed = 0", r"\[every\.seed\] must have a value for each of"),
        ("every.seed = {published = 0, quick = 0, full = 0, fast = 0}", "and nothing else"),
        ("every.seed = {published = 0, quick = 0.5, full = 0}", "give them one type"),
        ("every.seed = {published = [0], quick = [0], full = [0]}", "give them one type"),
        (TABLE + "maps.profile = {published = '', quick = '', full = ''}", r"\[every\] already"),
        ("every.seed = {", "is not TOML"),
        (
            "maps.images = {published = 1, quick = 1, full = 1}\nevery = 3",
            r"every = 3 is no table; write \[every\.PARAMETER\]",
        ),
    ],
)
def test_a_wrong_table_is_refused(book, table, complaint):
    write(book, table)
    with pytest.raises(ContractError, match=complaint):
        contract.read(book)


def test_a_missing_table_is_named(book):
    (book.root / book.settings.parameters).unlink()
    with pytest.raises(ContractError, match=r"parameters\.toml is missing"):
        contract.read(book)


PROFILE = {"profile": ("str", "published")}


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        (PROFILE, r"lacks 'images'; write `images: int = 512`"),
        ({**PROFILE, "images": ("int", 512), "image": ("int", 1)}, "no parameter 'image' .*Did you mean 'images'"),
        ({**PROFILE, "images": ("int", 16)}, "has images=16, .* has 512"),
        ({**PROFILE, "images": ("float", 512.0)}, "has images=512.0, .* has 512"),
    ],
)
def test_a_chapter_that_declares_something_else_is_refused(book, declared, complaint):
    with pytest.raises(ContractError, match=complaint):
        contract.check_declared(book, "maps", declared)
    contract.check_declared(book, "maps", {**PROFILE, "images": ("int", 512)})


def test_a_chapter_that_breaks_the_table_gets_no_kernel(book, monkeypatch):
    (book.root / "_toc.yml").write_text("root: book/index\nchapters:\n- file: book/maps\n")
    cells = [nbformat.v4.new_code_cell('profile: str = "published"', metadata={"tags": ["parameters"]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), book.root / "book" / "maps.ipynb")
    monkeypatch.setattr("bookproof.execute.execute", lambda *_, **__: pytest.fail("a kernel was started"))
    with pytest.raises(ChapterError, match=r"maps\.ipynb: the parameters cell lacks 'images'"):
        execute_chapter(book, "maps", "quick")


def test_a_book_of_one_profile_needs_no_table(book):
    (book.root / "pyproject.toml").write_text("")
    assert contract.read(book) == contract.parameters(book, "maps", "published") == {}
    assert contract.declared(book, nbformat.v4.new_notebook()) == {}
