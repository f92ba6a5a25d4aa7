"""The parameters of every chapter in every profile, kept in one table of TOML.

A chapter's `parameters` cell declares exactly these, with the published values; papermill is given exactly these.
Unknown, missing and mistyped ones are found here, before a kernel starts. A book of one profile needs no such table.
"""

import tomllib
from typing import Any

from bookproof.book import Book, ChapterError, nearest
from bookproof.config import BookError
from bookproof.notebooks import PARAMETERS, TYPES, Node, code_cells, declared_parameters, tags

EVERY = "every"
PROFILE = "profile"  # the parameter that names the profile

Declared = dict[str, tuple[str, object]]


class ContractError(BookError):
    """The table of parameters and its use do not agree: which parameter, which value, and the way out."""


def read(book: Book) -> dict[str, Any]:
    """The table as `{chapter or "every": {parameter: {profile: value}}}`; a book of one profile may lack it.

    Raises ContractError if it is missing, is no TOML, lacks a profile's value, or mixes types in one parameter.
    """
    file, profiles = book.settings.parameters, book.settings.profiles
    try:
        table = tomllib.loads((book.root / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if len(profiles) == 1:
            return {}
        raise ContractError(f"{file} is missing; it holds the parameters of all chapters") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{file} is not TOML: {error}") from None
    for chapter, parameters in table.items():
        if not isinstance(parameters, dict):
            raise ContractError(
                f"{file}: {chapter} = {parameters!r} is no table; write [{chapter}.PARAMETER] above values"
            )
    for chapter, parameters in table.items():
        for name, values in parameters.items():
            where = f"{file}: [{chapter}.{name}]"
            if not isinstance(values, dict) or set(values) != set(profiles):
                raise ContractError(f"{where} must have a value for each of {', '.join(profiles)}, and nothing else")
            types = {type(value) for value in values.values()}
            if len(types) > 1 or not types <= {str, int, float, bool}:
                raise ContractError(f"{where} has values {list(values.values())}; give them one type")
            if name in table.get(EVERY, {}) and chapter != EVERY:
                raise ContractError(f"{where} is in [{EVERY}] already; leave it out here")
    return table


def parameters(book: Book, chapter: str, profile: str) -> dict[str, object]:
    """`{name: value}` of `chapter` in `profile`. Raises ContractError for an unknown profile."""
    check_profile(book, profile)
    table = read(book)
    return {name: values[profile] for part in (EVERY, chapter) for name, values in table.get(part, {}).items()}


def check_profile(book: Book, profile: object) -> None:
    """Raise ContractError for a profile that the book does not have."""
    if profile not in book.settings.profiles:
        raise ContractError(f"profile={profile!r} does not exist; use one of {', '.join(book.settings.profiles)}")


def declared(book: Book, notebook: Node) -> Declared:
    """The parameters that a chapter declares; in a book of one profile it may have no cell for them.

    Raises ValueError as `declared_parameters` does.
    """
    tagged = any(PARAMETERS in tags(cell) for _, cell in code_cells(notebook))
    return declared_parameters(notebook) if tagged or len(book.settings.profiles) > 1 else {}


def check_declared(book: Book, chapter: str, found: Declared) -> None:
    """Raise ContractError unless a chapter declares exactly its parameters, with their types and published values.

    `found` is what `declared` returns.
    """
    file, due = book.settings.parameters, parameters(book, chapter, book.settings.published)
    for name in found.keys() - due.keys():
        raise ContractError(f"{file} has no parameter {name!r} of {chapter!r}. {nearest(name, due)}Enter or remove it")
    for name, value in due.items():
        if name not in found:
            raise ContractError(
                f"the parameters cell lacks {name!r}; write `{name}: {type(value).__name__} = {value!r}`"
            )
        default = found[name][1]
        if type(default) is not type(value) or default != value:
            raise ContractError(f"the parameters cell has {name}={default!r}, {file} has {value!r}; make them the same")


def check_given(book: Book, notebook: Node, given: dict[str, object]) -> None:
    """Raise ChapterError unless each of the parameters `given` is declared by the chapter and of the declared type.

    papermill only warns of an unknown parameter and ignores the type, so this happens before a kernel starts.
    """
    known = declared(book, notebook)
    for name, value in given.items():
        if name not in known:
            hint = nearest(name, known)
            raise ChapterError(f"unknown parameter {name!r}. {hint}The chapter has {', '.join(known)}")
        kind, _ = known[name]
        if type(value) is not TYPES[kind]:
            raise ChapterError(f"parameter {name}={value!r} is of the type {type(value).__name__}, not {kind}")
    check_profile(book, given.get(PROFILE, book.settings.published))


def parse(book: Book, notebook: Node, settings: list[str]) -> dict[str, object]:
    """Turn `name=value` from a command line into values of the types that the chapter declares.

    Raises ChapterError for what is not `name=value`, for unknown names and for values of another type.
    """
    known = declared(book, notebook)
    parsed: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ChapterError(f"{setting!r} is not name=value")
        kind = known.get(name, ("str", ""))[0]
        try:
            parsed[name] = {"true": True, "false": False}[text.lower()] if kind == "bool" else TYPES[kind](text)
        except (KeyError, ValueError):
            raise ChapterError(f"parameter {name}={text!r} is not of the type {kind}") from None
    check_given(book, notebook, parsed)
    return parsed
