"""What is given to this package is looked at early, and refused with a sentence that says what would do."""

import difflib
from collections.abc import Collection, Iterable

import numpy as np


def nearest_hint(value: object, choices: Iterable[str]) -> str:
    """The end of a sentence that refuses `value`: "did you mean 'x'?", or "there are x, y" if nothing is near."""
    choices = list(choices)
    nearest = difflib.get_close_matches(str(value).lower(), choices, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(choices)}"


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Raise ValueError unless `value`, of the argument `name`, is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, choices))}")


def check_divisible(name: str, value: int, by_name: str, by: int, way_out: str = "") -> None:
    """Raise ValueError unless `value`, of the argument `name`, is a multiple of `by`, of the argument `by_name`."""
    if value % by:
        raise ValueError(f"{name}={value} is not divisible by {by_name}={by}; use a multiple of {by}{way_out}")


def check_images(images: np.ndarray, image_size: int | None = None) -> None:
    """Raise unless `images` is what every model of this package takes: `(N, height, width, 3)`, values 0 to 255.

    Args:
        images: a NumPy array of integers or floats. Only uint8 is trusted without a look at the values.
        image_size: the height and width the images must have; None admits any.

    Raises TypeError for what is not an array of numbers, ValueError for grey, RGBA, channels-first or single
    images, for another size, for NaN and for values outside 0 to 255.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images are a NumPy array (N, height, width, 3), not {type(images).__name__}; use np.stack")
    if images.dtype.kind not in "uif":
        raise TypeError(f"images of dtype {images.dtype} are not numbers from 0 to 255; convert them to uint8")
    hint = None
    if images.ndim == 3 and images.shape[-1] == 3:
        hint = "one image without a batch axis; use images[None]"
    elif images.ndim in (2, 3):
        hint = "grey images; use np.repeat(images[..., None], 3, axis=-1)"
    elif images.ndim != 4:
        hint = "not a batch of images"
    elif images.shape[-1] == 1:
        hint = "grey images; use np.repeat(images, 3, axis=-1)"
    elif images.shape[-1] == 4:
        hint = "images with an alpha channel; use images[..., :3]"
    elif images.shape[-1] != 3:
        hint = "not colour images, channels last"
        if images.shape[1] == 3:
            hint = "channels first; use np.moveaxis(images, 1, -1)"
    elif image_size is not None and images.shape[1:3] != (image_size, image_size):
        hint = f"not {image_size} x {image_size} pixels; resize them"
    if hint:
        size = image_size or "size"
        raise ValueError(f"images of shape {images.shape} do not fit (N, {size}, {size}, 3): {hint}")
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = images.min(), images.max()
    if np.isnan(low):  # the minimum of anything with a NaN is NaN
        raise ValueError("images hold NaN; values are 0 to 255")
    if low < 0 or high > 255:
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; values are 0 to 255, normalising is a layer of the model"
        )
