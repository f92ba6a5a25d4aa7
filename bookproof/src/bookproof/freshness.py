"""What the outputs of a chapter follow from, and whether they still do: the one notion of it that there is.

An executed notebook carries the digests of everything its outputs follow from: its code cells, the modules of the
book's own packages that it imports, directly or not, the sources that it lists, and the files that it read. A
committed chapter is stale if one of them changed; an execution is made again for the same reasons and no other. Nothing
is executed here. Comments, docstrings and empty lines of a module count only where a chapter lists that source.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bookproof import address, sources
from bookproof.book import Book, ChapterError
from bookproof.notebooks import Node, own_cells


def inputs(notebook: Node, read: Iterable[str], book: Book) -> dict[str, object]:
    """The digests of what a notebook's outputs follow from.

    Args:
        notebook: as nbformat reads it; what papermill injected is not its own.
        read: the files that it read when it was executed, and the folders that it looked through, from the root.

    Returns `{"code": digest, "modules": {name: digest}, "listings": {name: digest}, "files": {path: digest}}`; the
    digest of a file that is gone is "missing". Raises ChapterError for code that is not Python, and for a listing of
    what is not there.
    """
    # The address that a chapter installs from changes in a fork, and no output with it.
    cells = [(number, address.replaced(cell.source, "")) for number, cell in own_cells(notebook)]
    tree = sources.syntax_tree(cells)
    modules = sources.reached(sources.imported(tree), book)
    paths = {name: path for name in sorted(modules) if (path := sources.module_path(name, book))}
    return {
        "code": digest("\0".join(source for _, source in cells)),
        "modules": {
            name: digest(sources.without_prose(path.read_text(encoding="utf-8"))) for name, path in paths.items()
        },
        "listings": {name: digest(text) for name, text in sorted(sources.listings(tree, book).items())},
        "files": {path: digest_of_file(book.root / path) for path in sorted(set(read))},
    }


def reasons(notebook: Node, book: Book) -> list[str]:
    """Why the outputs of an executed `notebook` are stale, a phrase each; empty if they are fresh."""
    noted = notebook.metadata.get("executed", {}).get("inputs")
    if noted is None:
        return ["it was never refreshed"]
    try:
        now = inputs(notebook, noted["files"], book)
    except ChapterError as error:  # a cell that is not Python, a listing of what is gone
        return [str(error)]
    found = ["its code changed"] if now["code"] != noted["code"] else []
    for kind, what in (("modules", "module {}"), ("listings", "the listed source of {}"), ("files", "{}")):
        before, after = noted[kind], now[kind]
        assert isinstance(after, dict)
        for name in sorted(before.keys() | after.keys()):
            was, is_now = before.get(name), after.get(name)
            if was != is_now:
                change = "is new to it" if was is None else "is gone" if is_now in (None, "missing") else "changed"
                found.append(f"{what.format(name)} {change}")
    return found


def digest_of_file(path: Path) -> str:
    """Of a notebook what it says of its execution, which is all that a page about the book may quote from it; of a
    folder the names in it that a clone has too: of no folder without a file, which git does not keep."""
    if path.is_dir():
        return digest("\n".join(sorted(inner.name for inner in path.iterdir() if _is_kept(inner))))
    if not path.is_file():
        return "missing"
    if path.suffix != ".ipynb":
        return digest(path.read_bytes())
    executed = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("executed", {})
    return digest(json.dumps({name: value for name, value in executed.items() if name != "inputs"}, sort_keys=True))


def _is_kept(path: Path) -> bool:
    return not path.name.startswith(".") and (path.is_file() or any(inner.is_file() for inner in path.rglob("*")))


def digest(content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]
