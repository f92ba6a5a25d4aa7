"""What a list of numbers says: means with intervals, paired gains, rank correlations, runs grouped by arm.

NumPy in, NumPy out; nothing here knows a model. Student's interval (`interval`) is for the few seeds of an experiment,
the bootstrap (`bootstrap`) for the many images of a test set.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

Run = Mapping[str, Any]  # a line of `records.measured`


def quantile(degrees: int, level: float = 0.95) -> float:
    """How many standard errors wide one half of a two-sided interval is, by Student's t.

    Args:
        degrees: of freedom, 1 or more.
        level: how often the interval holds the true value, 0 to 1.
    """
    return float(scipy.stats.t.ppf((1 + level) / 2, degrees))


def interval(values: ArrayLike) -> tuple[float, float]:
    """Mean of `values` and the half-width of its 95 % interval, by Student's t.

    Args:
        values: `(n,)`, drawn independently: one number a seed.

    Raises ValueError for fewer than 2.
    """
    values = np.asarray(values, "float64")
    if len(values) < 2:
        raise ValueError(f"{len(values)} value gives no interval; give 2 or more")
    return float(values.mean()), float(quantile(len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def bootstrap(values: ArrayLike, seed: int = 0, draws: int = 2000, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` and the interval that it lies in when the images are drawn again: (mean, low, high).

    The percentile interval (Efron and Tibshirani 1993, chapter 13). SciPy has it too, drawn in another order: the
    numbers of the book would all be others.

    Args:
        values: `(B,)`, one number an image. For two methods on the same images give the differences of their values:
            the interval is then of the paired difference.
        seed, draws: of the resampling.
        level: how often the interval holds the true mean, 0 to 1.

    Raises ValueError for anything but one number an image.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values of shape {values.shape} have no interval; give one number an image")
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def mean_and_deviation(accuracies: ArrayLike) -> str:
    """Mean ± standard deviation, in %, of accuracies (shares) with several seeds: "55.05 ± 0.01"; of one, it alone."""
    values = 100 * np.asarray(accuracies, "float64")
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def medians(samples: Iterable[ArrayLike]) -> np.ndarray:
    """The median of each of several lists of numbers, `(P,)`."""
    return np.array([np.median(np.asarray(values)) for values in samples])


def spearman(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Rank correlation of two lists of maps, image by image, -1 to 1, `(B,)`; 0 where one of them is flat.

    Args:
        a, b: `(B, ...)`, the same shape.
    """
    ranks = (scipy.stats.rankdata(maps.reshape(len(maps), -1), axis=1) for maps in map(np.asarray, (a, b)))
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.where(norm > 0, (one * other).sum(axis=1) / np.where(norm > 0, norm, 1), 0.0)


def by_arm(runs: Iterable[Run], arms: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """The short runs of an experiment, arm by arm, each arm's by ascending seed.

    Args:
        runs: lines of `records.measured`.
        arms: which arms, in which order; one without a run gets an empty list. None: all, in the order of the lines.
    """
    found: dict[str, list[Run]] = {arm: [] for arm in arms or ()}
    for run in runs:
        if arms is None or run["arm"] in found:
            found.setdefault(run["arm"], []).append(run)
    return {arm: sorted(of_arm, key=lambda run: run["seed"]) for arm, of_arm in found.items()}


def gained(runs: Iterable[Run], others: Iterable[Run]) -> list[float]:
    """By how many points of test accuracy the short runs of one arm are better than another's, seed by seed.

    Args:
        runs, others: lines of `records.measured`; seeds that one of the two arms lacks are left out.

    Returns a list, by ascending seed, in percentage points.
    """
    ours, theirs = ({run["seed"]: run["test"]["accuracy"] for run in arm} for arm in (runs, others))
    return [100 * (ours[seed] - theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
