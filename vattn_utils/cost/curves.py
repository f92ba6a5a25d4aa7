"""What the measured points say: exponents, crossovers, where memory ends.

Points in, numbers and words out. A point is a dict that `measure.timed` returned; `benchmarks/cost.py` adds its memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from vattn_utils.cost.measure import CONTESTANTS
from vattn_utils.statistics import medians, quantile

Point = Mapping[str, Any]
Samples = Sequence[np.ndarray]  # for each N the repeated measurements


def series(points: Iterable[Point], name: str, mode: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """`(tokens, samples)` of one contestant: N in ascending order, and for each an array of seconds an *image*.

    Args:
        points: of any contestants.
        name: of `measure.CONTESTANTS`.
        mode: "forward" or "step".

    Points that lack the mode (memory ended the line before) are left out.
    """
    found = sorted((p for p in points if p["contestant"] == name and p["seconds"].get(mode)), key=lambda p: p["tokens"])
    samples = [np.array(point["seconds"][mode]) / point["images"] for point in found]
    return np.array([point["tokens"] for point in found]), samples


def exponent(tokens: ArrayLike, values: ArrayLike, last: int = 5) -> tuple[float, float]:
    """How `values` grow with `tokens`: the slope of a straight line in log-log, by least squares.

    Args:
        tokens, values: positive, of one length.
        last: how many of the largest N are fitted; what grows slower than the rest matters below them.

    Returns `(slope, half-width of its 95 % interval)`; the interval is that of Student's t over the residuals, so noise
    and whatever curvature is left both widen it. Raises ValueError for fewer than three points or values that are not
    positive.
    """
    tokens, values = (np.asarray(a, "float64")[-last:] for a in (tokens, values))
    if len(tokens) < 3:
        raise ValueError(f"{len(tokens)} points give no exponent with an interval; give 3 or more")
    if (tokens <= 0).any() or (values <= 0).any():
        raise ValueError("an exponent needs positive tokens and values; leave out what is zero or below")
    line = scipy.stats.linregress(np.log(tokens), np.log(values))
    return float(line.slope), float(quantile(len(tokens) - 2) * line.stderr)


def crossover(tokens: ArrayLike, one: ArrayLike, other: ArrayLike) -> float | None:
    """The number of tokens from which on `one` costs more than `other`.

    Args:
        tokens: N, ascending, `(P,)`.
        one, other: their costs at each N, positive, `(P,)`; in between they are straight lines in log-log.

    Returns None if there is no such number in the range: `one` costs more everywhere, or less at the largest N.
    """
    dearer = np.log(np.asarray(one, "float64")) - np.log(np.asarray(other, "float64"))
    below = np.flatnonzero(dearer <= 0)
    if not len(below) or below[-1] == len(dearer) - 1:
        return None
    at = below[-1]
    x = np.log(np.asarray(tokens, "float64"))
    share = -dearer[at] / (dearer[at + 1] - dearer[at])
    return float(np.exp(x[at] + share * (x[at + 1] - x[at])))


def crossover_interval(
    tokens: np.ndarray, one: Samples, other: Samples, seed: int = 0, draws: int = 1000
) -> tuple[float, float, float] | None:
    """`(N, low, high)`: the crossover of the medians, and its 95 % bootstrap interval over the repeated measurements.

    Args:
        tokens: `(P,)`.
        one, other: for each of them an array of measurements.
        seed, draws: of the resampling.

    A resample without a crossover counts as the end of the range at which it would lie. Returns None if the medians
    have none.
    """
    found = crossover(tokens, medians(one), medians(other))
    if found is None:
        return None
    random = np.random.default_rng(seed)

    def drawn(samples: Samples) -> np.ndarray:
        return medians([random.choice(values, len(values)) for values in samples])

    again = []
    for _ in range(draws):
        first, second = drawn(one), drawn(other)
        at = crossover(tokens, first, second)
        again.append((tokens[-1] if first[-1] <= second[-1] else tokens[0]) if at is None else at)
    low, high = np.percentile(again, [2.5, 97.5])
    return found, float(low), float(high)


def reaches(tokens: np.ndarray, values: np.ndarray, limit: float) -> float | None:
    """The number of tokens at which `values` pass `limit`, on straight lines in log-log; None if they stay below.

    Args:
        tokens: N, ascending, `(P,)`.
        values: at each N, positive, `(P,)`.
        limit: positive, in the values' unit. If the first value is above it, the first N is returned.
    """
    x, y = np.log(tokens), np.log(values) - np.log(limit)
    over = np.flatnonzero(y > 0)
    if not len(over):
        return None
    end = over[0]
    if end == 0:
        return float(tokens[0])
    return float(np.exp(x[end - 1] - y[end - 1] * (x[end] - x[end - 1]) / (y[end] - y[end - 1])))


def table(points: Sequence[Point], mode: str = "step") -> list[str]:
    """The measured points as Markdown lines: a row for each N, a column for each contestant, milliseconds an image."""
    names = [name for name in CONTESTANTS if any(point["contestant"] == name for point in points)]
    columns = {name: dict(zip(*series(points, name, mode), strict=True)) for name in names}
    lines = [f"| N | {' | '.join(names)} |", "|---:" * (len(names) + 1) + "|"]
    for tokens in sorted({point["tokens"] for point in points}):
        taken = [1e3 * np.median(of[tokens]) if tokens in of else None for of in columns.values()]
        cells = ["–" if ms is None else f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}" for ms in taken]
        lines.append(f"| {tokens:,} | {' | '.join(cells)} |")
    return lines


def told_crossover(points: Sequence[Point], one: str, other: str, mode: str) -> str:
    """From how many tokens on `one` takes longer than `other`, in words, or what holds where there is no such N."""
    tokens, first, second = common(points, one, other, mode)
    found = crossover_interval(tokens, first, second)
    if found:
        n, low, high = found
        return f"N = {n:,.0f} ({low:,.0f} to {high:,.0f})"
    if medians(first)[-1] > medians(second)[-1]:
        return f"everywhere from N = {tokens[0]:,}"
    return f"nowhere up to N = {tokens[-1]:,}"


def common(
    points: Sequence[Point], one: str, other: str, mode: str
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """`(tokens, samples of one, samples of other)` at the N at which both were measured."""
    (tokens, first), (again, second) = (series(points, name, mode) for name in (one, other))
    both = np.intersect1d(tokens, again)
    return (
        both,
        [values for n, values in zip(tokens, first, strict=True) if n in both],
        [values for n, values in zip(again, second, strict=True) if n in both],
    )


def memory(points: Iterable[Point], name: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """`(tokens, bytes)`: the measured peaks of one contestant's calls, N ascending."""
    found = {p["tokens"]: p["memory"][mode]["bytes"] for p in points if p["contestant"] == name and "memory" in p}
    tokens = np.array([n for n in sorted(found) if found[n] is not None])
    return tokens, np.array([found[n] for n in tokens], "float64")


def memory_ends(points: Sequence[Point], name: str, mode: str, limit: float) -> tuple[float, bool] | None:
    """`(N, extrapolated)`: the number of tokens at which a call of a contestant passes `limit` bytes.

    Where no measured call does, its line goes on as straight in log-log as between its last two points. That holds up
    to the N at which a call has one image only; beyond it a call is one image of N tokens, so one more factor N comes
    in. Returns None for fewer than two measured points.
    """
    tokens, peaks = memory(points, name, mode)
    if len(tokens) < 2:
        return None
    found = reaches(tokens, np.maximum(peaks, 1), limit)
    if found is not None:
        return found, False
    slope = float(np.clip(np.log(peaks[-1] / peaks[-2]) / np.log(tokens[-1] / tokens[-2]), 0, 1))
    single = max(point["tokens"] * point["images"] for point in points)
    at_single = peaks[-1] * (single / tokens[-1]) ** slope
    if at_single > limit:
        return float(tokens[-1] * (limit / peaks[-1]) ** (1 / slope)), True
    return float(single * (limit / at_single) ** (1 / (1 + slope))), True
