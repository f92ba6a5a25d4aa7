"""Kinds of attention side by side on one photograph: the reader points at a patch, and each lights what belongs to it.

NumPy arrays in; nothing here knows a model. A map is shown as light on the photograph: where it is highest, there the
photograph is as bright as it was, and elsewhere by the root of the share of that. What the page does stands in
`side_by_side.js`.
"""

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vattn_utils.maps.pixels import to_image_size
from vattn_utils.show.moving import Moving

FOLDER = Path(__file__).parent
DIM = 0.12  # of the photograph's brightness where a map is 0
QUALITY = 80  # of the photographs in the page, as JPEG


@dataclass(frozen=True)
class Panel:
    """What one kind of attention shows.

    title: its name.
    maps: for each patch that is pointed at, `(B, N, N)`, or one for all of them, `(B, 1, N)`; not negative.
    shares: the number that is said of each patch, `(B, N)`, 0 to 1.
    said: how it is said, with a `{share}` in it, which becomes "5.2 %".
    """

    title: str
    maps: np.ndarray
    shares: np.ndarray
    said: str


def side_by_side(
    photographs: np.ndarray, names: Sequence[str], panels: Sequence[Panel], opens: int, caption: str, alt: str
) -> Moving:
    """A page on which the photograph stands once for each of `panels`, and answers the pointer.

    Args:
        photographs: `(B, H, W, 3)`, 0 to 255, of any size.
        names: one for each photograph.
        panels: one for each kind of attention, all over the same N patches, a square.
        opens: the patch that is pointed at before anybody points, 0 to N - 1.
        caption, alt: of the page and of the picture that stands for it on paper: Markdown that says what to see, and
            plain text that says what is drawn.

    A click, a touch or an arrow key chooses a patch too. Each map on the page is within half a level of the array, of
    255 levels of its maximum. Raises ValueError for shapes that do not fit together.
    """
    patches = panels[0].maps.shape[-1]
    edge = round(patches**0.5)
    for panel in panels:
        _check_panel(panel, len(photographs), edge)
    if len(names) != len(photographs) or not 0 <= opens < patches:
        raise ValueError(
            f"{len(names)} names for {len(photographs)} photographs, opens={opens} of {patches} patches: "
            "give one name each, and a patch that is there"
        )
    pixels = np.clip(np.rint(photographs), 0, 255).astype("uint8")
    told = {
        "edge": edge,
        "opens": opens,
        "names": list(names),
        "panels": [
            {"title": panel.title, "said": panel.said, "shares": np.round(panel.shares.astype(float), 4).tolist()}
            for panel in panels
        ],
    }
    text = f"{', '.join(panel.title for panel in panels)}: the same photograph, patch by patch."
    holes = {
        "text": html.escape(text),
        "dim": str(DIM),
        # No "<", so that a name in it cannot end the block.
        "told": json.dumps(told, ensure_ascii=False).replace("<", "\\u003c"),
        "photographs": _blocks("vs-photograph", [_jpeg(one) for one in pixels]),
        "maps": _blocks("vs-map", [_levels(panel.maps).tobytes() for panel in panels]),
        "style": (FOLDER / "side_by_side.css").read_text(encoding="utf-8").rstrip(),
        "script": (FOLDER / "side_by_side.js").read_text(encoding="utf-8").rstrip(),
    }
    template = (FOLDER / "side_by_side.html").read_text(encoding="utf-8")
    page = re.sub(r"{{(\w+)}}", lambda hole: holes[hole[1]], template)
    arrays = {
        "photographs": pixels,
        "maps": [panel.maps for panel in panels],
        "shares": [panel.shares for panel in panels],
    }
    still = _still(pixels[0], panels, opens, edge)
    return Moving(page, text, arrays, still, " ".join(caption.split()), alt)


def _check_panel(panel: Panel, count: int, edge: int) -> None:
    patches = edge * edge
    if panel.maps.shape not in ((count, patches, patches), (count, 1, patches)):
        raise ValueError(
            f"{panel.title}: maps of shape {panel.maps.shape} do not fit {count} photographs of {edge} x {edge} "
            f"patches; give ({count}, {patches}, {patches}), or ({count}, 1, {patches})"
        )
    if panel.shares.shape != (count, patches):
        raise ValueError(f"{panel.title}: shares of shape {panel.shares.shape}; give ({count}, {patches})")
    if not (np.isfinite(panel.maps).all() and (panel.maps.max(axis=-1) > 0).all() and panel.maps.min() >= 0):
        raise ValueError(f"{panel.title}: a map is nowhere above 0, or below it, or NaN; look at the model's weights")


def _levels(maps: np.ndarray) -> np.ndarray:
    """Each map in 255 levels of its maximum, as bytes."""
    return np.rint(255 * maps / maps.max(axis=-1, keepdims=True)).astype("uint8")


def _jpeg(photograph: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(photograph).save(written, "jpeg", quality=QUALITY, optimize=True)
    return written.getvalue()


def _blocks(kind: str, contents: Sequence[bytes]) -> str:
    """Blocks of bytes in the page, which are compared by the arrays that they hold (`bookproof.interactive`)."""
    opening = f'<script type="text/plain" class="{kind}" data-fingerprinted>'
    return "\n".join(f"{opening}{base64.b64encode(content).decode()}</script>" for content in contents)


def lit(photograph: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A photograph `(H, W, 3)`, 0 to 255, in the light of a map `(rows, columns)`: as it is where that is highest."""
    light = np.sqrt(np.clip(to_image_size(values / values.max(), photograph.shape[:2]), 0, 1))[..., None]
    return np.rint(photograph * (DIM + (1 - DIM) * light)).astype("uint8")


def _still(photograph: np.ndarray, panels: Sequence[Panel], opens: int, edge: int) -> Figure:
    figure, axes = plt.subplots(1, len(panels), figsize=(2.2 * len(panels), 2.5), squeeze=False)
    row, column = divmod(opens, edge)
    for axis, panel in zip(axes[0], panels, strict=True):
        values = panel.maps[0, min(opens, panel.maps.shape[1] - 1)].reshape(edge, edge)
        axis.imshow(lit(photograph, values), extent=(-0.5, edge - 0.5, edge - 0.5, -0.5))
        axis.plot(column, row, "s", markersize=17, markerfacecolor="none", markeredgecolor="cyan", markeredgewidth=1.6)
        axis.set(xticks=[], yticks=[])
        axis.set_title(panel.title, parse_math=False)
    return figure
