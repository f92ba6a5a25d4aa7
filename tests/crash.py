"""Crash a run at every write, as SQLite is tested: wherever the process dies, `--resume` gives the same record.

    python tests/crash.py --every-write     # N crash points, N resumed to the bit
    python tests/crash.py                   # every seventh of them

A tiny run is trained once, in the place of an older record, while all that it does to the disk goes through one
counter: files opened, written, brought to the disk, folders made, renamed, removed. Before each operation everything on
the disk is noted, as a process that dies there leaves it; in a write also with half of it written; and, where something
is renamed or removed while files were not yet brought to the disk, as a machine that loses its power leaves it, with
half of these gone. Each state is then put back and gone on with, and the record compared with the undisturbed one's. A
process does nothing after its death, so that what is noted is all that it leaves: `test_crash.py` holds the notes
against processes that really died.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from vattn_utils.data import Dataset
from vattn_utils.training import Recipe, durable, records, train
from vattn_utils.training.run_folder import RunFolder

OPERATIONS = ("mkdir", "rename", "replace", "unlink", "rmdir")
NAME = "eanet-tiny-book"
RECIPE = Recipe(epochs=2, batch_size=16, validation=8, augmentation=("flip",), ema=0.9, select="best")
SIZES = dict(image_size=8, patch_size=4, dim=8, depth=1, heads=1, mlp_dim=8, memory_slots=2, tokenizer="patch")
Tree = dict[str, bytes | None]  # content by path, None for a folder


class Disk:
    """All that this process does under `root`, through one counter.

    Args:
        root: what is watched.
        at: called at each point, with its number from 0, and what would be on the disk after a death there.
    """

    def __init__(self, root: Path, at: Callable[[int, Tree], None]) -> None:
        self.root, self.at, self.points = root, at, 0
        self.unsynced: set[int] = set()  # inodes

    def note(self) -> None:
        """Pass a point where the process may die."""
        self._pass(tree(self.root))

    def _pass(self, found: Tree) -> None:
        self.at(self.points, found)
        self.points += 1

    @contextlib.contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Count what is done within."""
        with contextlib.ExitStack() as stack:
            for name in OPERATIONS:
                stack.enter_context(mock.patch.object(os, name, self._counted(getattr(os, name))))
            stack.enter_context(mock.patch.object(os, "fsync", self._fsync(os.fsync)))
            stack.enter_context(mock.patch.object(io, "open", self._open(io.open)))
            yield self

    def _counted(self, operation: Callable) -> Callable:
        def counted(path, *others, **named):
            if "dir_fd" in named or str(path).startswith(str(self.root)):
                self.note()
                if self.unsynced:  # where the machine dies
                    self._pass(tree(self.root, self.unsynced))
            return operation(path, *others, **named)

        return counted

    def _fsync(self, fsync: Callable) -> Callable:
        def counted(descriptor):
            self.note()
            fsync(descriptor)
            self.unsynced.discard(os.fstat(descriptor).st_ino)

        return counted

    def _open(self, open_file: Callable) -> Callable:
        def counted(path, mode="r", *others, **named):
            if mode[0] == "r" or not str(path).startswith(str(self.root)):
                return open_file(path, mode, *others, **named)
            self.note()
            file = open_file(path, mode, *others, **named)
            self.unsynced.add(os.fstat(file.fileno()).st_ino)
            return Torn(file, self.note)

        return counted


class Torn:
    """An open file whose writes have a point in their middle."""

    def __init__(self, file: io.BufferedWriter, note: Callable[[], None]) -> None:
        self.file, self.note = file, note

    def write(self, content: bytes) -> None:
        half = len(content) // 2
        for part in (content[:half], content[half:]):
            self.file.write(part)
            self.file.flush()
            self.note()

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)


def tree(root: Path, unsynced: set[int] = frozenset()) -> Tree:
    """What lies under `root`; of the files with these inodes, half."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            found[str(path.relative_to(root))] = None
            continue
        content = path.read_bytes()
        lost = path.stat().st_ino in unsynced
        found[str(path.relative_to(root))] = content[: len(content) // 2] if lost else content
    return found


def put_back(found: Tree, root: Path) -> None:
    """Make `root` hold what was noted."""
    root.mkdir(parents=True)
    for name, content in found.items():
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


def tiny() -> Dataset:
    """Forty images of 8 x 8 pixels in two classes."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = (random.integers(0, 100, (40, 8, 8, 3)) + 100 * labels[:, None, None, None]).astype("uint8")
    return Dataset("tiny", images, labels, images[:20], labels[:20], class_names=("night", "day"), digest="tiny")


def go_on(root: Path) -> records.Record:
    """Do what a user does: begin the run under `root`, or go on with it, and return what is recorded.

    The old record is replaced; of the new one, that of this very run, nobody says that it may be.
    """
    directory, folder = root / "run", root / "records"
    with (
        mock.patch.dict(os.environ, VATTN_RECORDS=str(folder)),
        mock.patch.object(train.data, "load", return_value=tiny()),
    ):
        done = (folder / NAME).exists() and records.load(NAME).recipe == RECIPE
        held = RunFolder(directory).run() is not None
        if held or not done:
            train.state_directory(NAME, directory, resume=held)
            with contextlib.redirect_stdout(io.StringIO()):
                train.run("eanet", "tiny", "book", RECIPE, directory, None, SIZES, replace=not done)
        return records.load(NAME)


def told(record: records.Record) -> dict:
    """All that a record says, but for times."""
    record.check_files()
    history = {name: values for name, values in record.history.items() if name != "seconds"}
    return {**vars(record), "path": None, "history": history, "provenance": None, "seconds": 0, "images_per_second": 0}


def old_record(root: Path) -> records.Record:
    """An older record of the same name, in `root`/records."""
    changes = dict(epochs=1, ema=0.0, select="last")
    recipe = Recipe(**{**vars(RECIPE), **changes})
    with contextlib.redirect_stdout(io.StringIO()):
        return train.train("eanet", tiny(), "book", recipe, overrides=SIZES, root=root / "records")


def crash(every: int = 1, workplace: Path | None = None) -> tuple[int, int]:
    """Crash a run at `every` so many points, and go on. Returns how many points that were, and how many came out equal.

    At each point the old record or the new one is there, whole, or the old one beside its name for one rename.
    """
    with tempfile.TemporaryDirectory(dir=workplace) as name:
        work, states, counted = Path(name), {}, []

        def keep(point: int, found: Tree) -> None:
            if point % every == 0:
                counted.append(states.setdefault(repr(sorted(found.items())), found))

        old = told(old_record(work / "whole"))
        with Disk(work / "whole", keep).watched():
            expected = told(go_on(work / "whole"))
        good = {}
        for number, (key, found) in enumerate(states.items()):
            root = work / str(number)
            put_back(found, root)
            there = root / "records" / NAME
            whole = told(records.load(NAME, root / "records")) if there.exists() else None
            faults = []
            if whole not in (old, expected) and not (whole is None and durable.kept(there).exists()):
                faults.append("no whole record is there")
            with warnings.catch_warnings(action="ignore"):  # of a damaged epoch, which is said
                new = told(go_on(root))
            faults += [f"{field} is another" for field in expected if new[field] != expected[field]]
            faults += [f"{path.name} is left" for path in (root / "records").glob(f".{NAME}*")]
            if (root / "run").exists() and any(path.name != "lock" for path in (root / "run").iterdir()):
                faults.append("the run is left")
            good[key] = not faults
            if faults:
                print(f"{'; '.join(faults)}, of {', '.join(found)}", file=sys.stderr)
        return len(counted), sum(good[repr(sorted(found.items()))] for found in counted)


def main() -> int:
    """Crash, say how many points there were and how many came out equal, and return 1 if one did not."""
    parser = argparse.ArgumentParser(prog="python tests/crash.py", description=__doc__.split("\n")[0])
    parser.add_argument("--every-write", action="store_true", help="all points, not every seventh")
    options = parser.parse_args()
    points, resumed = crash(1 if options.every_write else 7)
    print(f"{points} crash points, {resumed} resumed to the bit")
    return int(points != resumed)


if keras.backend.backend() == "tensorflow":
    import tensorflow

    # Nothing here runs long enough for a graph to pay.
    tensorflow.config.run_functions_eagerly(__name__ == "__main__")
    warnings.filterwarnings("ignore", message="Even though the", module="tensorflow")

if __name__ == "__main__":
    raise SystemExit(main())
