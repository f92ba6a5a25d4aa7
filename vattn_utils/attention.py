"""Attention maps out of any of the book's models, as NumPy arrays with a grid.

Nothing is hooked: a `Classifier` returns its attention on request, and this module puts the arrays into one shape.
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL import Image

from vattn_utils.data import check_images
from vattn_utils.eanet import double_normalise


@dataclasses.dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer.

    kind: "self" (token to token), "external" (token to memory slot) or "pooling" (class query to token).
    weights: float32 `(B, heads, queries, keys)`; each row sums to 1.
    grid: (rows, columns) of the patch tokens.
    prefix_tokens: how many class tokens stand before the patches, among the keys and, for "self", the queries.
    slot_maps: for "external" only, float32 `(B, heads, slots, N)`; each slot's map sums to 1 over the tokens.
    """

    kind: str
    weights: np.ndarray
    grid: tuple
    prefix_tokens: int = 0
    slot_maps: np.ndarray | None = None

    def patches(self):
        """The attention each query pays to the patches as maps, `(B, heads, queries, rows, columns)`.

        What goes to class tokens is left out and the rest divided by its sum. Undefined for external attention,
        whose keys are memory slots and not places: ValueError.
        """
        if self.kind == "external":
            raise ValueError("external attention looks at memory slots, which have no place; use slot_maps")
        weights = self.weights[..., self.prefix_tokens :]
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return weights.reshape(*weights.shape[:-1], *self.grid)

    def own_share(self):
        """How much attention the class tokens keep for themselves, `(B, heads, queries)`, 0 to 1."""
        return self.weights[..., : self.prefix_tokens].sum(axis=-1)


def maps(model, images, batch_size=64):
    """The attention of every layer of `model`, in order of depth.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255, any dtype.
        batch_size: how many images are in the model at once; memory beyond the result is bounded by it.

    Returns a list of `AttentionMap`. Raises ValueError or TypeError for images that do not fit the model.
    """
    check_images(images, model.image_size)
    batches = []
    for start in range(0, len(images), batch_size):
        _, attention = model(images[start : start + batch_size], training=False, return_attention=True)
        batches.append([ops.convert_to_numpy(ops.cast(weights, "float32")) for weights in attention])
    layers = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return [
        _external(weights, model.grid) if kind == "external" else AttentionMap(kind, weights, model.grid, prefix)
        for (kind, prefix), weights in zip(model.attention_layers, layers, strict=True)
    ]


def _external(slot_maps, grid):
    """From the layer's token-major `(B, N, heads, S)` softmax over tokens to both views of it."""
    weights = double_normalise(slot_maps)
    return AttentionMap(
        "external",
        np.ascontiguousarray(np.transpose(weights, (0, 2, 1, 3))),  # (B, heads, N, S)
        grid,
        slot_maps=np.ascontiguousarray(np.transpose(slot_maps, (0, 2, 3, 1))),  # (B, heads, S, N)
    )


def slot_pictures(attention, head=0):
    """Slot maps of one head as pictures, `(B, slots, rows, columns)`, each summing to 1: where a slot is read from."""
    return attention.slot_maps[:, head].reshape(len(attention.slot_maps), -1, *attention.grid)


def winning_slot(attention):
    """For each token the slot that gets most of its attention, heads averaged: integers `(B, rows, columns)`.

    A soft segmentation: tokens with the same winner read the same memory.
    """
    return attention.weights.mean(axis=1).argmax(axis=-1).reshape(-1, *attention.grid)


def to_image_size(values, size, method="bilinear"):
    """Enlarge maps on a token grid to the pixels that the tokens cover.

    Args:
        values: `(..., rows, columns)`.
        size: (height, width) in pixels. Token (r, c) covers the r-th of `rows` equal bands, and so for columns.
        method: "nearest" (each pixel takes its token's value) or "bilinear" (between the tokens' centres; the
            outermost half tokens keep their value).

    Returns `(..., height, width)`, float for "bilinear".
    """
    if method not in ("nearest", "bilinear"):
        raise ValueError(f"method={method!r} is not known; use 'nearest' or 'bilinear'")
    values = np.asarray(values)
    for axis, length in ((-2, size[0]), (-1, size[1])):
        tokens = values.shape[axis]
        # The centre of each pixel, in units of tokens, counted from the first token's centre.
        place = (np.arange(length) + 0.5) * tokens / length - 0.5
        if method == "nearest":
            values = np.take(values, np.rint(np.clip(place, 0, tokens - 1)).astype(int), axis)
            continue
        low = np.clip(np.floor(place).astype(int), 0, tokens - 1)
        high = np.clip(low + 1, 0, tokens - 1)
        share = np.clip(place - low, 0, 1)
        share = share[:, None] if axis == -2 else share
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


def read_picture(source, size):
    """Any picture as a model takes it: uint8 `(1, size, size, 3)`.

    Args:
        source: a path, an http(s) address, a PIL image, or an array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`: integers
            0 to 255, or floats 0 to 1.
        size: edge length in pixels. The picture's central square is resized to it.

    Transparent pixels are laid on white. Raises ValueError for arrays of another shape or range, and what PIL or
    urllib raise for what cannot be read.
    """
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        source = keras.utils.get_file(origin=source)
    if isinstance(source, (str, Path)):
        source = Image.open(source)
    elif not isinstance(source, Image.Image):
        source = Image.fromarray(_pixels(np.asarray(source)))
    picture = source.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    picture = picture.crop((left, top, left + edge, top + edge))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))[None]


def _pixels(array):
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ValueError(f"a picture of shape {array.shape} is not known; use (H, W), (H, W, 3) or (H, W, 4)")
    top = 1 if array.dtype.kind == "f" else 255
    if array.dtype.kind == "b" or not np.isfinite(array).all() or array.min() < 0 or array.max() > top:
        raise ValueError(
            f"a picture of {array.dtype} from {array.min()} to {array.max()} is not known; "
            "use integers from 0 to 255 or floats from 0 to 1"
        )
    return (np.rint(array * 255) if top == 1 else array).astype("uint8")


class AttentionRecorder(keras.callbacks.Callback):
    """Record how the attention to a few fixed images forms while a model is trained.

    Args:
        images: `(B, H, W, 3)`, validation images.
        every: epochs between two recordings; the state before the first epoch is recorded too.
        path: an .npz file that is kept up to date, and read when a run is resumed; None keeps it in memory.

    `.recorded()` returns a dict: `epoch` (E,); `mixing` (E, B, queries, keys), heads averaged, of the last self- or
    external attention if there is one; `pooling` (E, B, queries, N), of the pooling if there is one.
    """

    def __init__(self, images, every=1, path=None):
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every} is not possible; use 1 or more epochs")
        self.images, self.every = images, every
        self.path = Path(path) if path is not None else None
        self._records = {}  # epoch -> {"mixing": ..., "pooling": ...}

    def on_train_begin(self, logs=None):
        if self.path and self.path.exists():
            with np.load(self.path) as saved:
                names = [name for name in saved.files if name != "epoch"]
                self._records = {
                    int(epoch): {name: saved[name][row] for name in names} for row, epoch in enumerate(saved["epoch"])
                }
        if 0 not in self._records:
            self._record(0)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self._record(epoch + 1)

    def recorded(self):
        epochs = sorted(self._records)
        names = self._records[epochs[0]]
        return {"epoch": np.array(epochs)} | {
            name: np.stack([self._records[epoch][name] for epoch in epochs]) for name in names
        }

    def _record(self, epoch):
        found = {}
        for layer in maps(self.model, self.images):
            name = "pooling" if layer.kind == "pooling" else "mixing"
            weights = layer.weights.mean(axis=1)  # heads averaged
            if name == "pooling":
                weights = layer.patches().mean(axis=1).reshape(*weights.shape[:2], -1)
            found[name] = weights.astype("float16")
        self._records[epoch] = found
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".partial.npz")
            np.savez_compressed(partial, **self.recorded())
            partial.replace(self.path)
