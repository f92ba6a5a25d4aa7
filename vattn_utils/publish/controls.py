r"""The book's models as the live page computes them: with their attention, what leads to it, and three controls.

The forward passes of `models` once more, for recorded models at inference, with places where a reader may take hold:

- *temperature* divides the scores of every attention before their softmax;
- *mask* multiplies what a head (of external attention: a slot of a head) hands on; the attention itself stays;
- *randomise* puts the rows of every matrix of a unit into another order, the same one each time: the input's channels
  are gathered in that order, which is the same product and ships no second set of weights. The first convolution has
  three input channels only, so its kernel is shuffled whole. Of the positions it is the channels that change places.
  Biases and layer norms stay.

At temperature 1, mask 1 and randomise 0 they compute what the models compute (tested).
"""

import math
import zlib
from typing import Any

import numpy as np
from keras import ops

from vattn_utils.models.classifier import Classifier
from vattn_utils.models.eanet import ExternalAttention, double_normalise, softmax_over_tokens
from vattn_utils.models.fast import Tensor
from vattn_utils.models.layers import PerClassLogits
from vattn_utils.models.patch_convnet import PatchConvNet
from vattn_utils.models.vit import ViT

Steps = dict[str, Tensor]


class Shuffle:
    """Puts the last axis of what it is given into the order of its unit, if the reader asks for it.

    Args:
        unit: name of the unit; the order follows from it and from the length of the axis.
        flag: float `(1,)`: 1 shuffles, 0 does not.
    """

    def __init__(self, unit: str, flag: Tensor) -> None:
        self.unit, self.flag = unit, flag

    def order(self, length: int) -> np.ndarray:
        """The order of `length` channels, int32."""
        return np.random.default_rng([zlib.crc32(self.unit.encode()), length]).permutation(length).astype("int32")

    def __call__(self, x: Tensor) -> Tensor:
        own = np.arange(x.shape[-1], dtype="int32")
        chosen = own + ops.cast(self.flag, "int32") * (self.order(len(own)) - own)
        return ops.take(x, chosen, axis=-1)

    def kernel(self, kernel: Tensor) -> Tensor:
        """All numbers of a kernel in another order."""
        return ops.reshape(ops.take(ops.reshape(kernel, -1), self.order(math.prod(kernel.shape))), kernel.shape)


Shuffles = dict[str, Shuffle]  # by unit
Attended = tuple[Tensor, Tensor, Steps]  # what a layer makes, its attention, and the steps to it
Found = tuple[Tensor, list[Tensor], list[Steps]]


def units(model: Classifier) -> list[str]:
    """What can be randomised, from the image up: the parts of `model` that have a matrix."""
    if isinstance(model, PatchConvNet):
        return ["stem", *(block.name for block in model.trunk), "attention_pooling", "logits"]
    return ["tokens", "positions", *(block.name for block in model.blocks), "sequence_pooling", "logits"]


def mask_shape(model: Classifier) -> tuple[int, ...] | None:
    """Layers x heads, for external attention x slots; None where nothing can be muted."""
    if isinstance(model, PatchConvNet):
        return None
    attention = model.blocks[0].attention
    slots = (attention.memory_slots,) if isinstance(attention, ExternalAttention) else ()
    return (model.depth, model.heads, *slots)


def forward(
    model: Classifier, pixels: Tensor, temperature: Tensor, randomise: Tensor, mask: Tensor | None = None
) -> Found:
    """What `model` makes of `pixels`, under control.

    Args:
        model: a ViT or EANet whose tokens are convolutional, whose positions are learned and which pools its sequence;
            or a PatchConvNet with dense blocks that pools by attention: as the records of the variant "book" are.
        pixels: `(1, H, W, 3)`, 0 to 255.
        temperature: `(1,)`, above 0. randomise: `(len(units(model)),)`, 0 or 1 each. mask: of `mask_shape`, 0 to 1.

    Returns logits `(1, num_classes)`, the attention of each layer as `model(..., return_attention=True)` has it, and
    for each layer what leads to it, by name. Raises ValueError for another architecture.
    """
    names = units(model)
    shuffles = {name: Shuffle(name, randomise[index : index + 1]) for index, name in enumerate(names)}
    if isinstance(model, PatchConvNet):
        if model.pooling != "attention" or model.block != "dense" or model.layer_scale is None:
            raise ValueError(f"{model.name} is not the book's PatchConvNet; export a record of variant 'book'")
        return _patch_convnet(model, pixels, temperature, shuffles)
    if model.pooling != "sequence" or model.tokenizer == "patch" or model.position != "learned" or model.registers:
        raise ValueError(f"{model.name} is not the book's; export a record of variant 'book'")
    return _vit(model, pixels, temperature, shuffles, mask)


def _vit(model: ViT, pixels: Tensor, temperature: Tensor, shuffles: Shuffles, mask: Any) -> Found:
    tokenizer, x = model.tokens, _normalised(model.preprocessing, pixels)
    for index, convolution in enumerate(tokenizer.convolution_layers):
        x = _convolution(convolution, x, shuffles["tokens"], first=index == 0)
        if (index + 1) % tokenizer.convolutions == 0:
            x = tokenizer.pool(x)
    x = ops.reshape(x, (-1, model.grid[0] * model.grid[1], model.dim))  # (1, N, dim)
    x = x + shuffles["positions"](model.positions.embedding)
    maps, steps = [], []
    for index, block in enumerate(model.blocks):
        attend = _external if isinstance(block.attention, ExternalAttention) else _self
        shuffle = shuffles[block.name]
        attended, weights, leading = attend(block.attention, block.norm_1(x), temperature, mask[index], shuffle)
        x = x + attended
        x = x + _mlp(block.mlp, block.norm_2(x), shuffle)
        maps.append(weights)
        steps.append(leading)
    x = model.norm(x)
    scores = model.sequence_pooling.score(shuffles["sequence_pooling"](x)) / temperature  # (1, N, 1)
    weights = ops.transpose(ops.softmax(scores, axis=1), (0, 2, 1))  # (1, 1, N)
    pooled = ops.matmul(weights, x)[:, 0]  # (1, dim)
    logits = model.logits(shuffles["logits"](pooled))
    return logits, [*maps, weights[:, None]], [*steps, {"scores": scores[0, :, 0]}]


def _self(layer: Any, x: Tensor, temperature: Tensor, mask: Tensor, shuffle: Shuffle) -> Attended:
    tokens, heads, width = x.shape[1], layer.heads, layer.head_dim
    x = ops.reshape(layer.query_key_value(shuffle(x)), (-1, tokens, 3, heads, width))
    x = ops.transpose(x, (2, 0, 3, 1, 4))  # (3, 1, heads, N, d)
    query, key, value = x[0], x[1], x[2]
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * width**-0.5 / temperature
    weights = ops.softmax(scores, axis=-1)  # (1, heads, N, N)
    read = ops.transpose(ops.matmul(weights, value) * mask[:, None, None], (0, 2, 1, 3))  # (1, N, heads, d)
    x = layer.output_projection(shuffle(ops.reshape(read, (-1, tokens, heads * width))))
    return x, weights, {"query": query[0], "key": key[0], "value": value[0]}


def _external(layer: Any, x: Tensor, temperature: Tensor, mask: Tensor, shuffle: Shuffle) -> Attended:
    tokens, heads, width = x.shape[1], layer.inner_heads, layer.head_dim
    query = ops.matmul(shuffle(x), layer.query_kernel) + layer.query_bias
    query = ops.reshape(query, (-1, tokens, heads, width))  # (1, N, heads, d)
    scores = (ops.matmul(shuffle(query), layer.memory_key) + layer.memory_key_bias) / temperature  # (1, N, heads, S)
    slot_maps = softmax_over_tokens(scores) if layer.mixing else ops.softmax(scores)
    attention = double_normalise(slot_maps) * mask
    read = ops.matmul(shuffle(attention), layer.memory_value) + layer.memory_value_bias  # (1, N, heads, d)
    x = ops.matmul(shuffle(ops.reshape(read, (-1, tokens, heads * width))), layer.output_kernel) + layer.output_bias
    return x, slot_maps, {"query": query[0], "scores": scores[0], "read": read[0]}


def _patch_convnet(model: PatchConvNet, pixels: Tensor, temperature: Tensor, shuffles: Shuffles) -> Found:
    x = _normalised(model.preprocessing, pixels)
    for index, convolution in enumerate(model.stem):
        x = _convolution(convolution, x, shuffles["stem"], first=index == 0)
    for block in model.trunk:
        x = x + _trunk_branch(block, x, shuffles[block.name])  # (1, rows, columns, dim)
    patches = ops.reshape(x, (-1, x.shape[1] * x.shape[2], model.dim))  # (1, N, dim)
    layer, shuffle, dim = model.attention_pooling, shuffles["attention_pooling"], model.dim
    token = layer.class_query  # (1, K, dim)
    normed_token, normed = shuffle(layer.norm_1(token)), shuffle(layer.norm_1(patches))
    query = layer.query(normed_token)  # (1, K, dim)
    own_key, key = layer.key(normed_token), layer.key(normed)  # (1, K, dim), (1, N, dim)
    own_value, value = layer.value(normed_token), layer.value(normed)
    own = ops.sum(query * own_key, axis=-1, keepdims=True)  # (1, K, 1)
    scores = ops.concatenate([own, ops.matmul(query, ops.transpose(key, (0, 2, 1)))], axis=-1)
    weights = ops.softmax(scores * dim**-0.5 / temperature, axis=-1)  # (1, K, 1 + N)
    attended = weights[:, :, :1] * own_value + ops.matmul(weights[:, :, 1:], value)
    x = token + layer.scale_1(layer.output_projection(shuffle(attended)))
    x = layer.norm_3(x + layer.scale_2(_mlp(layer.mlp, layer.norm_2(x), shuffle)))  # (1, K, dim)
    x = shuffles["logits"](x)
    logits = model.logits(x if isinstance(model.logits, PerClassLogits) else x[:, 0])
    leading = {"query": query, "own_key": own_key, "own_value": own_value, "key": key, "value": value}
    return logits, [weights[:, None]], [{name: array[0] for name, array in leading.items()}]


def _normalised(layer: Any, pixels: Tensor) -> Tensor:
    """What `Preprocessing` does. The graph keeps constants in half precision, so each is a sum of two."""
    mean, little = _halves(np.array(layer.mean, "float32"))
    scale, rest = _halves(1 / np.array(layer.std, "float32"))
    x = pixels - mean - little
    return x * scale + x * rest


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` in half precision, and what that leaves out."""
    coarse = values.astype("float16").astype("float32")
    return coarse, values - coarse


def _trunk_branch(block: Any, x: Tensor, shuffle: Shuffle) -> Tensor:
    norm, expand, spatial, squeeze_excite, contract, scale = block.branch
    x = spatial(shuffle(expand(shuffle(norm(x)))))
    gates = squeeze_excite.excite(shuffle(squeeze_excite.reduce(shuffle(ops.mean(x, axis=(1, 2))))))
    return scale(contract(shuffle(x * gates[:, None, None, :])))


def _mlp(mlp: Any, x: Tensor, shuffle: Shuffle) -> Tensor:
    return mlp.contract(shuffle(mlp.expand(shuffle(x))))


def _convolution(layer: Any, x: Tensor, shuffle: Shuffle, first: bool) -> Tensor:
    """A convolution whose kernel may be in another order: that of its input channels, or, for the first, of all."""
    if not first:
        return layer(shuffle(x))
    found = layer(x)
    other = ops.conv(x, shuffle.kernel(layer.kernel), strides=layer.strides, padding=layer.padding)
    return found + shuffle.flag * (layer.activation(other + layer.bias) - found)
