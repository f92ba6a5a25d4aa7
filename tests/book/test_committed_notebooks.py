"""The committed notebooks keep the rules of `bookproof.checks.hygiene`. `make pages` calls this."""

import ast
from pathlib import Path

import nbformat
import pytest

from bookproof import contract
from bookproof.book import Book
from bookproof.checks import hygiene
from bookproof.notebooks import code_cells
from bookproof.refresh import pictures

BOOK = Book(Path(__file__).parents[2])
NOTEBOOKS = sorted((BOOK.root / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert hygiene.problems(BOOK, path) == []


def read(name):
    return nbformat.read(BOOK.chapter(name), as_version=4)


@pytest.mark.parametrize("name", BOOK.chapters())
def test_a_chapter_that_trains_asks_its_host_for_a_gpu_and_no_other_does(name):
    trains = "epochs" in contract.parameters(BOOK, name, "full")
    assert trains == any("chapter.run(" in cell.source for _, cell in code_cells(read(name)))
    assert read(name).metadata.get("accelerator") == ("GPU" if trains else None)


def test_what_the_results_leave_to_a_chapter_is_evaluated_there():
    source = next(cell.source for _, cell in code_cells(read("results")) if "THERE = {" in cell.source)
    there = ast.literal_eval(source.partition("THERE = ")[2].partition("}")[0] + "}")
    assert len(there) > 3
    for record, chapter in there.items():
        assert f"records/{record}/model.safetensors" in read(chapter).metadata["executed"]["inputs"]["files"]
        assert "training.evaluate(" in "".join(cell.source for _, cell in code_cells(read(chapter)))


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_the_hero_picture_is_what_a_chapter_drew():
    drawn = {}
    for path in NOTEBOOKS:
        drawn |= pictures(nbformat.read(path, as_version=4))
    assert "hero" in drawn
    for name, png in drawn.items():
        assert (BOOK.root / "book" / "_static" / f"{name}.png").read_bytes() == png, f"{name}.png: run `make refresh`"
