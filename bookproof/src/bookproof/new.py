"""A new chapter from the template of the book: a notebook that keeps every rule, and a place in the table of contents.

The template is a notebook that the setting `template` names, best with a suffix such as `.ipynb.in`, so that nothing
takes it for a chapter. In it `CHAPTER_NAME` stands for the chapter's name, also where that is part of a cell's id
(there as `CHAPTER-NAME`), and `CHAPTER TITLE` for its title.
"""

import re
from pathlib import Path

from bookproof import address
from bookproof.book import TOC, Book, ChapterError
from bookproof.config import FILE, TABLE, ConfigError

NAME = re.compile(r"[a-z][a-z0-9_]*")
ENTRY = re.compile(r"^( *)- file: *(\S+).*(?:\n\1  \S.*)*$", re.MULTILINE)  # and what else is said of it


def chapter(book: Book, name: str) -> Path:
    """Write the chapter `name` beside the book's last one, and name it after that in the table of contents.

    Nothing is executed: `bookproof refresh` puts its outputs in. Returns its notebook. Raises ConfigError if the book
    has no template, ChapterError for a name that is none, or that is taken.
    """
    template = book.settings.template
    if not template:
        raise ConfigError(f"{FILE}: {TABLE} lacks 'template'; name a notebook that new chapters are made of")
    if not NAME.fullmatch(name):
        raise ChapterError(f"{name!r} is no name of a chapter; use small letters, digits and '_', a letter first")
    entries = list(ENTRY.finditer(toc := (book.root / TOC).read_text(encoding="utf-8")))
    if not entries:
        raise ConfigError(f"{TOC} has no line `- file: PAGE`, so there is no place for a chapter")
    indent, last = entries[-1].groups()
    entry = (Path(last).parent / name).as_posix()
    path = book.root / f"{entry}.ipynb"
    if name in book.chapters() or entry in book.entries() or path.exists():
        raise ChapterError(f"there is a page {entry!r} already; give the chapter another name")
    text = (book.root / template).read_text(encoding="utf-8")
    for placeholder, value in _values(name).items():
        text = text.replace(placeholder, value)
    if address.SOURCE.search(text):
        text = address.replaced(text, address.repository(book))  # asked before anything is written
    path.write_text(text, encoding="utf-8")
    place = entries[-1].end()
    (book.root / TOC).write_text(f"{toc[:place]}\n{indent}- file: {entry}{toc[place:]}", encoding="utf-8")
    return path


def _values(name: str) -> dict[str, str]:
    return {
        "CHAPTER_NAME": name,
        "CHAPTER-NAME": name.replace("_", "-"),
        "CHAPTER TITLE": name.replace("_", " ").capitalize(),
    }
