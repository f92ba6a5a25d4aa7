"""A chapter in the quick profile, in whatever environment: `python -m tests.backends.chapter NAME OUT.ipynb`."""

import sys
from pathlib import Path

from bookproof import contract
from bookproof.book import Book
from bookproof.execute import execute


def main(name, out):
    book = Book(Path(__file__).parents[2])
    parameters = contract.parameters(book, name, "quick") | {contract.PROFILE: "quick"}
    seconds, _, _ = execute(book, book.chapter(name), Path(out), parameters)
    print(f"1 chapter in {seconds:.0f}s")


if __name__ == "__main__":
    main(*sys.argv[1:])
