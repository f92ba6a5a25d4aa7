"""The attention of any of the book's models as NumPy arrays with a grid.

Nothing is hooked: a `Classifier` returns its attention on request, and this module puts the arrays into one shape.
What can be read from them is `maps.attention`'s matter.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vattn_utils.data.checks import check_images, check_whole
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.eanet import double_normalise


@dataclasses.dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer.

    kind: "self" (token to token), "external" (token to memory slot) or "pooling" (class query to token).
    weights: float32 `(B, heads, queries, keys)`; each row sums to 1.
    grid: (rows, columns) of the patch tokens.
    prefix_tokens: how many tokens stand before the patches, among the keys and, for "self", the queries: class tokens,
        then registers.
    registers: how many of these are registers.
    slot_maps: for "external" only, float32 `(B, heads, slots, N)`; each slot's map sums to 1 over the tokens.
    """

    kind: str
    weights: np.ndarray
    grid: tuple[int, int]
    prefix_tokens: int = 0
    slot_maps: np.ndarray | None = None
    registers: int = 0

    def patches(self) -> np.ndarray:
        """The attention each query pays to the patches as maps, `(B, heads, queries, rows, columns)`.

        What goes to class tokens and registers is left out and the rest divided by its sum. Undefined for external
        attention, whose keys are memory slots and not places: ValueError.
        """
        if self.kind == "external":
            raise ValueError("external attention looks at memory slots, which have no place; use slot_maps")
        weights = self.weights[..., self.prefix_tokens :]
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return weights.reshape(*weights.shape[:-1], *self.grid)

    def own_share(self) -> np.ndarray:
        """How much attention goes to class tokens and registers, `(B, heads, queries)`, 0 to 1."""
        return self.weights[..., : self.prefix_tokens].sum(axis=-1)


def maps(model: Classifier, images: np.ndarray, batch_size: int = 64) -> list[AttentionMap]:
    """The attention of every layer of `model`, in order of depth.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255, any dtype.
        batch_size: how many images are in the model at once; memory beyond the result is bounded by it.

    Returns a list of `AttentionMap`. Raises TypeError for a model that is no `Classifier`, and ValueError or TypeError
    for images that do not fit it (see `check_images`) and a batch_size that is no number from 1.
    """
    whole: list[AttentionMap] = []
    done = 0
    for layers in batches(model, images, batch_size):
        whole = whole or [_room_for(len(images), layer) for layer in layers]
        for room, layer in zip(whole, layers, strict=True):
            part = slice(done, done + len(layer.weights))
            room.weights[part] = layer.weights
            if room.slot_maps is not None:
                room.slot_maps[part] = layer.slot_maps
        done += batch_size
    return whole


def _room_for(count: int, layer: AttentionMap) -> AttentionMap:
    """Like `layer`, for `count` images, with nothing in it."""

    def room(array: np.ndarray) -> np.ndarray:
        return np.empty((count, *array.shape[1:]), "float32")

    slot_maps = None if layer.slot_maps is None else room(layer.slot_maps)
    return dataclasses.replace(layer, weights=room(layer.weights), slot_maps=slot_maps)


def batches(model: Classifier, images: np.ndarray, batch_size: int = 64) -> Iterator[list[AttentionMap]]:
    """What `maps` returns, batch by batch: for more images than fit into memory as maps.

    Memory is bounded by the batch. Yields a list of `AttentionMap`, in order of depth, for each batch of images.
    """
    check_classifier(model, "a map of attention")
    images = check_images(images, model.image_size)
    batch_size = check_whole("batch_size", batch_size)
    for start in range(0, len(images), batch_size):
        _, arrays = model.look_on_batch(images[start : start + batch_size])
        yield [
            _external(array, model.grid)
            if kind == "external"
            else AttentionMap(kind, array, model.grid, prefix, registers=model.registers if kind == "self" else 0)
            for (kind, prefix), array in zip(model.attention_layers, arrays, strict=True)
        ]


def _external(slot_maps: np.ndarray, grid: tuple[int, int]) -> AttentionMap:
    """From the layer's token-major `(B, N, heads, S)` slot maps to both views of them."""
    weights = double_normalise(slot_maps)
    slot_maps = slot_maps / slot_maps.sum(axis=1, keepdims=True)  # without mixing they are no softmax over tokens
    return AttentionMap(
        "external",
        np.transpose(weights, (0, 2, 1, 3)),  # (B, heads, N, S), a view: `maps` copies it once
        grid,
        slot_maps=np.transpose(slot_maps, (0, 2, 3, 1)),  # (B, heads, S, N)
    )
