"""What the verification of this book is told: with which data it can be verified, and where it ran."""

import re
from pathlib import Path

import nbformat
import pytest

from bookproof import address, contract, freshness
from bookproof.book import Book
from bookproof.checks import links
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


def test_the_address_stands_in_no_file_but_those_that_are_written_from_it():
    name = address.repository(BOOK).partition("://")[2].partition("/")[2]  # owner/name
    patterns = ("*", "book/*.md", "vattn_utils/**/*.py", "bookproof/**/*.py", ".github/workflows/*", ".ci/*")
    files = [path for pattern in patterns for path in BOOK.root.glob(pattern) if path.is_file()]
    assert len(files) > 20
    found = {path.name for path in files if name in path.read_text(encoding="utf-8")}
    assert found == {"_config.yml", "pyproject.toml"}


def test_bookproof_knows_nothing_of_this_book_and_the_package_nothing_of_bookproof():
    own = re.compile("vattn|cifar|attention in vision", re.IGNORECASE)
    other = re.compile(r"\bimport bookproof|\bfrom bookproof")
    for folder, name in (("bookproof", own), ("vattn_utils", other)):
        files = [path for path in (BOOK.root / folder).rglob("*") if path.suffix in (".py", ".toml", ".md")]
        assert files
        assert [path.name for path in files if name.search(path.read_text(encoding="utf-8"))] == []


def test_every_link_within_the_book_leads_somewhere():
    assert links.broken(links.sources(BOOK)) == []


def test_what_every_chapter_follows_from_can_be_told():
    for path in CHAPTERS.values():
        freshness.reasons(nbformat.read(path, as_version=4), BOOK)
