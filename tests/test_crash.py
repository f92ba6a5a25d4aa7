"""A process may die at any instant; `tests/crash.py` tries them all, and here are some of them."""

import os

import numpy as np
import pytest

from tests import crash
from vattn_utils.training.run_folder import RunFolder

PARTS = {"weights": {"00000": np.arange(6.0)}, "history": {"loss": np.ones(2)}}


class Died(BaseException):
    """What no `except Exception` stops."""


def save_three_epochs(root):
    with RunFolder(root / "run") as folder:
        folder.claim({"recipe": "any"})
        for epoch in range(3):
            folder.save(epoch, {**PARTS, "history": {"loss": np.ones(epoch)}})


def test_what_is_noted_at_a_point_is_what_a_process_that_dies_there_leaves(tmp_path):
    noted = []
    for name in ("noted", "died"):
        (tmp_path / name).mkdir()
    with crash.Disk(tmp_path / "noted", lambda _, found: noted.append(found)).watched():
        save_three_epochs(tmp_path / "noted")
    assert len(noted) > 60
    for point in range(0, len(noted), 5):
        root = tmp_path / "died" / str(point)
        root.mkdir()
        child = os.fork()
        if not child:  # it does nothing that is TensorFlow's
            with crash.Disk(root, lambda number, _, last=point: number == last and os._exit(7)).watched():
                save_three_epochs(root)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert crash.tree(root) == noted[point]


def test_wherever_a_process_dies_the_last_whole_epoch_is_found_and_the_next_can_be_saved(tmp_path):
    states = []
    (tmp_path / "whole").mkdir()
    with crash.Disk(tmp_path / "whole", lambda _, found: states.append(found)).watched():
        save_three_epochs(tmp_path / "whole")
    reached = []
    for number, found in enumerate(states):
        crash.put_back(found, tmp_path / str(number))
        with RunFolder(tmp_path / str(number) / "run") as folder:
            folder.claim({"recipe": "any"})
            epoch, parts = folder.load() or (-1, None)
            reached.append(epoch)
            assert parts is None or parts["history"]["loss"].tolist() == [1.0] * epoch
            folder.save(epoch + 1, PARTS)
            assert folder.load()[0] == epoch + 1
    assert reached == sorted(reached)
    assert set(reached) == {-1, 0, 1, 2}


def test_an_exception_that_nothing_stops_leaves_what_a_death_leaves_or_less(tmp_path):
    def die(number, _):
        if number >= 40:  # and whatever is tidied afterwards dies too
            raise Died

    (tmp_path / "run").mkdir()
    with crash.Disk(tmp_path, die).watched(), pytest.raises(Died):
        save_three_epochs(tmp_path)
    with RunFolder(tmp_path / "run") as folder:  # nor does it hold the lock
        assert folder.load()[0] == 0


@pytest.mark.skipif(crash.keras.backend.backend() != "tensorflow", reason="to the bit on TensorFlow")
def test_a_run_that_died_at_some_of_its_writes_ends_in_the_same_record(tmp_path):
    points, resumed = crash.crash(every=47, workplace=tmp_path)
    assert points == resumed >= 4
