"""What can be read from attention: rollout, relevance, distances, entropy, pictures of slots. NumPy in, NumPy out.

The attention itself comes from `maps`: its code stands with the models, and for others' in `foreign`. Maps that need
the model's gradients or its answers to altered images are `attribution`'s matter.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from keras import ops

from vattn_utils.data.checks import check_choice
from vattn_utils.maps.foreign import maps
from vattn_utils.maps.pixels import cover, on_image, receptive_field, smoothed, to_grid, to_image_size
from vattn_utils.models.attention_map import AttentionMap, batches
from vattn_utils.models.classifier import Classifier

__all__ = [
    "AttentionMap",
    "batches",
    "cover",
    "discard",
    "distances",
    "entropy",
    "fuse",
    "maps",
    "mean_distance",
    "on_image",
    "position_similarity",
    "read_out",
    "receptive_field",
    "relevance",
    "rollout",
    "slot_pictures",
    "slot_usage",
    "smoothed",
    "spread",
    "to_grid",
    "to_image_size",
    "winning_slot",
]


def slot_pictures(layer: AttentionMap, head: int = 0) -> np.ndarray:
    """Slot maps of one head as pictures, `(B, slots, rows, columns)`: where a slot is read from. Each sums to 1.

    Raises ValueError for a layer that has no memory slots.
    """
    if layer.slot_maps is None:
        raise ValueError(f"attention of kind {layer.kind!r} has no memory slots; this needs external attention")
    maps = layer.slot_maps[:, head, :, -prod(layer.grid) :]  # class tokens and registers have no place
    return maps.reshape(*maps.shape[:2], *layer.grid)


def winning_slot(layer: AttentionMap) -> np.ndarray:
    """For each token the slot that gets most of its attention, heads averaged: integers `(B, rows, columns)`.

    A soft segmentation: tokens with the same winner read the same memory.
    """
    patches = layer.weights[:, :, -prod(layer.grid) :]  # class tokens and registers have no place
    return patches.mean(axis=1).argmax(axis=-1).reshape(-1, *layer.grid)


def fuse(weights: np.ndarray, fusion: str = "mean") -> np.ndarray:
    """One matrix for all heads: `(B, heads, queries, keys)` to `(B, queries, keys)`.

    Args:
        fusion: "mean", "max" or "min" over the heads. Only the mean keeps rows that sum to 1.
    """
    check_choice("fusion", fusion, ("mean", "max", "min"))
    return getattr(np, fusion)(weights, axis=1)


def discard(weights: np.ndarray, ratio: float, per: str = "image", prefix_tokens: int = 0) -> np.ndarray:
    """Set the lowest share of the attention to zero, in every image by itself.

    Args:
        weights: `(B, queries, keys)`, heads fused.
        ratio: the share of entries that go, from 0 (none) to below 1.
        per: "image" (the lowest of the whole matrix) or "row" (the lowest of each query).
        prefix_tokens: keys in front that always stay: class tokens and registers.

    Rows are not divided by their new sums: `rollout` does that, once it has added the identity.
    """
    check_choice("per", per, ("image", "row"))
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio} is not a share that can go; use 0 to below 1")
    places = weights[..., prefix_tokens:]
    flat = places.reshape(len(places), -1) if per == "image" else places
    count = round(ratio * flat.shape[-1])
    kept = flat.copy()
    np.put_along_axis(kept, np.argsort(flat, axis=-1, kind="stable")[..., :count], 0, axis=-1)
    return np.concatenate([weights[..., :prefix_tokens], kept.reshape(places.shape)], axis=-1)


def rollout(
    layers: Sequence[AttentionMap],
    start: int = 0,
    residual: float = 0.5,
    fusion: str = "mean",
    ratio: float = 0.0,
    per: str = "image",
    gradients: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Attention followed through the layers: how much of each token's value comes from each first token.

    Each layer's matrix is mixed with the identity, which stands for the residual connection, its rows are divided by
    their sums, and the matrices are multiplied (Abnar and Zuidema 2020, section 3). The order matters where a row does
    not sum to 1 any more: after discarding, and for the maximum or minimum of the heads. It sees attention only,
    neither values nor MLPs, and knows no class, unless it is given gradients: then a layer's matrix is the mean over
    its heads of (gradient * attention)+, its rows divided by their sums before anything else, as gradients have
    another scale than the identity. That is ours, after Chefer et al. 2021a (equation 13), who multiply the gradient by
    a relevance instead of the attention and do not divide rows.

    Args:
        layers: what `maps` returns; the "self" layers among them are used.
        start: the first of them to be used, from 0.
        residual: weight of the identity, 0 to 1.
        fusion, ratio, per: of `fuse` and `discard`.
        gradients: what `attribution.attention_gradients` returns beside the layers; None for plain rollout.

    Returns `(B, T, T)`, T counting class tokens; each row sums to 1. Raises ValueError where no layer is "self".
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"residual={residual} is not a share; use 0 to 1")
    found = _self_attention(layers, gradients, start)
    identity = joint = _identity(found)
    for layer, gradient in found:
        if gradient is None:
            matrix = fuse(layer.weights, fusion)
        else:
            matrix = _divided(np.maximum(gradient * layer.weights, 0).mean(axis=1))
        matrix = discard(matrix, ratio, per, layer.prefix_tokens)
        matrix = residual * identity + (1 - residual) * matrix
        # Where nothing is left of a row, its token keeps itself.
        matrix = np.where(matrix.any(axis=-1, keepdims=True), _divided(matrix), identity)
        joint = matrix @ joint
    return joint


def relevance(layers: Sequence[AttentionMap], gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Chefer's rule: R starts as the identity, and each layer adds mean over heads of (gradient * attention)+ R.

    (Chefer et al. 2021b, *Generic Attention-model Explainability*, equations 5 and 6.) Nothing is normalised: what
    counts is the order within a row. Arguments and result as in `rollout`.
    """
    found = _self_attention(layers, gradients)
    joint = _identity(found)
    for layer, gradient in found:
        matrix = np.maximum(gradient * layer.weights, 0).mean(axis=1)
        joint = joint + matrix @ joint
    return joint


def _divided(matrix: np.ndarray) -> np.ndarray:
    """Each row divided by its sum; what has no sum stays."""
    total = matrix.sum(axis=-1, keepdims=True)
    return matrix / np.where(total > 0, total, 1)


def _identity(found: list[tuple[AttentionMap, Any]]) -> np.ndarray:
    """What each token is to itself before the first layer, `(T, T)`."""
    weights = found[0][0].weights
    return np.eye(weights.shape[-1], dtype=weights.dtype)


def _self_attention(
    layers: Sequence[AttentionMap], gradients: Sequence[np.ndarray] | None = None, start: int = 0
) -> list[tuple[AttentionMap, Any]]:
    """The "self" layers from `start` on, each with its gradient or None."""
    pairs = zip(layers, gradients if gradients is not None else [None] * len(layers), strict=True)
    found = [(layer, gradient) for layer, gradient in pairs if layer.kind == "self"]
    if not found:
        kinds = ", ".join(sorted({layer.kind for layer in layers}))
        raise ValueError(f"layers of kind {kinds} lead from no token to another; this needs self-attention")
    if not 0 <= start < len(found):
        raise ValueError(f"start={start} leaves no layer; there are {len(found)} with self-attention")
    return found[start:]


def read_out(
    matrix: np.ndarray, layers: Sequence[AttentionMap], row: str | None = None, pooling: np.ndarray | None = None
) -> np.ndarray:
    """The row of a token-to-token matrix that the answer was read from, as a map `(B, rows, columns)`.

    Args:
        matrix: `(B, T, T)`, from `rollout`, `relevance` or `fuse`.
        layers: what `maps` returned for the model: they say what tokens stand in front, and whether it pools.
        row: "class" (the class token's row), "pooling" (all rows, weighted as the pooling weighs the tokens) or "mean"
            (over all patches' rows, for models that average or flatten); None: the first of these that the model has.
        pooling: `(B, N)`, weights in place of the pooling's own.
    """
    prefix, grid, last = layers[0].prefix_tokens, layers[0].grid, layers[-1]
    pools = pooling is not None or last.kind == "pooling"
    has = {"class": prefix > layers[0].registers, "pooling": pools, "mean": True}
    row = row or next(name for name, there in has.items() if there)
    check_choice("row", row, tuple(name for name, there in has.items() if there))
    if row == "class":
        found = matrix[:, 0, prefix:]
    elif row == "mean":
        found = matrix[:, prefix:, prefix:].mean(axis=1)
    else:
        pooling = last.weights.mean(axis=(1, 2))[:, last.prefix_tokens :] if pooling is None else pooling
        found = np.einsum("bq,bqk->bk", pooling, matrix[:, prefix:, prefix:])
    return found.reshape(-1, *grid)


def distances(grid: tuple[int, int], patch_size: float = 1) -> np.ndarray:
    """How far the centres of any two patches lie apart, `(N, N)`: in pixels, or in patches with patch_size=1."""
    places = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), axis=-1)
    return patch_size * np.linalg.norm(places[:, None] - places[None], axis=-1)


def mean_distance(layer: AttentionMap, patch_size: float = 1) -> np.ndarray:
    """How far each head looks on average, `(B, heads)`, in the unit of `distances`.

    The distances between a patch and those that it attends to, weighted by its attention (Raghu et al. 2021, section 4;
    ViT, appendix D.7). Class tokens have no place: rows are divided by their sums without them. Raises ValueError for
    attention that does not lead from patch to patch.
    """
    if layer.kind != "self":
        raise ValueError(f"attention of kind {layer.kind!r} does not go from patch to patch; this needs self-attention")
    weights = layer.patches().reshape(*layer.weights.shape[:3], -1)[:, :, layer.prefix_tokens :]
    return np.einsum("bhqk,qk->bh", weights, distances(layer.grid, patch_size)) / weights.shape[2]


def entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy of each distribution along the last axis, in nats: 0 if it has one place, log n if it is flat over n."""
    positive = np.where(weights > 0, weights, 1)
    return -(weights * np.log(positive)).sum(axis=-1)


def spread(weights: np.ndarray) -> np.ndarray:
    """Over how many places each distribution along the last axis is spread, softly: exp of its entropy, 1 to n."""
    return np.exp(entropy(weights))


def slot_usage(layer: AttentionMap) -> np.ndarray:
    """Share of a layer's attention that each memory slot gets, `(heads, S)`, each head's summing to 1."""
    # Over so many numbers of single precision a mean of single precision is wrong in the fifth digit.
    return layer.weights.mean(axis=(0, 2), dtype="float64")


def position_similarity(model: Classifier) -> np.ndarray:
    """Cosine between the learned position embeddings of all patches, `(N, rows, columns)`, -1 to 1 (ViT, figure 7).

    Raises ValueError for a model without learned positions.
    """
    embedding = getattr(getattr(model, "positions", None), "embedding", None)
    if embedding is None:
        raise ValueError(f"{model.name} has no learned position embedding; build it with position='learned'")
    vectors = ops.convert_to_numpy(embedding)[-prod(model.grid) :]  # class tokens stand in front
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors @ vectors.T).reshape(-1, *model.grid)
