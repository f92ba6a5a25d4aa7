"""Where records are: in a folder that is written to, and, where the package is installed, among the published ones."""

from pathlib import Path

from vattn_utils.data import files
from vattn_utils.training import durable, repository, schema


class RecordError(ValueError):
    """A record is missing, altered, or does not fit its model."""


def folder() -> Path:
    """Where records are written, and looked for first: `$VATTN_RECORDS`, or the repository's `records/`.

    Without either, where the package is installed, it is `~/.local/share/vattn/records`. Raises `RecordError` for a
    user without a home, and ValueError if the variable holds a relative path.
    """
    if named := files.folder("VATTN_RECORDS"):
        return named
    if not repository.installed():
        return repository.CHECKOUT / "records"
    if (own := files.own()) is None:
        raise RecordError("there is no home to keep records in; set VATTN_RECORDS to a folder")
    return own / "records"


def names(root: str | Path | None = None) -> list[str]:
    """The names of all records in `root`, or in `folder()` and among the published ones.

    What is being written, behind a dot, is not among them.
    """
    found = {name for place in _places(root) for name in _names(place)}
    return sorted(name for name in found if not name.startswith("."))


def find(name: str, root: str | Path | None = None) -> Path:
    """The `record.json` of the record called `name`, from `root`, or from `folder()` before the published ones.

    Raises `RecordError` if there is none, or if it is published and cannot be fetched.
    """
    check_spelling(name)
    places = _places(root)
    for place in places:
        if name in _names(place):
            return fetched(f"records/{name}/record.json") if is_published(place) else place / name / "record.json"
        if (kept := durable.kept(place / name)).exists():
            raise RecordError(f"record {name} was being replaced; go on with that run, or rename {kept} to {name}")
    raise RecordError(f"no record {name!r} in {places[0]}; there are: {', '.join(names(root)) or 'none'}")


def is_published(place: Path) -> bool:
    """Whether a folder of records is the one in which fetched records are kept."""
    return place == _published()


def fetched(file: str, sha256: str | None = None) -> Path:
    """The published file `file`, its path from the repository's root: `repository.file`. Raises `RecordError`."""
    try:
        return repository.file(file, sha256)
    except OSError as error:
        raise RecordError(str(error)) from error


def check_name(name: str, root: str | Path | None = None) -> None:
    """Raise `RecordError` unless a record under `root` may be called `name`: one part of a path, no other's folder."""
    check_spelling(name)
    path = (Path(root) if root is not None else folder()) / name
    if path.exists() and not (path / "record.json").is_file():
        raise RecordError(f"{path} is there and is no record; give the record another name, or move that away")


def check_spelling(name: object) -> None:
    """Raise `RecordError` unless `name` is one part of a path, made of letters, digits, "-", "_" and "."."""
    if not isinstance(name, str) or not schema.NAME.fullmatch(name):
        raise RecordError(f"name={name!r} is no name of a record; use letters, digits, '-', '_' and '.', no folder")


def _places(root: str | Path | None) -> list[Path]:
    if root is not None:
        return [Path(root)]
    return [folder(), *([published] if (published := _published()) else [])]


def _published() -> Path | None:
    return kept / "records" if repository.installed() and (kept := repository.kept()) else None


def _names(place: Path) -> set[str]:
    if is_published(place):
        return {name.split("/")[1] for name in repository.names("records/*/record.json")}
    return {path.parent.name for path in place.glob("*/record.json")}
