"""What was handed over, read without harm: arrays as they are, of whatever yields batches the first ones.

What can be read only once, a generator, loses the batch that is looked at; nothing else of it is touched.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.instruments import read

READ = 10_000  # images that are read at most of what yields batches: it may have no end


@dataclasses.dataclass(frozen=True)
class Sample:
    """What training begins with: x, y and weight (None where there is none), each an array or a structure of arrays.

    count: how many images these are. batches: in an epoch, None where nobody knows. whole: whether these are all.
    """

    x: Any
    y: np.ndarray
    weight: np.ndarray | None
    count: int
    batches: int | None
    whole: bool

    @property
    def name(self) -> str:
        """What these images are, in words."""
        return "training images" if self.whole else f"images of the first batch of {self.count}"


def first(dataset: Any) -> Sample:
    """The `Sample` of `(x, y)`, `(x, y, sample_weight)`, or of anything that yields these in batches.

    Raises TypeError for what is neither, ValueError for what is not in batches, or where labels do not fit images.
    """
    whole, batches = isinstance(dataset, (tuple, list)), None
    if not whole:
        batches = _length(dataset)
        try:
            dataset = dataset[0] if isinstance(dataset, keras.utils.PyDataset) else next(iter(dataset))
        except StopIteration:
            raise ValueError("the data yield no batch; give at least one") from None
        except TypeError as error:
            raise TypeError(f"the data are {type(dataset).__name__}: {error}; give (x, y) or batches of it") from error
    if not isinstance(dataset, (tuple, list)) or not 2 <= len(dataset) <= 3 or dataset[1] is None:
        raise TypeError(f"the data hold {_kind(dataset)}, not (x, y) or (x, y, sample_weight); use .map for that")
    x, y, weight = (*map(_read, dataset), None)[:3]
    arrays = keras.tree.flatten((x, y, weight))
    if not all(isinstance(array, np.ndarray) for array in arrays if array is not None):
        raise TypeError("x, y and sample_weight are no arrays that can be read; give NumPy arrays or tensors")
    if not isinstance(y, np.ndarray):
        raise TypeError(f"y is {_kind(y)}; only models with one output and one array of labels can be looked at")
    if not y.ndim:
        raise ValueError("the data yield single images without a batch axis; use .batch(...)")
    counts = [len(array) for array in arrays if array is not None]
    if len(set(counts)) > 1 or not counts[0]:
        raise ValueError(f"x, y and sample_weight have {counts} rows; give as many of each, and at least one")
    return Sample(x, y, weight, len(y), batches, whole)


def images(value: Any, limit: int = READ) -> Iterator[np.ndarray]:
    """The arrays of images in what stands for data: x, `(x, y)`, or, up to `limit` images, what yields batches.

    Of a generator nothing: it could not be read again.
    """
    if value is None or readable_once(value):
        return
    if isinstance(value, (tuple, list)):
        value = value[0] if len(value) else []
    if isinstance(value, (np.ndarray, tuple, list, dict)) or ops.is_tensor(value):
        yield from (array for array in keras.tree.flatten(_read(value)) if array is not None)
        return
    count = 0
    for batch in _batches(value):
        arrays = list(images(batch))
        yield from arrays
        count += len(arrays[0]) if arrays else 0
        if count >= limit or not count:
            return


def picture(x: Any) -> np.ndarray:
    """Of several inputs the one that is looked at: the first with height and width, else the first."""
    arrays = keras.tree.flatten(x)
    return next((array for array in arrays if array.ndim == 4), arrays[0])


def rows(x: Any, select: Callable[[np.ndarray], np.ndarray]) -> Any:
    """`select` applied to each array of an input."""
    return keras.tree.map_structure(select, x)


def readable_once(value: Any) -> bool:
    """Whether `value` is a generator or another iterator: what is read of it is gone."""
    return hasattr(value, "__next__")


def _read(part: Any) -> Any:
    """A structure of arrays as NumPy; a list of numbers is one array, a list of arrays is several inputs."""
    if isinstance(part, (tuple, list)) and not any(hasattr(item, "shape") for item in part):
        return np.asarray(part)
    return keras.tree.map_structure(lambda leaf: leaf if isinstance(leaf, np.ndarray) else read(leaf), part)


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # without an end, or with one that only reading finds
        return None


def _batches(value: Any) -> Iterator[Any]:
    if isinstance(value, keras.utils.PyDataset):
        return (value[index] for index in range(len(value)))
    return iter(value)


def _kind(value: Any) -> str:
    return f"{len(value)} items" if isinstance(value, (tuple, list)) else type(value).__name__
