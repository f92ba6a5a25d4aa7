"""What every part asks of a notebook: its code cells, tags, outputs, pictures and declared parameters."""

import ast
from collections.abc import Iterator
from typing import Any

# A notebook, a cell or an output, as nbformat reads it: a dict whose keys are attributes too.
Node = Any

KERNEL = "python3"
TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}

INJECTED = "injected-parameters"  # papermill's tag of the cell in which it passes parameters
PARAMETERS = "parameters"
IGNORE = "nbval-ignore-output"
CANNOT_REPEAT = ("time", "versions", "ids")  # why an output may be left out of the comparison, as its cell must say
DEPENDS_ON_DATA = "depends-on-data"
FIGURE = "figure-"  # a cell tagged figure-NAME shows a figure that prose refers to, as `[the words](#figure-NAME)`


def code_cells(notebook: Node) -> list[tuple[int, Node]]:
    """The code cells with their positions among all the cells, from 1."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def own_cells(notebook: Node) -> list[tuple[int, Node]]:
    """The code cells but for those that papermill injected."""
    return [(number, cell) for number, cell in code_cells(notebook) if INJECTED not in tags(cell)]


def tags(cell: Node) -> list[str]:
    return cell.metadata.get("tags", [])


def outputs(notebook: Node) -> Iterator[tuple[int, Node]]:
    """Every output, with the position of its cell."""
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            yield number, output


def printed(notebook: Node) -> str:
    """All that the cells printed, to stdout and stderr, in order."""
    return "".join(output.text for _, output in outputs(notebook) if output.output_type == "stream")


def images(output: Node) -> list[str]:
    """The image types of an output: a figure has one, anything else none."""
    return [kind for kind in output.get("data", {}) if kind.startswith("image/")]


def declared_parameters(notebook: Node) -> dict[str, tuple[str, object]]:
    """The parameters of a chapter, as its one cell tagged `parameters` declares them.

    Returns {name: (type, default)}, the type one of "str", "int", "float", "bool".
    Raises ValueError if there is not exactly one such cell, if it is not the first code cell, or if it holds
    anything but annotated literals (`profile: str = "published"`): papermill replaces values only after this cell
    has run, so that whatever it computed would keep the default.
    """
    cells = code_cells(notebook)
    tagged = [(number, cell) for number, cell in cells if PARAMETERS in tags(cell)]
    if len(tagged) != 1:
        where = ", ".join(str(number) for number, _ in tagged) or "none"
        raise ValueError(f"{len(tagged)} cells are tagged `parameters` ({where}); tag exactly one")
    number, cell = tagged[0]
    if cell is not cells[0][1]:
        raise ValueError(f"cell {number} is tagged `parameters` but code runs before it; move it to the front")
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError as error:
        raise ValueError(f"cell {number}: not Python: {error.msg}; write `name: type = literal`") from None
    return dict(declared(statement, number) for statement in statements)


def declared(statement: ast.stmt, number: int) -> tuple[str, tuple[str, object]]:
    """The parameter that a statement of cell `number` declares, as (name, (type, default)), or ValueError."""
    line = ast.unparse(statement)
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
        raise ValueError(f"cell {number}: `{line}` is not an annotated literal; write `name: type = literal`")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if kind not in TYPES:
        raise ValueError(f"cell {number}: `{line}`: the type {kind} is none of {', '.join(TYPES)}")
    try:
        default = ast.literal_eval(statement.value or ast.Name("nothing"))
    except (ValueError, TypeError):
        raise ValueError(f"cell {number}: `{line}`: the value is computed; write a literal") from None
    if type(default) is not TYPES[kind]:
        raise ValueError(f"cell {number}: `{line}`: the value is not of the type {kind}")
    return name, (kind, default)
