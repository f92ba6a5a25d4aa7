r"""The rules of AttnLRP, each as a function whose value is the plain one and whose gradient carries the rule.

Layer-wise relevance propagation passes an answer back from the outputs of each operation to its inputs. With a rule
written as a modified gradient, an input's relevance is *the input times its gradient* wherever the computation is cut
(Achtibat et al. 2024, *AttnLRP*, arXiv 2402.05602, section 3). What a rule takes for constant stands behind
`stop_gradient`; nothing here asks which backend runs.

A sum and a product with weights need no rule of their own: their plain gradient is equation 8 with epsilon = 0, and
that of a softmax is Proposition 3.1. What constants (biases, positions, class tokens) take is lost to the inputs: each
rule multiplies them by a `share`, one number an image that is 1, so that the gradient with respect to it is what they
took.
"""

import keras
from keras import ops

from vattn_utils.models.fast import Tensor


def _shaped(share: Tensor, like: Tensor) -> Tensor:
    """`share` `(B,)` with as many axes as `like`."""
    return ops.reshape(share, (-1,) + (1,) * (len(like.shape) - 1))


def constant(value: Tensor, share: Tensor) -> Tensor:
    """A learned or fixed array `(1, ...)` that is put in, the same for every image: `share` times it, `(B, ...)`."""
    return _shaped(share, value) * ops.cast(value, "float32")


def linear(x: Tensor, kernel: Tensor, bias: Tensor | None, share: Tensor) -> Tensor:
    """`x @ kernel + bias`, equation 8: each input's part of the sum is its relevance, and so is the bias' own.

    Args:
        x: `(B, ..., n)`.
        kernel, bias: `(n, m)`, and `(m,)` or None.
        share: `(B,)`, ones: what the bias is multiplied by.
    """
    x = ops.matmul(x, ops.cast(kernel, "float32"))
    return x if bias is None else x + _shaped(share, x) * bias


def convolution(x: Tensor, layer: keras.layers.Layer, share: Tensor) -> Tensor:
    """What `layer`, a `Conv2D` or a `DepthwiseConv2D`, does before its activation; see `linear`."""
    convolve = ops.depthwise_conv if isinstance(layer, keras.layers.DepthwiseConv2D) else ops.conv
    x = convolve(x, layer.kernel, strides=layer.strides, padding=layer.padding)
    return x if layer.bias is None else x + _shaped(share, x) * layer.bias


def activation(x: Tensor, function: keras.layers.Layer) -> Tensor:
    """`function(x)`, element by element, for one that is 0 at 0: the identity rule (equation 9).

    An output's relevance is all its input's. Of ReLU that is the plain gradient already.
    """
    value = function(x)
    return x * ops.stop_gradient(value / ops.where(x == 0, ops.ones_like(x), x))


def product(equation: str, left: Tensor, right: Tensor) -> Tensor:
    """`ops.einsum` of two factors that both depend on the image: each has half of the relevance (Proposition 3.3)."""
    one = ops.einsum(equation, left, ops.stop_gradient(right))
    return (one + ops.einsum(equation, ops.stop_gradient(left), right)) / 2


def gate(x: Tensor, factors: Tensor) -> Tensor:
    """`x * factors`, all relevance to `x`: what a sigmoid lets through (Arras et al. 2017, section 3.1).

    Achtibat et al. have no such gate; a sigmoid is not 0 at 0, so that the identity rule is not defined for it.
    """
    return x * ops.stop_gradient(factors)


def normalise(slot_maps: Tensor) -> Tensor:
    """Slot maps `(..., S)` divided by their sums: the sum is taken for constant, as a norm's deviation is.

    (Proposition 3.4 says so of layer norms; that EANet's second normalisation is one of them is ours.)
    """
    return slot_maps / (ops.stop_gradient(ops.sum(slot_maps, axis=-1, keepdims=True)) + 1e-9)


def layer_norm(x: Tensor, layer: keras.layers.Layer, share: Tensor) -> Tensor:
    """Layer norm over the last axis, its deviation taken for constant (Proposition 3.4): what is left is linear.

    Args:
        layer: a `LayerNormalization`, or an `Identity`, which does nothing.
        share: of `linear`, for the norm's beta.
    """
    if isinstance(layer, keras.layers.Identity):
        return x
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + layer.epsilon)
    return centred / ops.stop_gradient(deviation) * layer.gamma + _shaped(share, x) * layer.beta
