"""RISE (Petsiuk et al. 2018, arXiv 1806.07421): which pixels were there whenever the model was sure of the class."""

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_whole
from vattn_utils.maps.attention import to_grid, to_image_size
from vattn_utils.maps.given import method
from vattn_utils.models.classifier import Classifier

MASKS = 1000  # for each image
CELLS = 7  # edge of the random grid that a mask is enlarged from
KEPT = 0.5  # probability that a cell is seen
AT_ONCE = 250  # images in the model


def masks(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Smooth random masks, float32 `(count, size, size)`, 0 (hidden) to 1 (seen) (section 3.2).

    A binary grid of `CELLS` and one, enlarged bilinearly, from which a window of `size` pixels is cut at random: so
    that no border of cells is always at the same place.

    Args:
        count: how many.
        size: edge length in pixels.
        seed: of grids and windows.
    """
    random, cell = np.random.default_rng(check_whole("seed", seed, 0)), -(-size // CELLS)  # pixels of a cell, at least
    grids = random.random((count, CELLS + 1, CELLS + 1)) < KEPT
    large = to_image_size(grids.astype("float32"), (cell * (CELLS + 1), cell * (CELLS + 1)))
    places = random.integers(0, cell, (count, 2)) + np.arange(size)[:, None, None]  # (size, count, 2)
    rows, columns = places[..., 0].T[:, :, None], places[..., 1].T[:, None]
    return large[np.arange(count)[:, None, None], rows, columns].astype("float32")


@method
def rise(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The mean of random masks, each weighed by the class's probability under it (equation 6), summed over each patch.

    What a mask hides has the model's mean colour. All images have the same `MASKS` masks, drawn from `seed`.
    """
    seen, colour, found = masks(MASKS, model.image_size, seed), np.asarray(model.mean, "float32"), []
    for image, label in zip(images.astype("float32"), np.asarray(labels), strict=True):
        weights = []
        for start in range(0, MASKS, AT_ONCE):
            hidden = colour + seen[start : start + AT_ONCE, ..., None] * (image - colour)
            logits = model.predict_on_batch(hidden)
            weights.append(ops.convert_to_numpy(ops.softmax(logits))[:, label])
        found.append(np.tensordot(np.concatenate(weights), seen, 1) / (KEPT * MASKS))
    return to_grid(np.stack(found), model.grid)
