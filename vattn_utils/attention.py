"""Attention maps out of any of the book's models, as NumPy arrays with a grid, and what can be read from them.

Nothing is hooked: a `Classifier` returns its attention on request, and this module puts the arrays into one shape.
Maps that need the model's gradients or its answers to altered images are `relevance`'s matter.
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL import Image

from vattn_utils.data import check_images
from vattn_utils.eanet import double_normalise
from vattn_utils.layers import check_choice


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
    grid: tuple
    prefix_tokens: int = 0
    slot_maps: np.ndarray | None = None
    registers: int = 0

    def patches(self):
        """The attention each query pays to the patches as maps, `(B, heads, queries, rows, columns)`.

        What goes to class tokens and registers is left out and the rest divided by its sum. Undefined for external
        attention, whose keys are memory slots and not places: ValueError.
        """
        if self.kind == "external":
            raise ValueError("external attention looks at memory slots, which have no place; use slot_maps")
        weights = self.weights[..., self.prefix_tokens :]
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return weights.reshape(*weights.shape[:-1], *self.grid)

    def own_share(self):
        """How much attention goes to class tokens and registers, `(B, heads, queries)`, 0 to 1."""
        return self.weights[..., : self.prefix_tokens].sum(axis=-1)


def maps(model, images, batch_size=64):
    """The attention of every layer of `model`, in order of depth.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255, any dtype.
        batch_size: how many images are in the model at once; memory beyond the result is bounded by it.

    Returns a list of `AttentionMap`. Raises ValueError or TypeError for images that do not fit the model, ValueError
    where there is none.
    """
    whole = []
    for start, layers in zip(range(0, len(images), batch_size), batches(model, images, batch_size), strict=True):
        whole = whole or [_room_for(len(images), layer) for layer in layers]
        for room, layer in zip(whole, layers, strict=True):
            room.weights[start : start + batch_size] = layer.weights
            if layer.slot_maps is not None:
                room.slot_maps[start : start + batch_size] = layer.slot_maps
    return whole


def _room_for(count, layer):
    """Like `layer`, for `count` images, with nothing in it."""
    weights, slot_maps = (
        None if array is None else np.empty((count, *array.shape[1:]), "float32")
        for array in (layer.weights, layer.slot_maps)
    )
    return dataclasses.replace(layer, weights=weights, slot_maps=slot_maps)


def batches(model, images, batch_size=64):
    """What `maps` returns, batch by batch: for more images than fit into memory as maps.

    Memory is bounded by the batch. Yields a list of `AttentionMap`, in order of depth, for each batch of images.
    """
    check_images(images, model.image_size)
    if not len(images):
        raise ValueError(f"images of shape {images.shape} hold no image; maps need one or more")
    for start in range(0, len(images), batch_size):
        _, attention = model(images[start : start + batch_size], training=False, return_attention=True)
        arrays = [ops.convert_to_numpy(ops.cast(weights, "float32")) for weights in attention]
        yield [
            _external(array, model.grid)
            if kind == "external"
            else AttentionMap(kind, array, model.grid, prefix, registers=model.registers if kind == "self" else 0)
            for (kind, prefix), array in zip(model.attention_layers, arrays, strict=True)
        ]


def _external(slot_maps, grid):
    """From the layer's token-major `(B, N, heads, S)` slot maps to both views of them."""
    weights = double_normalise(slot_maps)
    slot_maps = slot_maps / slot_maps.sum(axis=1, keepdims=True)  # without mixing they are no softmax over tokens
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
        gradients: what `relevance.attention_gradients` returns beside the layers; None for plain rollout.

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
