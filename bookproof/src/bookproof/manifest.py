"""Files that nobody edits here, such as a library that was taken over whole: are they as they were when they came?

`[tool.bookproof] sealed` names files and folders, by patterns such as `library` or `runs/*/result.json`. Their digests
stand in `MANIFEST.sha256` beside it, in the form that `sha256sum --check` reads. `bookproof manifest` writes it, where
one of them was replaced on purpose; every check computes it again, so that the change stands in two files, and a
review sees it.
"""

import hashlib

from bookproof.book import Book

FILE = "MANIFEST.sha256"


def digests(book: Book) -> dict[str, str]:
    """The SHA-256 of every sealed file, by its path from the root, in order."""
    named = [place for pattern in book.settings.sealed for place in book.root.glob(pattern)]
    files = {path for place in named for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()}
    return {book.relative(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def noted(book: Book) -> dict[str, str]:
    """What the manifest says of every file; nothing if there is none."""
    path = book.root / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def problems(book: Book) -> list[str]:
    """Every sealed file that is not as the manifest has it, a sentence each, with the way out."""
    before, now = noted(book), digests(book)
    way_out = f"undo that, or, if it was meant, run `bookproof manifest` and commit {FILE} with it"
    return [
        f"{name}: {'not in' if name not in before else 'gone, but in' if name not in now else 'not as it stands in'} "
        f"{FILE}; {way_out}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def write(book: Book) -> int:
    """Write the manifest; return how many files it has."""
    found = digests(book)
    (book.root / FILE).write_text("".join(f"{digest}  {name}\n" for name, digest in found.items()), encoding="utf-8")
    return len(found)
