r"""PatchConvNet: a convolutional trunk under attention pooling (Touvron et al. 2021, arXiv 2112.13692).

The network keeps one resolution from stem to end (section 3.1). In place of average pooling, a trained class query
attends once to all patches (section 3.2); the weights of that one attention are the map:

$$a = \mathrm{softmax}\left(q_{CLS} K^\top / \sqrt{d_h}\right), \qquad y = a V W_o$$
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from vattn_utils.data.checks import check_choice, check_divisible
from vattn_utils.models.classifier import Classifier, Offsets, WithAttention, attend
from vattn_utils.models.fast import Dropout, LayerNormalization, Tensor, register
from vattn_utils.models.inputs import CIFAR_MEAN, CIFAR_STD, Preprocessing
from vattn_utils.models.layers import GELUS, MLP, Attended, Configured, DropPath, LayerScale, PerClassLogits

VARIANTS = {
    # keras.io's example: 32 pixels resized to 48, two blocks with a full 3x3 convolution.
    "keras-io": dict(
        resize_to=48, strides=(2, 2), dim=256, depth=2, block="dense", squeeze_ratio=8, mlp_dim=256, dropout=0.2,
    ),
    # The paper's block (depthwise, LayerScale, stochastic depth) and pooling, with a stem of stride 4 for CIFAR.
    "paper": dict(
        strides=(2, 2), dim=192, depth=20, block="depthwise", squeeze_ratio=4, mlp_dim=576, layer_scale=1e-4,
        drop_path=0.1,
    ),
    # Ours: few blocks with a full 3x3 convolution, at 8 x 8 patches under a deeper stem, and the paper's pooling.
    "book": dict(
        strides=(1, 2, 2), dim=128, depth=8, block="dense", squeeze_ratio=4, mlp_dim=384, layer_scale=0.1,
        drop_path=0.1,
    ),
}  # fmt: skip


@register
class SqueezeExcite(Configured, layers.Layer):
    """Scale each channel by what the whole image says of it (Hu et al. 2018, equations 2 to 4): `(B, H, W, C)`.

    Args:
        ratio: how many times narrower the two dense layers meet.
        use_bias: whether they have biases.
    """

    def __init__(self, ratio: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(ratio=ratio, use_bias=use_bias)

    def build(self, input_shape: tuple) -> None:
        channels, policy, bias = input_shape[-1], self.dtype_policy, self.use_bias
        self.reduce = layers.Dense(channels // self.ratio, "relu", use_bias=bias, dtype=policy, name="reduce")
        self.reduce.build((None, channels))
        self.excite = layers.Dense(channels, "sigmoid", use_bias=bias, dtype=policy, name="excite")
        self.excite.build((None, channels // self.ratio))

    def call(self, x: Tensor) -> Tensor:
        squeezed = ops.mean(x, axis=(1, 2))  # (B, C)
        return x * self.excite(self.reduce(squeezed))[:, None, None, :]


@register
class TrunkBlock(Configured, layers.Layer):
    """One residual block of the trunk (section 3.1, figure 3): `(B, H, W, C)` to the same shape.

    x + DropPath(gamma * [1x1, GELU, 3x3, GELU, squeeze and excite, 1x1](LN x))

    Args:
        kind: "depthwise" as in the paper, or "dense" as in keras.io's example (its 3x3 convolution is full, and
            its squeeze and excite has no biases).
        squeeze_ratio: of `SqueezeExcite`.
        layer_scale: where gamma starts; None leaves it out.
        drop_path: rate of stochastic depth.
        gelu: a name in `GELUS`.
    """

    def __init__(
        self, kind: str, squeeze_ratio: int, layer_scale: float | None = None, drop_path: float = 0.0,
        gelu: str = "erf", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        check_choice("block", kind, ("depthwise", "dense"))
        check_choice("gelu", gelu, tuple(GELUS))
        self.remember(kind=kind, squeeze_ratio=squeeze_ratio, layer_scale=layer_scale, drop_path=drop_path, gelu=gelu)

    def build(self, input_shape: tuple) -> None:
        channels, policy, gelu = input_shape[-1], self.dtype_policy, GELUS[self.gelu]
        if self.kind == "depthwise":
            spatial = layers.DepthwiseConv2D(3, padding="same", activation=gelu, dtype=policy, name="spatial")
        else:
            spatial = layers.Conv2D(channels, 3, padding="same", activation=gelu, dtype=policy, name="spatial")
        self.branch = [
            LayerNormalization(epsilon=1e-6, dtype=policy, name="norm"),
            layers.Dense(channels, activation=gelu, dtype=policy, name="expand"),  # a 1x1 convolution
            spatial,
            SqueezeExcite(self.squeeze_ratio, self.kind == "depthwise", dtype=policy, name="squeeze_excite"),
            layers.Dense(channels, dtype=policy, name="contract"),
        ]
        if self.layer_scale is not None:
            self.branch.append(LayerScale(self.layer_scale, dtype=policy, name="scale"))
        self.drop_path: Any = DropPath(self.drop_path, dtype=policy, name="drop_path")
        for layer in self.branch:
            layer.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        branch = x
        for layer in self.branch:
            branch = layer(branch)
        return x + self.drop_path(branch)


@register
class AttentionPooling(Configured, layers.Layer):
    """Class queries attend once, with one head, to themselves and all patches (section 3.2; CaiT, section 3).

    Args:
        queries: K, how many class queries: 1, or one for each class. Each sees its own token and the patches.
        mlp_dim: hidden width of the MLP after the attention.
        dropout: rate on attention weights and in the MLP, in training.
        layer_scale: where the two LayerScale factors start; None leaves them out.
        gelu: of `MLP`.

    Takes patches `(B, N, dim)`; returns `(B, K, dim)`, normalised, and, with `return_attention=True`, also the weights
    `(B, 1, K, 1 + N)`: first the query's own share, then the patches; each row sums to 1.
    """

    def __init__(
        self, queries: int, mlp_dim: int, dropout: float = 0.0, layer_scale: float | None = None,
        gelu: str = "erf", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.remember(queries=queries, mlp_dim=mlp_dim, dropout=dropout, layer_scale=layer_scale, gelu=gelu)

    def build(self, input_shape: tuple) -> None:
        dim, policy = input_shape[-1], self.dtype_policy
        shape = (None, self.queries, dim)
        self.class_query = self.add_weight(
            shape=(1, self.queries, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="class_query",
        )
        self.norm_1 = LayerNormalization(epsilon=1e-6, dtype=policy, name="norm_1")
        self.norm_2 = LayerNormalization(epsilon=1e-6, dtype=policy, name="norm_2")
        self.norm_3 = LayerNormalization(epsilon=1e-6, dtype=policy, name="norm_3")
        self.query = layers.Dense(dim, dtype=policy, name="query")
        self.key = layers.Dense(dim, dtype=policy, name="key")
        self.value = layers.Dense(dim, dtype=policy, name="value")
        self.output_projection = layers.Dense(dim, dtype=policy, name="output_projection")
        self.mlp = MLP(self.mlp_dim, self.dropout, self.gelu, dtype=policy, name="mlp")
        self.attention_dropout = Dropout(self.dropout, dtype=policy, name="attention_dropout")
        parts = [self.norm_1, self.norm_2, self.norm_3, self.query, self.key, self.value]
        parts += [self.output_projection, self.mlp]
        if self.layer_scale is not None:
            self.scale_1 = LayerScale(self.layer_scale, dtype=policy, name="scale_1")
            self.scale_2 = LayerScale(self.layer_scale, dtype=policy, name="scale_2")
            parts += [self.scale_1, self.scale_2]
        for part in parts:
            part.build(shape)

    def call(self, patches: Tensor, return_attention: bool = False, perturbation: Tensor | None = None) -> Attended:
        dim = patches.shape[-1]
        token = ops.cast(self.class_query, patches.dtype)  # (1, K, dim)
        normed_token, normed_patches = self.norm_1(token), self.norm_1(patches)
        query = self.query(normed_token) * dim**-0.5  # (1, K, dim)
        # A query meets its own token, not the other classes' tokens.
        own = ops.sum(query * self.key(normed_token), axis=-1)  # (1, K)
        scores = ops.einsum("kd,bnd->bkn", query[0], self.key(normed_patches))  # (B, K, N)
        own = ops.broadcast_to(own[:, :, None], (ops.shape(scores)[0], self.queries, 1))
        weights = ops.softmax(ops.concatenate([own, scores], axis=-1), axis=-1)  # (B, K, 1 + N)
        if perturbation is not None:
            weights = weights + perturbation[:, 0]
        dropped = self.attention_dropout(weights)
        attended = dropped[:, :, :1] * self.value(normed_token)
        attended = attended + ops.einsum("bkn,bnd->bkd", dropped[:, :, 1:], self.value(normed_patches))
        attended = self.output_projection(attended)
        if self.layer_scale is not None:
            attended = self.scale_1(attended)
        x = token + attended
        mixed = self.mlp(self.norm_2(x))
        x = self.norm_3(x + (self.scale_2(mixed) if self.layer_scale is not None else mixed))
        return (x, weights[:, None]) if return_attention else x


@register
class PatchConvNet(Classifier):
    """A convolutional stem, a trunk of residual blocks at one resolution, attention pooling, a linear head.

    Args:
        num_classes: length of the logits.
        image_size: edge length of the images in pixels.
        dim, depth: channels of the trunk, number of its blocks.
        strides: of the stem's 3x3 convolutions, 1 or 2 each; the last has `dim` filters, each before it half as many.
        block, squeeze_ratio, layer_scale: of `TrunkBlock`.
        mlp_dim, dropout: of `AttentionPooling`.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0 in the first.
        queries: "single", or "per-class" for one query, one map and one score for each class.
        pooling: "attention", or "mean" for the average of the normalised patches in its place: the ablation. There are
            no maps then.
        gelu: "erf" (exact) or "tanh" (cheaper) GELU, everywhere.
        share_trunk: one block applied `depth` times, as keras.io's example does by accident.
        resize_to: edge length the image is resized to first; None keeps it.
        mean, std: three floats each, in 0..255 units, which the input is normalised with.
    """

    VARIANTS = VARIANTS

    def __init__(
        self,
        num_classes: int,
        image_size: int = 32,
        dim: int = 192,
        depth: int = 16,
        strides: Sequence[int] = (2, 2),
        block: str = "depthwise",
        squeeze_ratio: int = 4,
        layer_scale: float | None = None,
        mlp_dim: int = 384,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        queries: str = "single",
        pooling: str = "attention",
        gelu: str = "erf",
        share_trunk: bool = False,
        resize_to: int | None = None,
        mean: Sequence[float] = CIFAR_MEAN,
        std: Sequence[float] = CIFAR_STD,
        name: str = "patch_convnet",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("queries", queries, ("single", "per-class"))
        check_choice("gelu", gelu, tuple(GELUS))
        check_choice("pooling", pooling, ("attention", "mean"))
        if pooling == "mean" and queries != "single":
            raise ValueError(f"pooling='mean' has no queries, but queries={queries!r}; use queries='single'")
        self.remember(
            num_classes=num_classes, image_size=image_size, dim=dim, depth=depth, strides=strides, block=block,
            squeeze_ratio=squeeze_ratio, layer_scale=layer_scale, mlp_dim=mlp_dim, dropout=dropout,
            drop_path=drop_path, queries=queries, pooling=pooling, gelu=gelu, share_trunk=share_trunk,
            resize_to=resize_to, mean=mean, std=std,
        )  # fmt: skip
        edge, patch_size = resize_to or image_size, math.prod(strides)
        check_divisible("resize_to" if resize_to else "image_size", edge, "the stem's strides, multiplied", patch_size)
        self.patch_size = patch_size
        self.grid = (edge // patch_size, edge // patch_size)
        self.attention_layers = [("pooling", 1)] if pooling == "attention" else []

        self.preprocessing = Preprocessing(mean, std, resize_to, name="preprocessing")
        filters = [dim // 2**stage for stage in reversed(range(len(strides)))]
        self.stem = [
            layers.Conv2D(count, 3, stride, "same", activation=GELUS[gelu], name=f"stem_{stage}")
            for stage, (count, stride) in enumerate(zip(filters, strides, strict=True))
        ]
        rates = [drop_path * index / max(depth - 1, 1) for index in range(1 if share_trunk else depth)]
        self.trunk = [
            TrunkBlock(block, squeeze_ratio, layer_scale, rate, gelu, name=f"block_{index}")
            for index, rate in enumerate(rates)
        ]
        self.trunk *= depth if share_trunk else 1
        if pooling == "mean":
            self.norm = LayerNormalization(epsilon=1e-6, name="norm")
        else:
            classes = num_classes if queries == "per-class" else 1
            self.attention_pooling = AttentionPooling(
                classes, mlp_dim, dropout, layer_scale, gelu, name="attention_pooling"
            )
        if queries == "per-class":
            self.logits = PerClassLogits(dtype="float32", name="logits")
        else:
            self.logits = layers.Dense(num_classes, dtype="float32", name="logits")

    # What may differ between two models of which one takes over the other's encoder.
    READ_OUT = ("num_classes", "queries", "pooling", "mlp_dim", "dropout", "drop_path")

    def encoder(self) -> list[layers.Layer]:
        """The layers of `encode` that have weights."""
        return [*self.stem, *self.trunk]

    def encode(
        self, images: Tensor, return_attention: bool = False, perturbations: Offsets = None, until: int | None = None
    ) -> WithAttention:
        """Images `(B, H, W, 3)`, 0 to 255, to the trunk's patches, `(B, N, dim)`; no attention happens here."""
        x = self.preprocessing(images)
        for convolution in self.stem:
            x = convolution(x)
        for block in self.trunk[:until]:
            x = block(x)  # (B, rows, columns, dim)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], self.dim)), []

    def classify(self, tokens: Tensor, return_attention: bool = False, perturbations: Offsets = None) -> WithAttention:
        """The trunk's patches to logits `(B, num_classes)`, and a list: the pooling's weights, if it attends."""
        if self.pooling == "mean":
            return self.logits(ops.mean(self.norm(tokens), axis=1)), []
        perturbation = perturbations[-1] if perturbations else None
        x, weights = attend(self.attention_pooling, tokens, return_attention, perturbation)  # (B, K, dim)
        return self.logits(x if self.queries == "per-class" else x[:, 0]), [weights]
