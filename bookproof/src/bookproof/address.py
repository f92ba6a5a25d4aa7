"""The repository's address stands in `_config.yml`, as `repository: url:`, and nowhere else by hand.

A chapter opened in Colab is a bare notebook, so its first cell must hold the address too: `%pip install git+ADDRESS`,
once for each package that it installs (`git+ADDRESS#subdirectory=FOLDER`), and the metadata of a package that is built
here hold it in pyproject.toml, as `Repository = "ADDRESS"`. `python -m bookproof address` writes the address of
`_config.yml` into both. A fork changes `_config.yml`, runs it, and is done; the check of hygiene
fails a notebook that still names another address.
"""

import re
from pathlib import Path

from bookproof.book import Book
from bookproof.config import BookError
from bookproof.notebooks import Node, code_cells

ADDRESS = re.compile(r"https://[\w.-]+(/[\w.-]+){2,}")
# As they stand in a cell and, to the letter, in the notebook's file.
INSTALL = re.compile(r"[%!]pip install\b[^\n]*")
PROJECT = re.compile(r"""^(Repository *= *")[^"]*""", re.MULTILINE)
SOURCE = re.compile(r"""(\bgit\+)([^\s"'\\#]+)""")


class AddressError(BookError):
    """`_config.yml` holds no address that pip could install from."""


def repository(book: Book) -> str:
    """The address in `_config.yml`, for example "https://github.com/someone/a-book".

    Raises AddressError if there is none, or if it is not an https address of an owner's repository.
    """
    found = book.config().get("repository")
    found = found.get("url") if isinstance(found, dict) else found
    if not (isinstance(found, str) and ADDRESS.fullmatch(found)):
        raise AddressError(f"_config.yml: repository url is {found!r}; write https://HOST/OWNER/NAME")
    return found


def replaced(text: str, address: str) -> str:
    """The `text` of a cell or a notebook, all that it installs from somewhere coming from `address`."""
    return INSTALL.sub(lambda line: SOURCE.sub(lambda found: found[1] + address, line[0]), text)


def installed(notebook: Node) -> list[tuple[int, str]]:
    """The addresses that a notebook installs from, each with the position of its cell among all cells, from 1."""
    return [
        (number, found[2])
        for number, cell in code_cells(notebook)
        for line in INSTALL.finditer(cell.source)
        for found in SOURCE.finditer(line[0])
    ]


def write(path: Path, address: str) -> bool:
    """Let the notebook at `path` install from `address`, or a pyproject.toml name it; True if there was need.

    No other byte is changed.
    """
    text = path.read_text(encoding="utf-8")
    changed = PROJECT.sub(rf"\g<1>{address}", text) if path.suffix == ".toml" else replaced(text, address)
    if changed == text:
        return False
    path.write_text(changed, encoding="utf-8")
    return True
