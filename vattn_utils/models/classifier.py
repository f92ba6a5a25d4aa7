"""The contract that the book's models keep: images 0 to 255 in, logits out, attention on request."""

from typing import Any

import keras
import numpy as np

from vattn_utils.data import check_images
from vattn_utils.models.layers import Configured, Tensor, Tensors


class Classifier(Configured, keras.Model):
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

    def call(self, images, training=None, return_attention=False, perturbations=None):
        perturbations = perturbations or [None] * len(self.attention_layers)
        tokens, mixing = self.encode(images, return_attention, perturbations)
        logits, pooling = self.classify(tokens, return_attention, perturbations)
        return (logits, [*mixing, *pooling]) if return_attention else logits

    def encode(
        self,
        images: Tensor,
        return_attention: bool = False,
        perturbations: Tensors | None = None,
        until: int | None = None,
    ) -> tuple[Tensor, list]:
        """Images `(B, H, W, 3)`, 0 to 255, to tokens `(B, T, dim)` and the attention of each layer on the way.

        until: the block to stop before, as in a slice; None stops before none.
        """
        raise NotImplementedError

    def classify(
        self, tokens: Tensor, return_attention: bool = False, perturbations: Tensors | None = None
    ) -> tuple[Tensor, list]:
        """What `encode` gave to logits `(B, num_classes)` and the attention of the pooling, if there is one."""
        raise NotImplementedError

    def build(self, input_shape: tuple | None = None) -> None:
        if input_shape is not None:
            self._check_shape(input_shape)
        self.built = True
        # A symbolic call makes every weight, each under its own name, and computes nothing.
        super().__call__(keras.KerasTensor((None, self.image_size, self.image_size, 3), dtype="float32"))

    def __call__(self, images: Tensor, *args, **kwargs: Any):
        if isinstance(images, np.ndarray):
            check_images(images, self.image_size)
        self._check_shape(images.shape)
        return super().__call__(images, *args, **kwargs)

    def predict(self, x: Tensor, *args, **kwargs: Any):
        if isinstance(x, np.ndarray):
            check_images(x, self.image_size)
        return super().predict(x, *args, **kwargs)

    def _check_shape(self, shape: tuple) -> None:
        expected = (self.image_size, self.image_size, 3)
        if tuple(shape[1:]) != expected:
            raise ValueError(
                f"images of shape {tuple(shape)} do not fit this model, which takes (batch, {expected[0]}, "
                f"{expected[1]}, 3): colour images, 0 to 255; resize them or build it with another image_size"
            )


def attend(
    layer: keras.layers.Layer, x: Tensor, return_attention: bool = False, perturbation: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """What `layer` makes of `x` and its attention, or None in its place where nobody asked."""
    found = layer(x, return_attention=return_attention, perturbation=perturbation)
    return found if return_attention else (found, None)
