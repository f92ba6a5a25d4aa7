"""Files and folders that are there whole or not at all, whatever instant the process or the machine dies.

Everything that is kept of a run goes to the disk through here: written, flushed to the disk, and only then renamed to
what a reader looks for.
"""

import errno
import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, where nobody is kept out
    fcntl = None  # type: ignore[assignment]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of `files`, each under its name, such as "a" or "b/c", in the place of one that may be there.

    The old one lives until the new one is whole on the disk. If the process dies just while the two change places, the
    old one is called as `kept(folder)` says. Raises OSError: the old folder is then as it was, or, where only the last
    step failed, which brings the names to the disk, `kept` beside the new one.
    """
    new, old = folder.with_name(f".{folder.name}.new"), kept(folder)
    restore(folder)
    shutil.rmtree(new, ignore_errors=True)  # of a process that died
    try:
        new.mkdir()
        for name, content in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            _write(new / name, content)
        for place in sorted({place for name in files for place in (new / name).parents if place.is_relative_to(new)}):
            sync(place)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError:
        restore(folder)
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> None:
    """Put back what `write_folder` had taken away when it died, and take away what it had no time to."""
    old = kept(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def kept(folder: Path) -> Path:
    """Where the old folder is while a new one takes its place."""
    return folder.with_name(f".{folder.name}.old")


def write_file(path: Path, content: bytes) -> None:
    """Write a file in the place of one that may be there, which lives until the new one is whole on the disk."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    _write(new, content)
    new.replace(path)
    sync(path.parent)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where the system and the file system know how."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def lock(path: Path) -> io.BufferedWriter:
    """Make the file `path`, and its folder, and keep other processes from it until it is let go of: `unlock`.

    Raises BlockingIOError if another process has it, and OSError if it cannot be made.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not fcntl or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # it is what another process has just removed, as where the two differ
            pass
        except OSError:
            file.close()
            raise
        file.close()


def unlock(file: io.BufferedWriter, remove: bool) -> None:
    """Let go of what `lock` returned, and `remove` it if that is said."""
    if not fcntl:  # Windows removes no file that is open
        file.close()
    if remove:
        Path(file.name).unlink(missing_ok=True)
    file.close()


def npz(arrays: Mapping[str, np.ndarray], save: Callable = np.savez) -> bytes:
    """`arrays` as an .npz file; `save` may be `np.savez_compressed`."""
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()
