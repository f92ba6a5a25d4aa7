"""Three figures that move or answer, one for each kind of attention, as self-contained HTML.

NumPy arrays in; nothing here knows a model. How a figure looks and is played stands in `moving.html` and `moving.js`,
what it shows in a script of its own. The arrays stand in the HTML as decimal numbers: whoever verifies a page reads and
compares them like any other number on it. On paper, and where no script runs, `moving_stills` draws the same arrays.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vattn_utils.show import moving_stills as stills
from vattn_utils.show.plots import ATTENTION

FOLDER = Path(__file__).parent
DECIMALS = {"scores": 1, "equal": 4, "learned": 4, "logits": 3}  # that are written of an array, if not 2
STEPS = 21  # from the mean to the learned weights, both included
MOST = 4  # scores go from -4 to 4
RAISED = (1, 0, 2)  # which score moves by itself, as (token, slot), and how far


@dataclass(frozen=True)
class Moving:
    """A figure that moves: a notebook shows `html`, and `still` where nothing can move.

    html: self-contained, for a page of any kind.
    text: a sentence that stands for it where HTML is not shown.
    arrays: what is drawn in it, NumPy arrays or lists of them by name; whoever verifies a page compares these.
    still: a Matplotlib figure of the same arrays, for print and where no script runs.
    caption, alt: of both: Markdown that says what to see, and plain text that says what is drawn.
    """

    html: str = field(repr=False)
    text: str
    arrays: dict[str, Any] = field(repr=False)
    still: Figure = field(repr=False)
    caption: str = field(repr=False)
    alt: str = field(repr=False)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def self_attention(
    picture: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray, grid: tuple[int, int]
) -> Moving:
    """One query walks over the picture: its scores with all keys, their softmax, and the mean of the values.

    Args:
        picture: `(H, W, 3)`, 0 to 255.
        query, key, value: of one head, `(N, d)` each, one row for each patch of `grid`, in reading order.
        grid: (rows, columns) of the patches.

    The page computes softmax(q K' / sqrt(d)) V from the three arrays, rounded to two decimals. Raises ValueError for
    shapes that do not fit together, and for values that are not finite.
    """
    _check_picture(picture)
    arrays = {"query": query, "key": key, "value": value}
    tokens = grid[0] * grid[1]
    for name, array in arrays.items():
        if np.ndim(array) != 2 or np.shape(array) != np.shape(query) or len(array) != tokens:
            raise ValueError(f"{name} of shape {np.shape(array)} does not fit; give ({tokens}, d), as for the others")
    return _moving(
        "query",
        "One patch asks all patches",
        arrays,
        {"grid": grid, **_pictures([picture])},
        stills.self_attention(picture, np.round(query, 2), np.round(key, 2), np.round(value, 2), grid),
        """One patch (blue ring) asks: its query meets every key, the scores become shares that add up to one, and the
        answer is the mean of the values in these shares. Then the query walks over the picture: see how the shares
        change with the patch that asks. Choose a patch yourself, by pointing or with the arrow keys.""",
        "Four small squares from left to right: an image with one patch marked, its scores with all patches as dots, "
        "the shares as a map, and the image with only those patches lit that have a large share; below them the "
        "query, the best key and the answer as rows of bars.",
        arrays | {"picture": picture},
    )


def double_normalisation(scores: np.ndarray) -> Moving:
    """External attention's two normalisations of a small matrix, beside a softmax over the slots; the reader moves it.

    Args:
        scores: `(tokens, slots)`, at least two of each, -4 to 4; shown rounded to a tenth.

    Raises ValueError for another shape or range.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise ValueError(f"scores of shape {scores.shape} are no matrix of tokens and slots; give (4, 3), for example")
    if not (np.abs(scores) <= MOST).all():
        raise ValueError(f"scores reach {np.abs(scores).max():.3g}; they may go from -{MOST} to {MOST}; scale them")
    return _moving(
        "normalise",
        "Two ways to share: move a score",
        {"scores": scores},
        {"most": MOST + RAISED[2], "raised": RAISED},  # with room for what moves by itself
        stills.double_normalisation(scores.round(1), *RAISED),
        """Scores of tokens (rows) with memory slots (columns). Double normalisation is a softmax down each column, over
        the tokens; then each row is divided by its sum. Beside it stands an ordinary softmax along each row. Move one
        score: with double normalisation other rows change too, with the softmax over the slots none but its own. Move
        a whole column by one amount: it is the other way round.""",
        "Four matrices of one size, one score of which has just been raised: the scores, their softmax over the "
        "tokens, the same with each row divided by its sum, and the softmax over the slots. Frames stand around the "
        "rows that changed.",
        {"scores": scores},
    )


def attention_pooling(
    pictures: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
    read_out: Callable[[np.ndarray], np.ndarray],
    grid: tuple[int, int],
    titles: Sequence[str],
    class_names: Sequence[str],
) -> Moving:
    """One query asks all patches: from the mean of the patches to the weights that it has learned.

    Args:
        pictures: `(B, H, W, 3)`, 0 to 255.
        weights: the learned ones, `(B, 1 + N)`, first the query's own share; each row sums to 1.
        values: of the query itself and of the patches, `(B, 1 + N, d)`.
        read_out: from weights like these to logits `(B, classes)`.
        grid: (rows, columns) of the N patches.
        titles: one for each picture.
        class_names: one for each class.

    The mean is the case where all patches share alike what the query leaves them. Pooled vectors and logits are
    computed here, on 21 steps of the way. Raises ValueError for shapes that do not fit together.
    """
    for picture in pictures:
        _check_picture(picture)
    count, patches = len(pictures), grid[0] * grid[1]
    if np.shape(weights) != (count, 1 + patches) or np.shape(values)[:2] != (count, 1 + patches):
        raise ValueError(
            f"weights {np.shape(weights)} and values {np.shape(values)} do not fit; give ({count}, {1 + patches}) and "
            f"({count}, {1 + patches}, d)"
        )
    if len(titles) != count:
        raise ValueError(f"{len(titles)} titles do not fit {count} pictures; give one for each")
    own = weights[:, :1]
    equal = np.concatenate([own, np.repeat((1 - own) / patches, patches, axis=1)], axis=1)
    logits = np.stack([read_out(equal + t * (weights - equal)) for t in np.linspace(0, 1, STEPS)], axis=1)
    if logits.shape != (count, STEPS, len(class_names)):
        raise ValueError(f"read_out gives {logits.shape[-1]} logits; there are {len(class_names)} class_names")
    drawn = {
        "equal": equal,
        "learned": weights,
        "mean": np.einsum("bn,bnd->bd", equal, values),
        "attended": np.einsum("bn,bnd->bd", weights, values),
        "logits": logits.reshape(-1, logits.shape[-1]),
    }
    told = {"grid": grid, "steps": STEPS, "titles": list(titles), "classes": list(class_names)}
    return _moving(
        "pooling",
        "One query asks all patches",
        drawn,
        told | _pictures(pictures),
        stills.attention_pooling(
            pictures[0], np.stack([equal[0, 1:], weights[0, 1:]]), logits[0, [0, -1]], grid, class_names
        ),
        """One query asks all patches. With equal weights its answer is their mean; with those that it has learned, a
        few patches count for many (thick lines, bright cells). See how the pooled vector and the logits follow as the
        weights go from one to the other, and whether the answer gets better: it need not.""",
        "An image; equal weights as a map of one colour; the learned weights as a map with a few bright patches; and "
        "for each class two bars, its logit with the one and with the other.",
        drawn | {"pictures": np.asarray(pictures)},
    )


def _moving(
    idea: str, title: str, shown: Mapping[str, np.ndarray], told: Mapping[str, Any], still: Figure, caption: str,
    alt: str, arrays: dict[str, Any],
) -> Moving:  # fmt: skip
    for name, array in shown.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity; look at the model's weights")
    colours = plt.get_cmap(ATTENTION)(np.arange(256), bytes=True)[:, :3].tobytes().hex()
    written = {name: {"shape": np.shape(array), "numbers": _written(name, array)} for name, array in shown.items()}
    text = f"Moving figure: {title}."
    whole = json.dumps({"title": title, **told, "colours": colours, "arrays": written}, ensure_ascii=False)
    blocks = {
        "idea": idea,
        "text": text,
        "told": whole.replace("<", "\\u003c"),  # so that a name in it cannot end the block
        "shell": (FOLDER / "moving.js").read_text(encoding="utf-8").rstrip(),
        "script": (FOLDER / f"moving_{idea}.js").read_text(encoding="utf-8").rstrip(),
    }
    template = (FOLDER / "moving.html").read_text(encoding="utf-8")
    html = re.sub(r"{{(\w+)}}", lambda hole: blocks[hole[1]], template)
    return Moving(html, text, arrays, still, " ".join(caption.split()), alt)


def _written(name: str, array: np.ndarray) -> str:
    """Numbers with a space between them, without the zero before the point: -.12 1.50."""
    digits = DECIMALS.get(name, 2)
    return " ".join(re.sub(r"\b0\.", ".", f"{number:.{digits}f}") for number in np.ravel(array))


def _pictures(pictures: Sequence[np.ndarray] | np.ndarray) -> dict[str, Any]:
    packed = [base64.b64encode(np.clip(np.rint(one), 0, 255).astype("uint8").tobytes()).decode() for one in pictures]
    return {"pictures": packed, "size": np.shape(pictures[0])[:2]}


def _check_picture(picture: np.ndarray) -> None:
    if np.ndim(picture) != 3 or np.shape(picture)[-1] != 3:
        raise ValueError(f"a picture of shape {np.shape(picture)} is not (H, W, 3); give one colour image, 0 to 255")
