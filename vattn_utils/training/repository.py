"""What the repository holds beside the package: recorded runs and measurements, wherever the package runs.

In a checkout they lie beside the code. An installed package holds their digests only, `MANIFEST.sha256`: a file is
fetched when it is asked for, from the commit or the release that the package was installed from, and kept in the cache.
"""

import json
import os
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path

from vattn_utils import __version__
from vattn_utils.data import files
from vattn_utils.data.fetch import FetchError, is_address, receive

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent  # unless the package is installed
INDEX = PACKAGE / "MANIFEST.sha256"  # which only a wheel has there; in a checkout it stands beside the package
SECONDS = 300  # that a file may take


def installed() -> bool:
    """Whether the package is installed, without the repository around it."""
    return INDEX.is_file()


def names(pattern: str) -> list[str]:
    """The paths, from the repository's root, of the published files that `pattern` describes, in order."""
    if not installed():
        return sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob(pattern))
    return sorted(name for name in _index() if fnmatchcase(name, pattern))


def kept() -> Path | None:
    """Where fetched files are kept, each at its path from the repository's root; None if there is no cache."""
    return cache / "repository" if (cache := files.cache()) else None


def file(name: str, sha256: str | None = None) -> Path:
    """Where the published file `name` is on this machine. In a checkout it is not looked at.

    Args:
        name: its path from the repository's root.
        sha256: of the file, in hexadecimal; None means what the index says.

    Where the package is installed, a file that is not kept, or is not as it was published, is fetched. It appears
    whole or not at all, and several processes and threads may ask at once. Raises OSError if it is not to be had.
    """
    if not installed():
        return CHECKOUT / name
    if (folder := kept()) is None:
        raise OSError(f"there is no home to keep {name} in; set VATTN_CACHE to a folder")
    path, sha256 = folder / name, sha256 or _index()[name]
    if path.is_file() and files.sha256_of(path) == sha256:
        return path
    try:
        content = receive(address(name), sha256, seconds=SECONDS)
    except FetchError as error:
        what = f"{path} was altered, and {name} is" if path.is_file() else f"{name} is"
        raise FetchError(
            f"{what} {error}; ask again with a network, or set VATTN_MIRROR to a server of copies"
        ) from error
    files.write_atomically(path, content)
    return path


def address(name: str) -> str:
    """Where the file `name` stands: below `$VATTN_MIRROR`, if it is set, else in what the package was installed from.

    That is a commit, where pip installed from version control, or the release of this version.
    """
    if mirror := os.environ.get("VATTN_MIRROR"):
        return f"{mirror.rstrip('/')}/{name}"
    package = distribution("vattn-utils")
    origin = json.loads(package.read_text("direct_url.json") or "{}")  # pip's note of what it installed from, PEP 610
    if "vcs_info" in origin and is_address(origin["url"]):  # a fork has records of its own
        return f"{origin['url'].removesuffix('.git')}/raw/{origin['vcs_info']['commit_id']}/{name}"
    links = dict(link.split(", ", 1) for link in package.metadata.get_all("Project-URL") or [])
    return f"{links['Repository']}/raw/v{__version__}/{name}"


def _index() -> dict[str, str]:
    """The SHA-256 of every published file, by its path from the root."""
    lines = INDEX.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
