"""What every map is made from is looked at once, here: a model, images, labels."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_images, check_labels, check_whole
from vattn_utils.models.classifier import Classifier, check_classifier

Method = TypeVar("Method", bound=Callable[..., np.ndarray])


def given(model: Any, images: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Images `(B, H, W, 3)` and labels `(B,)`, int64, if they fit one another and `model`; see `data.checks`."""
    images = check_images(images, getattr(model, "image_size", None))
    return images, check_labels(labels, len(images), getattr(model, "num_classes", None))


def given_batches(
    model: Any, images: ArrayLike, labels: ArrayLike, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What `given` returns, in batches of `batch_size`."""
    images, labels = given(model, images, labels)
    for start in range(0, len(images), check_whole("batch_size", batch_size)):
        yield images[start : start + batch_size], labels[start : start + batch_size]


def own_query(weights: np.ndarray, labels: ArrayLike) -> np.ndarray:
    """From `(B, K, ...)`, one for each query, each image's own, `(B, ...)`: the label's, or the only one."""
    labels = check_labels(labels, len(weights))
    return weights[:, 0] if weights.shape[1] == 1 else weights[np.arange(len(labels)), labels]


def method(compute: Method) -> Method:
    """`compute(model, images, labels, seed)` as a method of `attribution`: it is given what was looked at.

    What it returns raises TypeError for a model that is no `Classifier`, and as `given` does.
    """

    @functools.wraps(compute)
    def looked_at(model: Classifier, images: ArrayLike, labels: ArrayLike, seed: int = 0) -> np.ndarray:
        check_classifier(model, f"the map {compute.__name__!r}")
        return compute(model, *given(model, images, labels), check_whole("seed", seed, 0))

    return looked_at  # type: ignore[return-value]  # it has the signature of what it wraps


def check_kind(model: Classifier, *kinds: str) -> None:
    """Raise ValueError unless a layer of `model` has attention of one of `kinds`."""
    there = [kind for kind, _ in model.attention_layers]
    if not set(kinds) & set(there):
        raise ValueError(
            f"{model.name} has attention of kind {', '.join(sorted(set(there))) or 'none'}, this map needs "
            f"{' or '.join(kinds)}; see attribution.methods"
        )
