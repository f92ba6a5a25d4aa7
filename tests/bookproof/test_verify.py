"""Executed notebooks are compared with the committed ones as nbval's are, and no kernel is needed for it."""

import base64
import copy
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from bookproof import fingerprint, verify
from bookproof.__main__ import main
from bookproof.book import ChapterError
from bookproof.fingerprint import MIME


def printing(count, text, *tags, **metadata):
    output = new_output("stream", name="stdout", text=text)
    return new_code_cell(
        f"step_{count}()", outputs=[output], execution_count=count, metadata={"tags": list(tags), **metadata}
    )


@pytest.fixture
def committed():
    return new_notebook(
        cells=[
            new_code_cell('profile: str = "published"', execution_count=1, metadata={"tags": ["parameters"]}),
            printing(2, "Profile published: real images.\n", "depends-on-data"),
            new_markdown_cell("## The memory"),
            printing(3, "accuracy 0.700\n", "depends-on-data"),
            printing(4, "rows sum to 1.000\n", verify={"rtol": 0.1, "reason": "trained here"}),
            printing(5, "took 12 s\n", "nbval-ignore-output"),
        ]
    )


@pytest.fixture
def book(book, committed):
    """A book of two chapters, and an empty folder for executed ones."""
    (book.root / "_toc.yml").write_text("root: book/index\nchapters:\n- file: book/mini\n- file: book/other\n")
    for name in ("mini", "other"):
        nbformat.write(committed, book.root / "book" / f"{name}.ipynb")
    (book.root / "executed").mkdir()
    return book


def executed_as(committed, profile, changes=()):
    """What papermill makes of `committed`: its parameters injected, the outputs at `changes` replaced."""
    executed = copy.deepcopy(committed)
    executed.cells[1].outputs[0].text = f"Profile {profile}: whatever.\n"
    for position, text in dict(changes).items():
        executed.cells[position].outputs[0].text = text
    injected = new_code_cell(f'profile = "{profile}"', execution_count=2, metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(1, injected)
    return executed


def test_an_execution_with_the_same_outputs_has_no_complaints(book, committed):
    same = executed_as(committed, "published", {1: "Profile published: real images.\n"})
    assert verify.complaints(book, committed, same, "mini.ipynb") == []


def test_a_changed_number_is_told_with_its_place_and_the_way_out(book, committed):
    wrong = executed_as(committed, "published", {1: "Profile published: real images.\n", 3: "accuracy 0.710\n"})
    (told,) = verify.complaints(book, committed, wrong, "mini.ipynb")
    assert told.startswith('mini.ipynb, "The memory", cell 4 (In [3]): the output is not the committed one')
    assert "expected  0.700" in told
    assert "found     0.710" in told
    assert "bookproof refresh --chapter mini" in told


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_what_depends_on_data_counts_in_the_published_profile_only(book, committed, profile):
    assert (
        verify.complaints(book, committed, executed_as(committed, profile, {3: "accuracy 0.1\n"}), "mini.ipynb") == []
    )
    wrong = executed_as(committed, profile, {4: "rows sum to 2.000\n"})
    assert len(verify.complaints(book, committed, wrong, "mini.ipynb")) == 1


def test_tolerances_and_ignored_outputs_are_those_of_the_cell(book, committed):
    near = executed_as(committed, "quick", {4: "rows sum to 1.050\n", 5: "took 99 hours\n"})
    assert verify.complaints(book, committed, near, "mini.ipynb") == []


def test_an_execution_that_failed_midway_is_a_difference(book, committed):
    failed = executed_as(committed, "quick")
    failed.cells[5].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]
    failed.cells[6].execution_count = None
    told = verify.complaints(book, committed, failed, "mini.ipynb")
    assert ["ValueError: no" in told[0], "ended before this cell" in told[1], len(told)] == [True, True, 2]


def test_an_execution_of_other_code_is_not_compared(book, committed):
    other = executed_as(committed, "quick")
    other.cells[4].source = "another_step()"
    with pytest.raises(ChapterError, match="not the committed code"):
        verify.complaints(book, committed, other, "mini.ipynb")


def test_an_execution_that_names_no_profile_is_not_compared(book, committed):
    silent = executed_as(committed, "quick")
    silent.cells[2].outputs = []
    with pytest.raises(ChapterError, match="which profile"):
        verify.complaints(book, committed, silent, "mini.ipynb")


def test_a_folder_is_compared_chapter_by_chapter(book, committed):
    nbformat.write(executed_as(committed, "quick"), book.root / "executed" / "mini.ipynb")
    compared, found = verify.verify(book, book.root / "executed")
    assert compared == {"mini": "5 code cells, quick profile"}
    assert found == {"mini": []}


def test_a_folder_without_chapters_is_an_error(book):
    with pytest.raises(ChapterError, match="none of the chapters mini, other"):
        verify.verify(book, book.root / "executed")


def test_the_command_fails_if_one_chapter_differs(book, committed, capsys):
    command = ["--root", str(book.root), "verify", str(book.root / "executed")]
    nbformat.write(executed_as(committed, "quick"), book.root / "executed" / "mini.ipynb")
    assert main(command) == 0
    nbformat.write(executed_as(committed, "quick", {4: "rows sum to 3.000\n"}), book.root / "executed" / "mini.ipynb")
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "mini: differs (5 code cells, quick profile)" in printed
    assert f"not in {book.root / 'executed'}: other" in printed


def drawn(image):
    """The output of a figure that shows an image."""
    fig, axes = plt.subplots(figsize=(2, 2))
    axes.imshow(image)
    png = io.BytesIO()
    fig.savefig(png, format="png")
    plt.close(fig)
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), MIME: fingerprint.of_figure(fig)}
    return new_output("display_data", data)


def test_of_a_figure_that_differs_both_pictures_and_their_difference_are_kept(book, committed):
    same, was, now = drawn([[1, 2], [3, 4]]), drawn([[1, 2], [3, 5]]), drawn([[1, 2], [3, 9]])
    committed.cells[4].outputs = [same, was]
    executed = executed_as(committed, "quick")
    executed.cells[5].outputs = [same, now]
    (told,) = verify.complaints(book, committed, executed, "mini.ipynb")
    kept = {path.name: Image.open(path) for path in sorted((book.build / "failed").iterdir())}
    assert list(kept) == [f"mini-cell-5-2-{kind}.png" for kind in ("committed", "difference", "found")]
    assert all(f"_build/failed/{name}" in told for name in kept)
    committed_picture, difference, found = kept.values()
    assert np.array_equal(255 - np.abs(np.array(committed_picture, int) - np.array(found, int)), np.array(difference))
    assert np.array(difference).min() < 255
