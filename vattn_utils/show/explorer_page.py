"""An explorer's page: its template, and the arrays as bytes in it.

Attention is written in a few bits a value. The unit of a value is a part of its map's maximum, one of `LEVELS`; for
external attention, whose maps are read by slot and by token, it is no more than that part of the token's sum either.
So both a slot's map and what a token reads are within half a unit of the array.
"""

import base64
import json
import re
import zlib
from math import prod
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from vattn_utils.maps.attention import AttentionMap
from vattn_utils.show.plots import ATTENTION

LEVELS = (255, 127, 63, 31, 15)  # units a maximum: as many as fit on the page
FOLDER = Path(__file__).parent
SCRIPTS = ("explorer_arrays.js", "explorer_parts.js", "explorer_view.js")

Arrays = dict[str, np.ndarray]


def _template() -> str:
    """The page with holes for its two blocks of data."""
    style, script = ("".join(map(_read, names)) for names in (("explorer.css",), SCRIPTS))
    return _read("explorer.html").replace("{{style}}", style).replace("{{script}}", script)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


TEMPLATE = _template()


def filled(about: dict[str, Any], arrays: Arrays) -> str:
    """The template with what there is, as JSON, and the arrays."""
    # Wide numbers first: the page reads them in place, at multiples of their size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    listed = [[name, array.dtype.str[1:], array.shape] for name, array in arrays.items()]
    packer = zlib.compressobj(9, zlib.DEFLATED, strategy=zlib.Z_FILTERED)  # small numbers that hardly repeat
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    # No "<", so that a name in it cannot end the block.
    blocks = {
        "about": json.dumps({**about, "arrays": listed}, ensure_ascii=False).replace("<", "\\u003c"),
        "payload": base64.b64encode(packer.compress(data) + packer.flush()).decode(),
    }
    return re.sub(r"{{(\w+)}}", lambda hole: blocks[hole[1]], TEMPLATE)


def in_levels(name: str, layer: AttentionMap, levels: int, mixing: bool = True) -> Arrays:
    """A layer's arrays, under names that begin with `name`, its weights in `levels` units a maximum.

    mixing: of an `EANet`: whether the maps of its slots were made by a softmax over the tokens.
    """
    if layer.slot_maps is not None:
        # What was divided by its sum over the slots; without mixing that is A, and the slots' maps were made of it.
        maps = layer.slot_maps if mixing else layer.weights.swapaxes(2, 3)  # (B, heads, S, N)
        return _slots_in_levels(name, maps, prod(layer.grid), levels)
    weights = layer.weights[..., layer.prefix_tokens :]
    top, arrays = _rooted(f"{name}.top", weights.max(axis=-1))
    arrays[f"{name}.bytes"] = _in_units(weights, top[..., None] / levels)
    if layer.prefix_tokens:  # kept apart, so that no patch pales
        arrays[f"{name}.own"] = layer.own_share().astype("float32")  # (B, heads, queries)
    return arrays


def _slots_in_levels(name: str, maps: np.ndarray, patches: int, levels: int) -> Arrays:
    whole = np.round(maps.sum(axis=-1), 4).astype("float32")  # 1 with mixing
    maps = maps[..., -patches:]  # class tokens have no place
    top, tops = _rooted(f"{name}.top", maps.max(axis=-1))
    total, totals = _rooted(f"{name}.sums", maps.sum(axis=-2))
    unit = np.minimum(top[..., None], total[:, :, None]) / levels
    return {**tops, **totals, f"{name}.whole": whole, f"{name}.bytes": _in_units(maps, unit)}


def _rooted(name: str, values: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """Values, not negative, to four digits in two bytes: as the root of each one's part of the largest.

    Returns them as they will be read, and the arrays that say so: the small ones are as exact as the large.
    """
    if not np.isfinite(values).all():
        raise ValueError("the attention holds NaN or infinity; look at the model's weights")
    most = np.array([max(values.max(), 1e-30)], "float32")
    roots = np.maximum(np.rint(np.sqrt(values / most) * 65535), 1).astype("uint16")
    return most * (roots / 65535) ** 2, {name: roots, f"{name}_most": most}


def _in_units(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Values, not negative, as the nearest whole number of units, in bytes."""
    return np.minimum(np.rint(values / unit), 255).astype("uint8")


def colours() -> np.ndarray:
    """The table of the colour map of attention, uint8 `(256, 3)`."""
    return plt.get_cmap(ATTENTION)(np.arange(256), bytes=True)[:, :3]
