"""The rules that every committed notebook keeps, checked without executing anything.

`problems(book, path)` lists what is wrong with one notebook, one sentence each: which notebook, which cell, which
value, and the way out.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat

from bookproof import address, contract, seal
from bookproof.book import Book
from bookproof.checks import exercises, prose
from bookproof.notebooks import CANNOT_REPEAT, IGNORE, KERNEL, Node, code_cells, images, outputs, tags
from bookproof.outputs import FINGERPRINT_SUFFIX, tolerance_of
from bookproof.refresh import CELL_METADATA, HOSTED, IMAGE_METADATA

MAX_BYTES = 2_000_000
NOTEBOOK_METADATA = {"kernelspec", "language_info", "executed", seal.KEY, *HOSTED}
ACCELERATORS = ("GPU", "TPU")
REFRESH = "run `bookproof refresh`"

# What would take an output away from the comparison, or from the page, without saying that it cannot repeat.
HIDING_TAGS = re.compile(
    r"nbval-(?!ignore-output$)|raises-exception$|skip-execution$|remove[-_]|hide[-_]output$|injected-parameters$|$"
)
HIDING_COMMENTS = re.compile(r"^\s*#\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+", re.MULTILINE)

# A path of the machine on which the notebook ran; in an address (https://host/home/...) it is none.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|work|tmp|root|Users)/[\w.-]*|\b[A-Za-z]:\\+Users\\+\w*")


def parameters_are_declared_first(book: Book, notebook: Node) -> Iterator[str]:
    try:
        parameters = contract.declared(book, notebook)
    except (ValueError, SyntaxError) as error:
        yield str(error)
        return
    published = book.settings.published
    if len(book.settings.profiles) > 1 and parameters.get(contract.PROFILE) != ("str", published):
        yield f'the parameters lack `profile: str = "{published}"`; what is committed is the {published} profile'


def kernel_is_python3(book: Book, notebook: Node) -> Iterator[str]:
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != KERNEL:
        yield f"the kernelspec is {name!r}, not {KERNEL!r}, and other machines lack it; {REFRESH}"


def cells_were_executed_in_order(book: Book, notebook: Node) -> Iterator[str]:
    for count, (number, cell) in enumerate(code_cells(notebook), 1):
        if cell.execution_count != count:
            yield f"cell {number}: execution count {cell.execution_count}, not {count}; {REFRESH}"
            return


def no_output_is_an_error(book: Book, notebook: Node) -> Iterator[str]:
    for number, output in outputs(notebook):
        if output.output_type == "error":
            yield f"cell {number}: {output.ename}: {output.evalue}; mend the cell and {REFRESH}"


def nothing_was_printed_to_stderr(book: Book, notebook: Node) -> Iterator[str]:
    for number, output in outputs(notebook):
        if output.output_type == "stream" and output.name == "stderr":
            first = output.text.strip().partition("\n")[0]
            yield f"cell {number}: stderr holds {first!r}; remove the cause and {REFRESH}"


def no_path_of_a_machine(book: Book, notebook: Node) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        for text in (cell.source, *texts(cell.get("outputs", []))):
            found = MACHINE_PATH.search(text)
            if found:
                yield f"cell {number}: {found.group()!r} is a path of one machine; print a relative path or a name"
                break


def no_stray_metadata(book: Book, notebook: Node) -> Iterator[str]:
    yield from strays("the notebook", notebook.metadata, NOTEBOOK_METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        yield from strays(f"cell {number}", cell.metadata, CELL_METADATA)
    for number, output in outputs(notebook):
        yield from strays(f"an output of cell {number}", output.get("metadata", {}), set(output.get("data", {})))
        for kind, metadata in output.get("metadata", {}).items():
            if kind.startswith("image/"):
                yield from strays(f"a figure of cell {number}", metadata, IMAGE_METADATA)


def a_hosted_notebook_asks_for_an_accelerator_and_nothing_else(book: Book, notebook: Node) -> Iterator[str]:
    kind, colab = notebook.metadata.get("accelerator"), notebook.metadata.get("colab", {})
    if kind not in (None, *ACCELERATORS):
        yield f"the accelerator {kind!r} is not known; use one of {', '.join(ACCELERATORS)}, or none"
    if set(colab) - {"gpuType"} or (colab and kind != "GPU"):
        yield f"the metadata colab is {dict(colab)}; where the accelerator is GPU it may name a gpuType, nothing else"


def only_one_tag_hides_outputs(book: Book, notebook: Node) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for tag in tags(cell):
            if HIDING_TAGS.match(tag):
                yield f"cell {number}: the tag {tag!r} hides what the cell does; only `{IGNORE}` may"
        found = HIDING_COMMENTS.search(cell.source)
        if found:
            yield f"cell {number}: {found.group().strip()!r} hides what the cell does; only the tag `{IGNORE}` may"


def figures_have_fingerprint_and_alt_text(book: Book, notebook: Node) -> Iterator[str]:
    for number, output in outputs(notebook):
        for kind in images(output):
            if not any(name.endswith(FINGERPRINT_SUFFIX) for name in output.data):
                yield f"cell {number}: a figure without a fingerprint cannot be compared; show it with bookproof.figure"
            alt = output.metadata.get(kind, {}).get("alt", "")
            if not alt.strip():
                yield f"cell {number}: a figure without alt text; give it with bookproof.figure(..., alt=...)"


def installs_from_the_books_address(book: Book, notebook: Node) -> Iterator[str]:
    found = address.installed(notebook)
    due = address.repository(book) if found else ""
    for number, given in found:
        if given != due:
            yield f"cell {number}: installs from {given}, _config.yml says {due}; run `bookproof address`"


def every_tolerance_has_a_reason(book: Book, notebook: Node) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        try:
            tolerance_of(cell.metadata)
        except ValueError as error:
            yield f"cell {number}: {error}"


def what_is_not_compared_says_why_and_is_no_result(book: Book, notebook: Node) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        if IGNORE not in tags(cell):
            continue
        if cell.metadata.get("verify", {}).get("reason") not in CANNOT_REPEAT:
            reasons = ", ".join(CANNOT_REPEAT)
            yield (
                f"cell {number}: `{IGNORE}` needs the metadata "
                f'{{"verify": {{"reason": ONE OF {reasons}}}}}; for any other output take the tag away'
            )
        if any(images(output) for output in cell.outputs):
            yield f"cell {number}: a figure is not compared; take the tag `{IGNORE}` away"
        for kind, line in prose.results("\n".join(texts(cell.outputs))):
            yield f"cell {number}: {kind} is not compared: {line!r}; take the tag `{IGNORE}` away"


def exercises_follow_from_their_solutions(book: Book, notebook: Node) -> Iterator[str]:
    yield from exercises.problems(notebook)


CHECKS: tuple[Callable[[Book, Node], Iterator[str]], ...] = (
    parameters_are_declared_first,
    kernel_is_python3,
    cells_were_executed_in_order,
    no_output_is_an_error,
    nothing_was_printed_to_stderr,
    no_path_of_a_machine,
    no_stray_metadata,
    a_hosted_notebook_asks_for_an_accelerator_and_nothing_else,
    only_one_tag_hides_outputs,
    figures_have_fingerprint_and_alt_text,
    installs_from_the_books_address,
    every_tolerance_has_a_reason,
    what_is_not_compared_says_why_and_is_no_result,
    exercises_follow_from_their_solutions,
)


def problems(book: Book, path: Path) -> list[str]:
    """Everything that is wrong with the notebook at `path`, a sentence each; empty if it keeps all the rules."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"{path.name}: not a valid notebook: {str(error).partition(chr(10))[0]}"]
    found = [f"{path.name}, {problem}" for check in CHECKS for problem in check(book, notebook)]
    size = path.stat().st_size
    if size >= MAX_BYTES:
        found.append(f"{path.name}: {size:,} bytes, the limit is {MAX_BYTES:,}; draw fewer or smaller figures")
    return found


def strays(owner: str, metadata: Iterable[str], allowed: set[str]) -> Iterator[str]:
    for key in sorted(set(metadata) - allowed):
        yield f"{owner} carries the metadata {key!r}; {REFRESH}, which strips it"


def texts(value: Any) -> Iterator[str]:
    """Every piece of text inside an output, however deep; pictures are left out, as their base64 may spell anything."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not key.startswith("image/") or key == "image/svg+xml":
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
