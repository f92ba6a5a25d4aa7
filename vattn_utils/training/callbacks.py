"""What happens between the steps of a run: random numbers set anew, the history written, the best weights kept."""

import math
import time
from typing import Any

import keras
import numpy as np

from vattn_utils.training.run_folder import Arrays, TrainingError


class Repeatable(keras.callbacks.Callback):
    """Before each epoch, set the data's epoch and every random generator inside the model from (seed, epoch).

    Args:
        batches: something with an attribute `epoch`, as `loop.Batches` has.
        seed: an integer from 0.
    """

    def __init__(self, batches: Any, seed: int) -> None:
        super().__init__()
        self.batches, self.seed = batches, seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.epoch = epoch
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        random = np.random.default_rng((self.seed, epoch, 2**32 - 1))
        for state in states:
            state.assign(random.integers(0, 2**31, state.shape).astype("uint32"))


class History(keras.callbacks.Callback):
    """The history of a run: one list a quantity, one value an epoch, in `history`.

    A loss that is not finite ends the run with a `TrainingError`: nothing that comes after it would count.

    Args:
        report: print a line an epoch.
    """

    def __init__(self, report: bool = False) -> None:
        super().__init__()
        self.report = report
        self.history: dict[str, list[float]] = {}

    def state(self) -> Arrays:
        """See `run_folder.Part`."""
        return {name: np.array(values) for name, values in self.history.items()}

    def restore(self, arrays: Arrays) -> None:
        """See `run_folder.Part`."""
        self.history = {name: values.tolist() for name, values in arrays.items()}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        logs["seconds"] = time.perf_counter() - self.started
        for name, value in logs.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} after epoch {epoch + 1}: the run diverged, and this epoch is not kept; "
                    "train it with a smaller learning_rate, a longer warmup or a clip_norm"
                )
            self.history.setdefault(name, []).append(float(value))
        if self.report:
            epochs = self.params["epochs"]
            print(
                f"epoch {epoch + 1:{len(str(epochs))}}/{epochs}  "
                f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.1%}  "
                f"validation loss {logs['val_loss']:.3f}  accuracy {logs['val_accuracy']:.1%}",
                flush=True,
            )


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the epoch with the highest accuracy on the held-out images; `epoch` is its number, from 1.

    It looks when validation ends, while the averaged weights (`Recipe.ema`) are still in the model.

    Args:
        history: of the same run.
    """

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history, self.epoch, self.accuracy = history, 0, -1.0
        self._weights: list[np.ndarray] = []

    def state(self) -> Arrays:
        """See `run_folder.Part`."""
        weights = {f"{index:05}": weight for index, weight in enumerate(self._weights)}
        return {"epoch": np.array(self.epoch), "accuracy": np.array(self.accuracy), **weights}

    def restore(self, arrays: Arrays) -> None:
        """See `run_folder.Part`."""
        epoch, accuracy, *self._weights = arrays.values()
        self.epoch, self.accuracy = int(epoch), float(accuracy)

    def on_test_end(self, logs: dict | None = None) -> None:
        if logs is None or not logs["accuracy"] > self.accuracy:  # what is not a number is no best
            return
        self.accuracy = logs["accuracy"]
        self.epoch = len(self.history.history.get("loss", [])) + 1
        self._weights = self.model.get_weights()

    def weights(self) -> list[np.ndarray]:
        """Those of the best epoch, in the model's order."""
        if not self._weights:
            raise ValueError("no epoch was the best: was the accuracy on held-out images not a number?")
        return self._weights
