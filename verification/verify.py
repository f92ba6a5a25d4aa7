"""Committed outputs against an execution: cell by cell, under the cells' own tags and tolerances.

    python -m verification.verify DIR

compares the chapters that were executed elsewhere, for example by papermill on a GPU, with the committed ones. No
kernel is started. `pytest --nbval` uses the same rules (`verification.plugin`).

What a cell tagged `nbval-ignore-output` shows is never compared, what a cell tagged `depends-on-data` shows only in
the published profile.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from verification.execute import INJECTED, PROFILES, ROOT, ChapterError, chapters
from verification.hygiene import IGNORE_TAG, code_cells, outputs, tags
from verification.outputs import compare, tolerance_of

DATA_TAG = "depends-on-data"
SHOWN_DIFFERENCES = 5
PROFILE_LINE = re.compile(rf"^Profile ({'|'.join(PROFILES)}):", re.MULTILINE)  # what notebook.open_chapter prints


def place(notebook, position, name):
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


def complaint(cell, found, profile, chapter):
    """What is wrong with the outputs `found` of a committed code cell when it runs in `profile`; "" if nothing is.

    Text for a person: the differences, and the way out.
    """
    way_out = f"run `make refresh CHAPTER={chapter}`"
    if cell.source.strip() and cell.execution_count is None:
        return f"the committed cell was never executed; {way_out}"
    if IGNORE_TAG in tags(cell) or (DATA_TAG in tags(cell) and profile != "published"):
        return ""
    try:
        differences = compare(cell.outputs, found, tolerance_of(cell.metadata))
    except ValueError as error:
        return str(error)
    if not differences:
        return ""
    shown = "\n".join(f"  {difference}" for difference in differences[:SHOWN_DIFFERENCES])
    more = len(differences) - SHOWN_DIFFERENCES
    rest = f"\n  and {more} more" if more > 0 else ""
    return f"the output is not the committed one\n{shown}{rest}\n  If the new one is right, {way_out}"


def profile_of(executed):
    """The profile that an executed chapter says it ran in. Raises ChapterError if it says none."""
    printed = "\n".join(output.text for _, output in outputs(executed) if output.output_type == "stream")
    said = PROFILE_LINE.search(printed)
    if not said:
        raise ChapterError("it does not say which profile it ran in; was it executed to the end?")
    return said[1]


def complaints(committed, executed, name):
    """Everything that differs between a committed notebook and an execution of it, each with its `place`.

    The two must hold the same code, apart from papermill's parameters; what failed or was not reached in the
    execution is a difference. Raises ChapterError if they do not.
    """
    own = code_cells(committed)
    ran = [cell for _, cell in code_cells(executed) if INJECTED not in tags(cell)]
    if [cell.source for _, cell in own] != [cell.source for cell in ran]:
        raise ChapterError("its code is not the committed code; execute the committed chapter")
    profile = profile_of(executed)
    found = []
    for (position, cell), run in zip(own, ran, strict=True):
        where = place(committed, position, name)
        if cell.source.strip() and run.execution_count is None:
            return [*found, f"{where}: the execution ended before this cell; see the error above it"]
        text = complaint(cell, run.outputs, profile, Path(name).stem)
        if text:
            found.append(f"{where}: {text}")
    return found


def verify(folder, root=ROOT):
    """Compare the chapters executed in `folder` with the committed ones under `root`.

    Returns two dicts by chapter: what was compared, in words, and its complaints. Chapters that `folder` lacks are
    left out. Raises ChapterError if it holds none.
    """
    compared, found = {}, {}
    for name, source in chapters(root).items():
        path = Path(folder) / source.name
        if not path.is_file():
            continue
        committed, executed = nbformat.read(source, as_version=4), nbformat.read(path, as_version=4)
        try:
            found[name] = complaints(committed, executed, source.name)
            compared[name] = f"{len(code_cells(committed))} code cells, {profile_of(executed)} profile"
        except ChapterError as error:
            found[name], compared[name] = [f"{source.name}: {error}"], "not compared"
    if not compared:
        raise ChapterError(f"{folder} holds none of the chapters {', '.join(chapters(root))}; execute one first")
    return compared, found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="verification.verify", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="where the executed chapters are")
    folder = parser.parse_args(arguments).folder
    try:
        compared, found = verify(folder)
    except ChapterError as error:
        print(error, file=sys.stderr)
        return 1
    for name, what in compared.items():
        print(f"{name}: {'differs' if found[name] else 'the same'} ({what})", *found[name], sep="\n")
    absent = [name for name in chapters() if name not in compared]
    if absent:
        print(f"not in {folder}: {', '.join(absent)}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
