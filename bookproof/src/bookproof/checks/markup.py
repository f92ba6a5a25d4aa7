"""Markdown brings along neither programs nor pictures of its own.

HTML in it may fold, break and mark text; it may run a program only from a file of the book, which is reviewed like any
other, and it may not lie over what stands on the page. A picture is one that a chapter drew (by a cell tagged
`picture-NAME`) or one whose digest stands in the manifest (`bookproof.manifest`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat

from bookproof import manifest
from bookproof.book import Book
from bookproof.checks.links import markdown
from bookproof.notebooks import code_cells, tags
from bookproof.refresh import PICTURE

# Listings, inline code and mathematics; what stands in a directive is Markdown again.
LISTED = re.compile(r"(?s)```(?!\{|`).*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$")
DIRECTIVE = re.compile(r"(?m)^\s*(?:```+|~~~+|:::+)\s*\{(raw|include|literalinclude|eval-rst|embed:[\w-]+)\}")
TAG = re.compile(r"<([a-zA-Z][\w-]*)((?:\s[^<>]*)?)/?>")
ATTRIBUTE = re.compile(r"""([^\s=/"']+)(?:\s*=\s*("[^"]*"|'[^']*'|\S+))?""")
ELEMENTS = {
    *("details", "summary", "br", "sub", "sup", "kbd", "b", "i", "em", "strong", "small", "a", "p", "div", "span"),
    *("img", "script", "link"),  # of files of the book
}
ATTRIBUTES = {
    *("open", "class", "id", "href", "title", "lang", "role", "hidden", "src", "alt", "width", "height"),
    *("type", "rel", "defer", "loading"),
}
PICTURES = re.compile(
    r"!\[[^\]]*\]\(<?([^)\s>]+)|^\s*(?:```+|:::+)\s*\{(?:image|figure)\}\s*(\S+)|<img\b[^>]*\bsrc=[\"']?([^\"'\s>]+)",
    re.M,
)


def problems(book: Book, path: Path) -> list[str]:
    """The HTML and the pictures in a page's Markdown that may not stand there, a sentence each."""
    return [
        f"{where}: {problem}"
        for where, text in markdown(path)
        for problem in [*of_html(text), *of_pictures(book, path, text)]
    ]


def of_html(text: str) -> Iterator[str]:
    for directive in DIRECTIVE.findall(text):
        yield f"the directive {{{directive}}} shows what no check reads; write it in Markdown"
    for name, attributes in TAG.findall(LISTED.sub("", text)):
        given = {found[0].lower(): found[1].strip("\"'") for found in ATTRIBUTE.findall(attributes)}
        others = [key for key in given if key not in ATTRIBUTES and not key.startswith(("aria-", "data-"))]
        if name.lower() not in ELEMENTS:
            yield f"<{name}> may not stand in Markdown; use {', '.join(sorted(ELEMENTS))}, or show it from a cell"
        elif others:
            yield f"<{name}> may not have {', '.join(others)}; style it in the book's CSS, run it from a file"
        elif name.lower() == "script" and not given.get("src"):
            yield "<script> without src is a program that no review sees; put it into a file of the book"
        elif any(urlsplit(value).scheme == "javascript" for value in given.values()):
            yield f"<{name}> runs a program from an address; put it into a file of the book"


def of_pictures(book: Book, path: Path, text: str) -> Iterator[str]:
    for target in ("".join(found) for found in PICTURES.findall(text)):
        address = urlsplit(target)
        if address.scheme or address.netloc:
            yield f"the picture {target[:60]!r} is no file of the book; draw it in a cell, or ship and seal it"
            continue
        place = (path.parent / unquote(address.path)).resolve()
        if place not in known_pictures(book):
            yield f"the picture {target!r} was drawn by no chapter and stands in no {manifest.FILE}; draw it in a cell"


def known_pictures(book: Book) -> set[Path]:
    """The files of pictures that chapters draw, and those of the manifest."""
    found = {(book.root / name).resolve() for name in manifest.noted(book)}
    for source in book.chapters().values():
        for _, cell in code_cells(nbformat.read(source, as_version=4)):
            names = [tag.removeprefix(PICTURE) for tag in tags(cell) if tag.startswith(PICTURE)]
            found |= {(source.parent / "_static" / f"{name}.png").resolve() for name in names}
    return found
