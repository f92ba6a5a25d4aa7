"""What a learner completes is derived from the solution, and the solution was found right when it was executed.

`bookproof.answers` says what an exercise consists of. `bookproof stubs` writes what is derived.
"""

import ast
import re
from collections.abc import Iterator

from bookproof.answers import OPEN, RIGHT
from bookproof.notebooks import Node, code_cells, tags

EXERCISE, SOLUTION = "exercise", "solution"  # tags
GAP = "..."


def stub(solution: str) -> str:
    """What is left of a solution for the learner: its answers, emptied, and the call that checks them.

    The check is the only statement that calls `check...` with names. Of the statements before it those stay that make
    one of these names: a function keeps its signature, docstring and comments up to its first statement; the value of
    an assignment goes, and the comment behind it stays.
    Raises ValueError for a solution without such a call, or with an answer that nothing makes or that is a function on
    one line; SyntaxError for one that is not Python.
    """
    tree, lines = ast.parse(solution), solution.splitlines()
    position, names = _checked(tree)
    kept: list[str] = []
    made: set[str] = set()
    for statement in tree.body[:position]:
        if isinstance(statement, ast.FunctionDef) and statement.name in names:
            made.add(statement.name)
            kept += ["", "", *_head(statement, lines), "", ""]
        elif isinstance(statement, ast.Assign) and set(found := [ast.unparse(t) for t in statement.targets]) <= names:
            made |= set(found)
            after = lines[(statement.end_lineno or 0) - 1].encode()[statement.end_col_offset :]  # an offset in bytes
            comment = after.decode()
            kept.append(f"{' = '.join(found)} = {GAP}{comment}")
    if missing := sorted(names - made):
        raise ValueError(f"the check takes {', '.join(missing)}, which the cell does not make by `def` or `=`")
    call = ast.get_source_segment(solution, tree.body[position])
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join([*kept, "", str(call)])).strip()


def _checked(tree: ast.Module) -> tuple[int, set[str]]:
    """Where a solution calls its check, and the names that it gives it."""
    for position, statement in enumerate(tree.body):
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("check"):
            names = {argument.id for argument in call.args if isinstance(argument, ast.Name)}
            if names and len(names) == len(call.args):
                return position, names
    raise ValueError("no statement calls a check with the answers; end it with `check_1(answer)`")


def _head(function: ast.FunctionDef, lines: list[str]) -> list[str]:
    """A function's lines up to its first statement that is no docstring, and a gap in its place."""
    first = function.body[0]
    if first.lineno == function.lineno:
        raise ValueError(f"{function.name} stands on one line; put its body on the next")
    indented = f"{' ' * first.col_offset}{GAP}"
    if ast.get_docstring(function) is not None:
        return [*lines[function.lineno - 1 : first.end_lineno], indented]
    signature = lines[function.lineno - 1 : first.lineno - 1]
    while signature[-1].lstrip().startswith("#"):
        signature.pop()
    if signature[-1].endswith(":"):
        return [*signature[:-1], f"{signature[-1]} {GAP}"]
    return [*signature, indented]


def pairs(notebook: Node) -> Iterator[tuple[int, Node, Node | None]]:
    """Every cell that a learner completes: its position, itself, and the solution that must follow it at once."""
    cells = code_cells(notebook)
    for index, (number, cell) in enumerate(cells):
        if EXERCISE in tags(cell):
            after = cells[index + 1][1] if index + 1 < len(cells) else None
            yield number, cell, after if after is not None and SOLUTION in tags(after) else None


def problems(notebook: Node) -> Iterator[str]:
    """What is wrong with the exercises of a notebook, a sentence each."""
    for number, cell, solution in pairs(notebook):
        if solution is None:
            yield f"cell {number}: no solution follows it; tag the next code cell `{SOLUTION}`"
            continue
        try:
            due = stub(solution.source)
        except (ValueError, SyntaxError) as error:
            yield f"cell {number}, its solution: {error}"
            continue
        if cell.source != due:
            yield f"cell {number}: it does not follow from its solution; run `bookproof stubs`"
    yield from unsolved(notebook)


def unsolved(notebook: Node) -> Iterator[str]:
    """Exercises whose stub or solution did not print, when it was executed, what it must."""
    for number, cell, solution in pairs(notebook):
        for executed, due in ((cell, OPEN), (solution, RIGHT)):
            if executed is not None and due not in _printed(executed):
                yield f"cell {number}: it or its solution printed no line {due!r}; mend the check or the answer"
                break


def _printed(cell: Node) -> list[str]:
    return [line for output in cell.outputs if output.output_type == "stream" for line in output.text.splitlines()]


def write(notebook: Node) -> int:
    """Derive every stub of a notebook again, in place; returns how many changed. Raises ValueError as `stub` does."""
    changed = 0
    for number, cell, solution in pairs(notebook):
        if solution is None:
            raise ValueError(f"cell {number}: no solution follows it; tag the next code cell `{SOLUTION}`")
        due = stub(solution.source)
        changed += cell.source != due
        cell.source = due
    return changed
