"""The state of a run: a folder for each epoch, written whole, of which the last two are kept.

    DIRECTORY/run.json            whose run it is, and that this folder is ours
    DIRECTORY/epoch-0007/         the state after epoch 7: an .npz for each part, and manifest.json, their digests

Weights, optimizer, history, best weights and recorded maps are one unit. Keras' `BackupAndRestore` keeps weights and
optimizer only, so that the others fall an epoch apart when a process dies, and it notices no damage: hence this.
"""

import contextlib
import hashlib
import io
import json
import re
import shutil
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from vattn_utils.training import durable

FORMAT = 2
OURS = re.compile(r"lock|run\.json|\.run\.json\.new|epoch-\d+|\.epoch-\d+\.(new|old)")
Arrays = dict[str, np.ndarray]


class TrainingError(ValueError):
    """A run cannot be begun, gone on with or kept; the message says why, and what would do."""


class InUse(TrainingError):
    """Another process is training in that folder."""


@runtime_checkable
class Part(Protocol):
    """What is kept of a run: a callback that has both methods is kept with it."""

    def state(self) -> Arrays:
        """Everything that it takes to go on, as arrays by name."""

    def restore(self, arrays: Arrays) -> None:
        """Go on as what gave `arrays` would have."""


class Variables:
    """The part of a run that Keras variables hold, in their order.

    Args:
        what: whose they are, for errors.
        variables: all of them; they exist already.
    """

    def __init__(self, what: str, variables: Sequence[keras.Variable]) -> None:
        self.what, self.variables = what, variables

    def state(self) -> Arrays:
        return {f"{index:05}": keras.ops.convert_to_numpy(v) for index, v in enumerate(self.variables)}

    def restore(self, arrays: Arrays) -> None:
        if [a.shape for a in arrays.values()] != [tuple(v.shape) for v in self.variables]:
            raise TrainingError(f"the run's {self.what} does not fit this one; give another directory")
        for variable, array in zip(self.variables, arrays.values(), strict=True):
            variable.assign(array)


class Checkpoints(keras.callbacks.Callback):
    """Save a run after each epoch, and once before the first: what cannot be saved is found before it is trained.

    Where the folder says so (`RunFolder.every`), quick epochs go by without, but never the last one. It stands behind
    all other callbacks, so that what they do at the end of an epoch is in what is saved.

    Args:
        folder: a `RunFolder` that is held.
        parts: what is saved, by name.
    """

    def __init__(self, folder: "RunFolder", parts: Mapping[str, Part]) -> None:
        super().__init__()
        self.folder, self.parts = folder, parts
        self.resumed, self.saved = False, time.monotonic()

    def resume(self) -> int:
        """Go on with the run in the folder, and return after how many epochs: 0 if none is there."""
        found = self.folder.load()
        if found is None:
            return 0
        epoch, parts = found
        if parts.keys() != self.parts.keys():
            raise TrainingError(
                f"{self.folder.path} keeps {', '.join(parts)} of its run, and now it would be {', '.join(self.parts)}; "
                "give the callbacks that it began with, or another directory"
            )
        for name, arrays in parts.items():
            self.parts[name].restore(arrays)
        self.resumed = True
        return epoch

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.resumed:
            self._save(0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if last or time.monotonic() - self.saved >= self.folder.every:
            self._save(epoch + 1)

    def _save(self, epoch: int) -> None:
        self.folder.save(epoch, {name: part.state() for name, part in self.parts.items()})
        self.saved = time.monotonic()


class RunFolder:
    """A folder that one process holds, `with RunFolder(path):`, and that keeps one run.

    Nothing is deleted in it but what is named as this module names it, beside a `run.json` that this module wrote.

    Args:
        path: where it is; it need not be there yet.
        every: seconds between two saved epochs, for epochs so quick that saving each would take its share; 0 saves all.
    """

    def __init__(self, path: str | Path, every: float = 0) -> None:
        self.path, self.every = Path(path), every
        self._entered = 0

    @classmethod
    def of(cls, directory: "str | Path | RunFolder") -> "RunFolder":
        """`directory` itself if it is a `RunFolder`, which whoever holds it may enter again."""
        return directory if isinstance(directory, cls) else cls(directory)  # type: ignore[arg-type]

    def __enter__(self) -> "RunFolder":
        if not self._entered:
            try:
                self._lock = durable.lock(self.path / "lock")
            except BlockingIOError:
                raise InUse(f"another process is training in {self.path}; wait for it, or end it") from None
            except OSError as error:
                raise TrainingError(f"no run can be kept in {self.path}: {error}; give another directory") from error
        self._entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered:
            return
        kept = (self.path / "run.json").exists()
        durable.unlock(self._lock, remove=not kept)
        if not kept:
            with contextlib.suppress(OSError):  # something else is in it
                self.path.rmdir()

    def run(self) -> dict[str, Any] | None:
        """What `run.json` says: `run`, whose it is, and `finished`, the name of its record; None if nothing is there.

        Raises `TrainingError` if it is damaged, another program's, or an older version's.
        """
        path = self.path / "run.json"
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path} is damaged ({error}); delete {self.path} and train again") from error
        if isinstance(found, dict) and found.get("format") == FORMAT:
            return found
        if isinstance(found, dict) and {"recipe", "model", "digest"} <= found.keys():
            raise TrainingError(
                f"{self.path} holds a run that an older version began, which keeps its state otherwise; "
                "finish it with that version, or give another directory"
            )
        raise TrainingError(f"{path} is not ours; give another directory")

    def foreign(self) -> list[str]:
        """The names of what is in the folder and no part of a run."""
        return sorted(p.name for p in self.path.glob("*") if not OURS.fullmatch(p.name))

    def claim(self, run: Mapping[str, Any]) -> None:
        """Say whose run is kept here. Raises `TrainingError` if another's is, or anything that is no run."""
        wanted = json.loads(json.dumps(run, default=str))
        found = self.run()
        if found is None:
            if self.foreign():
                raise TrainingError(
                    f"{self.path} is not empty, and {self.foreign()[0]} in it is no run; give another directory"
                )
            self._write({"run": wanted, "finished": None})
        elif found["finished"]:
            raise TrainingError(f"the run in {self.path} is finished, its record is {found['finished']}; delete it")
        elif found["run"] != wanted:
            raise TrainingError(
                f"{self.path} holds another run (its recipe, model, base or data differ); "
                "give another directory or delete it"
            )

    def save(self, epoch: int, parts: Mapping[str, Arrays]) -> None:
        """Keep `parts` as the state after `epoch`, and forget what is older than the one before.

        Raises `TrainingError` if that fails: what was kept before is still there.
        """
        files = {f"{name}.npz": durable.npz(arrays) for name, arrays in parts.items()}
        manifest = {"epoch": epoch, "sha256": {name: _digest(content) for name, content in files.items()}}
        files["manifest.json"] = json.dumps(manifest).encode()
        try:
            if epoch == 0:
                self._check_room(sum(map(len, files.values())))
            durable.write_folder(self._epoch(epoch), files)
            for old in [kept for kept in self._epochs() if kept < epoch][:-1]:
                shutil.rmtree(self._epoch(old))
        except OSError as error:
            raise TrainingError(
                f"epoch {epoch} could not be kept in {self.path}: {error}; what it kept before is whole: "
                "mend that, and go on with --resume"
            ) from error

    def load(self) -> tuple[int, dict[str, Arrays]] | None:
        """The last whole epoch and its parts, or None if none was kept yet. What is damaged is named in a warning.

        Raises `TrainingError` if there are epochs, and none is whole.
        """
        faults: list[str] = []
        for epoch in reversed(self._epochs()):
            try:
                parts = self._read(epoch)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
                faults.append(f"{self._epoch(epoch)} is damaged: {error}")
                continue
            for fault in faults:
                warnings.warn(f"{fault}; the run goes on after epoch {epoch}", stacklevel=2)
            return epoch, parts
        if faults:
            raise TrainingError(f"{'; '.join(faults)}; no whole epoch is left: delete {self.path} and train again")
        return None

    def history(self) -> dict[str, list[float]] | None:
        """The history of the run up to its last whole epoch, or None if there is none."""
        with warnings.catch_warnings(action="ignore"):  # whoever goes on with the run will say it
            found = self.load()
        return {name: values.tolist() for name, values in found[1]["history"].items()} if found else None

    def finish(self, record: str) -> None:
        """Say that the run is over, recorded under the name `record`, and remove its state.

        The folder goes too when it is let go of, unless something else is in it.
        """
        if (found := self.run()) is not None:
            self._write({**found, "finished": record})
        for path in self.path.glob("*epoch-*"):
            if OURS.fullmatch(path.name):
                shutil.rmtree(path)
        (self.path / "run.json").unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        try:
            durable.write_file(self.path / "run.json", json.dumps({**content, "format": FORMAT}).encode())
        except OSError as error:
            raise TrainingError(f"no run can be kept in {self.path}: {error}; give another directory") from error

    def _epoch(self, epoch: int) -> Path:
        return self.path / f"epoch-{epoch:04}"

    def _epochs(self) -> list[int]:
        """Those that are kept, in ascending order."""
        for path in self.path.glob(".epoch-*.old"):
            durable.restore(path.with_name(path.name.removeprefix(".").removesuffix(".old")))
        names = (re.fullmatch(r"epoch-(\d+)", path.name) for path in self.path.glob("*"))
        return sorted(int(name[1]) for name in names if name)

    def _read(self, epoch: int) -> dict[str, Arrays]:
        folder = self._epoch(epoch)
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if manifest["epoch"] != epoch:
            raise ValueError(f"its manifest.json is that of epoch {manifest['epoch']}")
        parts = {}
        for name, digest in manifest["sha256"].items():
            content = (folder / name).read_bytes()
            if _digest(content) != digest:
                raise ValueError(f"{name} is not what was written")
            with np.load(io.BytesIO(content)) as arrays:
                parts[name.removesuffix(".npz")] = {key: arrays[key] for key in arrays.files}
        return parts

    def _check_room(self, epoch: int) -> None:
        """For three epochs, as many as there are while one is written, and a record of at most as much."""
        free = shutil.disk_usage(self.path).free
        if free < 4 * epoch:
            raise OSError(f"it has {free / 1e6:,.0f} MB left, and the run takes {4 * epoch / 1e6:,.0f}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
