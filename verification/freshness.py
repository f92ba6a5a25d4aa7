"""Do the committed outputs of a chapter still follow from the code, the modules and the records that are here now?

    python -m verification.freshness          # which chapters are stale, and why; fails if there is one

A refreshed notebook carries the digests of everything its outputs follow from: its code cells, the modules of the
package that it imports, directly or not, the sources that it lists, and the files of the book that it read. Nothing is
executed here. Comments, docstrings and empty lines of a module count only where a chapter lists that source.
"""

import argparse
import ast
import functools
import hashlib
import io
import json
import sys
import tokenize
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from verification.address import INSTALL
from verification.hygiene import code_cells

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "vattn_utils"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
LISTING = "show"  # notebook.show(obj) puts the source of obj, comments and all, into the output


def inputs(notebook, read, root=ROOT):
    """The digests of what a notebook's outputs follow from.

    Args:
        notebook: as nbformat reads it.
        read: the files that it read, and the folders that it looked through, when it was executed, relative to `root`.
        root: of the checkout.

    Returns `{"code": digest, "modules": {name: digest}, "listings": {name: digest}, "files": {path: digest}}`; the
    digest of a file that is gone is "missing".
    """
    # The address that a chapter installs from changes in a fork, and no output with it.
    sources = [INSTALL.sub(r"\1", cell.source) for _, cell in code_cells(notebook)]
    tree = ast.parse("\n".join(map(TransformerManager().transform_cell, sources)))  # IPython's magics made Python
    modules = reached(imported(tree), root)
    return {
        "code": digest("\0".join(sources)),
        "modules": {name: digest(without_prose(module_path(name, root).read_text())) for name in sorted(modules)},
        "listings": {name: digest(source) for name, source in sorted(listings(tree, modules, root).items())},
        "files": {path: digest_of_file(root / path) for path in sorted(set(read))},
    }


def reasons(notebook, root=ROOT):
    """Why the committed outputs of `notebook` are stale, a phrase each; empty if they are fresh."""
    committed = notebook.metadata.get("executed", {}).get("inputs")
    if committed is None:
        return ["it was never refreshed"]
    now = inputs(notebook, committed["files"], root)
    found = ["its code changed"] if now["code"] != committed["code"] else []
    for kind, what in (("modules", "module {}"), ("listings", "the listed source of {}"), ("files", "{}")):
        for name in sorted(now[kind].keys() | committed[kind].keys()):
            before, after = committed[kind].get(name), now[kind].get(name)
            if before != after:
                change = "is new to it" if before is None else "is gone" if after in (None, "missing") else "changed"
                found.append(f"{what.format(name)} {change}")
    return found


def imported(tree):
    """The names of the package's modules that a syntax tree imports, anywhere in it, and candidates for such names."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == PACKAGE}


def reached(names, root):
    """The modules among `names` and those that they import, directly or not."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        path = module_path(name, root)
        if name not in found and path.is_file():
            found.add(name)
            waiting |= imports_of(path.read_text())
    return found


@functools.cache  # the chapters share most of their modules
def imports_of(source):
    return imported(ast.parse(source))


def module_path(name, root):
    path = root.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def without_prose(source):
    """A module's source without comments, docstrings and empty lines, the same for every version of Python."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        first = node.body[0] if isinstance(node, DOCUMENTED) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            lines[first.lineno - 1 : first.end_lineno] = [""] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def listings(tree, modules, root):
    """The sources that a notebook lists, `{"eanet.ExternalAttention": source}`: every `show(...)` of the package's."""
    known = {name.rpartition(".")[2]: name for name in modules}
    direct = {}  # names that were imported from a module: {"TokenClassifier": "vattn_utils.classifier"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in modules:
            direct |= {alias.asname or alias.name: node.module for alias in node.names}
    found = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == LISTING and node.args):
            continue
        name = ast.unparse(node.args[0])
        first, _, rest = name.partition(".")
        if first in direct and direct[first] != PACKAGE:
            found[name] = definition(module_path(direct[first], root), name)
        elif first in known:
            found[name] = definition(module_path(known[first], root), rest)
    return found


def definition(path, name):
    """The source of the class, function or method `name` ("A", "f", "A.f") in a module; all of it if `name` is empty.

    Raises ValueError if there is none.
    """
    source = path.read_text()
    node = ast.parse(source)
    for part in name.split(".") if name else ():
        inner = [item for item in node.body if getattr(item, "name", None) == part]
        if not inner:
            raise ValueError(f"{path.name} defines no {name}; list something that it does")
        node = inner[-1]
    if not name:
        return source
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])


def digest_of_file(path):
    """Of a notebook what it says of its execution, which is all that a page about the book may quote from it; of a
    folder the names in it."""
    if path.is_dir():
        return digest("\n".join(sorted(inner.name for inner in path.iterdir() if not inner.name.startswith("."))))
    if not path.is_file():
        return "missing"
    if path.suffix != ".ipynb":
        return digest(path.read_bytes())
    executed = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("executed", {})
    return digest(json.dumps({name: value for name, value in executed.items() if name != "inputs"}, sort_keys=True))


def digest(content):
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]


def main(arguments=None):
    from verification.execute import chapters

    argparse.ArgumentParser(prog="verification.freshness", description=__doc__.partition("\n")[0]).parse_args(arguments)
    stale = {name: reasons(nbformat.read(path, as_version=4)) for name, path in chapters().items()}
    for name, why in stale.items():
        if why:
            print(f"{name} is stale: {'; '.join(why)}. Run `make refresh CHAPTER={name}`")
    return int(any(stale.values()))


if __name__ == "__main__":
    sys.exit(main())
