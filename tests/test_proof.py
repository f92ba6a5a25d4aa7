"""What the verification of this book is told: with which data it can be verified, and where it ran."""

import re
from pathlib import Path

import nbformat
import pytest

from bookproof import address, contract, freshness, manifest, seal
from bookproof.book import Book
from bookproof.checks import links, markup, prose
from bookproof.execute import provenance
from vattn_utils import data
from vattn_utils.show import chapter

BOOK = Book(Path(__file__).parents[1])
CHAPTERS = BOOK.chapters()


@pytest.mark.parametrize(
    ("at_hand", "profile"), [((), "quick"), (("cifar10",), "quick"), (("cifar10", "cifar100"), "published")]
)
def test_the_profile_follows_the_data_at_hand(monkeypatch, at_hand, profile):
    monkeypatch.setattr(data, "at_hand", lambda name: name in at_hand)
    found, told = BOOK.at_hand()
    assert found == profile
    assert f"in the {profile} profile" in told


def test_an_execution_is_told_with_device_and_versions():
    made = provenance(BOOK)
    assert made == chapter.provenance()
    assert made["device"]
    assert made["versions"].keys() >= {"python", "keras", "numpy"}


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_declares_what_the_table_says(name):
    notebook = nbformat.read(CHAPTERS[name], as_version=4)
    contract.check_declared(BOOK, name, contract.declared(BOOK, notebook))


def test_the_table_of_parameters_names_chapters_only():
    assert set(contract.read(BOOK)) <= {contract.EVERY, *CHAPTERS}


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_installs_both_packages_from_the_one_address(name):
    notebook = nbformat.read(CHAPTERS[name], as_version=4)
    assert [found for _, found in address.installed(notebook)] == [address.repository(BOOK)] * 2


def test_the_address_stands_in_no_other_file():
    name = address.repository(BOOK).partition("://")[2].partition("/")[2]  # owner/name
    patterns = ("*", "book/*.md", "vattn_utils/**/*.py", "bookproof/**/*.py", ".github/workflows/*", ".ci/*")
    files = [path for pattern in patterns for path in BOOK.root.glob(pattern) if path.is_file()]
    assert len(files) > 20
    assert [path.name for path in files if name in path.read_text(encoding="utf-8")] == ["_config.yml"]


def test_bookproof_knows_nothing_of_this_book_and_the_package_nothing_of_bookproof():
    own = re.compile("vattn|cifar|attention in vision", re.IGNORECASE)
    other = re.compile(r"\bimport bookproof|\bfrom bookproof")
    for folder, name in (("bookproof", own), ("vattn_utils", other)):
        files = [path for path in (BOOK.root / folder).rglob("*") if path.suffix in (".py", ".toml", ".md")]
        assert files
        assert [path.name for path in files if name.search(path.read_text(encoding="utf-8"))] == []


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
    for folder in (path for name in BOOK.settings.sealed if (path := BOOK.root / name).is_dir()):
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


def test_every_link_within_the_book_leads_somewhere():
    assert links.broken(links.sources(BOOK)) == []


def test_what_every_chapter_follows_from_can_be_told():
    for path in CHAPTERS.values():
        freshness.reasons(nbformat.read(path, as_version=4), BOOK)
