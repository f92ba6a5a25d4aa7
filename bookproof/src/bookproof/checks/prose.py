"""Numbers that claim a result must be computed: none may be typed into prose.

Prose is what stands in Markdown cells and pages, and what code cells hand to `say` and `figure` as it stands there.
A claim is a number with a per cent sign, beside "top-1" or "top-5", of parameters, or of time. What others published is
quoted: in one table a chapter, under a heading cell with the word "quoted", a link to the source in every row.
"""

import ast
import re
from pathlib import Path

import nbformat

from bookproof.book import ChapterError
from bookproof.notebooks import code_cells
from bookproof.sources import syntax_tree

SPEAKING = ("say", "figure")  # functions of `bookproof` whose text arguments are prose

NUMBER = r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?"
CLAIMS = {
    "a percentage": re.compile(rf"{NUMBER}\s*(?:%|per ?cent\b)"),
    "an accuracy": re.compile(r"\btop-[15]\b[^.;|…]{0,20}\b0?\.\d|\b0?\.\d[^.;|…]{0,20}\btop-[15]\b"),
    "a number of parameters": re.compile(rf"{NUMBER}\s*(?:k|M|million|thousand)?\s*(?:trainable )?parameters\b"),
    "a time": re.compile(rf"{NUMBER}\s*(?:ms|s|seconds?|min|minutes?|h|hours?)\b"),
}
CODE = r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$"  # and formulas
NOT_PROSE = re.compile(rf"(?s){CODE}|(?<=\])\([^)\s]*\)|https?://\S+")
LINK = re.compile(r"\]\(https?://")
QUOTED = re.compile(r"\bquoted\b", re.IGNORECASE)


def claims(text: str) -> list[tuple[str, str]]:
    """The claims in a piece of Markdown that are not quoted, each as (kind, the line it stands in)."""
    found: list[tuple[str, str]] = []
    quoting = row = False
    blanked = NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for line, prose in zip(text.split("\n"), blanked.split("\n"), strict=True):
        heading, row = not row, line.lstrip().startswith("|")
        quoting = row and bool(QUOTED.search(line) if heading else quoting)
        if quoting and LINK.search(line):
            continue
        found += [(kind, line.strip()) for kind, pattern in CLAIMS.items() if pattern.search(prose)][:1]
    return found


def quotation_tables(text: str) -> int:
    """How many tables in a piece of Markdown quote what others published."""
    lines = text.split("\n")
    rows = [line.lstrip().startswith("|") for line in lines]
    headers = [line for i, line in enumerate(lines) if rows[i] and not (i and rows[i - 1])]
    return sum(bool(QUOTED.search(line)) for line in headers)


def spoken(source: str, number: int) -> list[str]:
    """The texts that code cell `number` hands to `say` and `figure`: of f-strings the parts that are not computed.

    Raises ChapterError for what is not Python.
    """
    texts: list[str] = []
    for node in ast.walk(syntax_tree([(number, source)])):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in SPEAKING:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                texts += [_uncomputed(argument)]
    return texts


def _uncomputed(node: ast.AST) -> str:
    """The literal text in an expression, with a gap where something is computed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else " … "
    if isinstance(node, ast.JoinedStr):
        return "".join(_uncomputed(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _uncomputed(node.left) + _uncomputed(node.right)
    return " … "


def problems(path: Path) -> list[str]:
    """Every unquoted claim in a notebook or a Markdown page, a sentence each, with the way out."""
    if path.suffix == ".md":
        pieces = [(path.name, path.read_text(encoding="utf-8"))]
    else:
        notebook = nbformat.read(path, as_version=4)
        markdown = [(n, cell.source) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "markdown"]
        try:
            said = [(n, text) for n, cell in code_cells(notebook) for text in spoken(cell.source, n)]
        except ChapterError as error:
            return [f"{path.name}, {error}"]
        pieces = [(f"{path.name}, cell {n}", text) for n, text in sorted(markdown + said)]
    found = [
        f"{where}: {kind} is typed into prose: {line!r}; compute it in a code cell and show it with bookproof.say, "
        "or quote its source in the chapter's table of quotations"
        for where, text in pieces
        for kind, line in claims(text)
    ]
    tables = sum(quotation_tables(text) for _, text in pieces)
    if tables > 1:
        found.append(f"{path.name}: {tables} tables of quotations; join them, so that all of them stand in one place")
    return found
