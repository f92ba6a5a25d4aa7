"""Batches that other processes make are those that one process would have made."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from test_training import model_of

from vattn_utils.training import Batches, Recipe, feeding, loop
from vattn_utils.training.feeding import Fed

RECIPE = Recipe(epochs=3, batch_size=16, validation=16, augmentation=("flip", "trivial_augment"), cutmix=1.0, seed=3)


class Odd(Batches):
    """Their last epoch cannot be made."""

    def __getitem__(self, index):
        if self.epoch == 2:
            raise IndexError("no such epoch")
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def odd(tiny):
    (x, y), _ = tiny.split(RECIPE.validation, RECIPE.seed)
    return Odd(x, y, tiny.num_classes, RECIPE)


def test_each_batch_is_the_same_in_any_epoch_and_any_order_and_what_goes_wrong_is_said(odd):
    plain = Batches(odd.x, odd.y, odd.num_classes, RECIPE)
    with Fed(odd, 1) as fed:
        assert len(fed) == len(plain) == 5
        for epoch, indices in ((0, (0, 0, 1, 2, 3, 4)), (1, range(5)), (0, (3, 1))):
            plain.epoch = odd.epoch = epoch
            for index in indices:
                for ours, theirs in zip(fed[index], plain[index], strict=True):
                    np.testing.assert_array_equal(ours, theirs)
        odd.epoch = 2
        with pytest.raises(IndexError, match="no such epoch"):
            fed[0]


def test_a_run_is_fed_where_an_accelerator_would_wait(tiny, monkeypatch):
    class Counted(Fed):
        asked: ClassVar = []  # the epoch of each batch

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __getitem__(self, index):
            self.asked.append(self.batches.epoch)
            return self.batches[index]

    assert feeding.spare_processes() == 0  # on a CPU
    monkeypatch.setattr(loop, "Fed", Counted)
    monkeypatch.setattr(feeding, "accelerators", lambda: ["a fast one"])
    loop.fit(model_of(tiny, depth=1), tiny, dataclasses.replace(RECIPE, epochs=2), verbose=False)
    assert min(map(Counted.asked.count, (0, 1))) >= 5


def test_no_more_processes_make_batches_than_an_accelerator_needs(monkeypatch):
    monkeypatch.setattr(feeding, "accelerators", lambda: ["a fast one"])
    for cores, processes in ((1, 1), (4, 3), (128, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert feeding.spare_processes() == processes


def test_without_room_in_shared_memory_one_process_makes_the_batches_and_says_so(odd, monkeypatch):
    monkeypatch.setattr(feeding.shutil, "disk_usage", lambda _: SimpleNamespace(free=64_000))
    monkeypatch.setattr(feeding, "SHARED", Path("/"))
    fed = Fed(odd, 2)
    with pytest.warns(UserWarning, match=r"has 0 MB left, and 2 processes .* need \d+: .*--shm-size"):
        fed.__enter__()
    odd.epoch = 1
    assert fed.workers == odd.workers
    np.testing.assert_array_equal(fed[1][0], odd[1][0])
    fed.__exit__()


FED = """
import sys, time
import numpy as np
from vattn_utils.training import Batches, Recipe
from vattn_utils.training.feeding import Fed
batches = Batches(np.zeros((4, 32, 32, 3), "uint8"), np.zeros(4, int), 10, Recipe(batch_size=2, validation=1))
with Fed(batches, 1) as fed:
    fed[0]
    print(*fed._pool._processes, flush=True)
    time.sleep(60)
"""


def test_what_makes_batches_ends_with_a_run_that_is_killed():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.Popen([sys.executable, "-c", FED], env=environment, stdout=subprocess.PIPE, text=True)
    (maker,) = map(int, run.stdout.readline().split())
    os.kill(maker, signal.SIGINT)  # as at a terminal, where all have it
    os.kill(maker, 0)
    run.kill()
    run.wait()
    until = time.monotonic() + 10
    while alive(maker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(maker)


def alive(process):
    """Also while it waits to be reaped, a process that ended does not."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
