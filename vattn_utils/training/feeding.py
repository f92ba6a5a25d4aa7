"""Training batches made by processes of their own, for an accelerator that would wait for one process to make them.

The images lie once in memory that all share, and so do the batches that are made ahead. Whoever makes a batch, it is
the same: a pure function of the seed, the epoch and its index.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vattn_utils.training.provenance import accelerators

AHEAD = 4  # batches of each process
MOST = 16  # processes: more than make batches as fast as an accelerator takes them, and each has its memory
SHARED = Path("/dev/shm")  # where the system keeps shared memory, if it shows that; a container's has 64 MB


def spare_processes() -> int:
    """How many processes may make batches: one less than this one has cores, where an accelerator computes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores - 1, 1), MOST) if accelerators() else 0


class Fed(keras.utils.PyDataset):
    """The batches of `loop.Batches`, made ahead by other processes; `with Fed(batches, 8) as fed`.

    They end with this one, however it ends. Where shared memory has no room, this process makes the batches, and a
    warning says so.

    Args:
        batches: whose they are, and whose `epoch` says which.
        processes: how many make them.
    """

    def __init__(self, batches: Any, processes: int) -> None:
        super().__init__(workers=1)  # nothing to prepare here: a batch is copied out of shared memory
        self.batches, self.processes = batches, processes
        size, images = batches.recipe.batch_size, batches.x.shape[1:]
        self.shapes = (size, *images), (size, batches.num_classes)

    def __enter__(self) -> "Fed":
        batches, count = self.batches, AHEAD * self.processes
        self._held = contextlib.ExitStack()
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._slots: list[list[np.ndarray]] = []
        self._made: dict[int, tuple[int, concurrent.futures.Future]] = {}  # slot and future, by epoch and index
        size = batches.x.nbytes + count * _bytes(self.shapes)
        if SHARED.is_dir() and (free := shutil.disk_usage(SHARED).free) < size:  # to write there would kill us
            warnings.warn(
                f"{SHARED} has {free / 1e6:,.0f} MB left, and {self.processes} processes that make batches need "
                f"{size / 1e6:,.0f}: this one makes them all, which may be slow; give more (docker run --shm-size=2g)",
                stacklevel=2,
            )
            self.workers, self.max_queue_size = batches.workers, batches.max_queue_size
            return self
        pixels = self._held.enter_context(_shared(batches.x.nbytes))
        _array(pixels, batches.x.shape, "uint8")[:] = batches.x
        slots = self._held.enter_context(_shared(count * _bytes(self.shapes)))
        self._slots = [_views(slots, index, self.shapes) for index in range(count)]
        self._free = list(range(count))
        kind = type(batches), batches.y, batches.num_classes, batches.recipe
        self._pool = concurrent.futures.ProcessPoolExecutor(
            self.processes,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(pixels.name, batches.x.shape, kind, slots.name, self.shapes),
        )
        with _on_their_own():
            concurrent.futures.wait([self._pool.submit(int) for _ in range(self.processes)])
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._slots.clear()
        self._held.close()

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = self.batches.epoch * len(self) + index
        if self._pool is None:
            return self.batches[index]
        for made in [made for made in self._made if made < wanted]:  # passed over
            self._release(made)
        for ahead in range(wanted, wanted + len(self._slots)):
            if self._free and ahead not in self._made and ahead < self.batches.recipe.epochs * len(self):
                slot = self._free.pop()
                self._made[ahead] = slot, self._pool.submit(_make, *divmod(ahead, len(self)), slot)
        if wanted not in self._made:  # all slots hold what comes later: somebody looks back
            return self.batches[index]
        slot, future = self._made[wanted]
        future.result()
        images, targets = self._slots[slot]
        return images.copy(), targets.copy()

    def _release(self, made: int) -> None:
        slot, future = self._made.pop(made)
        future.result()
        self._free.append(slot)


class _Maker:
    """What a process that makes batches has: the batches' own maker, and the memory that all share."""

    def __init__(self, pixels: str, shape: tuple, kind: tuple, slots: str, shapes: tuple) -> None:
        of, y, num_classes, recipe = kind
        self.pixels, self.slots, self.shapes = SharedMemory(pixels), SharedMemory(slots), shapes
        self.batches = of(_array(self.pixels, shape, "uint8"), y, num_classes, recipe)

    def make(self, epoch: int, index: int, slot: int) -> None:
        self.batches.epoch = epoch
        for view, made in zip(_views(self.slots, slot, self.shapes), self.batches[index], strict=True):
            view[:] = made


_maker: list[_Maker] = []  # of this process, if it makes batches


def _begin(*given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the run's process that is interrupted
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _maker.append(_Maker(*given))


def _end_with_parent() -> None:
    """A run that is killed closes no pool."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


def _make(epoch: int, index: int, slot: int) -> None:
    _maker[0].make(epoch, index, slot)


@contextlib.contextmanager
def _shared(size: int) -> Iterator[SharedMemory]:
    memory = SharedMemory(create=True, size=size)
    try:
        yield memory
    finally:
        memory.close()
        memory.unlink()


def _array(memory: SharedMemory, shape: tuple, dtype: str, offset: int = 0) -> np.ndarray:
    return np.ndarray(shape, dtype, memory.buf, offset)


def _bytes(shapes: tuple) -> int:
    return sum(4 * int(np.prod(shape)) for shape in shapes)


def _views(memory: SharedMemory, slot: int, shapes: tuple) -> list[np.ndarray]:
    """The images and the targets of one slot."""
    begin = slot * _bytes(shapes)
    return [
        _array(memory, shapes[0], "float32", begin),
        _array(memory, shapes[1], "float32", begin + _bytes(shapes[:1])),
    ]


@contextlib.contextmanager
def _on_their_own() -> Iterator[None]:
    """Processes that are begun within leave the accelerator alone, take a thread each, and run no main script."""
    usual = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, main = {name: os.environ.get(name) for name in usual}, sys.modules["__main__"]
    os.environ.update(usual)
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
