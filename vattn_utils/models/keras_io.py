"""What only the examples of keras.io have: a ViT whose head reads all tokens at once, an EANet without a last norm."""

from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from vattn_utils.models.classifier import Offsets, WithAttention
from vattn_utils.models.eanet import EANet
from vattn_utils.models.fast import Dropout, Tensor, register
from vattn_utils.models.layers import GELUS
from vattn_utils.models.vit import ViT


@register
class KerasIOViT(ViT):
    """The example's ViT: all tokens in one vector, under a head of dense layers with 97 % of the parameters.

    Args:
        head_units, head_dropout: hidden layers of the head, and the dropout before each and before the logits.
        kwargs: of `ViT`.
    """

    POOLINGS = ("flatten",)

    def __init__(
        self,
        num_classes: int,
        head_units: Sequence[int] = (2048, 1024),
        head_dropout: float = 0.5,
        pooling: str = "flatten",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, pooling=pooling, **kwargs)
        self.remember(head_units=head_units, head_dropout=head_dropout)
        self.head_drop = Dropout(head_dropout, name="head_drop")
        self.head_layers = [
            layers.Dense(units, activation=GELUS[self.gelu], name=f"head_{index}")
            for index, units in enumerate(head_units)
        ]

    def classify(self, tokens: Tensor, return_attention: bool = False, perturbations: Offsets = None) -> WithAttention:
        x = self.norm(tokens)[:, self.prefix_tokens :]
        x = ops.reshape(x, (-1, x.shape[1] * self.dim))  # (B, N * dim)
        for layer in self.head_layers:
            x = layer(self.head_drop(x))
        return self.logits(self.head_drop(x)), []


@register
class KerasIOEANet(EANet):
    """The example's EANet: no norm behind the last block, and another epsilon in those before."""

    EPSILON = 1e-5

    def make_norm(self) -> layers.Layer:
        return layers.Identity(name="norm")


VARIANTS = {
    # 32 pixels resized to 72, 144 patches.
    "vit": dict(
        resize_to=72, patch_size=6, dim=64, depth=8, heads=4, head_dim=64, mlp_dim=128, dropout=0.1,
        attention_dropout=0.1, head_units=(2048, 1024), head_dropout=0.5,
    ),
    # 2-pixel patches, 256 tokens, width 64, and attention four times as wide inside. head_dim=64 belongs to its
    # self-attention twin, whose heads are as wide as the whole model.
    "eanet": dict(
        tokenizer="patch", patch_size=2, dim=64, depth=8, heads=4, head_dim=64, memory_slots=16, coefficient=4,
        mlp_dim=64, dropout=0.2, attention_dropout=0.2, pooling="mean",
    ),
}  # fmt: skip
