"""Committed outputs against an execution: cell by cell, under the cells' own tags and tolerances.

`bookproof verify DIR` compares chapters that were executed elsewhere, for example by papermill on a GPU, with the
committed ones, without a kernel. `pytest --nbval` uses the same rules (`bookproof.plugin`).

What a cell tagged `nbval-ignore-output` shows is never compared, what a cell tagged `depends-on-data` shows only in
the published profile.
"""

import re
from pathlib import Path

import nbformat

from bookproof import failed
from bookproof.book import Book, ChapterError
from bookproof.notebooks import DEPENDS_ON_DATA, IGNORE, Node, code_cells, own_cells, printed, tags
from bookproof.outputs import compare, tolerance_of

SHOWN_DIFFERENCES = 5


def place(notebook: Node, position: int, name: str) -> str:
    """Chapter, nearest heading above and number of a cell, for example `eanet.ipynb, "The memory", cell 12 (In [7])`.

    `position` is the cell's number among all cells of the notebook, Markdown included, from 1.
    """
    headings = [
        line.lstrip("#").strip()
        for cell in notebook.cells[:position]
        if cell.cell_type == "markdown"
        for line in re.sub(r"(?s)```.*?```", "", cell.source).splitlines()
        if re.match(r"#{1,6} ", line)
    ]
    heading = f', "{headings[-1]}"' if headings else ""
    count = notebook.cells[position - 1].get("execution_count")
    return f"{name}{heading}, cell {position} (In [{count or ' '}])"


def complaint(book: Book, cell: Node, found: list[Node], profile: str, chapter: str, position: int) -> str:
    """What is wrong with the outputs `found` of a committed code cell when it runs in `profile`; "" if nothing is.

    Text for a person: the differences, and the way out. Where a figure differs, its pictures are kept in
    `_build/failed`.
    """
    way_out = f"run `bookproof refresh --chapter {chapter}`"
    if cell.source.strip() and cell.execution_count is None:
        return f"the committed cell was never executed; {way_out}"
    if IGNORE in tags(cell) or (DEPENDS_ON_DATA in tags(cell) and profile != book.settings.published):
        return ""
    try:
        tolerance = tolerance_of(cell.metadata)
    except ValueError as error:
        return str(error)
    differences = compare(cell.outputs, found, tolerance)
    if not differences:
        return ""
    shown = "\n".join(f"  {difference}" for difference in differences[:SHOWN_DIFFERENCES])
    more = len(differences) - SHOWN_DIFFERENCES
    rest = f"\n  and {more} more" if more > 0 else ""
    kept = failed.keep(cell.outputs, found, tolerance, book.build / failed.FOLDER, f"{chapter}-cell-{position}")
    seen = f"\n  The pictures: {', '.join(map(book.relative, kept))}" if kept else ""
    return f"the output is not the committed one\n{shown}{rest}{seen}\n  If the new one is right, {way_out}"


def room(book: Book) -> list[str]:
    """Every cell of the book that is compared with more room than others, or not at all: where, how much, and why."""
    found = []
    for path in book.chapters().values():
        notebook = nbformat.read(path, as_version=4)
        for position, cell in code_cells(notebook):
            given = cell.metadata.get("verify", {})
            units = {"atol": "{:g}", "rtol": "{:g} of the size"}
            told = " plus ".join(unit.format(given[key]) for key, unit in units.items() if given.get(key))
            if IGNORE in tags(cell):
                told = "not compared"
            if told:
                found.append(f"{place(notebook, position, path.name)}: {told}: {given.get('reason', 'no reason')}")
    return found


def profile_of(book: Book, executed: Node) -> str:
    """The profile that an executed chapter says it ran in. Raises ChapterError if it says none."""
    line = book.settings.profile_line
    if not line:
        return book.settings.published
    text = printed(executed)
    for profile in book.settings.profiles:
        if re.search(rf"^{re.escape(line.format(profile=profile))}", text, re.MULTILINE):
            return profile
    raise ChapterError("it does not say which profile it ran in; was it executed to the end?")


def complaints(book: Book, committed: Node, executed: Node, name: str) -> list[str]:
    """Everything that differs between a committed notebook and an execution of it, each with its `place`.

    The two must hold the same code, apart from papermill's parameters; what failed or was not reached in the
    execution is a difference. Raises ChapterError if they do not.
    """
    own = code_cells(committed)
    ran = [cell for _, cell in own_cells(executed)]
    if [cell.source for _, cell in own] != [cell.source for cell in ran]:
        raise ChapterError("its code is not the committed code; execute the committed chapter")
    profile = profile_of(book, executed)
    found: list[str] = []
    for (position, cell), run in zip(own, ran, strict=True):
        where = place(committed, position, name)
        if cell.source.strip() and run.execution_count is None:
            return [*found, f"{where}: the execution ended before this cell; see the error above it"]
        text = complaint(book, cell, run.outputs, profile, Path(name).stem, position)
        if text:
            found.append(f"{where}: {text}")
    return found


def verify(book: Book, folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Compare the chapters executed in `folder` with the committed ones.

    Returns two dicts by chapter: what was compared, in words, and its complaints. Chapters that `folder` lacks are
    left out. Raises ChapterError if it holds none.
    """
    compared: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, source in book.chapters().items():
        path = folder / source.name
        if not path.is_file():
            continue
        committed, executed = nbformat.read(source, as_version=4), nbformat.read(path, as_version=4)
        try:
            found[name] = complaints(book, committed, executed, source.name)
            compared[name] = f"{len(code_cells(committed))} code cells, {profile_of(book, executed)} profile"
        except ChapterError as error:
            found[name], compared[name] = [f"{source.name}: {error}"], "not compared"
    if not compared:
        raise ChapterError(f"{folder} holds none of the chapters {', '.join(book.chapters())}; execute one first")
    return compared, found


def report(book: Book, folder: Path) -> int:
    """Print what `verify` finds; 1 if a chapter differs, else 0."""
    failed.forget(book.build / failed.FOLDER)
    compared, found = verify(book, folder)
    for name, what in compared.items():
        print(f"{name}: {'differs' if found[name] else 'the same'} ({what})", *found[name], sep="\n")
    absent = [name for name in book.chapters() if name not in compared]
    if absent:
        print(f"not in {folder}: {', '.join(absent)}")
    return int(any(found.values()))
