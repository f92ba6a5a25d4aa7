"""What a code cell shows as it stands there: the texts that no computation made."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from bookproof.sources import syntax_tree

# Functions whose text arguments a reader sees: bookproof's, Python's, IPython's and a plot's.
SPEAKING = {"say", "figure", "print", "Markdown", "HTML", "Latex"} | {
    *("title", "suptitle", "set_title", "text", "annotate", "xlabel", "ylabel", "set_xlabel", "set_ylabel", "label")
}
GAP = " … "  # where something is computed
Constants = dict[str, str]
NUMBER = re.compile(r"[-+]?[\d.][-+\d.e ]*")  # as `_number` writes it
MEASURED = re.compile(r"[1-9]\d*\.\d*[1-9]|\.0*[1-9]\d*[1-9]")  # decimals of two digits or more: not 1 / 64, nor 0.1
CONVERSION = re.compile(r"%(?:%|(?:\(\w+\))?[-+ #0]*[\d*]*(?:\.\d+)?[a-zA-Z])")  # of the operator %
FIELD = re.compile(r"\{[^{}]*\}")  # of str.format


def spoken(source: str, number: int, constants: Constants | None = None) -> list[str]:
    """The texts that code cell `number` shows: of f-strings the parts that are not computed.

    constants: what the notebook types into names, of which no computation is made by naming it.
    Raises ChapterError for what is not Python.
    """
    tree = syntax_tree([(number, source)])
    shown: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in SPEAKING:
            shown += [*node.args, *(keyword.value for keyword in node.keywords)]
    last = tree.body[-1] if isinstance(tree, ast.Module) and tree.body else None
    if isinstance(last, ast.Expr):
        shown.append(last.value)
    return [_uncomputed(node, constants or {}) for node in shown]


def typed(cells: list[tuple[int, str]]) -> Constants:
    """The names that code cells bind once, to a number or a text that is typed there: {"top1": "99.3"}."""
    nodes = list(ast.walk(syntax_tree(cells)))
    stored = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    found: Constants = {}
    for node in nodes:
        for target, value in _bindings(node):
            if isinstance(target, ast.Name) and stored[target.id] == 1:
                text = _number(value, {}) or _uncomputed(value, {})
                found |= {target.id: text} if text.replace(GAP, "") else {}
    return found


def _bindings(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What a statement binds, each with its value: also with an annotation, and name by name in a tuple."""
    pairs: list[tuple[ast.AST, ast.AST]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
        pairs = [(node.target, node.value)]
    for target, value in pairs:
        if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            yield from zip(target.elts, value.elts, strict=False)
        else:
            yield target, value


def _number(node: ast.AST, constants: Constants) -> str:
    """A number that is typed, or typed into a name, as it is written; "" if anything is computed, be it 1 / 64.

    To reckon with a number that reads like a measurement computes no result: 0.993 * 1.
    """
    if isinstance(node, ast.Name):
        return constants.get(node.id, "") if NUMBER.fullmatch(constants.get(node.id, "")) else ""
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left, constants), _number(node.right, constants)
        return f"{left} {right}" if left and right and MEASURED.search(f"{left} {right}") else ""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    typed = isinstance(inner, ast.Constant) and type(inner.value) in (int, float)
    return ast.unparse(node) if typed else ""


def _uncomputed(node: ast.AST, constants: Constants) -> str:
    """The literal text in an expression, with a gap where something is computed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        return GAP if _number(node, constants) else constants.get(node.id, GAP)
    if isinstance(node, ast.JoinedStr):
        return "".join(_uncomputed(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        spec = ast.unparse(node.format_spec) if node.format_spec else ""
        return _formatted(node.value, spec, constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        values = iter(node.right.elts if isinstance(node.right, ast.Tuple) else [node.right])
        return CONVERSION.sub(lambda match: _converted(match[0], values, constants), _uncomputed(node.left, constants))
    if isinstance(node, ast.BinOp):
        return _uncomputed(node.left, constants) + _uncomputed(node.right, constants)
    if isinstance(node, ast.IfExp):
        return f"{_uncomputed(node.body, constants)}\n{_uncomputed(node.orelse, constants)}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in dir(str):
        return _of_method(node.func, node, constants)
    return GAP


def _of_method(method: ast.Attribute, call: ast.Call, constants: Constants) -> str:
    """The literal text in what a method of a text returns."""
    text = _uncomputed(method.value, constants)
    if method.attr == "format":
        values = iter([*call.args, *(keyword.value for keyword in call.keywords)])
        return FIELD.sub(lambda match: _converted(match[0], values, constants), text)
    if method.attr == "join" and call.args and isinstance(call.args[0], ast.List | ast.Tuple):
        return text.join(_uncomputed(item, constants) for item in call.args[0].elts)
    if method.attr == "replace" and len(call.args) == 2:
        old, new = (_uncomputed(argument, constants) for argument in call.args)
        return text.replace(old, new)
    return text


def _converted(place: str, values: Iterator[ast.expr], constants: Constants) -> str:
    """What stands in a place of a template, `%.1f` or `{:.1%}`, with the next of the values."""
    if place == "%%":
        return "%"
    value = next(values, None)
    return GAP if value is None else _formatted(value, place if place.startswith("{") else "", constants)


def _formatted(value: ast.AST, spec: str, constants: Constants) -> str:
    number = _number(value, constants)
    return f"{number} %" if number and "%" in spec else number or _uncomputed(value, constants)
