"""Any picture as a model takes it, from a file, an address, an array or PIL."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vattn_utils.data.checks import check_whole
from vattn_utils.data.fetch import FetchError, is_address, receive

MOST_BYTES, SECONDS = 50_000_000, 60  # that a picture may have, and take to come
LARGEST = 4096  # pixels along an edge


def read_picture(source: str | Path | np.ndarray | Image.Image, size: int) -> np.ndarray:
    """Any picture as a model takes it: uint8 `(1, size, size, 3)`.

    Args:
        source: a path, an http(s) address, a PIL image, or an array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`: integers
            0 to 255, or floats 0 to 1.
        size: edge length in pixels, 1 to 4096. The picture's central square is resized to it.

    A photograph is turned as its camera noted (EXIF), transparent pixels are laid on white, 16 bits become 8. An
    address is asked each time.

    Raises TypeError for what is no picture at all; ValueError for an array of another shape or range, a folder, a
    device, and more than 50 MB; FileNotFoundError; FetchError for an address that gives no picture of at most 50 MB
    within a minute; and what PIL raises for a file that holds no picture.
    """
    size = check_whole("size", size, 1, LARGEST)
    picture = ImageOps.exif_transpose(source if isinstance(source, Image.Image) else _opened(source))
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype("uint8"))
    elif picture.mode in ("I", "F"):  # 32 bits a pixel: whole numbers or floats
        picture = Image.fromarray(_pixels(np.asarray(picture)))
    picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    picture = picture.crop((left, top, left + edge, top + edge))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))[None]


def _opened(source: object) -> Image.Image:
    if is_address(source):
        return _received(str(source))
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is a folder, a device or a pipe; give the path of a picture's file")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a picture may have {MOST_BYTES:,}")
        return Image.open(path)
    if not isinstance(source, list | tuple) and not hasattr(source, "shape"):
        raise TypeError(f"{source!r:.80} is no picture; give a path, an address, an array or a PIL image")
    return Image.fromarray(_pixels(np.asarray(source)))


def _received(address: str) -> Image.Image:
    try:
        content = receive(address, most_bytes=MOST_BYTES, seconds=SECONDS)
    except FetchError as error:
        raise FetchError(f"a picture is {error}; save it by hand and give its path") from error
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # A page that says why there is none, for example.
        raise FetchError(f"{address} gives no picture ({error}); save it by hand and give its path") from error
    return picture


def _pixels(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))) or not array.size:
        raise ValueError(f"a picture of shape {array.shape} is not known; use (H, W), (H, W, 3) or (H, W, 4)")
    if array.dtype.kind not in "uif":
        raise ValueError(f"a picture of {array.dtype} is not known; use integers from 0 to 255 or floats from 0 to 1")
    top = 1 if array.dtype.kind == "f" else 255
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > top:
        raise ValueError(
            f"a picture of {array.dtype} from {array.min()} to {array.max()} is not known; "
            "use integers from 0 to 255 or floats from 0 to 1"
        )
    return (np.rint(array * 255) if top == 1 else array).astype("uint8")
