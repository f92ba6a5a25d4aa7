"""What a notebook imports and lists, read off its code without running it."""

import ast
import functools
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from bookproof.book import Book, ChapterError

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LISTING = "show"  # show(obj) puts the source of obj, comments and all, into the output


def syntax_tree(cells: Iterable[tuple[int, str]]) -> ast.Module:
    """The syntax tree of code cells, each (number, source), IPython's magics made Python.

    Raises ChapterError, which names the cell, for what is not Python.
    """
    body: list[ast.stmt] = []
    for number, source in cells:
        try:
            body += ast.parse(TransformerManager().transform_cell(source)).body
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise ChapterError(f"cell {number}: `{line}` is not Python: {error.msg}; mend the cell") from None
    return ast.Module(body, [])


def imported(tree: ast.AST) -> set[str]:
    """The names of modules that a syntax tree imports, anywhere in it, and candidates for such names."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reached(names: Iterable[str], book: Book) -> set[str]:
    """The modules of the book's own packages among `names`, and those that they import, directly or not."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        path = module_path(name, book)
        if path and name not in found:
            found.add(name)
            parent = name.rpartition(".")[0]
            waiting |= imports_of(path.read_text(encoding="utf-8")) | ({parent} if parent else set())
    return found


@functools.cache  # the chapters share most of their modules
def imports_of(source: str) -> set[str]:
    return imported(ast.parse(source))


def module_path(name: str, book: Book) -> Path | None:
    """The file of a module of one of the book's own packages; None if it is none of theirs."""
    package, *parts = name.split(".")
    if package not in book.settings.packages:
        return None
    path = book.root.joinpath(book.settings.packages[package], *parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None


@functools.cache
def without_prose(source: str) -> str:
    """A module's source without comments, docstrings and empty lines, the same for every version of Python."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        first = node.body[0] if isinstance(node, DOCUMENTED) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            end = first.end_lineno or first.lineno
            lines[first.lineno - 1 : end] = [""] * (end - first.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def listings(tree: ast.AST, book: Book) -> dict[str, str]:
    """The sources that a notebook lists, `{"layers.Attention": source}`: every `show(...)` of the packages' own.

    Raises ChapterError for what is listed and not there.
    """
    names, found = bound(tree), {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == LISTING and node.args):
            continue
        name = ast.unparse(node.args[0])
        first, point, rest = name.partition(".")
        module, inner = split(names.get(first, "") + point + rest, book)
        path = module_path(home(module, inner.partition(".")[0], book), book) if module else None
        if path:
            found[name] = definition(path, inner)
    return found


def bound(tree: ast.AST) -> dict[str, str]:
    """What the names that a notebook imports stand for: {"vit": "package.models.vit", "np": "numpy"}."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found |= {alias.asname: alias.name} if alias.asname else {top: top}  # `import a.b` binds `a`
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def split(name: str, book: Book) -> tuple[str, str]:
    """A full name as its module and the rest: ("package.models.vit", "ViT.call"); ("", name) if none is the book's."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if module_path(module, book):
            return module, ".".join(parts[count:])
    return "", name


def home(module: str, name: str, book: Book) -> str:
    """The module that defines `name`, which `module` may only pass on."""
    path = module_path(module, book)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path and name else ():
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name) and module_path(node.module, book):
                    return home(node.module, alias.name, book)
    return module


def definition(path: Path, name: str) -> str:
    """The source of the class, function or method `name` ("A", "f", "A.f") in a module; all of it if `name` is empty.

    Raises ChapterError if there is none.
    """
    source = path.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(source)
    for part in name.split(".") if name else ():
        inner = [item for item in getattr(node, "body", ()) if getattr(item, "name", None) == part]
        if not inner:
            raise ChapterError(f"{path.name} defines no {name}; list something that it does")
        node = inner[-1]
    if not name:
        return source
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])
