"""What can be read from attention: rollout, relevance, distance, entropy, pictures of slots. NumPy in, NumPy out.

The attention itself comes from `maps`, whose code stands with the models. Maps that need the model's gradients or its
answers to altered images are `attribution`'s matter.
"""

import numpy as np
from keras import ops

from vattn_utils.models.attention_map import AttentionMap, batches, maps
from vattn_utils.models.layers import check_choice

__all__ = [
    "AttentionMap",
    "batches",
    "dead_slots",
    "discard",
    "distance",
    "entropy",
    "fuse",
    "maps",
    "patch_filters",
    "position_similarity",
    "read_out",
    "relevance",
    "rollout",
    "slot_pictures",
    "slot_usage",
    "to_image_size",
    "winning_slot",
]


def slot_pictures(attention, head=0):
    """Slot maps of one head as pictures, `(B, slots, rows, columns)`, each summing to 1: where a slot is read from."""
    return attention.slot_maps[:, head].reshape(len(attention.slot_maps), -1, *attention.grid)


def winning_slot(attention):
    """For each token the slot that gets most of its attention, heads averaged: integers `(B, rows, columns)`.

    A soft segmentation: tokens with the same winner read the same memory.
    """
    return attention.weights.mean(axis=1).argmax(axis=-1).reshape(-1, *attention.grid)


def fuse(weights, fusion="mean"):
    """One matrix for all heads: `(B, heads, queries, keys)` to `(B, queries, keys)`.

    Args:
        fusion: "mean", "max" or "min" over the heads. Only the mean keeps rows that sum to 1.
    """
    check_choice("fusion", fusion, ("mean", "max", "min"))
    return getattr(np, fusion)(weights, axis=1)


def discard(weights, ratio, per="image", prefix_tokens=0):
    """Set the lowest share of the attention to zero, in every image by itself.

    Args:
        weights: `(B, queries, keys)`, heads fused.
        ratio: the share of entries that go, from 0 (none) to below 1.
        per: "image" (the lowest of the whole matrix) or "row" (the lowest of each query).
        prefix_tokens: keys in front that always stay: class tokens and registers.

    Rows are not divided by their new sums: `rollout` does that.
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


def rollout(layers, start=0, residual=0.5, fusion="mean", ratio=0.0, per="image", gradients=None):
    """Attention followed through the layers: how much of each token's value comes from each first token.

    Each layer's matrix is mixed with the identity, which stands for the residual connection, its rows are divided by
    their sums, and the matrices are multiplied (Abnar and Zuidema 2020, section 3). It sees attention only, neither
    values nor MLPs, and knows no class, unless it is given gradients: then a layer's matrix is the mean over its
    heads of (gradient * attention)+ (Chefer et al. 2021a, equation 13).

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
    joint = None
    for layer, gradient in _self_attention(layers, gradients, start):
        if gradient is None:
            matrix = fuse(layer.weights, fusion)
        else:
            matrix = np.maximum(gradient * layer.weights, 0).mean(axis=1)
        matrix = discard(matrix, ratio, per, layer.prefix_tokens)
        identity = np.eye(matrix.shape[-1], dtype=matrix.dtype)
        total = matrix.sum(axis=-1, keepdims=True)
        # Where nothing is left of a row, its token keeps itself.
        matrix = np.where(total > 0, matrix / np.where(total > 0, total, 1), identity)
        matrix = residual * identity + (1 - residual) * matrix
        joint = matrix if joint is None else matrix @ joint
    return joint


def relevance(layers, gradients):
    """Chefer's rule: R starts as the identity, and each layer adds mean over heads of (gradient * attention)+ R.

    (Chefer et al. 2021b, *Generic Attention-model Explainability*, equations 5 and 6.) Nothing is normalised: what
    counts is the order within a row. Arguments and result as in `rollout`.
    """
    joint = None
    for layer, gradient in _self_attention(layers, gradients):
        matrix = np.maximum(gradient * layer.weights, 0).mean(axis=1)
        if joint is None:
            joint = np.broadcast_to(np.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
        joint = joint + matrix @ joint
    return joint


def _self_attention(layers, gradients=None, start=0):
    """The "self" layers from `start` on, each with its gradient or None."""
    pairs = zip(layers, gradients if gradients is not None else [None] * len(layers), strict=True)
    found = [(layer, gradient) for layer, gradient in pairs if layer.kind == "self"]
    if not found:
        kinds = ", ".join(sorted({layer.kind for layer in layers}))
        raise ValueError(f"layers of kind {kinds} lead from no token to another; this needs self-attention")
    if not 0 <= start < len(found):
        raise ValueError(f"start={start} leaves no layer; there are {len(found)} with self-attention")
    return found[start:]


def read_out(matrix, layers, row=None, pooling=None):
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


def distance(layer, patch_size=1):
    """How far each head looks on average, `(B, heads)`: in pixels, or in patches with patch_size=1.

    The distances between the centres of a patch and of those that it attends to, weighted by its attention (Raghu et
    al. 2021, section 4; ViT, appendix D.7). Class tokens have no place: rows are renormalised without them.
    """
    if layer.kind != "self":
        raise ValueError(f"attention of kind {layer.kind!r} does not go from patch to patch; this needs self-attention")
    weights = layer.patches().reshape(*layer.weights.shape[:3], -1)[:, :, layer.prefix_tokens :]
    places = np.stack(np.divmod(np.arange(weights.shape[-1]), layer.grid[1]), axis=-1)
    apart = patch_size * np.linalg.norm(places[:, None] - places[None], axis=-1)  # (N, N)
    return np.einsum("bhqk,qk->bh", weights, apart) / len(places)


def entropy(weights):
    """Entropy of each distribution along the last axis, in nats: 0 if it has one place, log n if it is flat over n."""
    positive = np.where(weights > 0, weights, 1)
    return -(weights * np.log(positive)).sum(axis=-1)


def slot_usage(layer):
    """Share of a layer's attention that each memory slot gets, `(heads, S)`, each head's summing to 1."""
    return layer.weights.mean(axis=(0, 2))


def dead_slots(layer, share=0.1):
    """Which slots nothing is read from, bool `(heads, S)`: those with less than `share` of an equal share, 1 / S."""
    usage = slot_usage(layer)
    return usage < share / usage.shape[-1]


def position_similarity(model):
    """Cosine between the learned position embeddings of all patches, `(N, rows, columns)`, -1 to 1 (ViT, figure 7).

    Raises ValueError for a model without learned positions.
    """
    positions = getattr(model, "positions", None)
    if getattr(positions, "kind", None) != "learned":
        raise ValueError(f"{model.name} has no learned position embedding; build it with position='learned'")
    vectors = ops.convert_to_numpy(positions.embedding)[positions.prefix_tokens :]
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors @ vectors.T).reshape(-1, *model.grid)


def patch_filters(model, count=16):
    """The main directions of the patch embedding as pictures, `(count, P, P, 3)`, strongest first (ViT, figure 7).

    For a convolutional tokenizer or stem these are of its first convolution's kernels. Each is signed, with its
    largest value 1; the sign as a whole means nothing.
    """
    tokens = getattr(model, "tokens", None)
    if hasattr(tokens, "projection"):
        kernel = ops.convert_to_numpy(tokens.projection.kernel)
        edge = tokens.patch_size
    else:
        first = tokens.convolution_layers[0] if tokens is not None else model.stem[0]
        kernel = ops.convert_to_numpy(first.kernel)
        edge = kernel.shape[0]
    kernel = kernel.reshape(edge * edge * 3, -1)
    directions = np.linalg.svd(kernel, full_matrices=False)[0].T[:count]
    # The largest value of each is made positive, so that the same weights give the same pictures everywhere.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return (directions / largest).reshape(-1, edge, edge, 3)


def to_image_size(values, size, method="bilinear"):
    """Enlarge maps on a token grid to the pixels that the tokens cover.

    Args:
        values: `(..., rows, columns)`.
        size: (height, width) in pixels. Token (r, c) covers the r-th of `rows` equal bands, and so for columns.
        method: "nearest" (each pixel takes its token's value) or "bilinear" (between the tokens' centres; the
            outermost half tokens keep their value).

    Returns `(..., height, width)`, float for "bilinear".
    """
    check_choice("method", method, ("nearest", "bilinear"))
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
