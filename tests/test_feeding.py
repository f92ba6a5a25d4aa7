"""Batches that other processes make are those that one process would have made."""

import dataclasses

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
            plain.epoch = fed.epoch = epoch
            for index in indices:
                for ours, theirs in zip(fed[index], plain[index], strict=True):
                    np.testing.assert_array_equal(ours, theirs)
        fed.epoch = 2
        with pytest.raises(IndexError, match="no such epoch"):
            fed[0]


def test_a_run_is_fed_where_an_accelerator_would_wait(tiny, monkeypatch):
    class Counted(Fed):
        asked = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __getitem__(self, index):
            Counted.asked += 1
            return self.batches[index]

    assert feeding.spare_processes() == 0  # on a CPU
    monkeypatch.setattr(loop, "Fed", Counted)
    monkeypatch.setattr(feeding, "accelerators", lambda: ["a fast one"])
    loop.fit(model_of(tiny, depth=1), tiny, dataclasses.replace(RECIPE, epochs=1), verbose=False)
    assert Counted.asked >= 5
