"""How large a model or a part of one is."""

from math import prod

import keras


def parameters(*parts: keras.Layer) -> int:
    """The number of trainable parameters of built models or layers; a weight that several share counts once."""
    weights = {id(weight): weight for part in parts for weight in part.trainable_weights}
    return sum(prod(weight.shape) for weight in weights.values())
