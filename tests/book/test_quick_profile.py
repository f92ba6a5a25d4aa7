"""Every chapter runs in the quick profile: no network, bounded time, 4 GiB. `make quick` calls this."""

import hashlib
import math
from pathlib import Path

import nbformat
import pytest

from bookproof.book import Book, ChapterError
from bookproof.checks import exercises
from bookproof.execute import execute_chapter
from bookproof.kernel import Limits

BOOK = Book(Path(__file__).parents[2])

QUICK = Limits(seconds=150, bytes=4 * 2**30)  # on two cores, with another chapter beside it


def effort(chapter):
    """The seconds that the committed chapter took; one that was never executed is tried first."""
    return nbformat.read(BOOK.chapter(chapter), as_version=4).metadata.get("executed", {}).get("seconds", math.inf)


# The longest first, so that two at a time end together.
@pytest.mark.parametrize("chapter", sorted(BOOK.chapters(), key=effort, reverse=True))
def test_chapter_runs_in_the_quick_profile_within_its_limits(chapter, monkeypatch, tmp_path, record_property):
    # An empty place to find CIFAR in: the quick profile must not need it.
    monkeypatch.setenv("VATTN_DATA", str(tmp_path))
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path))
    before = committed()
    try:
        executed, execution = execute_chapter(BOOK, chapter, "quick", limits=QUICK, force=True)
    except ChapterError as error:
        if "took more than" not in str(error):
            raise
        # A machine may have been busy with something else: the better of two tries counts.
        executed, execution = execute_chapter(BOOK, chapter, "quick", limits=QUICK, force=True)
    record_property("execution", str(execution))
    assert executed.is_relative_to(BOOK.build / "executed")
    assert 0 < execution.peak_bytes <= QUICK.bytes
    assert execution.seconds <= QUICK.seconds
    assert committed() == before
    assert list(exercises.unsolved(nbformat.read(executed, as_version=4))) == []


def committed():
    """The digests of all chapters and records, which no quick run may change."""
    files = [path for folder in ("book", "records") for path in (BOOK.root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(BOOK.root): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_table_of_contents_names_chapters():
    assert BOOK.chapters()
