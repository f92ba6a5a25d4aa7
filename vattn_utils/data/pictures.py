"""Any picture as a model takes it, from a file, an address, an array or PIL."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image


def read_picture(source, size):
    """Any picture as a model takes it: uint8 `(1, size, size, 3)`.

    Args:
        source: a path, an http(s) address, a PIL image, or an array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`: integers
            0 to 255, or floats 0 to 1.
        size: edge length in pixels. The picture's central square is resized to it.

    Transparent pixels are laid on white. Raises ValueError for arrays of another shape or range, and what PIL or
    urllib raise for what cannot be read.
    """
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        source = keras.utils.get_file(origin=source)
    if isinstance(source, (str, Path)):
        source = Image.open(source)
    elif not isinstance(source, Image.Image):
        source = Image.fromarray(_pixels(np.asarray(source)))
    picture = source.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    picture = picture.crop((left, top, left + edge, top + edge))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))[None]


def _pixels(array):
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ValueError(f"a picture of shape {array.shape} is not known; use (H, W), (H, W, 3) or (H, W, 4)")
    top = 1 if array.dtype.kind == "f" else 255
    if array.dtype.kind == "b" or not np.isfinite(array).all() or array.min() < 0 or array.max() > top:
        raise ValueError(
            f"a picture of {array.dtype} from {array.min()} to {array.max()} is not known; "
            "use integers from 0 to 255 or floats from 0 to 1"
        )
    return (np.rint(array * 255) if top == 1 else array).astype("uint8")
