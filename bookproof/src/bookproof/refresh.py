"""The outputs of an executed chapter go back into its source, whole and clean, or not at all.

`refresh` executes a chapter here in the published profile, `accept` takes one that was so executed elsewhere; what
both put back passes the same checks.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat

from bookproof import contract, freshness, seal
from bookproof.book import CONFIG, TOC, Book, ChapterError
from bookproof.execute import execute_chapter, plain, say
from bookproof.notebooks import INJECTED, KERNEL, PARAMETERS, Node, code_cells, outputs, own_cells, printed, tags

PICTURE = "picture-"  # a cell tagged picture-NAME draws a figure that stands outside its chapter too
CELL_METADATA = {"tags", "verify"}
HOSTED = {"accelerator", "colab"}  # what a notebook asks of the service that runs it
IMAGE_METADATA = {"alt", "width", "height"}

# What a notebook says about its kernel: enough for every front end, and the same on every machine.
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": KERNEL}
LANGUAGE_INFO = {"name": "python", "pygments_lexer": "ipython3"}


def refresh(book: Book, name: str) -> None:
    """Execute a chapter in the published profile and put its outputs back into the source, all or nothing.

    Raises ChapterError, and leaves the source as it was, if the run failed, printed to stderr, or ran another profile.
    """
    executed, _ = execute_chapter(book, name, book.settings.published)
    put_back(book, name, nbformat.read(executed, as_version=4))


def accept(book: Book, path: Path) -> None:
    """Put the outputs of a chapter that was executed elsewhere, by `bookproof execute`, back into the source.

    Raises ChapterError, and leaves the source as it was, if its code is not the committed code, if it does not follow
    from what is here, or for what `refresh` refuses.
    """
    name = path.stem
    source = book.chapter(name)
    if path.resolve() == source.resolve():
        raise ChapterError(f"{path} is the committed chapter itself; name one that was executed elsewhere")
    try:
        executed = nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError) as error:
        raise ChapterError(f"{path} cannot be read: {error}") from None
    put_back(book, name, executed)


def put_back(book: Book, name: str, executed: Node) -> None:
    """Write the outputs of an executed chapter, and what they follow from, into its source, and seal it."""
    source = book.chapter(name)
    check_publishable(book, name, executed)
    try:
        notebook = with_outputs(nbformat.read(source, as_version=4), executed)
    except ChapterError as error:
        raise ChapterError(f"{source.name}: {error}") from None
    found = plain(executed.metadata["executed"])
    noted = {key: found[key] for key in found if key not in ("parameters", "peak_bytes")}
    notebook.metadata["executed"] = nbformat.from_dict({**noted, "seconds": round(found["seconds"])})
    notebook.metadata[seal.KEY] = seal.of(notebook)
    if not write(notebook, source):
        say(f"{name}: the committed outputs are the same already")
        return
    keep_pictures(notebook, source.parent / "_static")
    say(f"{name}: refreshed {book.relative(source)}")


def write(notebook: Node, path: Path) -> bool:
    """Put a notebook in the place of the one at `path`, whole or not at all. False if that is the same already."""
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if text == path.read_text(encoding="utf-8"):
        return False
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return True


def check_publishable(book: Book, name: str, executed: Node) -> None:
    """Raise ChapterError if the outputs of an executed chapter must not be committed."""
    for number, output in outputs(executed):
        if output.output_type == "error":
            raise ChapterError(f"{name}: cell {number} failed with {output.ename}: {output.evalue}; not refreshed")
        if output.output_type == "stream" and output.name == "stderr":
            raise ChapterError(
                f"{name}: cell {number} printed to stderr, mend that first; not refreshed:\n{output.text}"
            )
    for number, cell in code_cells(executed):
        if cell.source.strip() and cell.execution_count is None:
            raise ChapterError(f"{name}: cell {number} was not executed; not refreshed")
    # The profile that the chapter opened with, whatever it was asked for.
    profile, line = book.settings.published, book.settings.profile_line
    if line and line.format(profile=profile) not in printed(executed):
        raise ChapterError(
            f"{name}: it did not say that it ran the {profile} profile; "
            f"let its first cell print {line.format(profile=profile)!r}, and execute it in that profile"
        )
    if not {"inputs", "date", "seconds"} <= executed.metadata.get("executed", {}).keys():
        raise ChapterError(f"{name}: it does not say what it follows from; execute it with `bookproof execute`")
    declared = contract.declared(book, nbformat.read(book.chapter(name), as_version=4))
    due = {key: value for key, value in contract.parameters(book, name, profile).items() if key in declared}
    ran = plain(executed.metadata["executed"].get("parameters", {}))
    if ran != due:
        raise ChapterError(f"{name}: it ran with {ran}, and the {profile} profile has {due}; execute it in that")
    stale = freshness.reasons(executed, book)
    if stale:
        raise ChapterError(f"{name}: it does not follow from what is here: {'; '.join(stale)}; execute it again")
    changed = seal.broken(executed, name)
    if changed:
        raise ChapterError(f"{name}: not as its execution left it: {'; '.join(changed)}; execute it again")


def with_outputs(source: Node, executed: Node) -> Node:
    """The notebook `source` with the outputs of `executed`, its own prose, and no metadata but the book's own.

    Raises ChapterError if the code of the two is not the same.
    """
    ran = [cell for _, cell in own_cells(executed)]
    own = [cell for _, cell in code_cells(source)]
    if [cell.source for cell in own] != [cell.source for cell in ran]:
        raise ChapterError("its code is not the code that was executed; execute it again")
    for count, (cell, executed_cell) in enumerate(zip(own, ran, strict=True), 1):
        cell.execution_count = count
        cell.outputs = [clean_output(output, count) for output in merged_streams(executed_cell.outputs)]
    for cell in source.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in CELL_METADATA and value}
    asked = {key: source.metadata[key] for key in sorted(HOSTED & source.metadata.keys())}
    source.metadata = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO, **asked}
    return nbformat.from_dict(source)


def merged_streams(pieces: list[Node]) -> list[Node]:
    """The outputs with neighbouring pieces of one stream joined: where a kernel cuts a stream is chance."""
    merged: list[Node] = []
    for output in pieces:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(nbformat.from_dict(output))
    return merged


def clean_output(output: Node, count: int) -> Node:
    if "execution_count" in output:
        output.execution_count = count
    if "metadata" in output:
        output.metadata = {
            kind: {key: value for key, value in metadata.items() if key in IMAGE_METADATA}
            for kind, metadata in output.metadata.items()
            if kind in output.data and kind.startswith("image/")
        }
    return output


def pictures(notebook: Node) -> dict[str, bytes]:
    """The figures that stand outside their chapter too, {name: PNG}: of each cell tagged `picture-<name>` the first."""
    found: dict[str, bytes] = {}
    for _, cell in code_cells(notebook):
        for tag in tags(cell):
            if tag.startswith(PICTURE):
                data: Any = next(
                    output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
                )
                found[tag.removeprefix(PICTURE)] = base64.b64decode(data)
    return found


def keep_pictures(notebook: Node, folder: Path) -> None:
    """Write the notebook's `pictures` into `folder`, for the front page and the README."""
    for name, png in pictures(notebook).items():
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)


def lay_out_book(book: Book, profile: str) -> Path:
    """Copy the book to `_build/book-<profile>`, its chapters with the outputs of that profile; return the copy.

    Each chapter is executed first if it has to be. The parameters that papermill passed are shown in it.
    """
    copy = book.build / f"book-{profile}"
    shutil.rmtree(copy, ignore_errors=True)
    for page in book.pages():
        folder = page.parent.relative_to(book.root)
        if folder != Path(".") and not (copy / folder).exists():
            shutil.copytree(page.parent, copy / folder, ignore=shutil.ignore_patterns(".*"))
        (copy / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy2(page, copy / folder)
    for name in (CONFIG, TOC):
        shutil.copy2(book.root / name, copy)
    for name, source in book.chapters().items():
        executed = nbformat.read(execute_chapter(book, name, profile)[0], as_version=4)
        notebook = with_outputs(nbformat.read(source, as_version=4), executed)
        injected = [cell for cell in executed.cells if cell.cell_type == "code" and INJECTED in tags(cell)]
        if injected:
            place = next((i for i, cell in enumerate(notebook.cells, 1) if PARAMETERS in tags(cell)), 0)
            notebook.cells[place:place] = injected
        nbformat.write(notebook, copy / source.relative_to(book.root))
    return copy
