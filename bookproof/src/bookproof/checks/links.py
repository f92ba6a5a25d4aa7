"""Every link of the book: those within it lead somewhere, those to other hosts answer.

To ask every address on other hosts is for a schedule, not for every push.

Read off the sources (notebooks, Markdown pages, the README); the citations and references of a built page are Sphinx'
part, which treats warnings as errors.
"""

import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat

from bookproof.book import Book
from bookproof.checks.prose import CODE
from bookproof.notebooks import FIGURE, code_cells, tags

NO_LINKS = re.compile(rf"(?s){CODE}")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|<(https?://[^>\s]+)>")
BIBTEX = re.compile(r"^\s*url\s*=\s*[{\"]([^}\"]+)", re.MULTILINE | re.IGNORECASE)
TIMEOUT = 20  # seconds for an address to answer
ANSWERS = range(200, 400)
# Hosts that turn programs away and let people in: what they answer says nothing about the page.
REFUSALS = (401, 403, 405, 406, 418, 429, 503)


@dataclass(frozen=True)
class Link:
    """A link: the file that holds it, where in it, and its target as written."""

    path: Path
    where: str
    target: str

    @property
    def external(self) -> bool:
        return urlsplit(self.target).scheme in ("http", "https")


def links(path: Path) -> list[Link]:
    """The links in a notebook's Markdown cells, in a Markdown page, or in a bibliography."""
    text = path.read_text(encoding="utf-8") if path.suffix != ".ipynb" else ""
    if path.suffix == ".bib":
        return [Link(path, path.name, target) for target in BIBTEX.findall(text)]
    return [
        Link(path, where, first or second)
        for where, piece in markdown(path)
        for first, second in LINK.findall(NO_LINKS.sub("", piece))
    ]


def markdown(path: Path) -> list[tuple[str, str]]:
    """The pieces of Markdown in a notebook or page, each with its place in words."""
    if path.suffix == ".md":
        return [(path.name, path.read_text(encoding="utf-8"))]
    cells = nbformat.read(path, as_version=4).cells
    return [(f"{path.name}, cell {n}", cell.source) for n, cell in enumerate(cells, 1) if cell.cell_type == "markdown"]


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, of its explicit targets and of its named figures, as links call them."""
    text = "\n".join(re.sub(r"(?s)```.*?```", "", piece) for _, piece in markdown(path))
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE)
    cells = code_cells(nbformat.read(path, as_version=4)) if path.suffix == ".ipynb" else []
    figures = {tag for _, cell in cells for tag in tags(cell) if tag.startswith(FIGURE)}
    return {slug(heading) for heading in headings} | set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE)) | figures


def slug(heading: str) -> str:
    """A heading as GitHub and Sphinx call it: "The memory, again" is "the-memory-again"."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken(files: Iterable[Path]) -> list[str]:
    """The links within the book that lead nowhere, a sentence each."""
    found = []
    for link in [link for path in files for link in links(path) if not link.external]:
        target, _, anchor = unquote(link.target).partition("#")
        page = link.path.parent / target if target else link.path
        if urlsplit(link.target).scheme == "mailto":
            continue
        if not page.exists():
            found.append(f"{link.where}: {link.target!r} leads to no file; link to one that is there")
        elif anchor and page.suffix in (".md", ".ipynb") and anchor not in anchors(page):
            known = ", ".join(sorted(anchors(page)))
            found.append(f"{link.where}: {link.target!r} leads to no heading; {page.name} has {known}")
    return found


def dead(addresses: list[str]) -> dict[str, str]:
    """Those of `addresses` on other hosts that do not answer, `{address: reason}`; all are asked at once."""
    with ThreadPoolExecutor(8) as pool:
        return {address: reason for address, reason in zip(addresses, pool.map(ask, addresses), strict=True) if reason}


def ask(address: str) -> str:
    """Why an address is dead, in words; "" if it answers, if only to turn a program away."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return "" if answer.status in ANSWERS else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return "" if error.code in REFUSALS else f"status {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def sources(book: Book) -> list[Path]:
    """All files of the book that hold links: its pages, the README and the bibliographies."""
    named = ["README.md", *(book.config().get("bibtex_bibfiles") or ())]
    return [*book.pages(), *(path for name in named if (path := book.root / name).is_file())]


def dead_links(files: Iterable[Path]) -> list[str]:
    """The addresses on other hosts that do not answer, a sentence each, with the places that name them."""
    external = [link for path in files for link in links(path) if link.external]
    reasons = dead(sorted({link.target.partition("#")[0] for link in external}))
    places = {address: [link.where for link in external if link.target.startswith(address)] for address in reasons}
    return [f"{', '.join(places[address])}: {address}: {reason}" for address, reason in reasons.items()]
