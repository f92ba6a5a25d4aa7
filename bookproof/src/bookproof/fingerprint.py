"""What a figure draws, as a small JSON: names, shapes and numbers, never pixels.

A PNG changes with the font and the Matplotlib version, and says nothing about what is in it. A fingerprint changes
when a curve, an image, a bar or a label changes. It lies beside the PNG in the output and is what verification
compares. Numbers that stand in one list are of one scale: their differences are judged by the largest of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import FixedLocator

Fingerprint = dict[str, Any]

MIME = "application/vnd.bookproof.figure+json"

PROJECTIONS = 16  # per array: more of them see smaller changes in large arrays, at ten bytes each
CONSTANT = 1e-5  # an array that varies by less than this part of its magnitude is constant up to rounding


def of_figure(figure: Figure) -> Fingerprint:
    """Return the fingerprint of a Matplotlib figure: a dict that JSON can write, equal for equal drawings.

    It holds the images, lines, patches and collections of all axes, their limits and scales, and all texts. It does
    not hold fonts, colours (but for an image's colour map), line widths, marker sizes or the size of the figure.
    """
    texts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    return {"texts": [text for text in texts if text], "axes": [_axes(axes) for axes in figure.axes]}


def of_array(array: Any) -> Fingerprint:
    """Return shape, kind, [mean, std, min, max] and projections of an array of any shape.

    Projections (centred values times fixed random weights in -1 to 1, each over one of 16 stretches of the flattened
    array, divided by the root of its length) see what statistics cannot: two swapped pixels, a mirrored map.
    """
    array = np.asarray(np.ma.filled(np.ma.asarray(array, dtype=float), np.nan))
    values = array.ravel()
    finite = np.isfinite(values)
    found = {"shape": list(array.shape)}
    if not finite.all():
        found["not_finite"] = _rounded(_project(1.0 - finite))
        values = np.where(finite, values, 0.0)
    if values.size:
        found["statistics"] = _rounded([values.mean(), values.std(), values.min(), values.max()])
        found["projections"] = _rounded(_project(values))
    return found


def of_tree(arrays: Any) -> Any:
    """Dicts and lists of arrays, however deep, with the fingerprint of each array in its place; None stays None."""
    if isinstance(arrays, dict):
        return {name: of_tree(inner) for name, inner in arrays.items()}
    if isinstance(arrays, list | tuple):
        return [of_tree(inner) for inner in arrays]
    return None if arrays is None else of_array(arrays)


def _project(values: np.ndarray) -> list[float]:
    centred = values - values.mean()
    if np.abs(centred).max() <= CONSTANT * np.abs(values).max():
        return [0.0]
    # The raw stream of a bit generator is the same in every version of NumPy; 2^63 brings it to -1 to 1.
    weights = np.random.PCG64(0).random_raw(values.size) / 2.0**63 - 1.0
    stretches = np.array_split(centred * weights, min(PROJECTIONS, values.size))
    return [stretch.sum() / np.sqrt(stretch.size) for stretch in stretches]


def _axes(axes: Axes) -> Fingerprint:
    found = {
        "texts": [text for text in (axes.get_title(), axes.get_title("left"), axes.get_title("right")) if text],
        "x": _axis(axes.xaxis, axes.get_xlim()),
        "y": _axis(axes.yaxis, axes.get_ylim()),
        "images": [_image(image) for image in axes.images],
        "lines": [
            {"x": of_array(line.get_xdata(orig=False)), "y": of_array(line.get_ydata(orig=False))}
            for line in axes.lines
        ],
        "patches": _patches(axes.patches),
        "collections": [_collection(collection) for collection in axes.collections],
        "notes": [text.get_text() for text in axes.texts],
    }
    legend = axes.get_legend()
    if legend is not None:
        found["legend"] = [text.get_text() for text in legend.get_texts()]
    return {name: value for name, value in found.items() if value}


def _axis(axis: Any, limits: Sequence[float]) -> Fingerprint:
    if not axis.axes.axison or not axis.get_visible():
        return {"limits": _rounded(limits)}
    found = {"limits": _rounded(limits), "scale": axis.get_scale()}
    if axis.get_label_text():
        found["label"] = axis.get_label_text()
    locator: Any = axis.get_major_locator()
    if isinstance(
        axis.get_major_locator(), FixedLocator
    ):  # ticks that were set; how many others there are depends on the font
        found["ticks"] = _rounded(locator.locs)
        found["tick_labels"] = list(axis.get_major_formatter().format_ticks(locator.locs))
    return found


def _image(image: Any) -> Fingerprint:
    array = image.get_array()
    found = {"array": of_array(array), "extent": _rounded(image.get_extent())}
    if array.ndim == 2:  # colours of its own: no colour map
        found |= {"colour_map": _colour_map(image.get_cmap()), "colour_limits": _rounded(image.get_clim())}
    if image.get_alpha() is not None:
        found["alpha"] = of_array(image.get_alpha())
    return found


def _colour_map(colours: Colormap) -> Any:
    """The name of one of Matplotlib's own; of any other its colours, as it is called differently from version to
    version."""
    if colours.name in matplotlib.colormaps and colours == matplotlib.colormaps[colours.name]:
        return colours.name
    return of_array(colours(np.arange(colours.N)))


def _patches(patches: Iterable[Any]) -> Fingerprint:
    """All patches as one array of vertices: bars are many, and their order is part of the drawing."""
    # An arrow's path lives in pixels, which depend on the size of the figure.
    patches = [patch for patch in patches if not isinstance(patch, FancyArrowPatch)]
    vertices = [patch.get_patch_transform().transform(patch.get_path().vertices) for patch in patches]
    return {"count": len(patches), "vertices": of_array(np.concatenate(vertices))} if vertices else {}


def _collection(collection: Any) -> Fingerprint:
    paths = collection.get_paths()
    found: Fingerprint = {"kind": type(collection).__name__, "offsets": of_array(collection.get_offsets())}
    if paths:
        found["vertices"] = of_array(np.concatenate([path.vertices for path in paths]))
    if collection.get_array() is not None:
        found["array"] = of_array(collection.get_array())
        found["colour_limits"] = _rounded(collection.get_clim())
    return found


def _rounded(numbers: Any) -> list[float]:
    """Six significant digits of the largest: more would only repeat rounding errors."""
    return [float(f"{number:.6g}") for number in np.asarray(numbers, dtype=float).ravel()]
