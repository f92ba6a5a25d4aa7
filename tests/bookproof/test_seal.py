"""What is committed is as its execution left it: whatever changed afterwards, within the tolerance too, is named."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bookproof import refresh, seal
from bookproof.__main__ import main
from bookproof.book import ChapterError

FIGURE = {"image/png": "aGVybw==", "text/plain": "a map", "application/x.figure+json": {"axes": [0.5]}}


@pytest.fixture
def notebook():
    """A notebook as a refresh leaves it."""
    made = new_notebook(
        cells=[
            new_markdown_cell("# Maps\n\nA word."),
            new_code_cell("print(top1)", outputs=[new_output("stream", text="65.18 %\n")], execution_count=1),
            new_code_cell(
                "draw()",
                outputs=[new_output("display_data", FIGURE, metadata={"image/png": {"alt": "A map."}})],
                metadata={"tags": ["hide-input", "depends-on-data"], "verify": {"atol": 0.2, "reason": "nearly tied"}},
                execution_count=2,
            ),
        ]
    )
    made.metadata["executed"] = {"date": "2026-11-28", "device": "2 CPU cores"}
    made.metadata[seal.KEY] = seal.of(made)
    return nbformat.reads(nbformat.writes(made), as_version=4)


def test_what_nobody_touched_is_whole(notebook):
    assert seal.broken(notebook, "maps.ipynb") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda first, second: first.outputs[0].update(text="66.60 %\n"),
        lambda first, second: first.outputs[0].update(text="99.3 %\r65.18 %\n"),
        lambda first, second: second.outputs[0].data.update({"image/png": "b3RoZXI="}),
        lambda first, second: second.outputs[0].data["application/x.figure+json"].update(axes=[0.6]),
        lambda first, second: second.outputs[0].metadata["image/png"].update(alt="Another."),
        lambda first, second: first.update(source="print(0.9930)"),
        lambda first, second: first.metadata.update(tags=["nbval-ignore-output"]),
        lambda first, second: second.metadata.update(tags=["hide-input"]),
        lambda first, second: second.metadata["verify"].update(atol=0.9),
        lambda first, second: first.outputs.clear(),
    ],
    ids=["number", "carriage return", "pixels", "fingerprint", "alt", "code", "ignored", "tag", "tolerance", "gone"],
)
def test_whatever_changes_in_a_code_cell_is_named_with_its_place(notebook, change):
    first, second = notebook.cells[1:]
    before = seal.of(notebook)["cells"]
    change(first, second)
    changed = [i for i, (a, b) in enumerate(zip(before, seal.of(notebook)["cells"], strict=True)) if a != b]
    (told,) = seal.broken(notebook, "maps.ipynb")
    assert told.startswith(
        f'maps.ipynb, "Maps", cell {changed[0] + 2} (In [{changed[0] + 1}]): its code, outputs, tags'
    )


def saved_by_javascript(content):
    """What JavaScript makes of JSON: it has one kind of number, and writes 1.0 as 1."""
    if isinstance(content, dict):
        return {key: saved_by_javascript(inner) for key, inner in content.items()}
    if isinstance(content, list):
        return [saved_by_javascript(inner) for inner in content]
    return int(content) if isinstance(content, float) and content == int(content) else content


def test_a_notebook_that_jupyterlab_saved_keeps_its_seal(notebook):
    outputs = notebook.cells[2].outputs
    outputs[0].data["application/x.figure+json"] = {"axes": [1.0, 0.5, {"limits": [-0.0, 1e3]}], "grid": True}
    notebook.metadata["executed"]["seconds"] = 12.0
    notebook.metadata[seal.KEY] = seal.of(notebook)
    saved = json.dumps(saved_by_javascript(json.loads(nbformat.writes(notebook))))
    assert "1.0" not in saved
    again = nbformat.reads(saved, as_version=4)
    assert seal.broken(again, "maps.ipynb") == []
    again.cells[2].outputs[0].data["application/x.figure+json"]["axes"][0] = True
    assert seal.broken(again, "maps.ipynb") != []


def test_cells_that_come_and_go_are_named(notebook):
    notebook.cells.insert(1, new_code_cell("print('99.3 %')", outputs=[new_output("stream", text="99.3 %\n")]))
    (told,) = seal.broken(notebook, "maps.ipynb")
    assert told == 'maps.ipynb, "Maps", cell 2 (In [ ]) was not there when the chapter was executed'
    del notebook.cells[1:3]
    assert seal.broken(notebook, "maps.ipynb") == ["maps.ipynb: 1 cells are gone that it was executed with"]


def test_what_a_notebook_says_of_its_execution_is_sealed_too(notebook):
    notebook.metadata["executed"]["device"] = "Raspberry Pi"
    (told,) = seal.broken(notebook, "maps.ipynb")
    assert "what it says of its execution (date, device, versions)" in told


@pytest.mark.parametrize("cells", [[], ["0123456789abcdef"]])
def test_a_seal_that_a_merge_spoilt_is_no_seal(notebook, cells):
    notebook.metadata[seal.KEY]["cells"] = cells
    assert seal.broken(notebook, "maps.ipynb") != []


def test_prose_and_how_a_cell_stands_on_the_page_are_free(notebook):
    notebook.cells[0].source = "# Maps\n\nAnother word."
    notebook.cells.append(new_markdown_cell("More."))
    notebook.cells[1].metadata["tags"] = ["hide-input", "margin"]
    notebook.cells[2].metadata["tags"] = ["depends-on-data"]
    assert seal.broken(notebook, "maps.ipynb") == []


def test_a_fork_that_installs_from_its_own_address_keeps_the_seal(notebook):
    notebook.cells[1].source = "%pip install -q git+https://github.com/a/b"
    notebook.metadata[seal.KEY] = seal.of(notebook)
    notebook.cells[1].source = "%pip install -q git+https://github.com/c/d"
    assert seal.broken(notebook, "maps.ipynb") == []


def test_a_chapter_without_a_seal_fails_and_the_way_out_is_told(book, notebook, capsys):
    del notebook.metadata[seal.KEY]
    nbformat.write(notebook, book.root / "book" / "mini.ipynb")
    assert main(["--root", str(book.root), "stale"]) == 1
    printed = capsys.readouterr().out
    assert "mini.ipynb carries no seal" in printed
    assert "run `bookproof refresh --chapter mini`" in printed


def test_an_executed_notebook_that_was_edited_is_not_put_back(book, notebook, monkeypatch):
    monkeypatch.setattr(refresh.freshness, "reasons", lambda *_: [])
    monkeypatch.setattr(refresh.contract, "declared", lambda *_: {})
    notebook.cells[1].outputs[0].text = "Profile published: 66.60 %\n"
    notebook.metadata["executed"].update(inputs={}, seconds=1)
    nbformat.write(notebook, book.root / "book" / "mini.ipynb")
    with pytest.raises(ChapterError, match=r"not as its execution left it: .*cell 2"):
        refresh.check_publishable(book, "mini", notebook)


def test_no_command_seals_what_was_not_executed(book, capsys):
    with pytest.raises(SystemExit):
        main(["--root", str(book.root), "seal"])
    assert "invalid choice: 'seal'" in capsys.readouterr().err
