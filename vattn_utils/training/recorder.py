"""How attention forms while a model is trained: a callback that any run can take."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from vattn_utils.data.files import write_atomically
from vattn_utils.models.attention_map import maps


class AttentionRecorder(keras.callbacks.Callback):
    """Record how the attention to a few fixed images forms while a model is trained.

    Args:
        images: `(B, H, W, 3)`, validation images.
        every: epochs between two recordings; the state before the first epoch is recorded too.
        path: an .npz file that is kept up to date, and read when a run is resumed; None keeps it in memory.

    `.recorded()` returns a dict: `epoch` (E,); `mixing` (E, B, queries, keys), heads averaged, of the last self- or
    external attention if there is one; `pooling` (E, B, queries, N), of the pooling if there is one.
    """

    def __init__(self, images: np.ndarray, every: int = 1, path: str | Path | None = None) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every} is not possible; use 1 or more epochs")
        self.images, self.every = images, every
        self.path = Path(path) if path is not None else None
        self._records: dict[int, dict[str, np.ndarray]] = {}  # epoch -> {"mixing": ..., "pooling": ...}

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.path and self.path.exists():
            with np.load(self.path) as saved:
                names = [name for name in saved.files if name != "epoch"]
                self._records = {
                    int(epoch): {name: saved[name][row] for name in names} for row, epoch in enumerate(saved["epoch"])
                }
        if 0 not in self._records:
            self._record(0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._record(epoch + 1)

    def recorded(self) -> dict[str, np.ndarray]:
        """Everything so far; see the class."""
        epochs = sorted(self._records)
        names = self._records[epochs[0]]
        return {"epoch": np.array(epochs)} | {
            name: np.stack([self._records[epoch][name] for epoch in epochs]) for name in names
        }

    def _record(self, epoch: int) -> None:
        found = {}
        for layer in maps(self.model, self.images):
            name = "pooling" if layer.kind == "pooling" else "mixing"
            weights = layer.weights.mean(axis=1)  # heads averaged
            if name == "pooling":
                weights = layer.patches().mean(axis=1).reshape(*weights.shape[:2], -1)
            found[name] = weights.astype("float16")
        self._records[epoch] = found
        if self.path:
            recorded: dict[str, Any] = self.recorded()
            write_atomically(self.path, lambda path: np.savez_compressed(path, **recorded))
