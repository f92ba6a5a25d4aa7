r"""Attention times the size of what is attended to (Kobayashi et al. 2020, *Attention is Not Only a Weight*).

What a query gets is a sum of weighted vectors, so that a weight alone does not say how much comes from where
(section 3, equations 3 and 4; W_v, b_v and W_o are the layer's value and output projections):

$$y_i = \sum_j \alpha_{ij} f(x_j), \qquad f(x) = (x W_v + b_v) W_o, \qquad \text{so measure } \|\alpha_{ij} f(x_j)\|$$

In external attention $x_j$ is a memory slot, whose value is a weight of the model, the same for every image.
"""

import dataclasses
from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_images, check_whole
from vattn_utils.maps.attention import read_out
from vattn_utils.maps.given import check_kind, method, own_query
from vattn_utils.models.attention_map import maps
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.eanet import ExternalAttention, double_normalise
from vattn_utils.models.fast import Tensor
from vattn_utils.models.layers import SequencePooling
from vattn_utils.models.patch_convnet import AttentionPooling, PatchConvNet
from vattn_utils.models.vit import SelfAttention, ViT


@dataclasses.dataclass(frozen=True)
class ValueNorm:
    """How large what one layer attends to is.

    values: float32 `(B, heads, 1, keys)`, the norm of f(x_j) for each head; `(B, 1, K, keys)` where each of K class
        queries has a token of its own among its keys.
    weighted: float32 `(B, queries, keys)`, the norm of the sum over the heads of alpha_ij f(x_j).
    """

    values: np.ndarray
    weighted: np.ndarray


def value_norms(model: Classifier, images: np.ndarray, batch_size: int = 64) -> list[ValueNorm]:
    """The `ValueNorm` of every layer that attends, in order of depth; arguments and errors as in `attention.maps`."""
    check_classifier(model, "a norm of values")
    images, batch_size = check_images(images, model.image_size), check_whole("batch_size", batch_size)
    batches = [
        [_measured(*found) for found in _attending(model, images[start : start + batch_size])]
        for start in range(0, len(images), batch_size)
    ]
    return [
        ValueNorm(*(np.concatenate([getattr(part, field) for part in parts]) for field in ("values", "weighted")))
        for parts in zip(*batches, strict=True)
    ]


def _attending(model: Classifier, images: np.ndarray) -> Iterator[tuple[Any, Tensor]]:
    """Each layer that attends, and the tokens that it is given."""
    if isinstance(model, PatchConvNet) and model.pooling == "attention":
        yield model.attention_pooling, model.encode(ops.convert_to_tensor(images))[0]
    if isinstance(model, ViT):
        tokens = model.embed(ops.convert_to_tensor(images))
        for block in model.blocks:
            yield block.attention, block.norm_1(tokens)
            tokens = block(tokens)
        if model.pooling == "sequence":
            yield model.sequence_pooling, model.norm(tokens)[:, model.prefix_tokens :]


def _measured(layer: Any, tokens: Tensor) -> ValueNorm:
    """The `ValueNorm` of a layer: by the heads' products two by two, since their weighted vectors are too many."""
    _, weights = layer(tokens, return_attention=True)
    if isinstance(layer, ExternalAttention):
        weights = ops.transpose(double_normalise(weights), (0, 2, 1, 3))  # (B, heads, N, S)
    weights, vectors = ops.cast(weights, "float32"), ops.cast(values(layer, tokens), "float32")
    if isinstance(layer, AttentionPooling):  # one head, and (B, K, keys, dim)
        norms = ops.norm(vectors, axis=-1)[:, None]
        return ValueNorm(*map(ops.convert_to_numpy, (norms, (weights * norms)[:, 0])))
    products = ops.einsum("bkhd,bkgd->bhgk", vectors, vectors)  # (B, heads, heads, keys)
    products = ops.broadcast_to(products, (weights.shape[0], *products.shape[1:]))
    squares = ops.sum(weights * ops.einsum("bgqk,bhgk->bhqk", weights, products), axis=1)
    norms = ops.sqrt(ops.diagonal(products, axis1=1, axis2=2))  # (B, keys, heads)
    norms = ops.transpose(norms, (0, 2, 1))[:, :, None]
    return ValueNorm(*map(ops.convert_to_numpy, (norms, ops.sqrt(ops.maximum(squares, 0)))))


@singledispatch
def values(layer: Any, tokens: Tensor) -> Tensor:
    """f(x_j), `(B, keys, heads, dim)`, of an attention layer that is given normalised tokens `(B, N, dim)`.

    For memories the first axis has length 1, and for `AttentionPooling` it is `(B, K, 1 + N, dim)`: each class query
    has its own token in front. Raises TypeError for a layer that does not attend.
    """
    raise TypeError(f"a layer of {type(layer).__name__} attends to no values")


@values.register
def _(layer: SelfAttention, tokens: Tensor) -> Tensor:
    count = tokens.shape[1]
    value = ops.reshape(layer.query_key_value(tokens), (-1, count, 3, layer.heads, layer.head_dim))[:, :, 2]
    kernel = ops.reshape(layer.output_projection.kernel, (layer.heads, layer.head_dim, -1))
    return ops.einsum("bnhd,hde->bnhe", value, ops.cast(kernel, value.dtype))


@values.register
def _(layer: ExternalAttention, tokens: Tensor) -> Tensor:
    kernel = ops.reshape(layer.output_kernel, (layer.inner_heads, layer.head_dim, -1))
    return ops.einsum("sd,hde->she", layer.memory_value + layer.memory_value_bias, kernel)[None]


@values.register
def _(layer: SequencePooling, tokens: Tensor) -> Tensor:
    return tokens[:, :, None]


@values.register
def _(layer: AttentionPooling, tokens: Tensor) -> Tensor:
    def f(normed: Tensor) -> Tensor:
        found = ops.matmul(layer.value(normed), layer.output_projection.kernel)
        return found if layer.layer_scale is None else layer.scale_1(found)

    own, patches = f(layer.norm_1(layer.class_query)), f(layer.norm_1(tokens))  # (1, K, dim), (B, N, dim)
    shape = (patches.shape[0], layer.queries, *patches.shape[1:])
    own = ops.broadcast_to(own[:, :, None], (shape[0], layer.queries, 1, shape[-1]))
    return ops.concatenate([own, ops.broadcast_to(patches[:, None], shape)], axis=2)


@method
def attention_value_norm(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The last self-attention times the norm of what it attends to, read where the answer is read."""
    check_kind(model, "self")
    layers = maps(model, images)
    last = max(place for place, layer in enumerate(layers) if layer.kind == "self")
    return read_out(value_norms(model, images)[last].weighted, layers)


@method
def pooling_value_norm(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The pooling's weights times the norm of what they weigh, each image's own class's where there is one a class."""
    check_kind(model, "pooling")
    prefix = model.attention_layers[-1][1]
    weighted = own_query(value_norms(model, images)[-1].weighted, labels)
    return weighted[:, prefix:].reshape(-1, *model.grid)
