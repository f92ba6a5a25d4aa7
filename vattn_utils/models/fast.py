"""What makes the layers fast and is no idea of any paper: GELU, layer normalisation and dropout in fewer passes.

Each gives Keras' numbers, output and gradient, to rounding. TensorFlow computes operation by operation: what it derives
by itself reads and writes memory several times for each of them, while JAX compiles them into one and PyTorch has its
own kernels. All is written in `keras.ops`; `SEPARATELY` says where it is used. The gains named below were measured on
two cores, forward and backward pass of the layer in float32; `benchmarks/speed.py` measures whole models.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

Tensor = Any  # of the backend: what `keras.ops` takes and returns

register = keras.saving.register_keras_serializable(package="vattn_utils")

# Whether the backend computes each operation by itself: then those written here are faster than its own.
SEPARATELY = keras.backend.backend() == "tensorflow"


@register
def gelu(x: Tensor) -> Tensor:
    """The exact GELU, x times the normal distribution function of x; its gradient takes half of the time."""
    return gelu_by_hand(x) if SEPARATELY else ops.gelu(x, approximate=False)


@ops.custom_gradient
def gelu_by_hand(x: Tensor) -> Any:
    """Forward word for word what TensorFlow does; backward dy * (Phi(x) + x phi(x)), with Phi kept from there."""
    doubled = 1.0 + ops.erf(x / 2**0.5)  # 2 Phi(x)

    def gradient(*given: Tensor, upstream: Tensor = None) -> Tensor:
        dy = given[0] if upstream is None else upstream
        return dy * (0.5 * doubled + x * ops.exp(-0.5 * x * x) * (2 * 3.141592653589793) ** -0.5)

    return 0.5 * x * doubled, gradient


class LayerNormalization(layers.LayerNormalization):
    """Keras' own over the last axis; in training its gradient is written out, which takes two thirds of the time."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if not (training and SEPARATELY):
            return super().call(inputs)
        # Times one: tensors. For variables TensorFlow, run eagerly, would ask more of a gradient that is written out.
        return normalise(inputs, 1.0 * self.gamma, 1.0 * self.beta, self.epsilon)


def normalise(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Layer normalisation over the last axis of `x`, statistics in float32."""

    @ops.custom_gradient
    def forward(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Callable[..., tuple[Tensor, ...]]]:
        shape, dim, dtype = ops.shape(x), x.shape[-1], x.dtype
        rows = ops.cast(ops.reshape(x, (-1, dim)), "float32")
        centred = rows - ops.mean(rows, axis=-1, keepdims=True)
        inverse = ops.rsqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + epsilon)
        normed = centred * inverse
        scale, shift = ops.cast(gamma, "float32"), ops.cast(beta, "float32")

        def gradient(*given: Tensor, upstream: Tensor = None) -> tuple[Tensor, ...]:
            dy = ops.cast(ops.reshape(given[0] if upstream is None else upstream, (-1, dim)), "float32")
            dy_normed = dy * normed
            d_gamma, d_beta = ops.sum(dy_normed, axis=0), ops.sum(dy, axis=0)
            inner = ops.matmul(dy_normed, scale[:, None]) / dim  # mean(dy * gamma * normed)
            dx = (dy * scale - ops.matmul(dy, scale[:, None]) / dim - normed * inner) * inverse
            return ops.reshape(ops.cast(dx, dtype), shape), ops.cast(d_gamma, gamma.dtype), ops.cast(d_beta, beta.dtype)

        return ops.reshape(ops.cast(normed * scale + shift, dtype), shape), gradient

    return forward(x, gamma, beta)


class Dropout(layers.Dropout):
    """Keras' own, from one random byte an element in place of a number from 0 to 1: in two fifths of the time.

    The share that a step drops is a whole number of 256ths, drawn so that it is `rate` on average.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not (training and self.rate and SEPARATELY):
            return super().call(inputs, training=training)
        *outer, last = ops.shape(inputs)
        words = keras.random.randint((*outer, (last + 3) // 4), -(2**31), 2**31 - 1, seed=self.seed_generator)
        values = ops.view(words, "int8")[..., :last]  # -128 to 127
        dropped = ops.floor(256 * self.rate + keras.random.uniform((), seed=self.seed_generator))
        kept = values >= ops.cast(ops.minimum(dropped, 255) - 128, "int8")
        return inputs * (ops.cast(kept, inputs.dtype) * (1 / (1 - self.rate)))
