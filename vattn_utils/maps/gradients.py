"""Derivatives, the one thing that Keras has no word of its own for: the only module that asks which backend runs."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def gradient(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
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


def _tensorflow(function, arrays):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return tape.gradient(value, tensors)


def _jax(function, arrays):
    import jax

    return jax.grad(lambda tensors: function(*tensors))(arrays)


def _torch(function, arrays):
    import torch

    tensors = [keras.ops.convert_to_tensor(array).requires_grad_() for array in arrays]
    return torch.autograd.grad(function(*tensors), tensors, allow_unused=True)


BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
