"""The one command line: `python -m bookproof COMMAND`, or `bookproof COMMAND`, in the folder of a Jupyter Book."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat

from bookproof import address, contract, freshness, manifest, new, refresh, seal, verify
from bookproof.book import CONFIG, Book
from bookproof.checks import exercises, hygiene, links, markup, pages, prose
from bookproof.config import BookError, ConfigError
from bookproof.execute import execute_chapter
from bookproof.kernel import python_path

Command = Callable[[Book, argparse.Namespace], int]


def which(book: Book, options: argparse.Namespace) -> int:
    """say which data is at hand, and so in which profile the chapters can be verified"""
    print(book.at_hand()[1])
    return 0


def execute(book: Book, options: argparse.Namespace) -> int:
    """execute chapters into _build/executed/PROFILE, those that changed"""
    for name in chosen(book, options):
        execute_chapter(book, name, options.profile or book.settings.published, tuple(options.set))
    return 0


def refreshed(book: Book, options: argparse.Namespace) -> int:
    """execute chapters in the published profile and put the outputs back into the source"""
    for name in chosen(book, options):
        refresh.refresh(book, name)
    return 0


def accept(book: Book, options: argparse.Namespace) -> int:
    """put the outputs of chapters that were executed elsewhere back into the source"""
    for file in options.files:
        refresh.accept(book, file)
    return 0


def verified(book: Book, options: argparse.Namespace) -> int:
    """compare chapters that were executed elsewhere with the committed ones, without a kernel"""
    return verify.report(book, options.folder)


def begun(book: Book, options: argparse.Namespace) -> int:
    """write a new chapter from the book's template, and name it last in the table of contents"""
    path = new.chapter(book, options.name)
    print(f"{book.relative(path)} is there, without outputs. Run `bookproof refresh --chapter {options.name}`")
    return 0


def stale(book: Book, options: argparse.Namespace) -> int:
    """say which committed chapters do not follow from what is here, or are not as executed, and why; silent if none"""
    failed = False
    for name in chosen(book, options):
        path = book.chapter(name)
        notebook = nbformat.read(path, as_version=4)
        why, changed = freshness.reasons(notebook, book), seal.broken(notebook, path.name)
        if why:
            print(f"{name} is stale: {'; '.join(why)}. Run `bookproof refresh --chapter {name}`")
        if changed:
            print(f"{name} is not as its execution left it:", *changed, sep="\n  ")
            print(f"  Undo the change, or run `bookproof refresh --chapter {name}`")
        failed |= bool(why or changed)
    return int(failed)


def room(book: Book, options: argparse.Namespace) -> int:
    """list the cells that are compared with more room than others, or not at all, and why"""
    print(*verify.room(book) or ["No cell asks for more room."], sep="\n")
    return 0


def check(book: Book, options: argparse.Namespace) -> int:
    """look at what is committed, and with --only pages at what was built, without executing anything"""
    for path in options.files:
        if not path.is_file():
            raise BookError(f"{path} is no file; name pages of the book, or none to check all")
    named = [path.resolve() for path in options.files]
    files = named or book.pages()
    notebooks = [path for path in files if path.suffix == ".ipynb"]
    links_of = named or links.sources(book)
    read = named or prose.sources(book)
    asked = {
        "hygiene": lambda: [problem for path in notebooks for problem in hygiene.problems(book, path)],
        "prose": lambda: [problem for path in read for problem in prose.problems(path)],
        "markup": lambda: [problem for path in files for problem in markup.problems(book, path)],
        "links": lambda: links.dead_links(links_of) if options.external else links.broken(links_of),
        "manifest": lambda: manifest.problems(book),
        "pages": lambda: pages.problems(book),
    }
    names = options.only or (["links"] if options.external else [name for name in asked if name != "pages"])
    failed = False
    for name in names:
        found = asked[name]()
        print(*found or [f"{name}: nothing is wrong"], sep="\n")
        failed |= bool(found)
    return int(failed)


def sealed(book: Book, options: argparse.Namespace) -> int:
    """write the digests of the files that nobody edits here, after one was replaced on purpose"""
    print(f"{manifest.FILE}: {manifest.write(book)} files")
    return 0


def lay_out(book: Book, options: argparse.Namespace) -> int:
    """copy the book into _build, with the outputs of another profile, to be built there"""
    contract.check_profile(book, options.profile)
    if not (book.root / CONFIG).is_file():
        raise ConfigError(
            f"there is no {CONFIG} beside _toc.yml, and Jupyter Book builds by it; `title: A book` is enough"
        )
    laid_out = book.relative(refresh.lay_out_book(book, options.profile))
    print(f"The book in the {options.profile} profile lies in {laid_out}")
    return 0


def addressed(book: Book, options: argparse.Namespace) -> int:
    """write the repository's address of _config.yml into the chapters that install from it, and pyproject.toml"""
    due = address.repository(book)
    places = [*book.chapters().values(), *book.root.glob("pyproject.toml")]
    changed = [path.name for path in places if address.write(path, due)]
    print(f"{due}: {', '.join(changed) or 'it stands everywhere already'}")
    return 0


def stubs(book: Book, options: argparse.Namespace) -> int:
    """derive what a learner completes from the solution, in every exercise"""
    for name in chosen(book, options):
        path = book.chapter(name)
        notebook = nbformat.read(path, as_version=4)
        try:
            changed = exercises.write(notebook)
        except (ValueError, SyntaxError) as error:
            raise BookError(f"{path.name}, {error}") from None
        if changed:
            refresh.write(notebook, path)
        print(f"{name}: {changed} of its exercises changed")
    return 0


COMMANDS: dict[str, Command] = {
    "new": begun,
    "which": which,
    "execute": execute,
    "refresh": refreshed,
    "accept": accept,
    "verify": verified,
    "stale": stale,
    "room": room,
    "check": check,
    "manifest": sealed,
    "lay-out": lay_out,
    "address": addressed,
    "stubs": stubs,
}


def chosen(book: Book, options: argparse.Namespace) -> list[str]:
    return [options.chapter] if options.chapter else list(book.chapters())


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bookproof", description="Every output of a book, derived again and compared.")
    found.add_argument("--root", type=Path, help="the folder of the book; by default the current one, or one above it")
    commands = found.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        if name in ("execute", "lay-out"):
            sub.add_argument("--profile", required=name == "lay-out", help="by default the published one")
        if name == "new":
            sub.add_argument("name", metavar="NAME", help="of the chapter: its file name without suffix")
        if name in ("execute", "refresh", "stale", "stubs"):
            sub.add_argument("--chapter", default="", help="a chapter's file name without suffix; all without it")
        if name == "execute":
            sub.add_argument("--set", nargs="*", default=[], metavar="name=value", help="other parameters")
        if name == "accept":
            sub.add_argument("files", metavar="FILE", nargs="+", type=Path, help="an executed chapter")
        if name == "verify":
            sub.add_argument("folder", metavar="DIR", type=Path, help="where the executed chapters are")
        if name == "check":
            kinds = ("hygiene", "prose", "markup", "links", "manifest", "pages")
            sub.add_argument("--only", action="append", choices=kinds, help="one check (repeatable); all but pages")
            sub.add_argument("--external", action="store_true", help="ask the links to other hosts whether they answer")
            sub.add_argument("files", metavar="FILE", nargs="*", type=Path, help="pages; all of the book without them")
    return found


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        book = Book.find(options.root)
        # The book's hooks are found as its chapters' imports are, also by the script `bookproof`, and from elsewhere.
        sys.path[:0] = [folder for folder in python_path(book) if folder not in sys.path]
        return COMMANDS[options.command](book, options)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
