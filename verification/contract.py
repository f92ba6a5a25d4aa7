"""The parameters of every chapter in every profile, kept in one place: `book/parameters.toml`.

A chapter's `parameters` cell declares exactly these, with the published values; papermill is given exactly these.
Unknown, missing and mistyped ones are found here, before a kernel starts.
"""

import difflib
import tomllib

PROFILES = ("published", "quick", "full")
EVERY = "every"
FILE = "book/parameters.toml"


class ContractError(ValueError):
    """The table of parameters and its use do not agree: which parameter, which value, and the way out."""


def read(root):
    """The table as `{chapter or "every": {parameter: {profile: value}}}`.

    Raises ContractError if it is missing, is no TOML, lacks a profile's value, or mixes types in one parameter.
    """
    path = root / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(f"{FILE} is missing; it holds the parameters of all chapters") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{FILE} is not TOML: {error}") from None
    for chapter, parameters in table.items():
        for name, values in parameters.items():
            where = f"{FILE}: [{chapter}.{name}]"
            if not isinstance(values, dict) or set(values) != set(PROFILES):
                raise ContractError(f"{where} must have a value for each of {', '.join(PROFILES)}, and nothing else")
            types = {type(value) for value in values.values()}
            if len(types) > 1 or not types <= {str, int, float, bool}:
                raise ContractError(f"{where} has values {list(values.values())}; give them one type")
            if name in table.get(EVERY, {}) and chapter != EVERY:
                raise ContractError(f"{where} is in [{EVERY}] already; leave it out here")
    return table


def parameters(root, chapter, profile):
    """`{name: value}` of `chapter` in `profile`. Raises ContractError for an unknown profile."""
    if profile not in PROFILES:
        raise ContractError(f"profile={profile!r} does not exist; use one of {', '.join(PROFILES)}")
    table = read(root)
    return {name: values[profile] for part in (EVERY, chapter) for name, values in table.get(part, {}).items()}


def check_declared(root, chapter, declared):
    """Raise ContractError unless a chapter declares exactly its parameters, with their types and published values.

    `declared` is what `hygiene.declared_parameters` returns.
    """
    due = parameters(root, chapter, "published")
    for name in declared.keys() - due.keys():
        raise ContractError(f"{FILE} has no parameter {name!r} of {chapter!r}. {nearest(name, due)}Enter or remove it")
    for name, value in due.items():
        if name not in declared:
            raise ContractError(
                f"the parameters cell lacks {name!r}; write `{name}: {type(value).__name__} = {value!r}`"
            )
        default = declared[name][1]
        if type(default) is not type(value) or default != value:
            raise ContractError(f"the parameters cell has {name}={default!r}, {FILE} has {value!r}; make them the same")


def nearest(name, known):
    """A hint for a misspelt name: "Did you mean 'seed'? ", or "" if nothing is near."""
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}? " if near else ""
