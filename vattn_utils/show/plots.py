"""Still pictures: NumPy arrays in, a Matplotlib figure out.

One colour map for attention everywhere (`ATTENTION`), one scale in each figure. Nothing here knows a model.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from vattn_utils.maps.attention import to_image_size

WIDTH = 7.4  # inches that a figure has at most: the width of the page's text

History = Mapping[str, Sequence[float]]  # a list for each quantity, a number an epoch

ATTENTION = "magma"
# Colours to tell slots apart, the greys left out; the last one, grey, is for all slots that got none of their own.
SLOTS = ListedColormap([*(c for c in plt.get_cmap("tab20")(range(20)) if len({*c[:3]}) > 1), (0.85, 0.85, 0.85, 1)])


def images(pictures: np.ndarray, titles: Sequence[str] | None = None, columns: int = 8, size: float = 1.3) -> Figure:
    """A grid of `(N, H, W, 3)` images, 0 to 255, each under its title."""
    figure, axes = _grid(len(pictures), columns, size)
    for index, (axis, picture) in enumerate(zip(axes, pictures, strict=False)):
        axis.imshow(_pixels(picture))
        if titles is not None:
            axis.set_title(titles[index], parse_math=False)
    return figure


def pairs(before: np.ndarray, after: np.ndarray, names: tuple[str, str]) -> Figure:
    """Two rows of images `(N, H, W, 3)`, 0 to 255, named: the same before and after something was done to them."""
    size = min(1.3, WIDTH / len(before))
    figure, axes = plt.subplots(2, len(before), figsize=(size * len(before), 2.2 * size), squeeze=False)
    for row, (name, pictures) in enumerate(zip(names, (before, after), strict=True)):
        for axis, picture in zip(axes[row], pictures, strict=True):
            axis.imshow(_pixels(picture))
            _bare(axis)
        axes[row][0].set_ylabel(name)
    return figure


def patches(flat: ArrayLike, grid: tuple[int, int], patch_size: int) -> Figure:
    """Flattened patches `(N, P * P * 3)`, 0 to 255, of one image, set apart in their places on `grid`."""
    rows, columns = grid
    gap = dict(wspace=0.08, hspace=0.08)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2, 3.2 * rows / columns), squeeze=False, layout="none", gridspec_kw=gap
    )
    for axis, patch in zip(axes.flat, np.asarray(flat), strict=True):
        axis.imshow(_pixels(patch.reshape(patch_size, patch_size, 3)))
        _bare(axis)
    return figure


def curves(history: History, chance: Mapping[str, float] | None = None) -> Figure:
    """Loss and accuracy in training and validation, a panel each, from a history of lists (`training.Run.history`).

    chance: {"loss" or "accuracy": value} drawn as a dotted line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3))
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        epochs = np.arange(1, len(history[quantity]) + 1)
        axis.plot(epochs, history[quantity], "o-", markersize=3, label="training")
        axis.plot(epochs, history[f"val_{quantity}"], "s-", markersize=3, label="validation")
        if chance and quantity in chance:
            axis.axhline(chance[quantity], linestyle=":", color="grey", label="chance")
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.locator_params(axis="x", integer=True)
        axis.legend()
    return figure


def compare(histories: Mapping[str, History]) -> Figure:
    """The validation accuracy of several histories, {name: history}, in one panel."""
    figure, axis = plt.subplots(figsize=(5, 3.2))
    for (name, history), marker in zip(histories.items(), "os^Dv", strict=False):
        accuracy = history["val_accuracy"]
        axis.plot(np.arange(1, len(accuracy) + 1), accuracy, f"{marker}-", markersize=3, label=name)
    axis.set(xlabel="epoch", ylabel="validation accuracy")
    axis.locator_params(axis="x", integer=True)
    axis.legend()
    return figure


def schedule(rates: Sequence[float]) -> Figure:
    """The learning rate at each step, `(steps,)`."""
    figure, axis = plt.subplots(figsize=(4.6, 2.6))
    axis.plot(np.arange(len(rates)), rates)
    axis.set(xlabel="step", ylabel="learning rate")
    return figure


def overlay(
    pictures: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 6,
    size: float = 1.7,
    method: str = "bilinear",
    label: str = "attention",
) -> Figure:
    """Images `(N, H, W, 3)`, 0 to 255, each beside itself under its map `(N, rows, columns)`; `label` of the scale."""
    maps = np.asarray(maps)
    figure, axes = _grid(len(pictures), columns // 2, size, 2)
    for index, (picture, (plain, covered)) in enumerate(zip(pictures, axes.reshape(-1, 2), strict=True)):
        plain.imshow(_pixels(picture))
        if titles is not None:
            plain.set_title(titles[index], parse_math=False)
        drawn = _cover(covered, picture, maps[index], maps.max(), method)
    _scale(figure, drawn, axes, label)
    return figure


def heads_by_layers(
    picture: np.ndarray, layers: Sequence[np.ndarray], query: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)
) -> Figure:
    """Where one token looks: a row for each layer, a column for each head, over one image.

    Args:
        picture: `(H, W, 3)`, 0 to 255.
        layers: a list, one entry a layer, of maps `(heads, queries, rows, columns)`.
        query: (row, column) of the patch that looks; it is marked.
        shift: how many pixels beside the middle of its patch each token looks (`attention.receptive_field`).
    """
    rows, columns = layers[0].shape[-2:]
    index = layers[0].shape[1] - rows * columns + query[0] * columns + query[1]  # class tokens stand in front
    depth, heads = len(layers), len(layers[0])
    size = min(1.3, (WIDTH - 0.8) / heads)
    figure, axes = plt.subplots(depth, heads, figsize=(size * heads + 0.8, size * depth), squeeze=False)
    top = max(layer[:, index].max() for layer in layers)
    height, width = picture.shape[:2]
    for layer in range(depth):
        for head in range(heads):
            values = to_image_size(layers[layer][head, index], (height, width), "nearest", shift)
            drawn = _cover(axes[layer][head], picture, values, top, "nearest")
            axes[layer][head].plot(
                (query[1] + 0.5) * width / columns - 0.5 + shift[1], (query[0] + 0.5) * height / rows - 0.5 + shift[0],
                "s", markersize=5, markerfacecolor="none", markeredgecolor="cyan",
            )  # fmt: skip
            if layer == 0:
                axes[layer][head].set_title(f"head {head}")
        axes[layer][0].set_ylabel(f"layer {layer}")
    _scale(figure, drawn, axes, "attention")
    return figure


def slots(
    picture: np.ndarray, maps: np.ndarray, usage: np.ndarray, columns: int = 8, count: int | None = None
) -> Figure:
    """Slot maps `(S, rows, columns)` of external attention over one image, all on one scale.

    usage: share of all attention that each slot gets, `(S,)`; it stands in the title, and the most used come first.
    count: how many of them are drawn; None means all.
    """
    order = np.argsort(-usage)[:count]
    figure, axes = _grid(len(order), columns, 1.2)
    for axis, slot in zip(axes, order, strict=False):
        drawn = _cover(axis, picture, maps[slot], maps[order].max(), "nearest")
        axis.set_title(f"slot {slot}  {usage[slot]:.1%}")
    _scale(figure, drawn, axes, "share of the slot")
    return figure


def segmentation(pictures: np.ndarray, winners: np.ndarray) -> Figure:
    """Images `(N, H, W, 3)` above the winning slot of each token, `(N, rows, columns)`.

    A slot has the same colour in all images. Colours go to those that win most often; the others are grey.
    """
    found, index, wins = np.unique(winners, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), int)
    rank[np.argsort(-wins, kind="stable")] = np.arange(len(found))
    colours = np.minimum(rank, SLOTS.N - 1)[index].reshape(np.shape(winners))
    size = min(1.6, WIDTH / len(pictures))
    figure, axes = plt.subplots(2, len(pictures), figsize=(size * len(pictures), 2.1 * size), squeeze=False)
    for column, (picture, winner) in enumerate(zip(pictures, winners, strict=True)):
        axes[0][column].imshow(_pixels(picture))
        axes[1][column].imshow(colours[column], cmap=SLOTS, vmin=0, vmax=SLOTS.N - 1, interpolation="nearest")
        axes[1][column].set_title(f"{len(np.unique(winner))} slots")
    for axis in axes.flat:
        _bare(axis)
    return figure


def class_maps(
    picture: np.ndarray,
    maps: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    columns: int = 5,
    size: float = 1.48,
    label: str = "attention",
) -> Figure:
    """One map for each class, `(K, rows, columns)`, over one image, all on one scale.

    scores: `(K,)` shown beside the class names, for example probabilities. label: of the scale.
    """
    figure, axes = _grid(len(maps), columns, size)
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        drawn = _cover(axis, picture, maps[index], np.max(maps), "bilinear")
        axis.set_title(name + (f"  {scores[index]:.0%}" if scores is not None else ""), parse_math=False)
    _scale(figure, drawn, axes, label)
    return figure


def signed_maps(
    picture: np.ndarray,
    maps: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    label: str = "evidence",
) -> Figure:
    """Maps with a sign, `(K, rows, columns)`, over one image: red above zero, blue below, all on one scale.

    scores: `(K,)` shown beside the names, for example probabilities. label: of the scale.
    """
    figure, axes = _grid(len(maps), 5, 1.48)
    top = np.abs(maps).max()
    for index, (axis, name) in enumerate(zip(axes, names, strict=True)):
        drawn = _cover(axis, picture, maps[index], top, "bilinear", cmap="RdBu_r", low=-top)
        axis.set_title(name + (f"  {scores[index]:.0%}" if scores is not None else ""), parse_math=False)
    _scale(figure, drawn, axes, label)
    return figure


def forming(pictures: np.ndarray, epochs: Sequence[int], maps: np.ndarray) -> Figure:
    """Attention forming over training: a row for each image, a column for each epoch.

    Args:
        pictures: `(B, H, W, 3)`, 0 to 255.
        epochs: `(E,)`.
        maps: `(E, B, rows, columns)`; all on one scale.
    """
    maps = np.asarray(maps, "float32")
    count, columns = len(pictures), len(epochs) + 1
    size = min(1.3, (WIDTH - 0.8) / columns)
    figure, axes = plt.subplots(count, columns, figsize=(size * columns + 0.8, size * count), squeeze=False)
    for row, picture in enumerate(pictures):
        axes[row][0].imshow(_pixels(picture))
        _bare(axes[row][0])
        for column, epoch in enumerate(epochs):
            axis = axes[row][column + 1]
            drawn = _cover(axis, picture, maps[column, row], maps.max(), "bilinear")
            if row == 0:
                axis.set_title(f"epoch {epoch}")
    _scale(figure, drawn, axes, "attention")
    return figure


def matrix(values: np.ndarray, xlabel: str, ylabel: str, title: str = "", size: float = 3.2) -> Figure:
    """One matrix as a picture with its scale, for example attention `(queries, keys)` or a likeness of positions."""
    figure, axis = plt.subplots(figsize=(size * 1.25, size))
    drawn = axis.imshow(values, cmap=ATTENTION, aspect="auto", interpolation="nearest")
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    figure.colorbar(drawn, ax=axis)
    return figure


def _cover(
    axis: Axes, picture: np.ndarray, values: np.ndarray, top: float, method: str, cmap: str = ATTENTION, low: float = 0
) -> AxesImage:
    """Draw `picture` in grey and `values` over it, from `low` to `top`."""
    picture = _pixels(picture)
    axis.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    drawn = axis.imshow(to_image_size(values, picture.shape[:2], method), cmap=cmap, vmin=low, vmax=top, alpha=0.65)
    _bare(axis)
    return drawn


def _grid(count: int, columns: int, size: float, each: int = 1) -> tuple[Figure, np.ndarray]:
    """Axes for `count` pictures of `each` panels, in rows as even as they come, none wider than `WIDTH`."""
    columns = min(columns, count, max(1, int(WIDTH / (each * size) + 1e-9)))
    rows = -(-count // columns)
    columns = each * -(-count // rows)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, 1.12 * size * rows), squeeze=False)
    for place, axis in enumerate(axes.flat):
        _bare(axis)
        axis.set_visible(place < each * count)
    return figure, axes.flat[: each * count]


def _scale(figure: Figure, drawn: AxesImage, axes: np.ndarray, label: str) -> None:
    """The scale of a map beside all `axes`, in the map's own colours, also where it lies over a picture."""
    bar = figure.colorbar(drawn, ax=np.ravel(axes).tolist(), fraction=0.03, pad=0.02, label=label)
    assert bar.solids is not None
    bar.solids.set_alpha(1)


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])


def _pixels(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.asarray(picture)), 0, 255).astype("uint8")
