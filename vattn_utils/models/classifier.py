"""What the book's models have in common: the contract of a `Classifier`, and the token model of ViT and EANet.

No attention is defined here: a model's own module says what its blocks attend with.
"""

import keras
import numpy as np
from keras import layers, ops

from vattn_utils.data import check_images
from vattn_utils.models.layers import (
    CIFAR_MEAN,
    CIFAR_STD,
    GELUS,
    ClassToken,
    Configured,
    ConvolutionalTokenizer,
    PatchEmbedding,
    PositionEmbedding,
    Preprocessing,
    Registers,
    SequencePooling,
    TransformerBlock,
    check_choice,
)

POOL_SIZES = {"convolutional": 3, "convolutional-centred": 4}  # of the convolutional tokenizers, by name


class Classifier(Configured, keras.Model):
    """What ViT, EANet and PatchConvNet have in common: images 0 to 255 in, logits out, attention on request.

    `model(images)` returns logits `(B, num_classes)`; `model(images, return_attention=True)` returns
    `(logits, [weights, ...])`, one array per attention layer in order of depth, described by
    `model.attention_layers`: a list of `(kind, prefix_tokens)`. `model.grid` is the patch tokens' (rows, columns).

    The way goes from images over tokens to logits: a subclass has `encode` and `classify`. Both append their weights
    to `attention` where it is a list. `perturbations`, one array for each attention layer, are added to its weights:
    at zero they change nothing, and the gradient with respect to them is the gradient of the attention.
    """

    registers = 0  # how many of the tokens in front of the patches are no class tokens

    def call(self, images, training=None, return_attention=False, perturbations=None):
        attention = [] if return_attention else None
        perturbations = perturbations or [None] * len(self.attention_layers)
        tokens = self.encode(images, training, attention, perturbations)
        logits = self.classify(tokens, training, attention, perturbations[-1] if perturbations else None)
        return (logits, attention) if return_attention else logits

    def build(self, input_shape=None):
        if input_shape is not None:
            self._check_shape(input_shape)
        self.built = True
        # A symbolic call makes every weight, each under its own name, and computes nothing.
        super().__call__(keras.KerasTensor((None, self.image_size, self.image_size, 3), dtype="float32"))

    def __call__(self, images, *args, **kwargs):
        if isinstance(images, np.ndarray):
            check_images(images, self.image_size)
        self._check_shape(images.shape)
        return super().__call__(images, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        if isinstance(x, np.ndarray):
            check_images(x, self.image_size)
        return super().predict(x, *args, **kwargs)

    def _check_shape(self, shape):
        expected = (self.image_size, self.image_size, 3)
        if tuple(shape[1:]) != expected:
            raise ValueError(
                f"images of shape {tuple(shape)} do not fit this model, which takes (batch, {expected[0]}, "
                f"{expected[1]}, 3): colour images, 0 to 255; resize them or build it with another image_size"
            )


class TokenClassifier(Classifier):
    """Tokens, positions, a stack of transformer blocks, a pooling, a head: ViT and EANet but for their attention.

    A subclass says how a block attends and nothing else, so that two of them differ in their attention alone.

    Args:
        kind: "self" or "external", what `make_attention` makes.
        make_attention: called once a block, without arguments; returns the block's attention layer.
        num_classes: length of the logits.
        image_size, patch_size: edge lengths in pixels; tokenizer="convolutional" needs a power of 2.
        dim, depth, heads, mlp_dim: width of a token, number of blocks, heads of each, hidden width of the MLP.
        tokenizer: "patch" (cut and project), "convolutional", whose tokens look 1.5 pixels beside the patches that they
            stand for, or "convolutional-centred", whose tokens do not; see `ConvolutionalTokenizer`.
        convolutions: how many a convolutional tokenizer has in each of its stages.
        position: "learned" or "sincos".
        registers: how many `Registers` stand between class token and patches.
        pooling: how tokens become one vector: "class" (a class token), "mean", "flatten" or "sequence".
        dropout: rate after the attention, inside the MLP, and after the positions.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0 in the first.
        final_norm: whether a layer norm follows the last block.
        head_units, head_dropout: hidden layers of the head, and the dropout before each and before the logits.
        epsilon: of the layer norms.
        gelu: of `MLP`: "erf" or "tanh".
        resize_to: edge length the image is resized to before it is cut; None keeps it.
        mean, std: three floats each, in 0..255 units, which the input is normalised with.
    """

    def __init__(
        self,
        kind,
        make_attention,
        num_classes,
        image_size=32,
        patch_size=4,
        dim=128,
        depth=4,
        heads=4,
        mlp_dim=256,
        tokenizer="patch",
        convolutions=1,
        position="learned",
        registers=0,
        pooling="mean",
        dropout=0.0,
        drop_path=0.0,
        final_norm=True,
        head_units=(),
        head_dropout=0.0,
        epsilon=1e-6,
        gelu="erf",
        resize_to=None,
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice("tokenizer", tokenizer, ("patch", *POOL_SIZES))
        check_choice("pooling", pooling, ("class", "mean", "flatten", "sequence"))
        self.remember(
            num_classes=num_classes, image_size=image_size, patch_size=patch_size, dim=dim, depth=depth, heads=heads,
            mlp_dim=mlp_dim, tokenizer=tokenizer, convolutions=convolutions, position=position, registers=registers,
            pooling=pooling, dropout=dropout, drop_path=drop_path, final_norm=final_norm, head_units=tuple(head_units),
            head_dropout=head_dropout, epsilon=epsilon, gelu=gelu, resize_to=resize_to, mean=tuple(mean),
            std=tuple(std),
        )  # fmt: skip
        edge = resize_to or image_size
        if edge % patch_size:
            raise ValueError(
                f"image_size={edge} is not divisible by patch_size={patch_size}; use a multiple of {patch_size}"
            )
        self.grid = (edge // patch_size, edge // patch_size)
        class_tokens = int(pooling == "class")
        self.prefix_tokens = class_tokens + registers

        self.preprocessing = Preprocessing(mean, std, resize_to, name="preprocessing")
        if tokenizer in POOL_SIZES:
            stages = patch_size.bit_length() - 1
            if 2**stages != patch_size or not stages:
                raise ValueError(
                    f"patch_size={patch_size} does not fit tokenizer={tokenizer!r}, which halves the image; "
                    "use 2, 4 or 8"
                )
            self.tokens = ConvolutionalTokenizer(dim, stages, convolutions, POOL_SIZES[tokenizer], name="tokens")
        else:
            self.tokens = PatchEmbedding(patch_size, dim, name="tokens")
        if class_tokens:
            self.class_token = ClassToken(name="class_token")
        self.positions = PositionEmbedding(position, self.grid, class_tokens, name="positions")
        if registers:
            self.register_tokens = Registers(registers, class_tokens, name="register_tokens")
        self.drop = layers.Dropout(dropout, name="drop")
        self.blocks = [
            TransformerBlock(
                make_attention(),
                mlp_dim,
                dropout,
                drop_path * index / max(depth - 1, 1),
                epsilon,
                gelu,
                name=f"block_{index}",
            )
            for index in range(depth)
        ]
        if dim % heads and any(getattr(block.attention, "head_dim", None) is None for block in self.blocks):
            raise ValueError(f"dim={dim} is not divisible by heads={heads}; use a multiple of {heads}")
        if final_norm:
            self.norm = layers.LayerNormalization(epsilon=epsilon, name="norm")
        if pooling == "sequence":
            self.sequence_pooling = SequencePooling(name="sequence_pooling")
        self.head_drop = layers.Dropout(head_dropout, name="head_drop")
        self.head_layers = [
            layers.Dense(units, activation=GELUS[gelu], name=f"head_{index}") for index, units in enumerate(head_units)
        ]
        self.logits = layers.Dense(num_classes, dtype="float32", name="logits")
        self.attention_layers = [(kind, self.prefix_tokens)] * depth
        if pooling == "sequence":
            self.attention_layers = [*self.attention_layers, ("pooling", 0)]

    def encode(self, images, training=None, attention=None, perturbations=None, until=None):
        """Images `(B, H, W, 3)`, 0 to 255, to what the last block gives, `(B, prefix_tokens + N, dim)`.

        until: the block to stop before, as in a slice; None stops before none.
        """
        x = self.tokens(self.preprocessing(images))  # (B, N, dim)
        if self.pooling == "class":
            x = self.class_token(x)  # (B, 1 + N, dim)
        x = self.positions(x)
        if self.registers:
            x = self.register_tokens(x)  # (B, prefix_tokens + N, dim)
        x = self.drop(x, training=training)
        watched = attention is not None
        for index, block in enumerate(self.blocks[:until]):
            perturbation = perturbations[index] if perturbations else None
            x = block(x, training=training, return_attention=watched, perturbation=perturbation)
            if watched:
                x, weights = x
                attention.append(weights)
        return x

    def classify(self, tokens, training=None, attention=None, perturbation=None):
        """What `encode` gave to logits `(B, num_classes)`."""
        x = self.norm(tokens) if self.final_norm else tokens
        x = self.pool(x, attention, perturbation)  # (B, dim), or (B, N * dim) flattened
        for layer in self.head_layers:
            x = layer(self.head_drop(x, training=training))
        return self.logits(self.head_drop(x, training=training))

    def pool(self, tokens, attention=None, perturbation=None):
        """One vector an image; the weights of a sequence pooling are appended to `attention` where it is a list."""
        if self.pooling == "class":
            return tokens[:, 0]
        tokens = tokens[:, self.prefix_tokens :]
        if self.pooling == "mean":
            return ops.mean(tokens, axis=1)
        if self.pooling == "flatten":
            return ops.reshape(tokens, (-1, tokens.shape[1] * tokens.shape[2]))
        if attention is None:
            return self.sequence_pooling(tokens, perturbation=perturbation)
        pooled, weights = self.sequence_pooling(tokens, return_attention=True, perturbation=perturbation)
        attention.append(weights)
        return pooled
