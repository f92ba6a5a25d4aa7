"""The built book, checked page by page: each one is there, shows its figures, no errors, and asks no other host."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup

from bookproof.book import Book
from bookproof.checks.prose import read
from bookproof.notebooks import images, outputs

Soup = Any

# What a browser fetches by itself when it opens a page (a link that the reader may follow is none of these).
FETCHED = (("script", "src"), ("img", "src"), ("iframe", "src"), ("video", "src"), ("source", "src"), ("link", "href"))
LINKS_NOT_FETCHED = {"canonical", "next", "prev", "search", "index", "author", "license"}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NUMBERED = re.compile(r"(?m)^\s*\d+\. |\{[\w:]+\}`[^`]*`")  # the page counts its lists, and a role shows what it finds
ERRORS = ".traceback, .stderr, .output_error, .system-message"


def problems(book: Book) -> list[str]:
    """Everything that is wrong with the built book, a sentence each."""
    html, found = book.html, []
    if not (html / "index.html").is_file():
        found.append("index.html: not built; the book has no front door")
    for entry in book.entries():
        page = html / f"{entry}.html"
        if not page.is_file():
            found.append(f"{entry}.html: not built, though _toc.yml names {entry}; build the book")
            continue
        found += [f"{entry}.html: {problem}" for problem in page_problems(page, book.root / f"{entry}.ipynb")]
    return found


def page_problems(page: Path, notebook: Path) -> Iterator[str]:
    """What is wrong in one page; `notebook` is its source, or a path where none is if the page is plain text."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    yield from shows_no_error(soup)
    yield from shows_its_figures(soup, notebook)
    yield from shows_its_numbers(soup, notebook)
    yield from images_exist_and_are_described(soup, page)
    yield from asks_no_other_host(soup)


def shows_no_error(soup: Soup) -> Iterator[str]:
    for element in soup.select(ERRORS):
        text = " ".join(element.get_text().split())[:100]
        yield f"shows an error or stderr: {text!r}; mend the cell, `bookproof refresh`"


def shows_its_figures(soup: Soup, notebook: Path) -> Iterator[str]:
    if not notebook.is_file():
        return
    drawn = sum(len(images(output)) for _, output in outputs(nbformat.read(notebook, as_version=4)))
    shown = len(soup.select(".cell_output img"))
    if shown < drawn:
        yield f"shows {shown} figures, {notebook.name} draws {drawn}; a cell's output is hidden or lost"


def shows_its_numbers(soup: Soup, notebook: Path) -> Iterator[str]:
    """Whatever builds the page may arrange what the notebook shows, and change no number of it."""
    if not notebook.is_file():
        return
    shown = set(NUMBER.findall(read(soup.get_text())))
    for number, output in outputs(nbformat.read(notebook, as_version=4)):
        told = output.get("text", output.get("data", {}).get("text/markdown", ""))
        for found in NUMBER.findall(read(NUMBERED.sub("", told))):
            if found not in shown:
                yield f"does not show {found}, which cell {number} of {notebook.name} does; build the book again"
                return


def images_exist_and_are_described(soup: Soup, page: Path) -> Iterator[str]:
    for image in soup.select("img"):
        source = image.get("src", "")
        address = urlsplit(source)
        local = not address.scheme and not address.netloc
        if local and not (page.parent / unquote(address.path)).is_file():
            yield f"the image {source!r} does not exist; build the book again from nothing"
        alt = image.get("alt", "").strip()
        # Without a description docutils repeats the file's name, which tells a listener nothing.
        if not alt or alt == source:
            yield f"the image {source[:80]!r} has no alt text; give it with bookproof.figure(..., alt=...)"


def asks_no_other_host(soup: Soup) -> Iterator[str]:
    for name, attribute in FETCHED:
        for element in soup.find_all(name):
            if name == "link" and LINKS_NOT_FETCHED & set(element.get("rel", [])):
                continue
            address = element.get(attribute, "")
            if urlsplit(address).netloc:
                yield f"<{name}> asks another host for {address!r}; ship a copy with the book"
