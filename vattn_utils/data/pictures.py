"""Any picture as a model takes it, from a file, an address, an array or PIL."""

from pathlib import Path

import numpy as np
from PIL import Image

from vattn_utils.data.fetch import FetchError, fetch, is_address

MOST_BYTES, SECONDS = 50_000_000, 60  # that a picture from an address may have, and take


def read_picture(source: str | Path | np.ndarray | Image.Image, size: int) -> np.ndarray:
    """Any picture as a model takes it: uint8 `(1, size, size, 3)`.

    Args:
        source: a path, an http(s) address, a PIL image, or an array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`: integers
            0 to 255, or floats 0 to 1.
        size: edge length in pixels. The picture's central square is resized to it.

    Transparent pixels are laid on white. Raises ValueError for arrays of another shape or range, FetchError for an
    address that gives no file of at most 50 MB within a minute, and what PIL raises for what is no picture.
    """
    if is_address(source):
        source = _fetched(str(source))
    if isinstance(source, (str, Path)):
        source = Image.open(Path(source).expanduser())
    elif not isinstance(source, Image.Image):
        source = Image.fromarray(_pixels(np.asarray(source)))
    picture = source.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    picture = picture.crop((left, top, left + edge, top + edge))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))[None]


def _fetched(address: str) -> Image.Image:
    try:
        path = fetch(address, most_bytes=MOST_BYTES, seconds=SECONDS)
    except FetchError as error:
        raise FetchError(f"a picture is {error}; save it by hand and give its path") from error
    try:
        picture = Image.open(path)
        picture.load()
    except OSError as error:  # a page that says why there is none, for example: it must not be kept for the next time
        path.unlink(missing_ok=True)
        raise FetchError(f"{address} gives no picture ({error}); save it by hand and give its path") from error
    return picture


def _pixels(array: np.ndarray) -> np.ndarray:
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
