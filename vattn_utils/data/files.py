"""Files and folders: where this machine keeps them, and how one is written so that nobody finds a part of it."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path


def folder(variable: str) -> Path | None:
    """The folder that the environment variable names, `~` expanded, or None if it is not set or empty.

    Raises ValueError for a relative path, which would be another folder wherever a command or a chapter starts.
    """
    named = os.environ.get(variable)
    if named and not os.path.isabs(os.path.expanduser(named)):
        raise ValueError(f"{variable}={named!r} is no whole path; set it to one, such as {str(Path.cwd() / named)!r}")
    return Path(named).expanduser() if named else None


def cache() -> Path | None:
    """Where what was downloaded is kept: `$VATTN_CACHE`, else `~/.cache/vattn`. It may not exist yet.

    None for a user without a home. Raises ValueError if the variable holds a relative path.
    """
    return folder("VATTN_CACHE") or _at_home(".cache", "vattn")


def own() -> Path | None:
    """Where what the user made is kept if nothing else is said: `~/.local/share/vattn`. None without a home."""
    return _at_home(".local", "share", "vattn")


def _at_home(*parts: str) -> Path | None:
    home = os.path.expanduser("~")
    return Path(home, *parts) if os.path.isabs(home) else None


def is_there(path: Path) -> bool:
    """Whether there is something at `path`. Raises PermissionError where that may not be known."""
    try:
        path.stat()
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def write_atomically(path: str | Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file so that a reader finds the old one or the new one, never a part; its folder is made if need be.

    Args:
        path: of the file.
        content: text, written as UTF-8; bytes; or a function that writes the file whose path it is given, which
            has the same suffix.

    Raises OSError, and whatever `content` raises; the old file is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{threading.get_ident()}.{path.name}")
    try:
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
