"""Does a map point at what is there? Maps against masks, and against mosaics of images where nobody drew masks.

NumPy in, NumPy out. Every measure has a chance level (`chance`); an interval over images is `statistics.bootstrap`'s.
"""

from collections.abc import Callable

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_images, check_labels, check_whole
from vattn_utils.maps.faithfulness import checked, order

Measure = Callable[..., np.ndarray]  # of maps and masks: one number an image


def pointing(maps: ArrayLike, masks: ArrayLike, seed: int = 0) -> np.ndarray:
    """Whether the highest pixel of each map lies in its mask, 0 or 1, `(B,)` (Zhang et al. 2016, section 4.1).

    Args:
        maps: `(B, H, W)`, at the size of the image (`attention.to_image_size`).
        masks: bool `(B, H, W)`, True on the object.
        seed: chooses among equally high pixels.
    """
    maps, masks = _with_masks(maps, masks)
    highest = order(maps, seed)[:, :1]
    return np.take_along_axis(_flat(masks), highest, axis=1)[:, 0].astype(float)


def mass(maps: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Share of each map's sum that lies in its mask, 0 to 1, `(B,)`; negative values count as 0. See `pointing`.

    "Relevance mass accuracy" of Arras et al. 2022. A map without any positive value counts as flat.
    """
    maps, masks = _with_masks(maps, masks)
    positive, inside = np.maximum(_flat(maps), 0), _flat(masks)
    total = positive.sum(axis=1)
    return np.where(total > 0, (positive * inside).sum(axis=1) / np.where(total > 0, total, 1), inside.mean(axis=1))


def rank_accuracy(maps: ArrayLike, masks: ArrayLike, seed: int = 0) -> np.ndarray:
    """Share of the mask's pixels among as many highest pixels of the map, 0 to 1, `(B,)`. See `pointing`.

    "Relevance rank accuracy" of Arras et al. 2022, equation 5.
    """
    maps, masks = _with_masks(maps, masks)
    size = _flat(masks).sum(axis=1)
    in_order = np.take_along_axis(_flat(masks), order(maps, seed), axis=1)
    return (in_order * (np.arange(in_order.shape[1]) < size[:, None])).sum(axis=1) / size


def roc_auc(maps: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Probability that a pixel in the mask is higher than one outside it, ties half, 0 to 1, `(B,)`. See `pointing`."""
    maps, masks = _with_masks(maps, masks)
    ranks, inside = scipy.stats.rankdata(_flat(maps), axis=1), _flat(masks)
    size = inside.sum(axis=1)
    above = (ranks * inside).sum(axis=1) - size * (size + 1) / 2
    return above / (size * (inside.shape[1] - size))


def iou(maps: ArrayLike, masks: ArrayLike, threshold: float = 0.5) -> np.ndarray:
    """Overlap of the mask with the pixels above `threshold` times the map's highest, over their union, `(B,)`.

    See `pointing`. A flat map lies above its own threshold everywhere: its overlap is the mask's area.
    """
    maps, masks = _with_masks(maps, masks)
    above, inside = _above(maps, threshold), _flat(masks)
    return (above & inside).sum(axis=1) / (above | inside).sum(axis=1)


def chance(measure: Measure, maps: ArrayLike, masks: ArrayLike, threshold: float = 0.5) -> np.ndarray:
    """What `measure`, one of this module's five, gives on average for a map that knows nothing of its mask, `(B,)`.

    For all but ROC AUC (one half) and IoU that is the mask's area; for IoU what as many pixels drawn at random
    overlap, to first order.
    """
    maps, masks = _with_masks(maps, masks)
    inside = _flat(masks)
    area = inside.mean(axis=1)
    if measure is roc_auc:
        return np.full(len(area), 0.5)
    if measure is not iou:
        return area
    number = _above(maps, threshold).sum(axis=1)
    return number * area / (number + inside.sum(axis=1) - number * area)


MEASURES = {f.__name__: f for f in (pointing, mass, rank_accuracy, roc_auc, iou)}


def mosaics(
    images: ArrayLike, labels: ArrayLike, probabilities: ArrayLike, number: int, seed: int = 0, halve: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Images of four confident images of four classes each: ground truth without masks (Böhle et al. 2021, GridPG).

    Args:
        images, labels: `(N, H, W, 3)` and integers `(N,)`.
        probabilities: of each image's own class, `(N,)`; the more confident half of the images is drawn from, each
            image at most once, so that the mosaics are independent of one another.
        number: how many mosaics.
        seed: of the draw.
        halve: whether each cell is an image at half its size, so that a mosaic is as large as an image; else it is
            twice as large.

    Returns float32 images `(number, H, W, 3)`, or twice as large, and the four labels of each, `(number, 4)`, in
    reading order. Raises ValueError for too few images or classes or for images of odd size, and for images, labels
    and numbers that are none (see `data.checks`).
    """
    pictures = check_images(images).astype("float32")
    theirs, number = check_labels(labels, len(pictures)), check_whole("number", number)
    height, width = pictures.shape[1:3]
    confident = np.argsort(-np.asarray(probabilities), kind="stable")[: max(4, len(theirs) // 2)]
    classes = np.unique(theirs[confident])
    if len(classes) < 4 or height % 2 or width % 2:
        raise ValueError(f"{len(classes)} classes and {height} x {width} pixels give no mosaic; use 4 and even sizes")
    chosen = _fours(confident, theirs, classes, number, np.random.default_rng(seed))
    if halve:
        pictures = pictures.reshape(len(pictures), height // 2, 2, width // 2, 2, -1).mean(axis=(2, 4))
    cells = pictures[chosen]  # (number, 4, H/2, W/2, 3)
    rows = [np.concatenate([cells[:, 2 * row], cells[:, 2 * row + 1]], axis=2) for row in (0, 1)]
    return np.concatenate(rows, axis=1), theirs[chosen]


def _fours(
    confident: np.ndarray, labels: np.ndarray, classes: np.ndarray, number: int, random: np.random.Generator
) -> np.ndarray:
    """For each mosaic four images of four classes, none of them twice, `(number, 4)`."""
    left = {label: list(random.permutation(confident[labels[confident] == label])) for label in classes}
    chosen = []
    for place in range(number):
        # Of the classes that have most images left, or some would be left over in the end; among equals by chance.
        fullest = sorted(random.permutation(classes), key=lambda label: -len(left[label]))[:4]
        if not left[fullest[-1]]:
            raise ValueError(
                f"{len(confident)} confident images in {len(classes)} classes make {place} mosaics without using one "
                f"twice, not {number}; give more images"
            )
        chosen.append([left[label].pop() for label in random.permutation(fullest)])
    return np.array(chosen)


def grid_pointing(maps: ArrayLike, cells: ArrayLike) -> np.ndarray:
    """Share of each map's positive sum that lies in one quarter of the image, 0 to 1, `(B,)`; chance is one quarter.

    Args:
        maps: `(B, rows, columns)`, even sizes, for the class of one cell of a mosaic.
        cells: which cell, 0 to 3 in reading order, `(B,)`.
    """
    maps = checked(maps)
    _, rows, columns = maps.shape
    of_row = np.repeat([0, 2], rows // 2)[:, None] + np.repeat([0, 1], columns // 2)
    return mass(maps, of_row == np.asarray(cells)[:, None, None])


def _above(maps: np.ndarray, threshold: float) -> np.ndarray:
    flat = _flat(maps)
    return flat >= threshold * flat.max(axis=1, keepdims=True)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _with_masks(maps: ArrayLike, masks: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape, each mask neither empty nor full."""
    maps = checked(maps)
    masks = np.asarray(masks, bool)
    if masks.shape != maps.shape:
        raise ValueError(f"maps of shape {maps.shape} and masks of shape {masks.shape} differ; enlarge the maps first")
    sizes = _flat(masks).sum(axis=1)
    if (sizes == 0).any() or (sizes == masks[0].size).any():
        raise ValueError(f"mask {int(np.argmax((sizes == 0) | (sizes == masks[0].size)))} is empty or covers the image")
    return maps, masks
