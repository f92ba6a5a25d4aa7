"""Layers around attention that at least two of the book's models share: MLP, drop path, pooling.

What belongs to one paper (its attention, its blocks) stands in that paper's module. Every layer that attends returns
its weights on request, as a second value; nothing is hooked or stored. It also takes a `perturbation`, which is added
to its weights: the gradient with respect to it is the gradient of the attention.
"""

from typing import Any

import keras
from keras import layers, ops

from vattn_utils.data.checks import check_choice
from vattn_utils.models.arguments import checked
from vattn_utils.models.fast import Dropout, Tensor, gelu, register

Attended = Tensor | tuple[Tensor, Tensor]  # what a layer that attends returns: its output, on request with its weights


@register
def tanh_gelu(x: Tensor) -> Tensor:
    """GELU by its tanh formula (Hendrycks and Gimpel 2016, section 2): cheaper, and within 5e-4 of the exact one."""
    return ops.gelu(x, approximate=True)


# The exact GELU, x times the normal distribution function of x, and its approximation.
GELUS = {"erf": gelu, "tanh": tanh_gelu}


class Configured:
    """Remembers the constructor's arguments, for `get_config` of layers and models that take plain values only."""

    def remember(self, **arguments: Any) -> None:
        """Keep `arguments` both as attributes and for `get_config`, once it is seen that each is possible."""
        arguments = checked(arguments)
        self._arguments = {**getattr(self, "_arguments", {}), **arguments}
        for name, value in arguments.items():
            setattr(self, name, value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments}  # type: ignore[misc]  # of the layer that this is mixed into


@register
class MLP(Configured, layers.Layer):
    """Two dense layers with a GELU between them (ViT, section 3.1): `(..., dim)` to `(..., dim)`.

    Args:
        hidden_dim: width between the two.
        dropout: rate after each, in training.
        gelu: a name in `GELUS`.
    """

    def __init__(self, hidden_dim: int, dropout: float = 0.0, gelu: str = "erf", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("gelu", gelu, tuple(GELUS))
        self.remember(hidden_dim=hidden_dim, dropout=dropout, gelu=gelu)
        self.expand = layers.Dense(hidden_dim, activation=GELUS[gelu], dtype=self.dtype_policy, name="expand")
        self.drop = Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, input_shape: tuple) -> None:
        self.expand.build(input_shape)
        self.contract = layers.Dense(input_shape[-1], dtype=self.dtype_policy, name="contract")
        self.contract.build((*input_shape[:-1], self.hidden_dim))

    def call(self, x: Tensor) -> Tensor:
        x = self.drop(self.expand(x))  # (..., hidden_dim)
        return self.drop(self.contract(x))


@register
class DropPath(Configured, layers.Layer):
    """Stochastic depth: in training, drop a residual branch for whole images (Huang et al. 2016, section 3).

    The kept branches are divided by 1 - rate, so that nothing changes at inference.
    """

    def __init__(self, rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(rate=rate)
        self.drop = layers.Dropout(rate, dtype=self.dtype_policy, name="drop")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        if not training or not self.rate:
            return x
        keep = ops.ones((ops.shape(x)[0],) + (1,) * (len(x.shape) - 1), dtype=x.dtype)
        return x * self.drop(keep)


@register
class LayerScale(Configured, layers.Layer):
    """Multiply each channel by a learned factor that starts small (Touvron et al. 2021, CaiT, equation 4)."""

    def __init__(self, initial: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(initial=initial)

    def build(self, input_shape: tuple) -> None:
        initializer = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=initializer, name="gamma")

    def call(self, x: Tensor) -> Tensor:
        return ops.multiply(x, self.gamma)


@register
class SequencePooling(layers.Layer):
    """One learned linear score per token, softmax over tokens, weighted mean (CCT, section 3.2).

    Takes `(B, N, dim)`; returns `(B, dim)` and, with `return_attention=True`, also the weights `(B, 1, 1, N)`.
    """

    def build(self, input_shape: tuple) -> None:
        self.score = layers.Dense(1, dtype=self.dtype_policy, name="score")
        self.score.build(input_shape)

    def call(self, tokens: Tensor, return_attention: bool = False, perturbation: Tensor | None = None) -> Attended:
        weights = ops.softmax(self.score(tokens), axis=1)  # (B, N, 1)
        if perturbation is not None:
            weights = weights + ops.transpose(perturbation[:, 0], (0, 2, 1))
        pooled = ops.sum(weights * tokens, axis=1)
        return (pooled, ops.transpose(weights, (0, 2, 1))[:, None]) if return_attention else pooled


@register
class PerClassLogits(layers.Layer):
    """One linear score for each class, read from that class's own vector: `(B, K, dim)` to `(B, K)`."""

    def build(self, input_shape: tuple) -> None:
        _, classes, dim = input_shape
        self.kernel = self.add_weight(shape=(classes, dim), name="kernel")
        self.bias = self.add_weight(shape=(classes,), initializer="zeros", name="bias")

    def call(self, x: Tensor) -> Tensor:
        return ops.add(ops.sum(ops.multiply(x, self.kernel), axis=-1), self.bias)
