"""What all published examples have in common: the form in which they are handed over, and images to be handed over."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from vattn_utils.data import shapes
from vattn_utils.models.fast import Tensor

Split = tuple[np.ndarray, np.ndarray]  # images `(N, 32, 32, 3)`, 0 to 255, and labels


@dataclasses.dataclass(frozen=True)
class Example:
    """What a script hands to Keras: `name`, a compiled `model`, `data` (images, labels), and `given`, the rest.

    `given` holds keyword arguments of `audit.audit`: the test images, the run's length, callbacks, a schedule.
    """

    name: str
    model: keras.Model
    data: Split
    given: dict[str, Any]


def draw(classes: int) -> tuple[Split, Split]:
    """((x, y), (x, y)): 200 training and 40 test images, 0 to 255, and integer labels."""
    images, labels, _ = shapes.draw(np.arange(240), classes)
    return (images[:200], labels[:200]), (images[200:], labels[200:])


def warm_up_cosine(peak: float, steps: int, warmup: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """A climb from 0 to `peak` over the share `warmup` of all `steps`, then half a cosine down to 0."""
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - int(steps * warmup), warmup_target=peak, warmup_steps=int(steps * warmup)
    )


class PatchEmbedding(layers.Layer):
    """Cut into patches, project, add a learned position: `(B, H, W, 3)` to `(B, N, dim)`."""

    def __init__(self, patch_size: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.patch_size, self.tokens = patch_size, tokens
        self.projection = layers.Dense(dim, name="projection")
        self.position = layers.Embedding(tokens, dim, name="position")

    def call(self, images: Tensor) -> Tensor:
        patches = ops.image.extract_patches(images, self.patch_size)
        patches = ops.reshape(patches, (-1, self.tokens, patches.shape[-1]))
        return self.projection(patches) + self.position(ops.arange(self.tokens))
