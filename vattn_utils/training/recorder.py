"""How attention forms while a model is trained: a callback that any run can take."""

import keras
import numpy as np

from vattn_utils.data.checks import check_images, check_whole
from vattn_utils.models.attention_map import maps
from vattn_utils.training.run_folder import Arrays


class AttentionRecorder(keras.callbacks.Callback):
    """Record how the attention to a few fixed images forms while a model is trained.

    Args:
        images: `(B, H, W, 3)`, validation images.
        every: epochs between two recordings; the state before the first epoch is recorded too.

    What it recorded is kept with the run (`run_folder.Part`).

    `.recorded()` returns a dict: `epoch` (E,); `mixing` (E, B, queries, keys), heads averaged, of the last self- or
    external attention if there is one; `pooling` (E, B, queries, N), of the pooling if there is one.
    """

    def __init__(self, images: np.ndarray, every: int = 1) -> None:
        super().__init__()
        self.images, self.every = check_images(images), check_whole("every", every)
        self._records: dict[int, Arrays] = {}  # epoch -> {"mixing": ..., "pooling": ...}

    def on_train_begin(self, logs: dict | None = None) -> None:
        if 0 not in self._records:
            self._record(0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._record(epoch + 1)

    def recorded(self) -> Arrays:
        """Everything so far; see the class."""
        epochs = sorted(self._records)
        names = self._records[epochs[0]]
        return {"epoch": np.array(epochs)} | {
            name: np.stack([self._records[epoch][name] for epoch in epochs]) for name in names
        }

    state = recorded

    def restore(self, arrays: Arrays) -> None:
        """See `run_folder.Part`."""
        epochs, names = arrays["epoch"].tolist(), [name for name in arrays if name != "epoch"]
        self._records = {epoch: {name: arrays[name][row] for name in names} for row, epoch in enumerate(epochs)}

    def _record(self, epoch: int) -> None:
        found = {}
        for layer in maps(self.model, self.images):
            name = "pooling" if layer.kind == "pooling" else "mixing"
            weights = layer.weights.mean(axis=1)  # heads averaged
            if name == "pooling":
                weights = layer.patches().mean(axis=1).reshape(*weights.shape[:2], -1)
            found[name] = weights.astype("float16")
        self._records[epoch] = found
