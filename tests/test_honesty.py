"""The book as it is committed cannot say what nothing derives: seals, prose, markup, what it was taken over with.

No chapter is executed here, and nothing of the package is imported: these are the checks that `make lies` tries.
"""

import re
from pathlib import Path

import nbformat
import pytest

from bookproof import manifest, seal
from bookproof.book import Book
from bookproof.checks import hygiene, markup, prose

BOOK = Book(Path(__file__).parents[1])
CHAPTERS = BOOK.chapters()


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_is_as_its_execution_left_it(name):
    path = CHAPTERS[name]
    assert seal.broken(nbformat.read(path, as_version=4), path.name) == []


@pytest.mark.parametrize("path", prose.sources(BOOK), ids=lambda path: path.relative_to(BOOK.root).as_posix())
def test_no_prose_of_the_book_types_a_claim(path):
    assert prose.problems(path) == []


@pytest.mark.parametrize("page", BOOK.pages(), ids=lambda path: path.name)
def test_no_page_brings_along_a_program_or_a_picture_of_unknown_making(page):
    assert markup.problems(BOOK, page) == []


def test_what_was_taken_over_is_as_it_came_and_says_its_version_and_licence():
    assert manifest.problems(BOOK) == []
    for folder in (path for name in BOOK.settings.sealed for path in BOOK.root.glob(name) if path.is_dir()):
        assert (folder / "LICENSE").is_file(), folder
        assert re.search(r"\d+\.\d+\.\d+", (folder / "README.md").read_text(encoding="utf-8")), folder


def test_nothing_writes_on_the_pages_but_the_pages():
    for path in (BOOK.root / "book" / "_static").rglob("*.css"):
        written = re.findall(r"(?<![\w-])content\s*:\s*([^;}]+)", path.read_text(encoding="utf-8"))
        assert [text for text in written if re.search(r"\d|attr\(|counter|url\(", text)] == [], path.name


def test_the_book_has_one_title():
    title = BOOK.config()["title"]
    for page in ("README.md", "book/index.md"):
        assert (BOOK.root / page).read_text(encoding="utf-8").startswith(f"# {title}\n"), page


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_not_compared_in_a_chapter_says_why_and_is_no_result(name):
    notebook = nbformat.read(CHAPTERS[name], as_version=4)
    assert list(hygiene.what_is_not_compared_says_why_and_is_no_result(BOOK, notebook)) == []
