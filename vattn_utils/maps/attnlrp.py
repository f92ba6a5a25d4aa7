r"""AttnLRP (Achtibat et al. 2024, arXiv 2402.05602): a class's logit, passed back to the pixels by `rules`.

Here the book's models are walked through a second time, operation by operation, with the same weights and the same
numbers: self-attention, external attention and attention pooling, and what stands around them. Where the sum of the
pixels' relevance is not the logit, `ledger` says what has the rest. In the linear layers this is the rule with
epsilon = 0; for vision transformers the authors advise one that favours positive parts (gamma) against noise; it is
not here, so results differ from theirs.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike

from vattn_utils.maps.attention import to_grid
from vattn_utils.maps.given import given_batches, method
from vattn_utils.maps.gradients import compiled_gradient, sum_logits
from vattn_utils.maps.rules import activation, constant, convolution, gate, layer_norm, linear, normalise, product
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.eanet import ExternalAttention, softmax_over_tokens
from vattn_utils.models.fast import Tensor
from vattn_utils.models.inputs import (
    ClassToken,
    ConvolutionalTokenizer,
    PatchEmbedding,
    PositionEmbedding,
    Registers,
    extract_patches,
    sincos_positions,
)
from vattn_utils.models.keras_io import KerasIOViT
from vattn_utils.models.layers import MLP, LayerScale, PerClassLogits, SequencePooling
from vattn_utils.models.patch_convnet import AttentionPooling, PatchConvNet, SqueezeExcite, TrunkBlock
from vattn_utils.models.vit import SelfAttention, TransformerBlock, ViT

BATCH = 64  # images in the model at once


class Shares(NamedTuple):
    """What constants are multiplied by, `(B,)` each, all 1: the gradients with respect to them are what these took.

    biases: of linear layers, convolutions and layer norms.
    constants: positions, class tokens, registers and class queries: what is put in, the same for every image.
    """

    biases: Tensor
    constants: Tensor


@singledispatch
def walked(layer: Any, x: Tensor, shares: Shares) -> Tensor:
    """What `layer` makes of `x`, its gradient that of the rules. Raises TypeError for a layer that has no rule."""
    raise TypeError(f"there is no rule of AttnLRP for a layer of {type(layer).__name__}; see maps.attnlrp")


@walked.register
def _(layer: layers.Dense, x: Tensor, shares: Shares) -> Tensor:
    x = linear(x, layer.kernel, layer.bias, shares.biases)
    return x if layer.activation is keras.activations.linear else activation(x, layer.activation)


@walked.register
def _(layer: layers.Conv2D | layers.DepthwiseConv2D, x: Tensor, shares: Shares) -> Tensor:
    return activation(convolution(x, layer, shares.biases), layer.activation)


@walked.register
def _(layer: layers.LayerNormalization | layers.Identity, x: Tensor, shares: Shares) -> Tensor:
    return layer_norm(x, layer, shares.biases)


@walked.register
def _(layer: LayerScale, x: Tensor, shares: Shares) -> Tensor:
    return x * layer.gamma


@walked.register
def _(layer: MLP, x: Tensor, shares: Shares) -> Tensor:
    return walked(layer.contract, walked(layer.expand, x, shares), shares)


@walked.register
def _(layer: SelfAttention, x: Tensor, shares: Shares) -> Tensor:
    tokens = x.shape[1]
    x = ops.reshape(walked(layer.query_key_value, x, shares), (-1, tokens, 3, layer.heads, layer.head_dim))
    query, key, value = ops.unstack(x, 3, axis=2)  # (B, N, heads, d_h) each
    weights = ops.softmax(product("bqhd,bkhd->bhqk", query * layer.head_dim**-0.5, key), axis=-1)
    x = product("bhqk,bkhd->bqhd", weights, value)
    return walked(layer.output_projection, ops.reshape(x, (-1, tokens, layer.heads * layer.head_dim)), shares)


@walked.register
def _(layer: ExternalAttention, x: Tensor, shares: Shares) -> Tensor:
    # Both memories are weights: all relevance goes to what they are multiplied by.
    tokens, biases = x.shape[1], shares.biases
    query = linear(x, layer.query_kernel, layer.query_bias, biases)
    query = ops.reshape(query, (-1, tokens, layer.inner_heads, layer.head_dim))
    logits = linear(query, layer.memory_key, layer.memory_key_bias, biases)  # (B, N, heads, S)
    weights = normalise(softmax_over_tokens(logits) if layer.mixing else ops.softmax(logits))
    x = linear(weights, layer.memory_value, layer.memory_value_bias, biases)  # (B, N, heads, d_h)
    x = ops.reshape(x, (-1, tokens, layer.inner_heads * layer.head_dim))
    return linear(x, layer.output_kernel, layer.output_bias, biases)


@walked.register
def _(layer: TransformerBlock, x: Tensor, shares: Shares) -> Tensor:
    x = x + walked(layer.attention, walked(layer.norm_1, x, shares), shares)
    return x + walked(layer.mlp, walked(layer.norm_2, x, shares), shares)


@walked.register
def _(layer: SequencePooling, x: Tensor, shares: Shares) -> Tensor:
    weights = ops.softmax(walked(layer.score, x, shares), axis=1)  # (B, N, 1)
    return product("bno,bnd->bd", weights, x)


@walked.register
def _(layer: AttentionPooling, x: Tensor, shares: Shares) -> Tensor:
    # The class queries are weights, and so is all that is made of them alone.
    token = ops.cast(layer.class_query, "float32")  # (1, K, dim)
    plain = Shares(ops.ones(1), ops.ones(1))
    normed = walked(layer.norm_1, token, plain)
    query = walked(layer.query, normed, plain) * token.shape[-1] ** -0.5
    own = ops.sum(query * walked(layer.key, normed, plain), axis=-1, keepdims=True)  # (1, K, 1)
    patches = walked(layer.norm_1, x, shares)
    scores = ops.einsum("kd,bnd->bkn", query[0], walked(layer.key, patches, shares))
    weights = ops.softmax(ops.concatenate([constant(own, shares.constants), scores], axis=-1), axis=-1)
    attended = weights[:, :, :1] * walked(layer.value, normed, plain)
    attended = attended + product("bkn,bnd->bkd", weights[:, :, 1:], walked(layer.value, patches, shares))
    attended = walked(layer.output_projection, attended, shares)
    scaled = layer.layer_scale is not None
    x = constant(token, shares.constants) + (walked(layer.scale_1, attended, shares) if scaled else attended)
    mixed = walked(layer.mlp, walked(layer.norm_2, x, shares), shares)
    return walked(layer.norm_3, x + (walked(layer.scale_2, mixed, shares) if scaled else mixed), shares)


@walked.register
def _(layer: PerClassLogits, x: Tensor, shares: Shares) -> Tensor:
    return ops.sum(x * layer.kernel, axis=-1) + shares.biases[:, None] * layer.bias


@walked.register
def _(layer: SqueezeExcite, x: Tensor, shares: Shares) -> Tensor:
    return gate(x, layer.excite(layer.reduce(ops.mean(x, axis=(1, 2))))[:, None, None, :])


@walked.register
def _(layer: TrunkBlock, x: Tensor, shares: Shares) -> Tensor:
    branch = x
    for part in layer.branch:
        branch = walked(part, branch, shares)
    return x + branch


@walked.register
def _(layer: PatchEmbedding, x: Tensor, shares: Shares) -> Tensor:
    return walked(layer.projection, extract_patches(x, layer.patch_size), shares)


@walked.register
def _(layer: ConvolutionalTokenizer, x: Tensor, shares: Shares) -> Tensor:
    for index, part in enumerate(layer.convolution_layers, start=1):
        x = walked(part, x, shares)
        if index % layer.convolutions == 0:
            x = ops.max_pool(x, layer.pool_size, 2, "same")  # all relevance to the pixel that won
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], layer.dim))


@walked.register
def _(layer: PositionEmbedding, x: Tensor, shares: Shares) -> Tensor:
    if layer.kind == "learned":
        return x + constant(ops.expand_dims(layer.embedding, 0), shares.constants)
    table = ops.pad(sincos_positions(layer.grid, x.shape[-1]), ((layer.prefix_tokens, 0), (0, 0)))
    return x + constant(table[None], shares.constants)


@walked.register
def _(layer: ClassToken, x: Tensor, shares: Shares) -> Tensor:
    return ops.concatenate([constant(layer.token, shares.constants), x], axis=1)


@walked.register
def _(layer: Registers, x: Tensor, shares: Shares) -> Tensor:
    token = constant(layer.token, shares.constants)
    return ops.concatenate([x[:, : layer.behind], token, x[:, layer.behind :]], axis=1)


@walked.register
def _(model: ViT, x: Tensor, shares: Shares) -> Tensor:
    x = walked(model.tokens, x, shares)
    if model.pooling == "class":
        x = walked(model.class_token, x, shares)
    x = walked(model.positions, x, shares)
    if model.registers:
        x = walked(model.register_tokens, x, shares)
    for part in [*model.blocks, model.norm]:
        x = walked(part, x, shares)
    if model.pooling == "class":
        return walked(model.logits, x[:, 0], shares)
    x = x[:, model.prefix_tokens :]
    if isinstance(model, KerasIOViT):
        x = ops.reshape(x, (-1, x.shape[1] * model.dim))
        for part in model.head_layers:
            x = walked(part, x, shares)
    else:
        x = ops.mean(x, axis=1) if model.pooling == "mean" else walked(model.sequence_pooling, x, shares)
    return walked(model.logits, x, shares)


@walked.register
def _(model: PatchConvNet, x: Tensor, shares: Shares) -> Tensor:
    for part in [*model.stem, *model.trunk]:
        x = walked(part, x, shares)
    x = ops.reshape(x, (-1, x.shape[1] * x.shape[2], model.dim))
    if model.pooling == "mean":
        return walked(model.logits, ops.mean(walked(model.norm, x, shares), axis=1), shares)
    x = walked(model.attention_pooling, x, shares)  # (B, K, dim)
    return walked(model.logits, x if model.queries == "per-class" else x[:, 0], shares)


def ledger(
    model: Classifier, images: np.ndarray, labels: ArrayLike, batch_size: int = BATCH
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The relevance of every pixel for each image's logit, and where all of the logit has gone.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255.
        labels: integers `(B,)`: whose logit.
        batch_size: images in the model at once.

    Returns relevance, float32 `(B, H', W', 3)`, of the normalised image at the size that the model works at, and a
    dict of float32 `(B,)`: "logit", and what sums to it: "pixels", "biases", "constants" (positions, class tokens,
    registers, class queries) and "softmax". Every rule but that of the softmax conserves relevance: what a softmax
    would answer to an input of nothing (Proposition 3.1, the hidden bias) is the rest.
    """
    check_classifier(model, "AttnLRP")
    relevance, found = [], []
    for part, classes in given_batches(model, images, labels, batch_size):
        x = ops.convert_to_numpy(ops.cast(model.preprocessing(part), "float32"))
        ones = np.ones(len(part), "float32")
        slope, biases, constants = compiled_gradient(model, _answered, [x, ones, ones], classes)
        relevance.append(x * slope)
        logits = ops.convert_to_numpy(walked(model, ops.convert_to_tensor(x), Shares(ones, ones)))
        found.append((logits[np.arange(len(part)), classes], relevance[-1].sum((1, 2, 3)), biases, constants))
    logit, pixels, biases, constants = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rest = logit - pixels - biases - constants
    return np.concatenate(relevance), {
        "logit": logit, "pixels": pixels, "biases": biases, "constants": constants, "softmax": rest,
    }  # fmt: skip


def _answered(model: Classifier, tensors: Sequence[Tensor], labels: Tensor) -> Tensor:
    x, biases, constants = tensors
    return sum_logits(walked(model, x, Shares(biases, constants)), labels)


@method
def attnlrp(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Relevance of the pixels by AttnLRP, summed over each patch. See `ledger`."""
    return to_grid(ledger(model, images, labels)[0], model.grid)
