"""A figure as a PNG of 256 colours on white paper, and its twin for a dark page, made from it.

A figure is drawn on transparent paper. What has the colour of text there, in any strength, is ink; everything else
(photographs, maps, curves) is left as it is. In the PNG all stands on white, so that it can be read wherever a notebook
is opened; its palette as it was drawn goes along in a text chunk, and the twin is that palette with bright ink.

No text is smaller than `SMALLEST`, which is 9 pixels where a phone shows a figure at 0.72 of its size.
"""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SCALE = 2  # pixels of the PNG for one of the page: sharp on screens that have more than the page knows
SMALLEST = 9  # points, of text
LEVELS = 16  # strengths of ink, from none to full: the first entries of the palette
FAINT = 48  # how many of the palette's colours translucent pixels get at most
CHUNK = "palette"  # the text chunk: the RGBA palette before it was laid on white, in hexadecimal digits
BRIGHT = (222, 226, 232)  # ink on a dark page


def png(figure: Figure) -> tuple[bytes, int, int]:
    """Draw a figure: (PNG, width, height), the size in pixels of the page, `SCALE` of the PNG's to one.

    Text smaller than `SMALLEST` is drawn at that.
    """
    figure.draw_without_rendering()  # which makes the labels of the ticks
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), SMALLEST))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=SCALE * mpl.rcParams["figure.dpi"], bbox_inches="tight", facecolor="none")
    pixels = np.asarray(Image.open(drawn).convert("RGBA"))
    ink = np.rint(255 * np.array(mpl.colors.to_rgb(mpl.rcParams["text.color"]))).astype(int)
    indices, palette = _indexed(pixels, ink)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(_on_white(palette).ravel().tolist())
    chunks, written = PngInfo(), io.BytesIO()
    chunks.add_text(CHUNK, palette.tobytes().hex())
    picture.save(written, format="png", optimize=True, pnginfo=chunks)
    return written.getvalue(), round(picture.width / SCALE), round(picture.height / SCALE)


def dark(data: bytes) -> bytes | None:
    """The twin for a dark page of what `png` drew: transparent paper, bright ink. None for any other picture."""
    picture: Any = Image.open(io.BytesIO(data))
    if picture.mode != "P" or CHUNK not in picture.info:
        return None
    palette = np.frombuffer(bytes.fromhex(picture.info[CHUNK]), np.uint8).reshape(-1, 4).copy()
    palette[:LEVELS, :3] = BRIGHT
    twin = Image.fromarray(np.asarray(picture), "P")
    twin.putpalette(palette[:, :3].ravel().tolist())
    written = io.BytesIO()
    twin.save(written, format="png", optimize=True, transparency=palette[:, 3].tobytes())
    return written.getvalue()


def _indexed(pixels: np.ndarray, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices `(H, W)` and the RGBA palette of at most 256 colours, the first `LEVELS` of them ink by its strength."""
    strength = pixels[..., 3].astype(int)
    # A faint pixel's colour is known to so much only; none of what is not there.
    known = np.where(strength == 255, 0, np.ceil(128 / np.maximum(strength, 1)) + 1)
    inked = (np.abs(pixels[..., :3].astype(int) - ink).max(axis=-1) <= known) | (strength == 0)
    strengths = np.rint(255 * np.arange(LEVELS) / (LEVELS - 1)).astype(np.uint8)
    levels = np.concatenate([np.tile(ink.astype(np.uint8), (LEVELS, 1)), strengths[:, None]], axis=1)
    indices = np.rint(strength * (LEVELS - 1) / 255).astype(np.uint8)
    colours, places = _quantised(pixels[~inked], 256 - LEVELS)
    indices[~inked] = LEVELS + places
    return indices, np.concatenate([levels, colours])


def _quantised(pixels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` RGBA colours for pixels `(n, 4)`, and which of them each pixel gets."""
    whole = np.ascontiguousarray(pixels).view(np.uint32).ravel()  # a colour is one number: sorted much faster
    colours, places = np.unique(whole, return_inverse=True)
    if len(colours) <= count:
        return colours.view(np.uint8).reshape(-1, 4), places.astype(np.uint8)
    # Photographs and maps by median cut, which knows no transparency; the soft edges of lines with what is left.
    full = pixels[:, 3] == 255
    some = min(FAINT, len(np.unique(whole[~full])))
    places = np.zeros(len(pixels), np.uint8)
    solid, places[full] = _cut(pixels[full, :3], count - some, "RGB")
    faint, places[~full] = _cut(pixels[~full], some, "RGBA") if some else (np.zeros((0, 4), np.uint8), 0)
    places[~full] += len(solid)
    return np.concatenate([np.insert(solid, 3, 255, axis=1), faint]), places


def _cut(pixels: np.ndarray, count: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Pillow's choice of at most `count` colours for pixels `(n, channels)`, and which of them each pixel gets."""
    row: Any = Image.fromarray(pixels[None], mode)
    method = Image.Quantize.MEDIANCUT if mode == "RGB" else Image.Quantize.FASTOCTREE
    few = row.quantize(count, method=method, kmeans=3, dither=Image.Dither.NONE)
    return np.array(few.getpalette(mode), np.uint8).reshape(-1, len(mode))[:count], np.asarray(few)[0]


def _on_white(palette: np.ndarray) -> np.ndarray:
    """RGBA colours `(n, 4)` laid on white paper, RGB `(n, 3)`."""
    strength = palette[:, 3:].astype(float) / 255
    return np.rint(palette[:, :3] * strength + 255 * (1 - strength)).astype(np.uint8)
