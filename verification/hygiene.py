"""The rules that every committed notebook keeps, checked without executing anything.

`problems(path)` lists what is wrong with one notebook, one sentence each: which notebook, which cell, which value,
and the way out. `python -m verification.hygiene book/*.ipynb` prints them and fails if there is one.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from vattn_utils.fingerprint import MIME as FINGERPRINT
from verification import address

MAX_BYTES = 2_000_000
KERNEL = "python3"
TYPES = {"str": str, "int": int, "float": float, "bool": bool}

NOTEBOOK_METADATA = {"kernelspec", "language_info", "executed"}
CELL_METADATA = {"tags", "verify"}
IMAGE_METADATA = {"alt", "width", "height"}

IGNORE_TAG = "nbval-ignore-output"
# What would take an output away from the comparison, or from the page, without saying that it cannot repeat.
HIDING_TAGS = re.compile(r"nbval-(?!ignore-output$)|raises-exception$|skip-execution$|remove[-_]|hide[-_]output$")
HIDING_COMMENTS = re.compile(r"^\s*#\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+", re.MULTILINE)

# A path of the machine on which the notebook ran; in an address (https://host/home/...) it is none.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|work|tmp|root|Users)/[\w.-]*|\b[A-Za-z]:\\+Users\\+\w*")


def code_cells(notebook) -> list[tuple[int, nbformat.NotebookNode]]:
    """The code cells with their positions among all the cells, from 1."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def declared_parameters(notebook) -> dict[str, tuple[str, object]]:
    """The parameters of a chapter, as its one cell tagged `parameters` declares them.

    Returns {name: (type, default)}, the type one of "str", "int", "float", "bool".
    Raises ValueError if there is not exactly one such cell, if it is not the first code cell, or if it holds
    anything but annotated literals (`profile: str = "published"`): papermill replaces values only after this cell
    has run, so that whatever it computed would keep the default.
    """
    cells = code_cells(notebook)
    tagged = [(number, cell) for number, cell in cells if "parameters" in tags(cell)]
    if len(tagged) != 1:
        where = ", ".join(str(number) for number, _ in tagged) or "none"
        raise ValueError(f"{len(tagged)} cells are tagged `parameters` ({where}); tag exactly one")
    number, cell = tagged[0]
    if cell is not cells[0][1]:
        raise ValueError(f"cell {number} is tagged `parameters` but code runs before it; move it to the front")

    parameters = {}
    for statement in ast.parse(cell.source).body:
        line = ast.unparse(statement)
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            raise ValueError(f"cell {number}: `{line}` is not an annotated literal; write `name: type = literal`")
        name, kind = statement.target.id, ast.unparse(statement.annotation)
        if kind not in TYPES:
            raise ValueError(f"cell {number}: `{line}`: the type {kind} is none of {', '.join(TYPES)}")
        try:
            default = ast.literal_eval(statement.value)
        except (ValueError, TypeError):
            raise ValueError(f"cell {number}: `{line}`: the value is computed; write a literal") from None
        if type(default) is not TYPES[kind]:
            raise ValueError(f"cell {number}: `{line}`: the value is not of the type {kind}")
        parameters[name] = (kind, default)
    return parameters


def parameters_are_declared_first(notebook) -> Iterator[str]:
    try:
        parameters = declared_parameters(notebook)
    except (ValueError, SyntaxError) as error:
        yield str(error)
        return
    if parameters.get("profile") != ("str", "published"):
        yield 'the parameters lack `profile: str = "published"`; what is committed is the published profile'


def kernel_is_python3(notebook) -> Iterator[str]:
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != KERNEL:
        yield f"the kernelspec is {name!r}, not {KERNEL!r}, and other machines lack it; run `make refresh`"


def cells_were_executed_in_order(notebook) -> Iterator[str]:
    for count, (number, cell) in enumerate(code_cells(notebook), 1):
        if cell.execution_count != count:
            yield f"cell {number}: execution count {cell.execution_count}, not {count}; run `make refresh`"
            return


def no_output_is_an_error(notebook) -> Iterator[str]:
    for number, output in outputs(notebook):
        if output.output_type == "error":
            yield f"cell {number}: {output.ename}: {output.evalue}; mend the cell and run `make refresh`"


def nothing_was_printed_to_stderr(notebook) -> Iterator[str]:
    for number, output in outputs(notebook):
        if output.output_type == "stream" and output.name == "stderr":
            first = output.text.strip().partition("\n")[0]
            yield f"cell {number}: stderr holds {first!r}; remove the cause and run `make refresh`"


def no_path_of_a_machine(notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        for text in (cell.source, *texts(cell.get("outputs", []))):
            found = MACHINE_PATH.search(text)
            if found:
                yield f"cell {number}: {found.group()!r} is a path of one machine; print a relative path or a name"
                break


def no_stray_metadata(notebook) -> Iterator[str]:
    yield from strays("the notebook", notebook.metadata, NOTEBOOK_METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        yield from strays(f"cell {number}", cell.metadata, CELL_METADATA)
    for number, output in outputs(notebook):
        yield from strays(f"an output of cell {number}", output.get("metadata", {}), set(output.get("data", {})))
        for kind, metadata in output.get("metadata", {}).items():
            if kind.startswith("image/"):
                yield from strays(f"a figure of cell {number}", metadata, IMAGE_METADATA)


def only_one_tag_hides_outputs(notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for tag in tags(cell):
            if HIDING_TAGS.match(tag):
                yield f"cell {number}: the tag {tag!r} hides what the cell does; only `{IGNORE_TAG}` may"
        found = HIDING_COMMENTS.search(cell.source)
        if found:
            yield f"cell {number}: {found.group().strip()!r} hides what the cell does; only the tag `{IGNORE_TAG}` may"


def figures_have_fingerprint_and_alt_text(notebook) -> Iterator[str]:
    for number, output in outputs(notebook):
        for kind in images(output):
            if FINGERPRINT not in output.data:
                yield f"cell {number}: a figure without a fingerprint cannot be compared; show it with notebook.figure"
            alt = output.metadata.get(kind, {}).get("alt", "")
            if not alt.strip():
                yield f"cell {number}: a figure without alt text; give it with notebook.figure(..., alt=...)"


def installs_from_the_books_address(notebook) -> Iterator[str]:
    book = address.repository()
    for number, found in address.installed(notebook):
        if found != book:
            yield f"cell {number}: installs from {found}, _config.yml says {book}; run `python -m verification.address`"


CHECKS = (
    parameters_are_declared_first,
    kernel_is_python3,
    cells_were_executed_in_order,
    no_output_is_an_error,
    nothing_was_printed_to_stderr,
    no_path_of_a_machine,
    no_stray_metadata,
    only_one_tag_hides_outputs,
    figures_have_fingerprint_and_alt_text,
    installs_from_the_books_address,
)


def problems(path: Path) -> list[str]:
    """Everything that is wrong with the notebook at `path`, a sentence each; empty if it keeps all the rules."""
    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"{path.name}: not a valid notebook: {str(error).partition(chr(10))[0]}"]
    found = [f"{path.name}, {problem}" for check in CHECKS for problem in check(notebook)]
    size = path.stat().st_size
    if size >= MAX_BYTES:
        found.append(f"{path.name}: {size:,} bytes, the limit is {MAX_BYTES:,}; draw fewer or smaller figures")
    return found


def outputs(notebook) -> Iterator[tuple[int, nbformat.NotebookNode]]:
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            yield number, output


def images(output) -> list[str]:
    """The image types of an output: a figure has one, anything else none."""
    return [kind for kind in output.get("data", {}) if kind.startswith("image/")]


def strays(owner: str, metadata, allowed: set[str]) -> Iterator[str]:
    for key in sorted(set(metadata) - allowed):
        yield f"{owner} carries the metadata {key!r}; run `make refresh`, which strips it"


def texts(value) -> Iterator[str]:
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


def main(paths: list[str]) -> int:
    found = [problem for path in paths for problem in problems(Path(path))]
    print(*found or [f"{len(paths)} notebooks keep the rules"], sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
