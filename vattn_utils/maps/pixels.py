"""From tokens to pixels and back: where on the picture the value of a token belongs.

A map has one value a token. The tokens stand for equal patches, but a token need not look at the middle of its patch:
a convolution or a pooling that is padded behind only sees further down and right. `receptive_field` measures by how
much, and a map that is enlarged by it lies where its tokens look.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_choice
from vattn_utils.maps.gradients import gradient
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.fast import Tensor

PROBES = 4  # random images: a maximum is taken from one pixel only, so one image alone shows less than what is seen


class ReceptiveField(NamedTuple):
    """What one token sees of the image before tokens meet, in pixels, each (vertical, horizontal).

    extent: height and width of all that it depends on.
    shift: how far the middle of that lies below and to the right of the middle of the token's patch.
    """

    extent: tuple[float, float]
    shift: tuple[float, float]


def receptive_field(model: Classifier, seed: int = 0) -> ReceptiveField:
    """Where the tokens of `model` look, measured: the pixels on which a token's own value has a gradient.

    Tokens are taken as they enter the first block of a transformer or trunk. The field is the same for all of them,
    but for what the image's border cuts off.

    Args:
        model: a `Classifier`.
        seed: of the images that are looked at, which are noise.

    Raises ValueError where the image is so small that the field of no token ends within it.
    """
    check_classifier(model, "a receptive field")
    (rows, columns), size = model.grid, model.image_size
    diagonal = np.arange(max(rows, columns))
    places = diagonal % rows * columns + diagonal % columns  # tokens of every row and of every column
    noise = np.random.default_rng(seed).uniform(0, 255, (PROBES, 1, size, size, 3))
    images = np.broadcast_to(noise, (PROBES, len(places), size, size, 3)).reshape(-1, size, size, 3)

    def own_values(x: Tensor) -> Tensor:
        tokens = model.encode(x, until=0)[0][:, -rows * columns :]  # class tokens and registers stand in front
        chosen = ops.convert_to_tensor(np.tile(places, PROBES), "int32")[:, None, None]
        return ops.sum(ops.square(ops.take_along_axis(tokens, chosen, axis=1)))

    (slope,) = gradient(own_values, [images])
    seen = (slope != 0).any(axis=-1).reshape(PROBES, len(places), size, size).any(axis=0)  # (tokens, H, W)
    down = _reach(seen.any(axis=2), diagonal % rows, size / rows)
    across = _reach(seen.any(axis=1), diagonal % columns, size / columns)
    extent, shift = zip(down, across, strict=True)
    return ReceptiveField(extent, shift)


def _reach(seen: np.ndarray, tokens: np.ndarray, step: float) -> tuple[float, float]:
    """Extent and shift along one axis, from the pixels that each token sees, bool `(tokens, length)`.

    The border hides where the first tokens' fields begin and where the last ones' end.
    """
    if seen[:, 0].all() or seen[:, -1].all():
        raise ValueError(
            f"the field of every token reaches the border of the image of {seen.shape[1]} pixels, so that nobody can "
            "tell where its middle is; build the model with a larger image_size"
        )
    first = (seen.argmax(axis=1) - step * tokens).min()
    last = (seen.shape[1] - seen[:, ::-1].argmax(axis=1) - step * tokens).max()
    return float(last - first), float((first + last) / 2 - step / 2)


def on_image(model: Classifier, maps: ArrayLike, method: str = "bilinear") -> np.ndarray:
    """Maps of a model's tokens, `(..., rows, columns)`, over the image's pixels, `(..., H, W)`: where the tokens look.

    method: of `to_image_size`.
    """
    return to_image_size(maps, (model.image_size, model.image_size), method, receptive_field(model).shift)


def to_image_size(
    values: ArrayLike, size: tuple[int, int], method: str = "bilinear", shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Enlarge maps on a token grid to the pixels of the image.

    Args:
        values: `(..., rows, columns)`.
        size: (height, width) in pixels. Token (r, c) stands for the r-th of `rows` equal bands, and so for columns.
        method: "nearest" (each pixel takes the value of the nearest token; of two as near, the lower or right one's) or
            "bilinear" (between the tokens' centres; beyond the outermost centres their value).
        shift: how many pixels below and to the right of the middle of its patch the centre of a token lies
            (`receptive_field`).

    Returns `(..., height, width)`, float for "bilinear".
    """
    check_choice("method", method, ("nearest", "bilinear"))
    enlarged = np.asarray(values)
    for axis, length, moved in ((-2, size[0], shift[0]), (-1, size[1], shift[1])):
        tokens = enlarged.shape[axis]
        # The centre of each pixel, in units of tokens, counted from the first token's centre.
        place = np.clip((np.arange(length) + 0.5 - moved) * tokens / length - 0.5, 0, tokens - 1)
        if method == "nearest":
            enlarged = np.take(enlarged, np.floor(place + 0.5).astype(int), axis)
            continue
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, tokens - 1)
        share = place - low
        share = share[:, None] if axis == -2 else share
        enlarged = np.take(enlarged, low, axis) * (1 - share) + np.take(enlarged, high, axis) * share
    return enlarged


def smoothed(maps: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Maps `(B, rows, columns)` blurred by a Gaussian, whose border goes on for ever.

    Removal favours maps that remove neighbours together, whatever they know: a smooth rival is met in smooth form.

    Args:
        sigma: standard deviation of the Gaussian, in patches.
    """
    return scipy.ndimage.gaussian_filter(maps, (0, sigma, sigma), mode="nearest")


def to_grid(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Pixel values summed over what each token covers, `(B, rows, columns)`.

    Args:
        values: `(B, H, W)` or `(B, H, W, C)`; channels are summed too.
        grid: (rows, columns) of the tokens. A pixel on the border between two of them is shared between them.
    """
    values = values.sum(axis=-1) if values.ndim == 4 else values
    down, across = (cover(tokens, length) for tokens, length in zip(grid, values.shape[1:], strict=True))
    return down @ values @ across.T


def cover(tokens: int, length: int) -> np.ndarray:
    """How much of each pixel lies in each of as many equal bands as there are tokens, `(tokens, length)`."""
    edges = np.linspace(0, length, tokens + 1)
    pixels = np.arange(length)
    inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(inside, 0).astype("float32")
