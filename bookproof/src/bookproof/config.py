"""What a book says of itself: the table `[tool.bookproof]` in the pyproject.toml beside its `_toc.yml`.

`KEYS` is all that can stand there; a book without such a table is one of one profile, whose outputs follow from its
notebooks alone. Hooks are functions of the book's own code, as "module:function".
"""

import difflib
import importlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "pyproject.toml"
TABLE = "[tool.bookproof]"
HOOK = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

# Every key: what it must be, in words and as a test.
KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "profiles": ("a list of texts", lambda value: _texts(value) and bool(value)),
    "profile-variable": ("a text", lambda value: _text(value)),
    "profile-line": ("a text with {profile} in it and no other brace", lambda value: _line(value)),
    "parameters": ("a path", lambda value: _text(value)),
    "template": ("a path", lambda value: _text(value)),
    "packages": ("a table of folders by package", lambda value: _table(value)),
    "data": ("a list of folders", lambda value: _texts(value)),
    "sealed": ("a list of files and folders", lambda value: _texts(value)),
    "copied": ("a table of folders by environment variable", lambda value: _table(value)),
    "environment": ("a table of texts by environment variable", lambda value: _table(value)),
    "data-hook": ("a function, as 'module:function'", lambda value: _hook(value)),
    "provenance-hook": ("a function, as 'module:function'", lambda value: _hook(value)),
}
# What a book of several profiles must say, as nothing else could tell them apart.
OF_PROFILES = ("profile-variable", "profile-line")


class BookError(ValueError):
    """Something is wrong with the book as it is written: what, where, and the way out."""


class ConfigError(BookError):
    """A key of the configuration that is missing, unknown or of the wrong kind."""


@dataclass(frozen=True)
class Settings:
    """What `[tool.bookproof]` says.

    profiles: in which a chapter can run. The first is what is committed.
    profile_variable: the environment variable that a chapter asks for its profile before its parameters cell.
    profile_line: what a chapter prints of the profile that it runs in, for example "Profile {profile}:".
    parameters: the table of all chapters' parameters in all profiles, a TOML file.
    template: the notebook that new chapters are made of.
    packages: {name: folder} of the packages of the book's own, whose sources its outputs follow from.
    data: folders whose files the outputs follow from, as far as a chapter reads them.
    sealed: files and folders that nobody edits here, whose digests stand in a manifest.
    copied: {variable: folder}: any profile but the first sees a copy of the folder, where the variable says.
    environment: {variable: value} of every kernel.
    data_hook: returns (profile, sentences): in which the outputs can be verified with the data at hand, why.
    provenance_hook: returns what a refreshed chapter says of its execution, for example device and versions.
    """

    profiles: tuple[str, ...] = ("published",)
    profile_variable: str = ""
    profile_line: str = ""
    parameters: str = "parameters.toml"
    template: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    copied: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    data_hook: str = ""
    provenance_hook: str = ""

    @property
    def published(self) -> str:
        """The profile whose outputs are committed."""
        return self.profiles[0]


def read(root: Path) -> Settings:
    """The settings of the book under `root`. Raises ConfigError, which names the key."""
    path = root / FILE
    if not path.is_file():
        return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("bookproof", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{FILE} is not TOML: {error}") from None
    for key, value in table.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{FILE}: {TABLE} has no key {key!r}. {hint}It may have {', '.join(KEYS)}")
        kind, is_right = KEYS[key]
        if not is_right(value):
            raise ConfigError(f"{FILE}: {TABLE} {key} = {value!r} is not {kind}")
    check_profiles(table)
    check_folders(table, root)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Settings(**{key.replace("-", "_"): value for key, value in values.items()})


def check_profiles(table: dict[str, Any]) -> None:
    if len(table.get("profiles", ())) > 1:
        for key in OF_PROFILES:
            if key not in table:
                raise ConfigError(f"{FILE}: {TABLE} lacks {key!r}, {KEYS[key][0]}; a book of several profiles needs it")


def check_folders(table: dict[str, Any], root: Path) -> None:
    named = [(key, folder) for key in ("packages", "copied") for folder in table.get(key, {}).values()]
    for key, folder in [*named, *(("data", folder) for folder in table.get("data", ()))]:
        if not (root / folder).is_dir():
            raise ConfigError(f"{FILE}: {TABLE} {key} names the folder {folder!r}, which does not exist")
    if "template" in table and not (root / table["template"]).is_file():
        raise ConfigError(f"{FILE}: {TABLE} template names the file {table['template']!r}, which does not exist")
    for name in table.get("sealed", ()):
        if not list(root.glob(name)):
            raise ConfigError(f"{FILE}: {TABLE} sealed names {name!r}, which does not exist")


def hook(key: str, target: str) -> Any:
    """What the function `target`, "module:function", returns. Raises ConfigError, naming the key, if there is none."""
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{FILE}: {TABLE} {key} = {target!r} cannot be called: {error}") from None
    return function()


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _line(value: object) -> bool:
    return isinstance(value, str) and "{profile}" in value and not set("{}") & set(value.replace("{profile}", ""))


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _table(value: object) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _hook(value: object) -> bool:
    return isinstance(value, str) and bool(HOOK.fullmatch(value))
