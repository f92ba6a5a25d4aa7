"""What a moving figure shows when it stands still: NumPy arrays in, a Matplotlib figure out, in the same colours."""

from collections.abc import Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vattn_utils.show.plots import ATTENTION

QUERY, KEY, VALUE = "#1668c7", "#a85400", "#12724a"


def self_attention(
    picture: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray, grid: tuple[int, int]
) -> Figure:
    """The picture with the patch that asks, its scores, shares and answer; arguments as of `moving.self_attention`."""
    rows, columns = grid
    asks = rows // 2 * columns
    scores = key @ query[asks] / np.sqrt(query.shape[1])  # (N,)
    weights = softmax(scores)
    figure, axes = plt.subplots(2, 4, figsize=(7.2, 2.6), height_ratios=(4, 1))
    names = ("a patch asks", "scores with all keys", "softmax: shares", "values, so mixed")
    for axis, name, colour in zip(axes[0], names, (QUERY, KEY, "black", VALUE), strict=True):
        axis.set_title(name, color=colour, fontsize=10)
        axis.set(xticks=[], yticks=[])
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes[0][0].imshow(np.uint8(picture), extent=extent)
    axes[0][1].set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    places = np.stack(np.divmod(np.arange(rows * columns), columns)[::-1])  # x and y of each patch
    size = 130 * np.abs(scores) / np.abs(scores).max()
    axes[0][1].scatter(*places, size, np.where(scores > 0, KEY, "none"), edgecolors=KEY, linewidths=0.8)
    axes[0][2].imshow(weights.reshape(grid), cmap=ATTENTION, vmin=0)
    axes[0][3].imshow(np.uint8(picture), extent=extent)
    axes[0][3].imshow(
        np.ones(grid), extent=extent, cmap="gray", vmin=0, alpha=1 - weights.reshape(grid) / weights.max()
    )
    for axis in axes[0]:
        axis.plot(
            *places[:, asks], "s", markersize=11, markerfacecolor="none", markeredgecolor="white", markeredgewidth=3
        )
        axis.plot(
            *places[:, asks], "s", markersize=11, markerfacecolor="none", markeredgecolor=QUERY, markeredgewidth=1.6
        )
    best = scores.argmax()
    told = ("its query", f"best key: {scores[best]:.2f}", f"0 to {weights.max():.1%}", "the answer")
    vectors = (query[asks], key[best], None, weights @ value)
    for axis, vector, words, colour in zip(axes[1], vectors, told, (QUERY, KEY, "black", VALUE), strict=True):
        axis.axis("off")
        if vector is None:
            axis.imshow(np.linspace(0, 1, 256)[None], cmap=ATTENTION, aspect="auto", extent=(0, 32, -0.3, 0.3))
            axis.set(ylim=(-1, 1))
        else:
            axis.bar(np.arange(len(vector)), vector, color=colour)
        axis.set_title(words, y=-0.55, fontsize=9, color=colour)
    return figure


def double_normalisation(scores: np.ndarray, token: int, slot: int, by: float) -> Figure:
    """Scores `(tokens, slots)` of which one has been raised, and their shares; rows that this changed are framed."""
    raised = scores.copy()
    raised[token, slot] += by
    before, after = _normalised(scores), _normalised(raised)
    figure, axes = plt.subplots(1, 4, figsize=(7.2, 1.7))
    axes[0].imshow(np.zeros_like(scores), cmap="Greys", vmin=0, vmax=1)
    axes[0].set_title("scores", color=KEY, fontsize=9)
    names = ("softmax ↓ tokens", "then rows ÷ sum →", "softmax → slots")
    for axis, name, new, old in zip(axes[1:], names, after, before, strict=True):
        axis.imshow(new, cmap=ATTENTION, vmin=0, vmax=1)
        changed = np.flatnonzero((np.abs(new - old) > 0.005).any(axis=1))
        if new is not after[0]:
            name = f"{name}\n{len(changed)} of {len(new)} rows changed"
            for row, (colour, width) in product(changed, (("white", 4), ("black", 1.5))):  # seen on dark and on light
                frame = plt.Rectangle((-0.46, row - 0.44), new.shape[1] - 0.08, 0.88, fill=False)
                axis.add_patch(frame).set(edgecolor=colour, linewidth=width)
        axis.set_title(name, fontsize=9)
    for axis, values, digits in zip(axes, (raised, *after), (1, 2, 2, 2), strict=True):
        for (row, column), number in np.ndenumerate(values):
            dark = axis is not axes[0] and number < 0.6
            word = f"{number:.{digits}f}"
            axis.text(column, row, word, ha="center", va="center", color="white" if dark else "black", fontsize=9)
        axis.set(xticks=[], yticks=[], aspect="auto")
    axes[0].add_patch(plt.Rectangle((slot - 0.46, token - 0.46), 0.92, 0.92, fill=False, linewidth=2))
    return figure


def attention_pooling(
    picture: np.ndarray,
    weights: np.ndarray,
    logits: np.ndarray,
    grid: tuple[int, int],
    class_names: Sequence[str],
) -> Figure:
    """A picture, equal and learned weights `(2, N)` of its patches, and the logits `(2, classes)` with either."""
    figure, axes = plt.subplots(1, 4, figsize=(7.2, 2.1), width_ratios=(1, 1, 1, 1.3))
    axes[0].imshow(np.uint8(picture))
    for axis, share, name in zip(axes[1:], weights, ("the mean", "learned weights"), strict=False):
        axis.imshow(share.reshape(grid), cmap=ATTENTION, vmin=0, vmax=weights.max())
        axis.set_title(f"{name}\nat most {share.max():.1%}", fontsize=9)
    for axis in axes[:3]:
        axis.set(xticks=[], yticks=[])
    places = np.arange(len(class_names))
    for offset, row, colour, name in zip((-0.2, 0.2), logits, ("0.6", QUERY), ("mean", "learned"), strict=True):
        axes[3].barh(places + offset, row, 0.4, color=colour, label=name)
    axes[3].set_yticks(places, class_names, fontsize=9)
    axes[3].invert_yaxis()
    axes[3].set_title("logits", fontsize=9)
    axes[3].legend(fontsize=9)
    return figure


def softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Positive shares that add up to 1 along `axis`."""
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _normalised(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slot maps, double normalisation, and the softmax over the slots, each `(tokens, slots)`."""
    slot_maps = softmax(scores, axis=0)
    return slot_maps, slot_maps / slot_maps.sum(axis=1, keepdims=True), softmax(scores)
