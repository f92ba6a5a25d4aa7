r"""How many multiply-adds a layer or a model takes, counted from its sizes.

Counted are the products of matrices and the convolutions, as the layers write them: one multiplication with its
addition as one. Element-wise work (softmax, norms, activations, sums, resizing) is left out.
"""

from collections.abc import Sequence
from functools import singledispatch
from math import ceil, prod

import keras
from keras import layers

from vattn_utils.models import inputs, patch_convnet, vit
from vattn_utils.models import layers as ours
from vattn_utils.models.eanet import ExternalAttention


@singledispatch
def multiply_adds(layer: keras.layers.Layer, shape: Sequence[int]) -> int:
    """How many multiply-adds one forward pass of a built layer or model takes.

    Args:
        layer: a layer of the package, one of Keras' that they are made of, a functional model of these, or a
            `Classifier`.
        shape: of its input, batch included: `(B, N, dim)`, `(B, H, W, C)`.

    Returns an integer, for the whole batch. Raises TypeError for a layer that has no formula here.
    """
    name = type(layer).__name__
    raise TypeError(f"no count of multiply-adds is known for {name}; add it to vattn_utils.cost.counts")


def _without_products(layer: keras.layers.Layer, shape: Sequence[int]) -> int:
    return 0


for _free in (
    layers.Dropout, layers.Softmax, layers.Reshape, layers.LayerNormalization,
    patch_convnet.LayerScale, patch_convnet.PerClassLogits,
):  # fmt: skip
    multiply_adds.register(_free, _without_products)


@multiply_adds.register
def _(layer: layers.Dense, shape: Sequence[int]) -> int:
    """Rows times the matrix: prod(shape[:-1]) * in * out."""
    return prod(shape[:-1]) * shape[-1] * layer.units


@multiply_adds.register
def _(layer: layers.Conv2D, shape: Sequence[int]) -> int:
    """Every pixel of the output times the kernel: B * H/s * W/s * k * k * C_in * C_out, padding included."""
    return prod(_convolved(layer, shape)) * prod(layer.kernel_size) * shape[-1]


@multiply_adds.register
def _(layer: layers.DepthwiseConv2D, shape: Sequence[int]) -> int:
    """Every pixel and channel times its own kernel: B * H * W * C * k * k, padding included."""
    return prod(shape) * prod(layer.kernel_size)


def _convolved(layer: layers.Conv2D, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape after a convolution with padding="same"."""
    batch, height, width, _ = shape
    return batch, ceil(height / layer.strides[0]), ceil(width / layer.strides[1]), layer.filters


@multiply_adds.register
def _(layer: inputs.PatchEmbedding, shape: Sequence[int]) -> int:
    """Each pixel belongs to one patch: B * H * W * C * dim."""
    return prod(shape) * layer.dim


@multiply_adds.register
def _(layer: inputs.ConvolutionalTokenizer, shape: Sequence[int]) -> int:
    """Its convolutions, each halving of the image after `convolutions` of them."""
    total = 0
    for index, convolution in enumerate(layer.convolution_layers, start=1):
        total += multiply_adds(convolution, shape)
        shape = _convolved(convolution, shape)
        if index % layer.convolutions == 0:
            shape = (shape[0], ceil(shape[1] / 2), ceil(shape[2] / 2), shape[3])
    return total


@multiply_adds.register
def _(layer: vit.SelfAttention, shape: Sequence[int]) -> int:
    r"""Four projections, then Q K^T and A V: B (4 N dim D + 2 N^2 D), with D = heads * head_dim."""
    batch, tokens, dim = shape
    inner = layer.heads * layer.head_dim
    return batch * (4 * tokens * dim * inner + 2 * tokens**2 * inner)


@multiply_adds.register
def _(layer: ExternalAttention, shape: Sequence[int]) -> int:
    r"""Written out, B N (2 dim D + 2 D S), with D = heads * d. Folded, B N 2 dim h S, and 2 dim D S once to fold."""
    batch, tokens, dim = shape
    heads, slots = layer.inner_heads, layer.memory_slots
    inner = heads * layer.head_dim
    if layer.folded:
        # The value's bias is folded too: one more row of d by dim for each head.
        return batch * tokens * 2 * dim * heads * slots + 2 * dim * inner * slots + inner * slots + inner * dim
    return batch * tokens * (2 * dim * inner + 2 * inner * slots)


@multiply_adds.register
def _(layer: ours.MLP, shape: Sequence[int]) -> int:
    """Two dense layers: 2 * B * N * dim * hidden."""
    return 2 * prod(shape) * layer.hidden_dim


@multiply_adds.register
def _(layer: vit.TransformerBlock, shape: Sequence[int]) -> int:
    """Attention and MLP."""
    return multiply_adds(layer.attention, shape) + multiply_adds(layer.mlp, shape)


@multiply_adds.register
def _(layer: ours.SequencePooling, shape: Sequence[int]) -> int:
    """One score a token: B * N * dim."""
    return prod(shape)


@multiply_adds.register
def _(layer: patch_convnet.SqueezeExcite, shape: Sequence[int]) -> int:
    """Two dense layers on the mean of all places: 2 * B * C * C/r."""
    batch, channels = shape[0], shape[-1]
    return 2 * batch * channels * (channels // layer.ratio)


@multiply_adds.register
def _(layer: patch_convnet.TrunkBlock, shape: Sequence[int]) -> int:
    """Its branch, at one resolution."""
    return sum(multiply_adds(part, shape) for part in layer.branch)


@multiply_adds.register
def _(layer: patch_convnet.AttentionPooling, shape: Sequence[int]) -> int:
    """Keys and values of all patches, 2 B N dim^2; scores and mean, 2 B K N dim; the K queries' own projections."""
    batch, tokens, dim = shape
    queries = layer.queries
    patches = batch * (2 * tokens * dim**2 + 2 * queries * tokens * dim)
    # Query, key and value of the class queries are the same for all images; what comes after the attention is not.
    return patches + 3 * queries * dim**2 + batch * queries * (dim**2 + 2 * dim * layer.mlp_dim)


@multiply_adds.register
def _(model: keras.Model, shape: Sequence[int]) -> int:
    """The layers of a functional model, each on its own input."""
    inner = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    return sum(multiply_adds(layer, (shape[0], *layer.input.shape[1:])) for layer in inner)


@multiply_adds.register
def _(model: vit.ViT, shape: Sequence[int]) -> int:
    """Tokens, blocks, pooling, head."""
    edge, batch = model.resize_to or model.image_size, shape[0]
    tokens = (batch, prod(model.grid) + model.prefix_tokens, model.dim)
    total = multiply_adds(model.tokens, (batch, edge, edge, 3))
    total += sum(multiply_adds(block, tokens) for block in model.blocks)
    patches = (batch, prod(model.grid), model.dim)
    if model.pooling == "sequence":
        total += multiply_adds(model.sequence_pooling, patches)
    vector = (batch, prod(patches[1:]) if model.pooling == "flatten" else model.dim)
    for layer in (*getattr(model, "head_layers", ()), model.logits):
        total += multiply_adds(layer, vector)
        vector = (batch, layer.units)
    return total


@multiply_adds.register
def _(model: patch_convnet.PatchConvNet, shape: Sequence[int]) -> int:
    """Stem, trunk, pooling, logits."""
    edge, batch = model.resize_to or model.image_size, shape[0]
    image: Sequence[int] = (batch, edge, edge, 3)
    total = 0
    for convolution in model.stem:
        total += multiply_adds(convolution, image)
        image = _convolved(convolution, image)
    total += sum(multiply_adds(block, image) for block in model.trunk)
    if model.pooling == "attention":
        total += multiply_adds(model.attention_pooling, (batch, prod(model.grid), model.dim))
    return total + multiply_adds(model.logits, (batch, model.dim))
