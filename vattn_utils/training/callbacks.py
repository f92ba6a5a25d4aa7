"""What happens between the steps of a run: random numbers set anew, the history written, the best weights kept."""

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vattn_utils.data.files import write_atomically


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

    Args:
        directory: where it is kept in `history.json`, and found when the run is resumed; None keeps it in memory.
        report: print a line an epoch.
    """

    def __init__(self, directory: str | Path | None = None, report: bool = False) -> None:
        super().__init__()
        self.path = Path(directory) / "history.json" if directory is not None else None
        self.report = report
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.path and self.path.exists():
            self.history = json.loads(self.path.read_text())

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # An epoch that was written here but not yet backed up is trained again.
        self.history = {name: values[:epoch] for name, values in self.history.items()}
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        logs["seconds"] = time.perf_counter() - self.started
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self.path:
            write_atomically(self.path, json.dumps(self.history))
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
        directory: where they are kept in `best.npz`, and found when the run is resumed; None keeps them in memory.
        history: of the same run.
    """

    def __init__(self, directory: str | Path | None, history: History) -> None:
        super().__init__()
        self.path = Path(directory) / "best.npz" if directory is not None else None
        self.history, self.epoch, self.accuracy = history, 0, -1.0
        self._weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        accuracies = self.history.history.get("val_accuracy", [])
        if accuracies:
            self.accuracy, self.epoch = max(accuracies), int(np.argmax(accuracies)) + 1

    def on_test_end(self, logs: dict | None = None) -> None:
        if logs is None or logs["accuracy"] <= self.accuracy:
            return
        self.accuracy = logs["accuracy"]
        self.epoch = len(self.history.history.get("loss", [])) + 1
        self._weights = weights = self.model.get_weights()
        if self.path:
            write_atomically(self.path, lambda path: np.savez(path, *weights))

    def weights(self) -> list[np.ndarray]:
        """Those of the best epoch, in the model's order."""
        if self._weights is None and self.path:
            with np.load(self.path) as arrays:
                self._weights = [arrays[name] for name in arrays.files]
        if self._weights is None:
            raise ValueError("no epoch was the best: was the accuracy on held-out images not a number?")
        return self._weights
