"""Which names a cell uses and which it makes, read off its code: what a failed cell leaves unverified, and what not."""

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager


@dataclass(frozen=True)
class Names:
    """What a cell has to do with the names of its notebook.

    uses: names that it reads and does not bind itself, also within its functions.
    makes: names that it binds.
    imports: those of them that stand for modules, or for what is imported from one.
    changes: names of objects that it changes, as far as that can be seen: it assigns to a part of them, or calls one of
        their methods for its effect alone.
    """

    uses: frozenset[str] = frozenset()
    makes: frozenset[str] = frozenset()
    imports: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()


def of_cell(source: str) -> Names:
    """The `Names` of a code cell, IPython's magics made Python; none for what is not Python, as it cannot run."""
    code = TransformerManager().transform_cell(source)
    try:
        table, tree = symtable.symtable(code, "cell", "exec"), ast.parse(code)
    except SyntaxError:
        return Names()
    own = table.get_symbols()
    makes = {symbol.get_name() for symbol in own if symbol.is_assigned() or symbol.is_imported()}
    read = {symbol.get_name() for symbol in own if symbol.is_referenced()}
    read |= {symbol.get_name() for inner in _inner(table) for symbol in inner.get_symbols() if symbol.is_global()}
    imports = {symbol.get_name() for symbol in own if symbol.is_imported()}
    return Names(frozenset(read - makes), frozenset(makes), frozenset(imports), frozenset(_changed(tree)))


def _inner(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _inner(child)


def _changed(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        target: ast.AST | None = None
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            target = node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            target = node.value.func
        while isinstance(target, ast.Attribute | ast.Subscript):
            target = target.value
            if isinstance(target, ast.Name):
                yield target.id
