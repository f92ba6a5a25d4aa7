"""What is given to this package is looked at early, and refused with a sentence that says what would do.

The one place that says what images, labels, class names, counts and numbers are: every public function asks here. Plain
NumPy; whoever calls takes what is returned, not what was given.
"""

import difflib
import numbers
import warnings
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

LONGEST_NAME = 200  # characters, of a class or a title
ROUNDING = 0.01  # by how much arithmetic on pixels may leave 0 to 255
NOISE = 64  # and by how much what fills a removed patch may: it is noise around a colour


def nearest_hint(value: object, choices: Iterable[str]) -> str:
    """The end of a sentence that refuses `value`: "did you mean 'x'?", or "there are x, y" if nothing is near."""
    choices = list(choices)
    nearest = difflib.get_close_matches(str(value).lower(), choices, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(choices)}"


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise ValueError unless `value`, of the argument `name`, is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, choices))}")


def check_divisible(name: str, value: int, by_name: str, by: int, way_out: str = "") -> None:
    """Raise ValueError unless `value`, of the argument `name`, is a multiple of `by`, of the argument `by_name`."""
    if value % by:
        raise ValueError(f"{name}={value} is not divisible by {by_name}={by}; use a multiple of {by}{way_out}")


def check_whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value`, of the argument `name`, as an int: a whole number from `least` to `most`, None for no limit.

    Raises TypeError for what is no integer (True and 2.0 are none), ValueError for one outside the limits.
    """
    limits = f"{least} or more" if most is None else f"{least} to {most:,}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is no whole number but {type(value).__name__}; use {limits}")
    found = int(value)
    if found < least or (most is not None and found > most):
        raise ValueError(f"{name}={value} is not possible; use {limits}")
    return found


def check_number(
    name: str, value: object, least: float | None = None, most: float | None = None, below: float | None = None
) -> float:
    """`value`, of the argument `name`, as a float: finite, from `least` to `most`, or to just `below` a limit.

    Raises TypeError for what is no number (True is none), ValueError for NaN, infinity and what lies outside.
    """
    ends = [f"from {least:g}" if least is not None else "", f"to {most:g}" if most is not None else ""]
    limits = " ".join(["a finite number", *filter(None, ends), *([f"below {below:g}"] if below is not None else [])])
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} is no number but {type(value).__name__}; use {limits}")
    found = float(value)
    if (
        not np.isfinite(found)
        or (least is not None and found < least)
        or (most is not None and found > most)
        or (below is not None and found >= below)
    ):
        raise ValueError(f"{name}={value} is not possible; use {limits}")
    return found


def check_images(images: ArrayLike, image_size: int | None = None, beyond: float = ROUNDING) -> np.ndarray:
    """`images` as a contiguous array, if they are what every model here takes: `(N, height, width, 3)`, 0 to 255.

    Args:
        images: an array of integers or floats, of NumPy or of a backend.
        image_size: the height and width the images must have; None admits any.
        beyond: by how much values may lie outside 0 to 255: for images that were altered, `NOISE`.

    Raises TypeError for what is not an array of numbers, ValueError for grey, RGBA, channels-first or single
    images, for another size, for none at all, for NaN and for values outside the range. Warns of images whose highest
    value is at most 1: they are possible, being nearly black, but hardly what is meant.
    """
    images = _array("images", images, "an array (N, height, width, 3)", "use np.stack, or data.read_picture")
    if images.dtype.kind not in "uif":
        raise TypeError(f"images of dtype {images.dtype} are not numbers from 0 to 255; convert them to uint8")
    if hint := _misfit(images, image_size):
        size = image_size or "size"
        raise ValueError(f"images of shape {images.shape} do not fit (N, {size}, {size}, 3): {hint}")
    if not images.size:
        raise ValueError(f"images of shape {images.shape} hold no image; give one or more")
    low, high = images.min(), images.max()
    if np.isnan(low):  # the minimum of anything with a NaN is NaN
        raise ValueError("images hold NaN; values are 0 to 255")
    if low < -beyond or high > 255 + beyond:
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; values are 0 to 255, normalising is a layer of the model"
        )
    if 0 < high <= (1 if low >= -ROUNDING else 5):  # negative ones: centred or divided by their standard deviation
        warnings.warn(
            f"images hold values from {low:g} to {high:g}, nearly black where 0 to 255 is meant; if they were divided "
            "by 255 or normalised, give them as they were: that is a layer of the model",
            stacklevel=3,
        )
    return np.ascontiguousarray(images)


def _misfit(images: np.ndarray, image_size: int | None) -> str:
    """What is wrong with the shape of `images`, and the way out; empty if nothing is."""
    if images.ndim == 3 and images.shape[-1] == 3:
        return "one image without a batch axis; use images[None]"
    if images.ndim in (2, 3):
        return "grey images; use np.repeat(images[..., None], 3, axis=-1)"
    if images.ndim != 4:
        return "not a batch of images"
    if images.shape[-1] == 1:
        return "grey images; use np.repeat(images, 3, axis=-1)"
    if images.shape[-1] == 4:
        return "images with an alpha channel; use images[..., :3]"
    if images.shape[-1] != 3 and images.shape[1] == 3:
        return "channels first; use np.moveaxis(images, 1, -1)"
    if images.shape[-1] != 3:
        return "not colour images, channels last"
    if image_size is not None and images.shape[1:3] != (image_size, image_size):
        return f"not {image_size} x {image_size} pixels; resize them"
    return ""


def check_labels(labels: ArrayLike, count: int, num_classes: int | None = None) -> np.ndarray:
    """`labels` as int64 `(count,)`, one class an image, counted from 0.

    Args:
        labels: integers `(count,)`, or `(count, 1)` as `keras.datasets` gives them.
        count: how many images there are.
        num_classes: how many classes; None if nobody knows.

    Raises TypeError for what is no integers (names, floats), ValueError for another length, for one-hot labels and for
    labels that are no class.
    """
    labels = _array("labels", labels, "integers (N,), one an image", "count classes from 0", lists=True)
    if labels.ndim == 2 and labels.shape[0] == count and labels.shape[1] > 1:
        raise ValueError(f"labels of shape {labels.shape} are one number a class; use labels.argmax(axis=-1)")
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(f"labels of shape {labels.shape} do not fit {count} images; give one label an image")
    if labels.dtype.kind not in "iu" and labels.size:
        way = "give each name's place in class_names" if labels.dtype.kind in "USO" else "use labels.astype(int)"
        raise TypeError(f"labels of dtype {labels.dtype} are no integers; {way}")
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or (num_classes is not None and high >= num_classes):
        limit = "from 0" if num_classes is None else f"0 to {num_classes - 1}"
        raise ValueError(f"labels go from {low} to {high}; those of {num_classes or 'any'} classes are {limit}")
    return labels.reshape(-1).astype(np.int64)


def check_class_names(names: Sequence[str | int] | None, num_classes: int) -> list[str]:
    """One name for each class, as text; None counts them: "class 0", "class 1".

    Raises TypeError for what is no list of names, ValueError for another number of them, and for a name that is empty,
    longer than `LONGEST_NAME` or no text that can be written.
    """
    if names is None:
        return [f"class {index}" for index in range(num_classes)]
    if isinstance(names, str | bytes | dict | set) or not isinstance(names, Iterable):
        raise TypeError(f"class_names is {type(names).__name__}; give a list of one name a class")
    found = list(names)
    if len(found) != num_classes:
        raise ValueError(f"{len(found)} class_names do not fit a model of {num_classes} classes; give one for each")
    return [check_text(f"class_names[{index}]", name) for index, name in enumerate(found)]


def check_text(name: str, value: object) -> str:
    """`value`, of the argument `name`, as a text of one line or a few; a whole number is one too.

    Raises TypeError for what is no text, ValueError for one that is empty, longer than `LONGEST_NAME` or cannot be
    written.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | numbers.Integral):
        raise TypeError(f"{name}={value!r:.80} is no name; give text")
    text = str(value)
    if not text.strip() or len(text) > LONGEST_NAME:
        raise ValueError(f"{name} has {len(text.strip())} characters that show; use 1 to {LONGEST_NAME}")
    if text.encode("utf-8", "replace").decode() != text:
        raise ValueError(f"{name}={value!r} is no text that can be written; it holds half a character")
    return text


def _array(name: str, values: object, what: str, way_out: str, lists: bool = False) -> np.ndarray:
    """What has a shape and a dtype, and `lists` where they are admitted, as NumPy; TypeError for all else."""
    if not (hasattr(values, "shape") and hasattr(values, "dtype")) and not (lists and isinstance(values, list | tuple)):
        raise TypeError(f"{name} are {what}, not {type(values).__name__}; {way_out}")
    try:
        return np.asarray(values)
    except Exception as error:  # each backend has its own for what is not there yet, or lies on another device
        raise TypeError(f"{name} are {what}, which this {type(values).__name__} is not: {error}") from error
