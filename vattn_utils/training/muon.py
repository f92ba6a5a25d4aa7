"""Keras' Muon, for convolutions too (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vattn_utils.models.fast import Tensor, register


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

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """As Keras does, but that the schedule is asked once, and not for each weight."""
        rate = self.learning_rate
        for variable in filter(self._use_weight_decay, variables):
            decay = self.adam_weight_decay if self._should_use_adamw(variable) else self.weight_decay
            if decay is not None:
                variable.assign(variable - variable * decay * ops.cast(rate, variable.dtype))

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable], learning_rate: Tensor
    ) -> None:
        """Keras' `update_step` of all weights: AdamW's as one vector, the matrices of a shape as one batch."""
        together: dict[tuple[int, int] | None, list[tuple[Tensor, keras.Variable]]] = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            by_adamw = self.adam_velocities[self._get_variable_index(variable)] is not None
            together.setdefault(None if by_adamw else _matrix(variable.shape), []).append((gradient, variable))
        for shape, members in together.items():
            gradients, variables = zip(*members, strict=True)
            places = [self._get_variable_index(variable) for variable in variables]
            momentums = [self.momentums[place] for place in places]
            if shape:
                update = self._by_muon(_joined(gradients), momentums, shape, learning_rate)
            else:
                velocities = [self.adam_velocities[place] for place in places]
                update = self._by_adamw(_joined(gradients), momentums, velocities, learning_rate)
            for variable, part in zip(variables, _parted(update, variables), strict=True):
                self.assign_sub(variable, part)

    def _by_muon(
        self, gradient: Tensor, momentums: Sequence[keras.Variable], shape: tuple[int, int], rate: Tensor
    ) -> Tensor:
        """By how much matrices of one `shape` fall, one after the other in a vector; the iteration is in bfloat16."""
        momentum = _joined(momentums)
        momentum = self._kept(momentums, momentum + (gradient + momentum * (self.momentum - 1)))
        ahead = gradient + self.momentum * momentum if self.nesterov else momentum
        matrices = ops.cast(ops.reshape(ahead, (len(momentums), *shape)), "bfloat16")
        orthogonal = ops.cast(self.zeropower_via_newtonschulz5(matrices, self.ns_steps), ahead.dtype)
        return ops.reshape(orthogonal, (-1,)) * rate * self.rms_rate * math.sqrt(max(shape))

    def _by_adamw(
        self,
        gradient: Tensor,
        momentums: Sequence[keras.Variable],
        velocities: Sequence[keras.Variable],
        rate: Tensor,
    ) -> Tensor:
        """By how much AdamW's weights fall, one after the other in a vector."""
        step = ops.cast(self.iterations + 1, gradient.dtype)
        first, second = (
            1 - ops.power(ops.cast(beta, step.dtype), step) for beta in (self.adam_beta_1, self.adam_beta_2)
        )
        alpha = rate * self.adam_lr_ratio * ops.sqrt(second) / first
        momentum, velocity = _joined(momentums), _joined(velocities)
        momentum = self._kept(momentums, momentum + (gradient - momentum) * (1 - self.adam_beta_1))
        velocity = self._kept(velocities, velocity + (gradient * gradient - velocity) * (1 - self.adam_beta_2))
        return momentum * alpha / (ops.sqrt(velocity) + self.epsilon)

    def _kept(self, variables: Sequence[keras.Variable], values: Tensor) -> Tensor:
        """`values`, after each of the `variables` was given its part of them."""
        for variable, part in zip(variables, _parted(values, variables), strict=True):
            self.assign(variable, part)
        return values


def _joined(arrays: Sequence[Any]) -> Tensor:
    """All numbers of the `arrays`, one after the other in a vector."""
    return ops.concatenate([ops.reshape(array, (-1,)) for array in arrays])


def _parted(vector: Tensor, variables: Sequence[keras.Variable]) -> list[Tensor]:
    """What `_joined` made of tensors in the shapes of `variables`, apart again."""
    ends = list(itertools.accumulate(math.prod(variable.shape) for variable in variables))
    parts = ops.split(vector, ends[:-1]) if len(ends) > 1 else [vector]
    return [ops.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)]


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of a kernel that is applied to all but the last of its axes; a vector is one row."""
    return math.prod(shape[:-1]), shape[-1] if len(shape) else 1
