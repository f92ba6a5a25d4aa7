r"""ViT: an image is worth 16x16 words (Dosovitskiy et al. 2021, arXiv 2010.11929).

The image is cut into patches, each patch becomes a token, a transformer encoder lets every token look at every
other, and one vector read from the tokens is classified (equations 1 to 4):

$$z_0 = [x_{class};\, x_p^1 E; \dots; x_p^N E] + E_{pos}, \quad
  z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1}, \quad
  z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l, \quad
  y = \mathrm{LN}(z_L^0)$$

What stands around the attention is shared with the other models, in `inputs` and `layers`.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from vattn_utils.data.checks import check_choice, check_divisible
from vattn_utils.models.classifier import Classifier, Offsets, WithAttention, attend
from vattn_utils.models.fast import SEPARATELY, Dropout, LayerNormalization, Tensor, register
from vattn_utils.models.inputs import (
    CIFAR_MEAN,
    CIFAR_STD,
    ClassToken,
    ConvolutionalTokenizer,
    PatchEmbedding,
    PositionEmbedding,
    Preprocessing,
    Registers,
)
from vattn_utils.models.layers import MLP, Attended, Configured, DropPath, SequencePooling

VARIANTS = {
    # The paper's block, class token and learned positions, at the size of DeiT-Tiny's width and CIFAR's images.
    "paper": dict(
        patch_size=4, dim=192, depth=12, heads=3, mlp_dim=768, dropout=0.1, pooling="class",
    ),
    # Ours: convolutional tokens, narrow blocks, a learned weighting of tokens in place of the class token.
    "book": dict(
        tokenizer="convolutional", convolutions=2, patch_size=4, dim=128, depth=4, heads=4, mlp_dim=384, drop_path=0.05,
        pooling="sequence",
    ),
}  # fmt: skip
POOL_SIZES = {"convolutional": 3, "convolutional-centred": 4}  # of the convolutional tokenizers, by name


@register
class SelfAttention(Configured, layers.Layer):
    r"""Multi-head self-attention, token to token (Vaswani et al. 2017, section 3.2; ViT, appendix A).

    $$A = \mathrm{softmax}\left(Q K^\top / \sqrt{d_h}\right), \qquad y = A V W_o$$

    Args:
        heads: number of heads.
        head_dim: width d_h of each head; None means dim / heads.
        dropout: rate at which attention weights are dropped in training.

    Takes `(B, N, dim)`; returns the same shape and, with `return_attention=True`, also the weights
    `(B, heads, N, N)`, whose rows sum to 1. Without them, JAX and PyTorch fuse product and softmax at inference. In
    training what PyTorch fuses has a slow gradient; TensorFlow fuses nothing, and Keras' function takes it 1.3 times as
    long as what stands here.
    """

    def __init__(self, heads: int, head_dim: int | None = None, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(heads=heads, head_dim=head_dim, dropout=dropout)
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy, name="attention_dropout")

    def build(self, input_shape: tuple) -> None:
        dim = input_shape[-1]
        if self.head_dim is None:
            check_divisible("dim", dim, "heads", self.heads, ", or give head_dim")
        self.head_dim: int = self.head_dim or dim // self.heads
        inner = self.heads * self.head_dim
        self.query_key_value = layers.Dense(3 * inner, dtype=self.dtype_policy, name="query_key_value")
        self.query_key_value.build(input_shape)
        self.output_projection = layers.Dense(dim, dtype=self.dtype_policy, name="output_projection")
        self.output_projection.build((*input_shape[:-1], inner))

    def call(
        self, x: Tensor, training: bool | None = None, return_attention: bool = False,
        perturbation: Tensor | None = None,
    ) -> Attended:  # fmt: skip
        tokens = x.shape[1]
        x = ops.reshape(self.query_key_value(x), (-1, tokens, 3, self.heads, self.head_dim))
        # One transposition for all three. Not by index: the gradient of a slice is as large as the whole.
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3)  # (B, heads, N, d_h) each
        attention = None
        if return_attention or perturbation is not None or training or SEPARATELY:
            attention = ops.softmax(ops.einsum("bhqd,bhkd->bhqk", query * self.head_dim**-0.5, key), axis=-1)
            if perturbation is not None:
                attention = attention + perturbation
            x = ops.einsum("bhqk,bhkd->bhqd", self.attention_dropout(attention), value)  # (B, heads, N, d_h)
            x = ops.transpose(x, (0, 2, 1, 3))
        else:
            x = ops.dot_product_attention(*(ops.transpose(part, (0, 2, 1, 3)) for part in (query, key, value)))
        x = self.output_projection(ops.reshape(x, (-1, tokens, self.heads * self.head_dim)))
        return (x, attention) if return_attention else x


@register
class TransformerBlock(Configured, layers.Layer):
    """A pre-norm transformer block around any attention layer (equations 2 and 3): `(B, N, dim)` to the same shape.

    Args:
        attention: a layer `(B, N, dim)` to `(B, N, dim)` that takes `return_attention` and `perturbation`.
        mlp_dim: width of the MLP's hidden layer.
        dropout: rate after the attention and inside the MLP.
        drop_path: rate at which each of the two branches is dropped.
        epsilon: of the layer norms.
        gelu: of `MLP`.
    """

    def __init__(
        self, attention: layers.Layer, mlp_dim: int, dropout: float = 0.0, drop_path: float = 0.0,
        epsilon: float = 1e-6, gelu: str = "erf", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.remember(mlp_dim=mlp_dim, dropout=dropout, drop_path=drop_path, epsilon=epsilon, gelu=gelu)
        policy = self.dtype_policy
        self.attention = attention
        self.norm_1 = LayerNormalization(epsilon=epsilon, dtype=policy, name="norm_1")
        self.norm_2 = LayerNormalization(epsilon=epsilon, dtype=policy, name="norm_2")
        self.mlp = MLP(mlp_dim, dropout, gelu, dtype=policy, name="mlp")
        self.drop = Dropout(dropout, dtype=policy, name="drop")
        self.drop_path = DropPath(drop_path, dtype=policy, name="drop_path")

    def build(self, input_shape: tuple) -> None:
        for layer in (self.norm_1, self.attention, self.norm_2, self.mlp):
            layer.build(input_shape)

    def call(self, x: Tensor, return_attention: bool = False, perturbation: Tensor | None = None) -> Attended:
        attended, weights = attend(self.attention, self.norm_1(x), return_attention, perturbation)
        x = x + self.drop_path(self.drop(attended))  # equation 2
        x = x + self.drop_path(self.mlp(self.norm_2(x)))  # equation 3
        return (x, weights) if return_attention else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "attention": keras.saving.serialize_keras_object(self.attention)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "attention": keras.saving.deserialize_keras_object(config["attention"])})


@register
class ViT(Classifier):
    """Tokens, positions, a stack of transformer blocks, a pooling, a linear head.

    Args:
        num_classes: length of the logits.
        image_size, patch_size: edge lengths in pixels; a convolutional tokenizer needs a patch_size of 2, 4 or 8.
        dim, depth, heads, mlp_dim: width of a token, number of blocks, heads of each, hidden width of the MLP.
        head_dim: width of a head; None means dim / heads.
        tokenizer: "patch" (cut and project), "convolutional", whose tokens look 1.5 pixels beside the patches that they
            stand for, or "convolutional-centred", whose tokens do not; see `ConvolutionalTokenizer`.
        convolutions: how many a convolutional tokenizer has in each of its stages.
        position: "learned" or "sincos".
        registers: how many `Registers` stand between class token and patches.
        pooling: how tokens become one vector: "class" (a class token), "mean" or "sequence" (`SequencePooling`).
        dropout, attention_dropout: rate after the attention, inside the MLP and after the positions; of the weights.
        drop_path: rate at which a branch of the last block is dropped; it grows linearly from 0 in the first.
        gelu: of `MLP`: "erf" or "tanh".
        resize_to: edge length the image is resized to before it is cut; None keeps it.
        mean, std: three floats each, in 0..255 units, which the input is normalised with.
    """

    VARIANTS = VARIANTS
    POOLINGS: tuple[str, ...] = ("class", "mean", "sequence")
    EPSILON = 1e-6  # of the layer norms

    def __init__(
        self,
        num_classes: int,
        image_size: int = 32,
        patch_size: int = 4,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_dim: int = 256,
        head_dim: int | None = None,
        tokenizer: str = "patch",
        convolutions: int = 1,
        position: str = "learned",
        registers: int = 0,
        pooling: str = "mean",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        gelu: str = "erf",
        resize_to: int | None = None,
        mean: Sequence[float] = CIFAR_MEAN,
        std: Sequence[float] = CIFAR_STD,
        name: str = "vit",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("tokenizer", tokenizer, ("patch", *POOL_SIZES))
        check_choice("pooling", pooling, self.POOLINGS)
        self.remember(
            num_classes=num_classes, image_size=image_size, patch_size=patch_size, dim=dim, depth=depth, heads=heads,
            mlp_dim=mlp_dim, head_dim=head_dim, tokenizer=tokenizer, convolutions=convolutions, position=position,
            registers=registers, pooling=pooling, dropout=dropout, attention_dropout=attention_dropout,
            drop_path=drop_path, gelu=gelu, resize_to=resize_to, mean=mean, std=std,
        )  # fmt: skip
        edge = resize_to or image_size
        check_divisible("resize_to" if resize_to else "image_size", edge, "patch_size", patch_size)
        self.grid = (edge // patch_size, edge // patch_size)
        class_tokens = int(pooling == "class")
        self.prefix_tokens = class_tokens + registers

        self.preprocessing = Preprocessing(mean, std, resize_to, name="preprocessing")
        if tokenizer == "patch":
            self.tokens = PatchEmbedding(patch_size, dim, name="tokens")
        else:
            stages = patch_size.bit_length() - 1
            if 2**stages != patch_size or not stages:
                raise ValueError(
                    f"patch_size={patch_size} does not fit tokenizer={tokenizer!r}, which halves the image; "
                    "use 2, 4 or 8"
                )
            self.tokens = ConvolutionalTokenizer(dim, stages, convolutions, POOL_SIZES[tokenizer], name="tokens")
        if class_tokens:
            self.class_token = ClassToken(name="class_token")
        self.positions = PositionEmbedding(position, self.grid, class_tokens, name="positions")
        if registers:
            self.register_tokens = Registers(registers, class_tokens, name="register_tokens")
        self.drop = Dropout(dropout, name="drop")
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = [
            TransformerBlock(
                self.make_attention(), mlp_dim, dropout, rate, self.EPSILON, gelu, name=f"block_{index}"
            )
            for index, rate in enumerate(rates)
        ]  # fmt: skip
        self.norm = self.make_norm()
        if pooling == "sequence":
            self.sequence_pooling = SequencePooling(name="sequence_pooling")
        self.logits = layers.Dense(num_classes, dtype="float32", name="logits")

    def make_attention(self) -> layers.Layer:
        """The attention layer of a block."""
        return SelfAttention(self.heads, self.head_dim, self.attention_dropout, name="attention")

    def make_norm(self) -> layers.Layer:
        """The layer norm behind the last block."""
        return LayerNormalization(epsilon=self.EPSILON, name="norm")

    @property
    def attention_kind(self) -> str:
        return "self"

    @property
    def attention_layers(self) -> list[tuple[str, int]]:
        """`(kind, prefix_tokens)` of each attention layer, in order of depth."""
        pooling = [("pooling", 0)] if self.pooling == "sequence" else []
        return [(self.attention_kind, self.prefix_tokens)] * self.depth + pooling

    def embed(self, images: Tensor) -> Tensor:
        """Images `(B, H, W, 3)`, 0 to 255, to the first tokens, `(B, prefix_tokens + N, dim)` (equation 1)."""
        x = self.tokens(self.preprocessing(images))  # (B, N, dim)
        if self.pooling == "class":
            x = self.class_token(x)  # (B, 1 + N, dim)
        x = self.positions(x)
        if self.registers:
            x = self.register_tokens(x)  # (B, prefix_tokens + N, dim)
        return self.drop(x)

    def encode(
        self, images: Tensor, return_attention: bool = False, perturbations: Offsets = None, until: int | None = None
    ) -> WithAttention:
        """Images `(B, H, W, 3)`, 0 to 255, to what the last block gives, `(B, prefix_tokens + N, dim)`.

        until: the block to stop before, as in a slice; None stops before none. Returns the tokens and a list, for each
        block its attention, or None where `return_attention` is False.
        """
        x, attention = self.embed(images), []
        for block, perturbation in zip(self.blocks[:until], perturbations or [None] * self.depth, strict=False):
            x, weights = attend(block, x, return_attention, perturbation)  # equations 2 and 3
            attention.append(weights)
        return x, attention

    def classify(self, tokens: Tensor, return_attention: bool = False, perturbations: Offsets = None) -> WithAttention:
        """What `encode` gave to logits `(B, num_classes)` (equation 4), and a list: the pooling's weights, if any."""
        x = self.norm(tokens)
        if self.pooling == "class":
            return self.logits(x[:, 0]), []
        patches = x[:, self.prefix_tokens :]
        if self.pooling == "mean":
            return self.logits(ops.mean(patches, axis=1)), []
        perturbation = perturbations[-1] if perturbations else None
        x, weights = attend(self.sequence_pooling, patches, return_attention, perturbation)
        return self.logits(x), [weights]
