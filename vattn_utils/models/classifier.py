"""The contract that the book's models keep: images 0 to 255 in, logits out, attention on request."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vattn_utils.models.intake import Intake
from vattn_utils.models.layers import Configured, Tensor

WithAttention = tuple[Tensor, list]  # what was computed, and the attention on the way there
Offsets = Sequence[Tensor | None] | None  # what is added to the attention on the way


class Classifier(Configured, Intake):
    """What ViT, EANet and PatchConvNet have in common.

    `model(images)` returns logits `(B, num_classes)`; `model(images, return_attention=True)` returns
    `(logits, [weights, ...])`, one array per attention layer in order of depth, described by
    `model.attention_layers`: a list of `(kind, prefix_tokens)`. `model.grid` is the patch tokens' (rows, columns),
    `model.registers` how many of the tokens in front of them are no class tokens.

    The way goes from images over tokens to logits: a subclass has `encode` and `classify`. Both return what they
    compute and a list of the attention on the way, whose items are None where nobody asked. `perturbations`, one array
    for each attention layer, are added to its weights: at zero they change nothing, and the gradient with respect to
    them is the gradient of the attention.
    """

    VARIANTS: dict[str, dict[str, Any]]
    registers = 0
    _look = None  # a method, not the model that it is of: that has this one as a part, and no part has its whole

    def call(
        self,
        images: Tensor,
        training: bool | None = None,
        return_attention: bool = False,
        perturbations: Offsets = None,
    ) -> Tensor | WithAttention:
        perturbations = perturbations or [None] * len(self.attention_layers)
        tokens, mixing = self.encode(images, return_attention, perturbations)
        logits, pooling = self.classify(tokens, return_attention, perturbations)
        return (logits, [*mixing, *pooling]) if return_attention else logits

    def encode(
        self, images: Tensor, return_attention: bool = False, perturbations: Offsets = None, until: int | None = None
    ) -> WithAttention:
        """Images `(B, H, W, 3)`, 0 to 255, to tokens `(B, T, dim)` and the attention of each layer on the way.

        until: the block to stop before, as in a slice; None stops before none.
        """
        raise NotImplementedError

    def classify(self, tokens: Tensor, return_attention: bool = False, perturbations: Offsets = None) -> WithAttention:
        """What `encode` gave to logits `(B, num_classes)` and the attention of the pooling, if there is one."""
        raise NotImplementedError

    def look_on_batch(self, images: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits and the attention of every layer as float32 arrays, computed by one function that Keras compiles.

        What `model(images, return_attention=True)` gives layer by layer, in about half the time.

        Args:
            images: `(B, H, W, 3)`, 0 to 255.
        """
        if self._look is None:
            self._look = _Looking(self).predict_on_batch
        return self._look(self.checked(images))

    def build(self, input_shape: tuple | None = None) -> None:
        if input_shape is not None:
            self.check_shape(input_shape)
        self.built = True
        # A symbolic call makes every weight, each under its own name, and computes nothing.
        self(keras.KerasTensor((None, self.image_size, self.image_size, 3), dtype="float32"))


class _Looking(keras.Model):
    """A classifier that always returns its attention, so that `predict_on_batch` does."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(name="looking")
        self.classifier = classifier

    def call(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, attention = self.classifier(images, training=False, return_attention=True)
        return ops.cast(logits, "float32"), [ops.cast(weights, "float32") for weights in attention]


def check_classifier(model: Any, needed_for: str) -> None:
    """Raise TypeError, with the way out, unless `model` is a `Classifier`."""
    if not isinstance(model, Classifier):
        raise TypeError(
            f"{needed_for} needs a Classifier of vattn_utils.models, which returns its attention on request, "
            f"not {type(model).__name__}; build one, or give the Classifier itself and not what stands around it"
        )


def attend(
    layer: keras.layers.Layer, x: Tensor, return_attention: bool = False, perturbation: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """What `layer` makes of `x` and its attention, or None in its place where nobody asked."""
    found = layer(x, return_attention=return_attention, perturbation=perturbation)
    return found if return_attention else (found, None)
