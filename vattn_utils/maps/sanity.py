"""Does a map show what the model has learned? Weights are drawn anew, and the maps are compared with those before."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from vattn_utils.statistics import correlation, spearman


def cascade(model: keras.Model, make_maps: Callable[[], np.ndarray], seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Replace the weights of `model` layer by layer, from the logits down, and compare the maps with the first ones.

    Cascading randomisation (Adebayo et al. 2018, section 3.1): a map that stays as it was does not show what the
    model has learned.

    Args:
        model: a Keras model; it has its own weights again afterwards.
        make_maps: a function without arguments that returns maps `(B, ...)` of `model` as it is.
        seed: of the drawn weights; see `randomise`.

    Returns a list of (layer name, rank correlation of each image's map with the one before, `(B,)`), first "none".
    """
    random, before = np.random.default_rng(seed), make_maps()
    found = [("none", np.ones(len(before)))]
    with kept_weights(model):
        for layer in reversed([layer for layer in model.layers if layer.weights]):
            randomise(layer, random)
            found.append((layer.name, spearman(before, make_maps())))
    return found


@contextlib.contextmanager
def kept_weights(model: keras.Model) -> Iterator[None]:
    """On leaving, `model` has the weights again that it had on entering."""
    kept = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(kept)


def randomise(layer: keras.layers.Layer, random: np.random.Generator) -> None:
    """Draw each weight array of a layer or model anew, from the normal distribution of its own mean and deviation.

    Frozen ones too: they were learned, whoever did it. What is counted and not learned stays: of a moving variance such
    a draw may be negative.
    """
    learned = {id(weight) for part in layer._flatten_layers() for weight in part._trainable_variables}
    for weight in [weight for weight in layer.weights if id(weight) in learned]:
        value = keras.ops.convert_to_numpy(weight).astype("float32")
        weight.assign(random.normal(value.mean(), value.std(), value.shape).astype("float32"))


def class_likeness(maps: np.ndarray) -> dict[str, np.ndarray]:
    """Does the map that a model makes for a class follow the class, or the image?

    Args:
        maps: `(B, classes, ...)`: of each image one map for each class, from two images and two classes on.

    Returns by what is compared the correlation of two maps, -1 to 1, `(B,)`, the mean over all pairs of classes or over
    all classes: those of two classes for one image, of one class for two images, and of neither in common.
    """
    maps = maps.reshape(*maps.shape[:2], -1)
    one, another = np.triu_indices(maps.shape[1], 1)
    following = np.roll(maps, 1, axis=0)
    found = {
        "two classes, one image": correlation(maps[:, one], maps[:, another]),
        "one class, two images": correlation(maps, following),
        "two classes, two images": correlation(maps[:, one], following[:, another]),
    }
    return {name: values.mean(axis=1) for name, values in found.items()}
