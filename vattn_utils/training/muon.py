"""Keras' Muon, for convolutions too (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

import math
from typing import Any

import keras
from keras import ops

from vattn_utils.models.fast import register


@register
class Muon(keras.optimizers.Muon):
    """Momentum made orthogonal for the hidden matrices; AdamW for everything else.

    A step moves a matrix by its Nesterov momentum with all singular values near 1, times 0.2 sqrt(max(rows, columns)),
    so that AdamW's learning rates fit (Liu et al. 2025, arXiv:2502.16982, equation 4). The kernel of a convolution
    counts as the matrix `(height * width * inputs, outputs)`, as in Jordan's own code; in Keras it is left to AdamW.
    AdamW has vectors, position embeddings, tokens, class queries, a pooling's scores and the classifier (`logits`).

    Args:
        learning_rate: a number or a schedule, for Muon's weights and for AdamW's.
        weight_decay: by Keras' rule, w -= learning rate * weight_decay * w.
        adam_weight_decay: of AdamW's weights; None means the same.
        others: of `keras.optimizers.Muon`, as keywords.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        weight_decay: float = 0.0,
        adam_weight_decay: float | None = None,
        **others: Any,
    ) -> None:
        if adam_weight_decay is None:
            adam_weight_decay = weight_decay
        super().__init__(learning_rate, weight_decay=weight_decay, adam_weight_decay=adam_weight_decay, **others)

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        rows, columns = _matrix(variable.shape)
        kept = variable.name in ("embedding", "token", "class_query") or "/logits/" in variable.path
        return kept or min(rows, columns) == 1

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """`x`, a matrix or a convolution's kernel, with singular values near 1, by `steps` steps in bfloat16."""
        matrix = ops.cast(ops.reshape(x, _matrix(x.shape)), "bfloat16")
        return ops.cast(ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape), x.dtype)

    def lr_adjust(self, x: Any) -> Any:
        """`x`, an update with singular values near 1, as large as an update of AdamW's usually is."""
        return x * self.rms_rate * math.sqrt(max(_matrix(x.shape)))


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of a kernel that is applied to all but the last of its axes; a vector is one row."""
    return math.prod(shape[:-1]), shape[-1] if len(shape) else 1
