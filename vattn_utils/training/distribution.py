"""Data parallel training: the same weights on every device, and on each a part of every batch; Keras' distribution API.

Keras divides batches on JAX. What it asks for, a model that is built under a distribution and batches that divide
without a rest, is met here, so that neither a model nor a recipe need know on how many devices it will be trained.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from vattn_utils.data.checks import check_choice, check_divisible
from vattn_utils.training.run_folder import TrainingError

AUTO = "auto"
JUDGED = 500  # held-out images at a time


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices among which every batch is divided.

    names: by which Keras knows them; none where one device has all. process, processes: which of those that train
    together this one is, from 0, and how many they are: one a host, where `keras.distribution.initialize` was called.
    """

    names: tuple[str, ...] = ()
    process: int = 0
    processes: int = 1

    @contextlib.contextmanager
    def spread(self, model: keras.Model) -> Iterator[None]:
        """Within, the variables of `model` and of what is made lie on all devices, and Keras divides batches.

        Behind it, the model is as any other: each variable on the one device that Keras takes by itself.
        """
        if not self.names:
            yield
            return
        # No data set is divided by Keras, which knows how for TensorFlow's alone: `share` does that.
        distribution = keras.distribution.DataParallel(devices=list(self.names), auto_shard_dataset=False)
        with distribution.scope():
            # A variable has its layout from when it is made, and keeps to it at every assignment: with that of the
            # model's changed, a checkpoint that is restored, best weights and new seeds come to lie on all devices too.
            for variable in model.variables:
                variable._layout = distribution.get_variable_layout(variable)
                variable.assign(variable.value)
            try:
                yield
            finally:
                for variable in model.variables:
                    value = keras.ops.convert_to_numpy(variable)
                    variable._layout = None
                    variable.assign(value)

    def share(self, batches: Any) -> Any:
        """What this process has of `batches`, which are `loop.Batches` or a `Fed` of them."""
        return Share(batches, self.process, self.processes) if self.processes > 1 else batches

    def validation(self, images: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        """What Keras' `fit` is told of the held-out images: this process' share of them, in batches that divide."""
        parts = len(self.names) or 1
        held_out = even(images, targets, parts)
        return {
            "validation_data": tuple(array[self.process :: self.processes] for array in held_out),
            "validation_batch_size": (JUDGED + -JUDGED % parts) // self.processes,
        }


def devices(distribution: str | None, batch_size: int) -> Devices:
    """The devices among which `distribution` divides every batch: for None, one has all.

    Raises `TrainingError`, a ValueError, for a distribution that is not known, on another backend than JAX, and for a
    batch that cannot be divided among all devices.
    """
    if distribution is None:
        return Devices()
    try:
        check_choice("distribution", distribution, (AUTO,))
        if (backend := keras.backend.backend()) != "jax":
            raise ValueError(
                f"distribution={distribution!r} divides batches among devices by Keras, which does so on JAX, and this "
                f"is {backend}; start with KERAS_BACKEND=jax, or leave distribution out to train on one device"
            )
        found = keras.distribution.list_devices()
        check_divisible("batch_size", batch_size, "the number of devices", len(found), ", or leave distribution out")
    except ValueError as error:
        raise TrainingError(str(error)) from error
    jax = sys.modules["jax"]
    return Devices(tuple(found), jax.process_index(), jax.process_count()) if len(found) > 1 else Devices()


def even(images: np.ndarray, targets: np.ndarray, parts: int) -> tuple[np.ndarray, ...]:
    """`images` and `targets` for Keras to judge in batches that divide by `parts`: weights come third if they need any.

    What is missing to a multiple of `parts` is filled up by repeating the last image with a weight of 0. The others
    have one weight, by which the mean over all, as Keras takes it of a loss, is the mean over the images that count.
    """
    count = len(images)
    whole = count + -count % parts
    if whole == count:
        return images, targets
    rows = np.arange(whole)
    weights = np.where(rows < count, whole / count, 0.0).astype("float32")
    rows = np.minimum(rows, count - 1)
    return images[rows], targets[rows], weights


class Share(keras.utils.PyDataset):
    """The part that one process has of each batch: Keras divides it among the devices of this process.

    Args:
        batches: `(images, targets)` of all processes: `loop.Batches`, or a `Fed` of them.
        process, of: which part it is, and of how many.
    """

    def __init__(self, batches: Any, process: int, of: int) -> None:
        super().__init__(workers=batches.workers, max_queue_size=batches.max_queue_size)
        self.batches, self.process, self.of = batches, process, of

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(np.split(array, self.of)[self.process] for array in self.batches[index])
