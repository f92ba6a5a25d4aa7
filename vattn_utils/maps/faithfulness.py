"""Does the model depend on what a map points at? Patches are removed by rank, and the model is asked again.

NumPy in, NumPy out; the model is a function here. Where maps come from is `attention`'s and `attribution`'s matter,
whether they point at what is there is `localisation`'s.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_choice, check_images, check_labels, check_whole

# Weights of a removed pixel's neighbours in ROAD (Rong et al. 2022, section 4.2).
DIRECT, DIAGONAL = 1 / 6, 1 / 12


def checked(maps: ArrayLike) -> np.ndarray:
    """`maps` as floats. Raises ValueError where they are not finite or not `(B, rows, columns)`."""
    maps = np.asarray(maps, float)
    if maps.ndim != 3 or not np.isfinite(maps).all():
        raise ValueError(f"maps of shape {maps.shape} with finite={np.isfinite(maps).all()}; use finite (B, H, W)")
    return maps


def order(maps: ArrayLike, seed: int = 0) -> np.ndarray:
    """Places of each map from the highest value to the lowest, integers `(B, N)`; equal values in a random order.

    Args:
        maps: `(B, rows, columns)`, finite.
        seed: of the order among equals.
    """
    maps = checked(maps)
    flat = maps.reshape(len(maps), -1)
    return np.lexsort((np.random.default_rng(seed).random(flat.shape), -flat))


def fill_mean(images: ArrayLike, removed: np.ndarray, colour: ArrayLike | None = None) -> np.ndarray:
    """Replace the `removed` pixels by the mean colour of all `images`: the plainest of the three fills.

    Args:
        images: `(B, H, W, 3)`, 0 to 255.
        removed: bool `(B, H, W)`.
        colour: another colour, three floats from 0 to 255; None for the mean.

    Returns float32 images. A model may take the flat patch for an object of its own.
    """
    images = np.asarray(images, "float32")
    colour = images.mean(axis=(0, 1, 2)) if colour is None else np.asarray(colour, "float32")
    return np.where(removed[..., None], colour, images)


def fill_blur(images: ArrayLike, removed: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Replace the `removed` pixels by those of the blurred image, whose border goes on for ever. See `fill_mean`.

    Args:
        sigma: standard deviation of the Gaussian, in pixels; it ends at three of them.
    """
    images = np.asarray(images, "float32")
    blurred = scipy.ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest", truncate=3.0)
    return np.where(removed[..., None], blurred, images)


def fill_linear(
    images: ArrayLike, removed: np.ndarray, noise: float = 2.5, seed: int = 0, colour: ArrayLike | None = None
) -> np.ndarray:
    """Replace the `removed` pixels by the weighted mean of their neighbours, removed ones included, plus some noise.

    ROAD's noisy linear imputation (Rong et al. 2022, section 4.2): one linear system an image, so that a hole is
    closed smoothly from its rim and does not betray its shape. An image of which nothing is left is filled with the
    mean colour of all images. See `fill_mean`.

    Args:
        noise: its standard deviation, in units of 0 to 255.
        seed: of the noise.
        colour: of an image of which nothing is left, as in `fill_mean`.
    """
    images, holes = np.asarray(images, "float32"), np.array(removed, bool)
    empty = holes.all(axis=(1, 2))
    holes[empty] = False
    smooth = _imputed(images, holes) if holes.any() else images
    noisy = smooth + np.random.default_rng(seed).normal(0, noise, images.shape)
    filled = np.where(holes[..., None], noisy, images).astype("float32")
    filled[empty] = images.mean(axis=(0, 1, 2)) if colour is None else np.asarray(colour, "float32")
    return filled


def _imputed(images: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Images in which each pixel of a hole is the weighted mean of its eight neighbours in the image.

    A row of pixels depends on itself and on the rows above and below it, so the system is block tridiagonal: one
    elimination from the first row to the last, and one substitution back, for all images at once.
    """
    _, height, width, _ = images.shape
    near = np.eye(width, k=1) + np.eye(width, k=-1)
    beside, beyond = DIRECT * near, DIRECT * np.eye(width) + DIAGONAL * near  # in the row itself, in the next one
    rows = np.arange(height)
    # At the border a pixel has fewer neighbours, and its weights sum to less.
    total = beside.sum(axis=1) + np.outer((rows > 0) + 0.0 + (rows < height - 1), beyond.sum(axis=1))
    share = (holes / total)[..., None]  # (B, H, W, 1); a known pixel is its own equation
    known = np.where(holes[..., None], 0.0, images)
    # What a row passes to the one above, and its values without that.
    carried: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for row in rows:
        matrix = np.eye(width) - share[:, row] * beside
        right = np.concatenate([share[:, row] * beyond, known[:, row]], axis=-1)
        if row:
            above = share[:, row] * beyond
            matrix = matrix - above @ carried[-1]
            right[..., width:] += above @ values[-1]
        solved = np.linalg.solve(matrix, right)
        carried.append(solved[..., :width])
        values.append(solved[..., width:])
    for row in reversed(rows[:-1]):
        values[row] = values[row] + carried[row] @ values[row + 1]
    return np.stack(values, axis=1)


Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]
FILLS: dict[str, Fill] = {"mean": fill_mean, "blur": fill_blur, "linear": fill_linear}


@dataclasses.dataclass(frozen=True)
class Removal:
    """Probability of the label while patches are removed by rank.

    shares: `(steps + 1,)`, 0 to 1: how much of the image is removed.
    most_first, least_first: `(B, steps + 1)`: the most, or the least, relevant patches removed first. Inserting the
        most relevant patches into an empty image first is `least_first` read backwards.
    """

    shares: np.ndarray
    most_first: np.ndarray
    least_first: np.ndarray

    @property
    def ends(self) -> np.ndarray:
        """Probability of the label with nothing and with everything removed, `(B, 2)`: the same for every map."""
        return self.most_first[:, [0, -1]]

    def areas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean probability along both curves and their difference, `(B,)` each: deletion, insertion, difference.

        A right map has low deletion, high insertion, and a difference above 0, where chance is (Petsiuk et al. 2018,
        section 4.1; the difference makes up for what the fill alone does to the model).
        """
        steps = np.diff(self.shares)
        deletion, insertion = (
            ((curve[:, 1:] + curve[:, :-1]) / 2) @ steps for curve in (self.most_first, self.least_first)
        )
        return deletion, insertion, insertion - deletion


def remove_by_rank(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    maps: ArrayLike,
    fill: str | Fill = "mean",
    steps: int = 8,
    seed: int = 0,
    ends: np.ndarray | None = None,
) -> Removal:
    """Remove patches of `images` in the order of their `maps`, from both ends, and ask the model at every step.

    Args:
        predict: a function from images `(B, H, W, 3)`, 0 to 255, to probabilities `(B, num_classes)`.
        images, labels: `(B, H, W, 3)` and integers `(B,)`: the class whose probability is watched.
        maps: `(B, rows, columns)`, one value a patch; only their order counts.
        fill: "mean", "blur" or "linear" (see `FILLS`), or a function of the images and the removed pixels like them.
        steps: in how many equal portions the patches are removed.
        seed: of the order among patches of equal value, and of the fill's noise.
        ends: `Removal.ends` of another map of the same images with the same fill, so that the model is not asked again.

    Returns a `Removal`. Raises TypeError or ValueError for images and labels that are none (see `data.checks`), for an
    unknown fill, for maps that are not finite, for a grid that does not divide the images, and for a `predict` that
    gives no probabilities.
    """
    if not callable(fill):
        check_choice("fill", fill, FILLS)
        fill = FILLS[fill]
    steps = check_whole("steps", steps)
    images, maps = check_images(images), checked(maps)
    labels = check_labels(labels, len(images))
    height, width = images.shape[1:3]
    if len(maps) != len(images) or height % maps.shape[1] or width % maps.shape[2]:
        raise ValueError(f"maps of shape {maps.shape} do not fit images of shape {np.shape(images)}")
    ranks = order(maps, seed).argsort(axis=1)  # (B, N): 0 is the most relevant patch
    patches = ranks.shape[1]
    shares = np.linspace(0, 1, steps + 1)

    def probability(rank: np.ndarray, share: float) -> np.ndarray:
        removed = (rank < round(share * patches)).reshape(maps.shape)
        removed = removed.repeat(height // maps.shape[1], axis=1).repeat(width // maps.shape[2], axis=2)
        found = np.asarray(predict(fill(images, removed)))
        if found.ndim != 2 or len(found) != len(labels):
            raise ValueError(f"predict gives {found.shape}; it must give probabilities ({len(labels)}, num_classes)")
        return found[np.arange(len(labels)), check_labels(labels, len(labels), found.shape[1])]

    first, last = (probability(ranks, 0), probability(ranks, 1)) if ends is None else np.asarray(ends).T
    curves = [
        np.stack([first, *(probability(rank, share) for share in shares[1:-1]), last], axis=1)
        for rank in (ranks, patches - 1 - ranks)
    ]
    return Removal(shares, *curves)
