"""What a code cell shows as it stands there: the texts that no computation made."""

import ast
from collections import Counter

from bookproof.sources import syntax_tree

# Functions whose text arguments a reader sees: bookproof's, Python's, IPython's and a plot's.
SPEAKING = {"say", "figure", "print", "Markdown", "HTML", "Latex"} | {
    *("title", "suptitle", "set_title", "text", "annotate", "xlabel", "ylabel", "set_xlabel", "set_ylabel", "label")
}
GAP = " … "  # where something is computed
Constants = dict[str, str]


def spoken(source: str, number: int, constants: Constants | None = None) -> list[str]:
    """The texts that code cell `number` shows: of f-strings the parts that are not computed.

    constants: the numbers that the notebook types into names, of which no computation is made by naming them.
    Raises ChapterError for what is not Python.
    """
    tree = syntax_tree([(number, source)])
    shown: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in SPEAKING:
            shown += [*node.args, *(keyword.value for keyword in node.keywords)]
    last = tree.body[-1] if isinstance(tree, ast.Module) and tree.body else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant | ast.JoinedStr):
        shown.append(last.value)
    return [_uncomputed(node, constants or {}) for node in shown]


def typed(cells: list[tuple[int, str]]) -> Constants:
    """The names to which code cells assign a number that is typed there, and nothing else: {"top1": "99.3"}."""
    nodes = list(ast.walk(syntax_tree(cells)))
    stored = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    found: Constants = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and stored[node.targets[0].id] == 1:
            number = _number(node.value, {})
            found |= {node.targets[0].id: number} if number else {}
    return found


def _number(node: ast.AST, constants: Constants) -> str:
    """A number that is typed, or typed into a name, as it is written; "" if anything is computed, be it 1 / 64."""
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    typed = isinstance(inner, ast.Constant) and type(inner.value) in (int, float)
    return ast.unparse(node) if typed else ""


def _uncomputed(node: ast.AST, constants: Constants) -> str:
    """The literal text in an expression, with a gap where something is computed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else GAP
    if isinstance(node, ast.JoinedStr):
        return "".join(_uncomputed(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        number = _number(node.value, constants)
        percent = node.format_spec is not None and "%" in ast.unparse(node.format_spec)
        return (number + " %" if percent else number) or GAP
    if isinstance(node, ast.BinOp):
        return _uncomputed(node.left, constants) + _uncomputed(node.right, constants)
    if isinstance(node, ast.IfExp):
        return f"{_uncomputed(node.body, constants)}\n{_uncomputed(node.orelse, constants)}"
    return GAP
