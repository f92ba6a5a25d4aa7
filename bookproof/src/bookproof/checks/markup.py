"""Markdown brings along neither programs that nobody reviews nor pictures of unknown making.

HTML in it may fold, mark and arrange text. It may not carry a style or run when touched, which could lay something
over what stands on the page, and it may not frame another one. A program comes from a file of the book; one of a few
lines may stand in a `{raw}` block of a Markdown page, and none in a notebook. A picture is one that a chapter drew (by
a cell tagged `picture-NAME`) or one whose digest stands in the manifest (`bookproof.manifest`).
"""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat

from bookproof import manifest
from bookproof.book import Book
from bookproof.checks.links import markdown
from bookproof.notebooks import code_cells, tags
from bookproof.refresh import PICTURE

# Listings, inline code and mathematics; what stands in a directive is Markdown again.
# Two prices in a line are no mathematics: what stands between dollars is read if it may hold a tag.
LISTED = re.compile(
    r"""(?s)```(?!\{|`).*?```
    |(?<![\\`])(`+)(?!`)[^\n]*?(?<!`)\1(?!`)
    |\$\$(?:(?!\$\$|<[a-zA-Z]).)*\$\$
    |\$(?:(?!<[a-zA-Z])[^$\n])*\$""",
    re.VERBOSE,
)
DIRECTIVE = re.compile(r"(?m)^\s*(?:```+|~~~+|:::+)\s*\{(raw|include|literalinclude|eval-rst)\}")
RAW = re.compile(r"(?ms)^(```+)\{raw\} html\n.*?^\1")
REFUSED = {"style", "link", "iframe", "frame", "object", "embed", "base", "meta", "form"}
FETCHED = ("src", "srcset", "poster")
RUNNING = re.compile(r"(?i)[(<:]\s*<?\s*(?:java|vb)script:")  # an address in a link, a definition or on its own
PICTURES = re.compile(
    r"!\[[^\]]*\]\(<?([^)\s>]+)|^\s*(?:```+|:::+)\s*\{(?:image|figure)\}\s*(\S+)|<img\b[^>]*\bsrc=[\"']?([^\"'\s>]+)",
    re.M,
)


def problems(book: Book, path: Path) -> list[str]:
    """The HTML and the pictures in a page's Markdown that may not stand there, a sentence each."""
    found = []
    for where, text in markdown(path):
        raw = "\n".join(match[0] for match in RAW.finditer(text)) if path.suffix == ".md" else ""
        rest = RAW.sub("", text) if raw else text
        said = [*of_html(rest, programs=False), *of_html(raw, programs=True), *of_pictures(book, path, text)]
        found += [f"{where}: {problem}" for problem in said]
    return found


def of_html(text: str, programs: bool) -> Iterator[str]:
    """What is wrong with the HTML in a piece of Markdown; `programs`: it is a block that may hold one."""
    for directive in () if programs else DIRECTIVE.findall(text):
        yield f"the directive {{{directive}}} shows what no check reads; write it in Markdown"
    rest = LISTED.sub("", text)
    if RUNNING.search(html.unescape(rest)):
        yield "an address runs a program; put it into a file of the book"
    for name, given in tags_in(rest):
        acting = [key for key in given if key == "style" or (key.startswith("on") and key.isalpha() and given[key])]
        elsewhere = [key for key in FETCHED if any(urlsplit(given.get(key, "").replace("\\", "/"))[:2])]
        if name in REFUSED:
            yield f"<{name}> may not stand in Markdown; show it from a cell, or put the style into the book's CSS"
        elif acting:
            yield f"<{name}> may not have {', '.join(acting)}; put it into the book's CSS, or into a program of its own"
        elif elsewhere:
            yield f"<{name}> may not have {', '.join(elsewhere)} on another host; ship it in a file of the book"
        elif name == "script" and not given.get("src") and not programs:
            yield "<script> without src may not stand in Markdown; put the program into a file of the book"
        elif any(urlsplit(value).scheme == "javascript" for value in given.values()):
            yield f"<{name}> runs a program from an address; put it into a file of the book"


class _First(HTMLParser):
    """Reads the first tag of a text, as a browser does; after `feed` it is `tag`, its name and its attributes."""

    tag: tuple[str, dict[str, str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = self.tag or (tag, {name: value or "" for name, value in reversed(attrs)})  # the first of two counts


def tags_in(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The tags that a text may hold, each with its attributes: one from every `<` before a letter, whatever is around.

    What Markdown takes for text, as half a tag with a quotation mark, cannot hide the tag behind it.
    """
    for start in re.finditer(r"<(?=[a-zA-Z])", text):
        parser = _First()
        parser.feed(text[start.start() :] + "\">'>")  # ends a tag that is left open
        if parser.tag:
            yield parser.tag


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
