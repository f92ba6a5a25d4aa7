"""Derivatives, the one thing that Keras has no word of its own for: it asks which backend runs."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from vattn_utils.models.fast import Tensor

Function = Callable[..., Tensor]  # whose gradient is taken: to a scalar
Slopes = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], Sequence[Tensor]]  # of arrays and constants, compiled


def gradient(function: Function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The gradients of a function of arrays that are computed by Keras, on whatever backend.

    Args:
        function: takes one float32 tensor for each of `arrays` and returns a scalar tensor.
        arrays: a list of arrays.

    Returns a list of float32 NumPy arrays of the same shapes; an array that the function does not depend on has zeros.
    """
    arrays = [np.asarray(array, "float32") for array in arrays]
    found = BACKENDS[keras.backend.backend()](function, arrays)
    return [
        np.zeros_like(array) if part is None else keras.ops.convert_to_numpy(part).astype("float32")
        for array, part in zip(arrays, found, strict=True)
    ]


def compiled_gradient(
    model: Any, function: Function, arrays: Sequence[np.ndarray], *constants: ArrayLike
) -> list[np.ndarray]:
    """`gradient` of a function of a model, compiled once for each model: for the same gradient of many images.

    Args:
        model: whose weights `function` uses, as they are at each call.
        function: defined in a module, not on the way: it takes the model, a list of tensors and the constants, and
            returns a scalar tensor.
        arrays: of `gradient`; the first axis of each is the images'.
        constants: arrays that no gradient is taken by, their first axis the images'.
    """
    arrays, given = [np.asarray(array, "float32") for array in arrays], [np.asarray(array) for array in constants]
    key = (function, *(array.shape[1:] for array in arrays))
    kept = vars(model).setdefault("_compiled_gradients", {})  # not by setattr: Keras would look into it
    if key not in kept:
        kept[key] = COMPILED[keras.backend.backend()](model, function, arrays, given)
    found = kept[key](arrays, given)
    return [keras.ops.convert_to_numpy(part).astype("float32") for part in found]


def sum_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the images of each one's logit for its label: its gradient is one image's for each image.

    Args:
        logits: a tensor `(B, num_classes)`.
        labels: integers `(B,)`.
    """
    chosen = keras.ops.convert_to_tensor(labels, "int32")[:, None]
    return keras.ops.sum(keras.ops.take_along_axis(logits, chosen, axis=1))


def _tensorflow(function: Function, arrays: Sequence[np.ndarray]) -> Sequence[Tensor]:
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return tape.gradient(value, tensors)


def _jax(function: Function, arrays: Sequence[np.ndarray]) -> Sequence[Tensor]:
    import jax

    return jax.grad(lambda tensors: function(*tensors))(arrays)


def _torch(function: Function, arrays: Sequence[np.ndarray]) -> Sequence[Tensor]:
    import torch

    tensors = [keras.ops.convert_to_tensor(array).requires_grad_() for array in arrays]
    return torch.autograd.grad(function(*tensors), tensors, allow_unused=True)


def _compiled_tensorflow(
    model: Any, function: Function, arrays: Sequence[np.ndarray], constants: Sequence[np.ndarray]
) -> Slopes:
    import tensorflow as tf

    def of_any_number(array: np.ndarray) -> Any:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    signature = [[*map(of_any_number, arrays)], [*map(of_any_number, constants)]]

    @tf.function(input_signature=signature, autograph=False)  # whose cache would hold the model for good
    def slopes(tensors: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(model, tensors, *given)
        return tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return slopes


def _compiled_jax(
    model: Any, function: Function, arrays: Sequence[np.ndarray], constants: Sequence[np.ndarray]
) -> Slopes:
    import jax

    variables = getattr(model, "variables", [])

    # The weights are handed in, or they would be compiled in.
    def value(tensors: list[Tensor], weights: list[Tensor], given: list[Tensor]) -> Tensor:
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return function(model, tensors, *given)

    slopes = jax.jit(jax.grad(value))
    return lambda tensors, given: slopes(tensors, [variable.value for variable in variables], given)


def _compiled_torch(
    model: Any, function: Function, arrays: Sequence[np.ndarray], constants: Sequence[np.ndarray]
) -> Slopes:
    return lambda tensors, given: gradient(lambda *t: function(model, list(t), *given), tensors)


COMPILED = {"tensorflow": _compiled_tensorflow, "jax": _compiled_jax, "torch": _compiled_torch}
BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
