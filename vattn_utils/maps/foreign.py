"""The attention of any Keras model, in the form of that of the book's: `maps`.

The book's own models return their attention on request. Others compute it inside Keras' attention layers, which return
it on request too, only that nobody in the model asks: here each of these layers is asked for it while the model runs.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from vattn_utils.data.checks import check_whole
from vattn_utils.models import attention_map
from vattn_utils.models.attention_map import AttentionMap
from vattn_utils.models.classifier import Classifier

ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention)


def maps(
    model: keras.Model, images: np.ndarray, batch_size: int = 64, grid: tuple[int, int] | None = None
) -> list[AttentionMap]:
    """The attention of every layer of `model`, in order of depth.

    Args:
        model: a `Classifier`, or any Keras model (functional, sequential, subclassed, nested) whose attention is
            computed by `keras.layers.MultiHeadAttention` or `GroupQueryAttention`.
        images: what the model takes: for a `Classifier` `(B, H, W, 3)`, 0 to 255, any dtype.
        batch_size: how many images are in the model at once; memory beyond the result is bounded by it.
        grid: (rows, columns) of the patch tokens, where it cannot be told from their number. What stands in front of
            them are class tokens. A `Classifier` knows its own.

    Returns a list of `AttentionMap`. For a model that is no `Classifier`, a layer that is called twice gives two; its
    attention is "self" where there are as many queries as keys, and else "pooling". Without `grid`, a square number of
    keys is a square of patches, and one more is a class token in front of it.

    Raises TypeError for a model that has nothing to show, and ValueError for keys that cannot be laid out, with what
    is needed; ValueError or TypeError for images that do not fit a `Classifier` (see `check_images`) and a batch_size
    that is no number from 1.
    """
    if isinstance(model, Classifier):
        if grid not in (None, model.grid):
            raise ValueError(f"grid={grid} is not that of {model.name}, whose tokens are {model.grid}; leave it out")
        return attention_map.maps(model, images, batch_size)
    batch_size = check_whole("batch_size", batch_size)
    if not hasattr(images, "shape") or not len(images):
        raise TypeError(f"images are an array of one or more, as {model.name!r} takes them, not {images!r:.80}")
    batches = []
    for start in range(0, len(images), batch_size):
        with _asked(model) as seen:
            model(ops.convert_to_tensor(images[start : start + batch_size]), training=False)
        batches.append(seen)
    if not batches[0]:
        raise TypeError(
            "a map of attention needs a Classifier of vattn_utils.models or a model that calls "
            f"keras.layers.MultiHeadAttention or GroupQueryAttention, not {type(model).__name__} {model.name!r}, in "
            "which none is called; build its attention of these, or give the Classifier that stands in it"
        )
    return [_laid_out(np.concatenate(parts), grid) for parts in zip(*batches, strict=True)]


@contextlib.contextmanager
def _asked(model: keras.Model) -> Iterator[list[np.ndarray]]:
    """As long as it lasts, the scores of each call of an attention layer of `model` are appended to what it yields."""
    seen: list[np.ndarray] = []
    asked = [layer for layer in model._flatten_layers() if isinstance(layer, ATTENTION)]
    flash = [layer._flash_attention for layer in asked]
    for layer in asked:
        layer._flash_attention = False  # a fused kernel has no scores to return
        vars(layer)["call"] = _asking(layer.call, seen)
    try:
        yield seen
    finally:
        for layer, before in zip(asked, flash, strict=True):
            layer._flash_attention = before
            del vars(layer)["call"]


def _asking(call: Callable[..., Any], seen: list[np.ndarray]) -> Callable[..., Any]:
    """A layer's `call` that asks for the scores, keeps them, and returns what was asked for."""

    def asking(*arguments: Any, return_attention_scores: bool = False, **named: Any) -> Any:
        output, scores = call(*arguments, return_attention_scores=True, **named)
        seen.append(ops.convert_to_numpy(ops.cast(scores, "float32")))
        return (output, scores) if return_attention_scores else output

    return asking


def _laid_out(weights: np.ndarray, grid: tuple[int, int] | None) -> AttentionMap:
    """The scores of one call as a map: `(B, heads, queries, keys)`, or with two axes each for queries and keys."""
    if weights.ndim == 6:  # of a feature map, (B, heads, rows, columns, rows, columns)
        grid = grid or weights.shape[-2:]
        weights = weights.reshape(*weights.shape[:2], math.prod(weights.shape[2:4]), -1)
    if weights.ndim != 4:
        raise ValueError(f"attention of shape {weights.shape} is not (B, heads, queries, keys): it has no one grid")
    queries, keys = weights.shape[2:]
    if grid is None:
        edge = math.isqrt(keys)
        grid = (edge, edge)
        if keys - edge**2 > 1:
            raise ValueError(
                f"{keys} tokens are no square, nor one with a class token in front; give grid=(rows, columns)"
            )
    prefix = keys - math.prod(grid)
    if prefix < 0:
        raise ValueError(f"grid={grid} has {math.prod(grid)} places, but there are {keys} tokens; give a smaller one")
    return AttentionMap("self" if queries == keys else "pooling", weights, grid, prefix)
