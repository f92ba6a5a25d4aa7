"""How large a model or a layer is."""

from math import prod

import keras


def parameters(model: keras.Layer) -> int:
    """The number of trainable parameters of a built model or layer: of the entries of its trainable weights."""
    return sum(prod(weight.shape) for weight in model.trainable_weights)
