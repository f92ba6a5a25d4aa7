"""What a list of numbers says: means with intervals, paired gains, rank correlations, runs grouped by arm.

NumPy in, NumPy out; nothing here knows a model. Student's interval (`interval`) is for the few seeds of an experiment,
the bootstrap (`bootstrap`) for the many images of a test set, Wilson's (`wilson`) for hits and misses. Where many
comparisons are judged, `holm` corrects their `p_value`s. An interval over seeds says nothing of other test images, nor
one over images of other seeds.
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
        values: `(n,)`, drawn independently: one number a seed. What other test images would change is not in it.

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


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share with the interval of Wilson (1927), which stays within 0 and 1: (share, low, high).

    For what is hit or missed, such as the pointing game: a bootstrap of n hits would give an interval of no width.

    Args:
        successes, n: how many hits, among how many.
        level: how often the interval holds the true share, 0 to 1.
    """
    found = scipy.stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return successes / n, float(found.low), float(found.high)


def p_value(values: ArrayLike) -> float:
    """How often chance alone makes a mean as far from 0 as that of `values`, two-sided, by Student's t, 0 to 1.

    Args:
        values: `(n,)`, paired differences drawn independently. If all are equal: 1 for zeros, else 0.

    Raises ValueError for fewer than 2.
    """
    values = np.asarray(values, "float64")
    if len(values) < 2:
        raise ValueError(f"{len(values)} value has no p; give 2 or more")
    error = values.std(ddof=1) / len(values) ** 0.5
    if not error:
        return float(not values.mean())
    return float(2 * scipy.stats.t.sf(abs(values.mean()) / error, len(values) - 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """P-values of several comparisons, corrected for their number, `(n,)` in the order given (Holm 1979).

    Below 0.05 are those that hold together: the chance of putting even one there that is no difference is 5 % at most.
    The smallest is multiplied by n, the next by n - 1, and so on; none becomes smaller than one before it.
    """
    p_values = np.asarray(p_values, "float64")
    ascending = np.argsort(p_values, kind="stable")
    raised = np.maximum.accumulate(p_values[ascending] * np.arange(len(p_values), 0, -1))
    corrected = np.empty_like(p_values)
    corrected[ascending] = np.minimum(raised, 1)
    return corrected


def not_zero(differences: Iterable[ArrayLike], level: float = 0.05) -> list[bool]:
    """Which of several lists of paired differences have a mean other than 0, by more than chance.

    The chance that even one of those named has in truth a mean of 0 is `level` at most: `holm` corrects the `p_value`s
    for their number, so a difference whose own 95 % interval just leaves out 0 may not be named. Of those not named
    it says nothing.
    """
    return (holm([p_value(values) for values in differences]) < level).tolist()


def mean_and_deviation(accuracies: ArrayLike) -> str:
    """Mean ± standard deviation, in %, of accuracies (shares) with several seeds: "55.05 ± 0.01"; of one, it alone."""
    values = 100 * np.asarray(accuracies, "float64")
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def medians(samples: Iterable[ArrayLike]) -> np.ndarray:
    """The median of each of several lists of numbers, `(P,)`."""
    return np.array([np.median(np.asarray(values)) for values in samples])


def correlation(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Pearson's correlation of two arrays `(..., N)` along their last axis, -1 to 1, `(...)`."""
    one, other = (v - v.mean(axis=-1, keepdims=True) for v in map(np.asarray, (a, b)))
    return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


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
