"""Maps that ignore the model, or the image too: what any method must beat. They have the form of `attribution`."""

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike

from vattn_utils.maps.attention import to_grid
from vattn_utils.maps.given import method
from vattn_utils.models.classifier import Classifier


@method
def random(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(seed).random((len(images), *model.grid), "float32")


@method
def smooth_random(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Noise, blurred by one patch: removal favours maps that remove neighbours together, whatever they know."""
    return scipy.ndimage.gaussian_filter(random(model, images, labels, seed), (0, 1, 1), mode="nearest")


@method
def centre(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """A Gaussian in the middle of the image, a quarter of it wide: where photographers put things."""
    rows, columns = (np.linspace(-2, 2, length) ** 2 for length in model.grid)
    return np.broadcast_to(np.exp(-(rows[:, None] + columns) / 2).astype("float32"), (len(images), *model.grid))


@method
def edges(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Strength of edges: Sobel's filter on the grey image."""
    grey = np.asarray(images, "float32").mean(axis=-1)
    down, across = (np.stack([scipy.ndimage.sobel(image, axis, mode="nearest") for image in grey]) for axis in (0, 1))
    return to_grid(np.hypot(across, down), model.grid)
