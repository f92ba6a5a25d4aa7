"""From images to the first tokens: normalisation, patches, positions, class token and registers."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from vattn_utils.data.checks import check_choice, check_divisible, check_whole
from vattn_utils.models.fast import Tensor, register
from vattn_utils.models.layers import Configured

# Per-channel mean and standard deviation of CIFAR-10's training images, in 0..255 units: what a model uses
# when it is not given the statistics of its own data (`Dataset.statistics()`).
CIFAR_MEAN = (125.3, 123.0, 113.9)
CIFAR_STD = (63.0, 62.1, 66.7)


@register
class Preprocessing(Configured, layers.Layer):
    """Images as the user has them to what the first layer wants: normalised, and resized where asked.

    Args:
        mean, std: three floats each, in 0..255 units.
        resize_to: edge length in pixels after bilinear resizing; None keeps the size.

    Takes `(B, H, W, 3)`, 0 to 255, any dtype; returns `(B, H', W', 3)` in the layer's compute dtype.
    """

    def __init__(
        self,
        mean: Sequence[float] = CIFAR_MEAN,
        std: Sequence[float] = CIFAR_STD,
        resize_to: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Not autocast: 0..255 pixels, once resized, would lose their fractions in bfloat16.
        super().__init__(autocast=False, **kwargs)
        self.remember(mean=mean, std=std, resize_to=resize_to)

    def call(self, images: Tensor) -> Tensor:
        x = ops.cast(images, "float32")
        if self.resize_to and tuple(x.shape[1:3]) != (self.resize_to, self.resize_to):
            x = ops.image.resize(x, (self.resize_to, self.resize_to), interpolation="bilinear")
        x = (x - ops.convert_to_tensor(self.mean, "float32")) / ops.convert_to_tensor(self.std, "float32")
        return ops.cast(x, self.compute_dtype)


@register
class PatchEmbedding(Configured, layers.Layer):
    """Cut the image into patches and project each of them to a token (ViT, section 3.1, equation 1).

    Takes `(B, H, W, C)`; returns `(B, H/P * W/P, dim)`, the patches in reading order.
    """

    def __init__(self, patch_size: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(patch_size=patch_size, dim=dim)
        self.projection = layers.Dense(dim, dtype=self.dtype_policy, name="projection")

    def build(self, input_shape: tuple) -> None:
        self.projection.build((None, None, self.patch_size**2 * input_shape[-1]))

    def call(self, images: Tensor) -> Tensor:
        return self.projection(extract_patches(images, self.patch_size))


def extract_patches(images: Tensor, patch_size: int) -> Tensor:
    """Flattened patches, `(B, H/P * W/P, P * P * C)`, in reading order, of images `(B, H, W, C)`."""
    _, height, width, channels = images.shape
    for length in (height, width):
        check_divisible("image_size", length, "patch_size", patch_size)
    rows, columns = height // patch_size, width // patch_size
    x = ops.reshape(images, (-1, rows, patch_size, columns, patch_size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, rows, columns, P, P, C)
    return ops.reshape(x, (-1, rows * columns, patch_size * patch_size * channels))


@register
class ConvolutionalTokenizer(Configured, layers.Layer):
    """Tokens from small convolutions instead of one cut (CCT, Hassani et al. 2021, section 3.3).

    Each stage is one or more 3x3 convolutions with ReLU, and a max-pool of stride 2. The last stage ends with
    `dim` filters, the one before it with half of them; within a stage, those before the last have half of its filters.

    Args:
        dim: width of a token.
        stages: how often the image is halved.
        convolutions: how many there are in each stage.
        pool_size: edge of the max-pool's window. An odd one cannot lie centred on the two pixels that a stride covers:
            3, as in the paper, is padded behind only, and two stages look 1.5 pixels down and right of the patch that
            they stand for (padded on both sides, as in the authors' code, 1.5 pixels up and left). 4 is padded by one
            pixel on each side and lies centred.

    Takes `(B, H, W, C)`; returns `(B, H/2^k * W/2^k, dim)` for k stages.
    """

    def __init__(self, dim: int, stages: int = 2, convolutions: int = 1, pool_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(dim=dim, stages=stages, convolutions=convolutions, pool_size=pool_size)
        ends = [dim // 2 ** (stages - 1 - stage) for stage in range(stages)]
        filters = [count for end in ends for count in [end // 2] * (convolutions - 1) + [end]]
        self.convolution_layers = [
            layers.Conv2D(
                count,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                dtype=self.dtype_policy,
                name=f"convolution_{index}",
            )
            for index, count in enumerate(filters)
        ]
        self.pool = layers.MaxPooling2D(pool_size, strides=2, padding="same", dtype=self.dtype_policy, name="pool")

    def build(self, input_shape: tuple) -> None:
        for convolution in self.convolution_layers:
            convolution.build(input_shape)
            input_shape = (*input_shape[:-1], convolution.filters)

    def call(self, images: Tensor) -> Tensor:
        x = images
        for index, convolution in enumerate(self.convolution_layers, start=1):
            x = convolution(x)
            if index % self.convolutions == 0:
                x = self.pool(x)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], self.dim))


@register
class PositionEmbedding(Configured, layers.Layer):
    """Add a vector for each position: learned, or sines and cosines in two dimensions.

    Args:
        kind: "learned" (ViT, equation 1) or "sincos" (fixed; Beyer et al. 2022, section 3).
        grid: (rows, columns) of the patch tokens.
        prefix_tokens: class tokens in front of the patches; with "sincos" they get the zero vector.

    Takes and returns `(B, prefix_tokens + rows * columns, dim)`.
    """

    def __init__(
        self, kind: str = "learned", grid: tuple[int, int] = (8, 8), prefix_tokens: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_choice("position", kind, ("learned", "sincos"))
        self.remember(kind=kind, grid=grid, prefix_tokens=prefix_tokens)

    def build(self, input_shape: tuple) -> None:
        _, tokens, dim = input_shape
        if self.kind == "learned":
            self.embedding = self.add_weight(
                shape=(tokens, dim),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                name="embedding",
            )
        else:  # a quarter each of sines and cosines of y and x
            check_whole("dim, with position='sincos',", dim, 8)  # one frequency has no spacing
            check_divisible("dim", dim, "the quarters of position='sincos'", 4)

    def call(self, tokens: Tensor) -> Tensor:
        if self.kind == "learned":
            return ops.add(tokens, self.embedding)
        table = sincos_positions(self.grid, tokens.shape[-1])  # (N, dim)
        table = ops.pad(table, ((self.prefix_tokens, 0), (0, 0)))
        return tokens + ops.cast(table, tokens.dtype)


def sincos_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """Fixed position vectors, `(rows * columns, dim)`: a quarter each of sin(y), cos(y), sin(x), cos(x)."""
    rows, columns = grid
    frequencies = 1.0 / 10000 ** (ops.arange(dim // 4, dtype="float32") / (dim // 4 - 1))
    y = ops.repeat(ops.arange(rows, dtype="float32"), columns)[:, None] * frequencies
    x = ops.tile(ops.arange(columns, dtype="float32"), (rows,))[:, None] * frequencies
    return ops.concatenate([ops.sin(y), ops.cos(y), ops.sin(x), ops.cos(x)], axis=-1)


@register
class ClassToken(layers.Layer):
    """Put one learned token in front of the patches (ViT, equation 1): `(B, N, dim)` to `(B, 1 + N, dim)`."""

    def build(self, input_shape: tuple) -> None:
        self.token = self.add_weight(shape=(1, 1, input_shape[-1]), initializer="zeros", name="token")

    def call(self, tokens: Tensor) -> Tensor:
        token = ops.broadcast_to(self.token, (ops.shape(tokens)[0], 1, tokens.shape[-1]))
        return ops.concatenate([token, tokens], axis=1)


@register
class Registers(Configured, layers.Layer):
    """Learned tokens that every token may read and write, and nobody answers from (Darcet et al. 2024, section 2.2).

    Args:
        count: how many.
        behind: how many class tokens stand in front of them; the patches follow.

    Takes `(B, behind + N, dim)`; returns `(B, behind + count + N, dim)`. They have no position.
    """

    def __init__(self, count: int, behind: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember(count=count, behind=behind)

    def build(self, input_shape: tuple) -> None:
        self.token = self.add_weight(
            shape=(1, self.count, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="token",
        )

    def call(self, tokens: Tensor) -> Tensor:
        shape = (ops.shape(tokens)[0], self.count, tokens.shape[-1])
        registers = ops.broadcast_to(self.token, shape)
        return ops.concatenate([tokens[:, : self.behind], registers, tokens[:, self.behind :]], axis=1)
