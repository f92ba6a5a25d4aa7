"""A book: its root, its configuration, its table of contents, its chapters and pages."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bookproof import config
from bookproof.config import BookError, ConfigError, Settings

TOC = "_toc.yml"
CONFIG = "_config.yml"
SUFFIXES = (".ipynb", ".md")  # of pages; an entry may carry one
# What `_toc.yml` may hold: keys that name a page, that hold further entries, and that say how they are shown.
NAMING = ("root", "file")
HOLDING = ("parts", "subtrees", "chapters", "sections", "entries")
SHOWING = (
    *("format", "defaults", "meta", "url", "title", "options", "caption", "hidden", "maxdepth", "numbered"),
    *("reversed", "titlesonly", "style", "restart_numbering"),
)


class ChapterError(BookError):
    """A chapter that cannot be executed, compared or refreshed, with the reason and the way out."""


@dataclass(frozen=True)
class Book:
    """The Jupyter Book whose `_toc.yml` lies in the folder `root`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> "Book":
        """The book that `start`, by default the current folder, belongs to. Raises BookError if it belongs to none."""
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / TOC).is_file():
                return cls(folder)
        raise BookError(f"there is no {TOC} in {start} or above it; go to a Jupyter Book, or name it with --root")

    @cached_property
    def settings(self) -> Settings:
        return config.read(self.root)

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @property
    def html(self) -> Path:
        return self.build / "html"

    def entries(self) -> list[str]:
        """The pages that `_toc.yml` names, in order and without suffix: "book/index", "book/vit", ...

        Raises ConfigError if it names none, ChapterError for what cannot be an entry.
        """
        found = list(entries(read_yaml(self.root / TOC)))
        if not found:
            raise ConfigError(f"{TOC} names no page; write `root: PAGE`, and `- file: PAGE` for each under `chapters:`")
        return found

    def chapters(self) -> dict[str, Path]:
        """The executable chapters in the order of the table of contents: {"maps": .../book/maps.ipynb, ...}.

        Raises ChapterError if two have one name.
        """
        found: dict[str, Path] = {}
        for path in (self.root / f"{entry}.ipynb" for entry in self.entries()):
            if path.is_file() and path.stem in found:
                both = f"{self.relative(found[path.stem])} and {self.relative(path)}"
                raise ChapterError(f"{TOC}: {both} are two chapters of the name {path.stem!r}; rename one")
            if path.is_file():
                found[path.stem] = path
        return found

    def chapter(self, name: str) -> Path:
        """The notebook of a chapter. Raises ChapterError for an unknown one."""
        found = self.chapters()
        if name not in found:
            known = ", ".join(found) or "not written"
            raise ChapterError(f"there is no chapter {name!r}. {nearest(name, found)}The chapters are {known}")
        return found[name]

    def pages(self) -> list[Path]:
        """The book's notebooks and Markdown pages, in the order of the table of contents."""
        candidates = [self.root / f"{entry}{suffix}" for entry in self.entries() for suffix in SUFFIXES]
        return [path for path in candidates if path.is_file()]

    def folders(self) -> list[str]:
        """The folders that hold pages, and those of data, relative to the root."""
        pages = {page.parent.relative_to(self.root).as_posix() for page in self.pages()}
        return sorted({*pages, *self.settings.data})

    def config(self) -> dict[str, Any]:
        """What `_config.yml` says; nothing if there is none. Raises ConfigError if it is no table of YAML."""
        path = self.root / CONFIG
        return read_yaml(path) if path.is_file() else {}

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def at_hand(self) -> tuple[str, str]:
        """The profile in which the committed outputs can be verified with the data at hand, and sentences that say why.

        Raises ConfigError if the hook does not say so.
        """
        target = self.settings.data_hook
        if not target:
            return self.settings.published, f"The chapters are verified in the {self.settings.published} profile."
        told = config.hook("data-hook", target)
        if not (isinstance(told, tuple) and len(told) == 2 and told[0] in self.settings.profiles):
            known = ", ".join(self.settings.profiles)
            raise ConfigError(f"data-hook = {target!r} returned {told!r}; return (one of {known}, sentences)")
        return told


def read_yaml(path: Path) -> dict[str, Any]:
    """The table in a file of YAML; an empty file holds an empty one. Raises ConfigError if it holds anything else."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} holds {str(found)[:40]!r}, not a table; write `key: value` in its lines")
    return found


def entries(node: Any) -> Iterator[str]:
    """The pages that a part of `_toc.yml` names, without suffix. Raises ChapterError for what cannot be an entry."""
    if not isinstance(node, dict):
        raise ChapterError(f"{TOC}: {node!r} is not an entry; write `- file: PAGE`")
    for key in node:
        if key not in (*NAMING, *HOLDING, *SHOWING):
            hint = nearest(str(key), (*NAMING, *HOLDING, *SHOWING))
            raise ChapterError(f"{TOC}: the key {key!r} is not known. {hint}Name each page, as `- file: PAGE`")
    for key in NAMING:
        if key in node:
            suffix = next((suffix for suffix in SUFFIXES if str(node[key]).endswith(suffix)), "")
            yield str(node[key]).removesuffix(suffix)
    for key in HOLDING:
        held = node.get(key) or []
        if not isinstance(held, list):
            raise ChapterError(f"{TOC}: {key}: {held!r} is not a list; write a line `- file: PAGE` for each page")
        for inner in held:
            yield from entries(inner)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: "Did you mean 'seed'? ", or "" if nothing is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"Did you mean {near[0]!r}? " if near else ""
