r"""What one layer of attention costs: the contestants, their time, and what the numbers say.

Measured on any backend, by the functions that Keras compiles for it. What is counted instead stands in `counts`; the
fits and crossovers are plain NumPy.
"""

import time
from math import prod

import keras
import numpy as np

from vattn_utils.audit import upstream
from vattn_utils.cost.counts import multiply_adds
from vattn_utils.models import layers, patch_convnet
from vattn_utils.models.eanet import ExternalAttention

DIM, HEADS = 64, 4  # of keras.io's EANet


def _explicit(x):
    return layers.SelfAttention(HEADS, name="attention")(x, return_attention=True)[0]


def _fused(x):
    return layers.SelfAttention(HEADS, name="attention")(x)


def _upstream(x):
    return upstream.external_attention(x, DIM, 4 * HEADS, 4, 0.0)


def _folded(x):
    return ExternalAttention(HEADS, memory_slots=16, coefficient=4, name="attention")(x)


def _single_head(x):
    return ExternalAttention(1, memory_slots=64, name="attention")(x)


# Of one width. The second external layer is the first one's function in fewer steps; the third has the parameters of
# self-attention: with both memory biases exactly as many.
CONTESTANTS = {
    "self, explicit": _explicit,
    "self, fused": _fused,
    "external, upstream": _upstream,
    "external, folded": _folded,
    "external, one head": _single_head,
}
MODES = ("forward", "step")


def contestant(name, tokens):
    """One attention layer as a compiled Keras model, `(B, tokens, 64)` to the same shape.

    In front of it stands one learned factor a channel, so that a training step carries the gradient through the layer
    to its input, as it must in a network. Raises ValueError for a name that is not in `CONTESTANTS`, or tokens below 1.
    """
    layers.check_choice("contestant", name, tuple(CONTESTANTS))
    if tokens < 1:
        raise ValueError(f"tokens={tokens} is not possible; use 1 or more")
    inputs = keras.Input((tokens, DIM))
    outputs = CONTESTANTS[name](patch_convnet.LayerScale(1.0, name="scale")(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.MeanSquaredError())
    return model


def parameters(model):
    """The trainable parameters of a `contestant`'s attention, the factors in front of it left out."""
    return sum(prod(weight.shape) for weight in model.trainable_weights) - DIM


def calls(model, tokens, images, seed=0):
    """`{"forward": f, "step": f}`: functions without arguments that run the model once on fixed random tokens.

    "forward" gives the output, "step" trains: forward, backward and the update of the weights. Both return when the
    result is there.
    """
    x, y = np.random.default_rng(seed).normal(size=(2, images, tokens, DIM)).astype("float32")
    x, y = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
    return {"forward": lambda: model.predict_on_batch(x), "step": lambda: model.train_on_batch(x, y)}


def measure(tokens, tokens_per_call, names=None, modes=None, rounds=5, seconds=20.0, seed=0):
    """Time the contestants at one number of tokens, in turns, so that whatever else the machine does hits all alike.

    Args:
        tokens: N, of each image.
        tokens_per_call: how many tokens a call has; so there are `tokens_per_call / tokens` images in it, and at least
            one.
        names: of `CONTESTANTS`; None means all.
        modes: which of "forward" and "step" to measure of each, `{name: modes}`; None means both.
        rounds: how often each is called, after two calls that are not counted (the first of them compiles).
        seconds: after these, no further round begins; three are run in any case, if `rounds` asks for them.
        seed: of the tokens and the weights.

    Returns one dict a contestant: contestant, tokens, images, dim, parameters, multiply_adds (of one forward call), and
    "seconds", `{mode: [of each round]}`. Raises ValueError for numbers below 1.
    """
    for name, value in {"tokens": tokens, "tokens_per_call": tokens_per_call, "rounds": rounds}.items():
        if value < 1:
            raise ValueError(f"{name}={value} is not possible; use 1 or more")
    images, names = max(1, tokens_per_call // tokens), names or tuple(CONTESTANTS)
    keras.utils.set_random_seed(seed)
    models = {name: contestant(name, tokens) for name in names}
    wanted = {name: MODES if modes is None else modes[name] for name in names}
    functions = {
        (name, mode): function
        for name, model in models.items()
        for mode, function in calls(model, tokens, images, seed).items()
        if mode in wanted[name]
    }
    taken = {key: [] for key in functions}
    for function in functions.values():
        function(), function()
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begin > seconds:
            break
        for key in list(functions)[:: 1 - 2 * (number % 2)]:  # to and fro: nobody is always the first
            started = time.perf_counter()
            functions[key]()
            taken[key].append(time.perf_counter() - started)
    return [
        {
            "contestant": name,
            "tokens": tokens,
            "images": images,
            "dim": DIM,
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(model, (images, tokens, DIM)),
            "seconds": {mode: taken[name, mode] for mode in wanted[name]},
        }
        for name, model in models.items()
    ]


# Of Student's t, the 97.5 % quantile for 1 to 10 degrees of freedom; beyond, the last is a little too wide.
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def series(points, name, mode):
    """`(tokens, samples)` of one contestant: N in ascending order, and for each an array of seconds an *image*.

    Points that lack the mode (memory ended the line before) are left out.
    """
    found = sorted((p for p in points if p["contestant"] == name and p["seconds"].get(mode)), key=lambda p: p["tokens"])
    samples = [np.array(point["seconds"][mode]) / point["images"] for point in found]
    return np.array([point["tokens"] for point in found]), samples


def medians(samples):
    """The median of each point's samples."""
    return np.array([np.median(values) for values in samples])


def interval(values):
    """Mean of `values` and the half-width of its 95 % interval, by Student's t. Raises ValueError for fewer than 2."""
    values = np.asarray(values, "float64")
    if len(values) < 2:
        raise ValueError(f"{len(values)} value gives no interval; give 2 or more")
    quantile = QUANTILES[min(len(values) - 1, len(QUANTILES)) - 1]
    return float(values.mean()), float(quantile * values.std(ddof=1) / len(values) ** 0.5)


def mean_and_deviation(accuracies):
    """Mean ± standard deviation, in %, of accuracies (shares) with several seeds: "55.05 ± 0.01"; of one, it alone."""
    values = 100 * np.asarray(accuracies, "float64")
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def gained(runs, others):
    """By how many points of test accuracy the short runs of one arm are better than another's, seed by seed.

    Takes lines of `records.measured`; seeds that one of the two arms lacks are left out. Returns a list.
    """
    ours, theirs = ({run["seed"]: run["test"]["accuracy"] for run in arm} for arm in (runs, others))
    return [100 * (ours[seed] - theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def exponent(tokens, values, last=5):
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
    x, y = np.log(tokens), np.log(values)
    x = x - x.mean()
    slope = (x * y).sum() / (x**2).sum()
    residuals = y - y.mean() - slope * x
    free = len(x) - 2
    deviation = np.sqrt((residuals**2).sum() / free / (x**2).sum())
    return float(slope), float(QUANTILES[min(free, len(QUANTILES)) - 1] * deviation)


def crossover(tokens, one, other):
    """The number of tokens from which on `one` costs more than `other`.

    Between the measured N the costs are straight lines in log-log. Returns None if there is no such number in the
    range: `one` costs more everywhere, or less at the largest N.
    """
    dearer = np.log(np.asarray(one, "float64")) - np.log(np.asarray(other, "float64"))
    below = np.flatnonzero(dearer <= 0)
    if not len(below) or below[-1] == len(dearer) - 1:
        return None
    at = below[-1]
    x = np.log(np.asarray(tokens, "float64"))
    share = -dearer[at] / (dearer[at + 1] - dearer[at])
    return float(np.exp(x[at] + share * (x[at + 1] - x[at])))


def crossover_interval(tokens, one, other, seed=0, draws=1000):
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

    def drawn(samples):
        return medians([random.choice(values, len(values)) for values in samples])

    again = []
    for _ in range(draws):
        first, second = drawn(one), drawn(other)
        at = crossover(tokens, first, second)
        again.append((tokens[-1] if first[-1] <= second[-1] else tokens[0]) if at is None else at)
    low, high = np.percentile(again, [2.5, 97.5])
    return found, float(low), float(high)


def reaches(tokens, values, limit):
    """The number of tokens at which `values` pass `limit`, on straight lines in log-log; None if they stay below."""
    x, y = np.log(np.asarray(tokens, "float64")), np.log(np.asarray(values, "float64")) - np.log(limit)
    over = np.flatnonzero(y > 0)
    if not len(over):
        return None
    end = over[0]
    if end == 0:
        return float(tokens[0])
    return float(np.exp(x[end - 1] - y[end - 1] * (x[end] - x[end - 1]) / (y[end] - y[end - 1])))


def table(points, mode="step"):
    """The measured points as Markdown lines: a row for each N, a column for each contestant, milliseconds an image."""
    names = [name for name in CONTESTANTS if any(point["contestant"] == name for point in points)]
    columns = {name: dict(zip(*series(points, name, mode), strict=True)) for name in names}
    lines = [f"| N | {' | '.join(names)} |", "|---:" * (len(names) + 1) + "|"]
    for tokens in sorted({point["tokens"] for point in points}):
        medians = [1e3 * np.median(of[tokens]) if tokens in of else None for of in columns.values()]
        cells = ["–" if ms is None else f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}" for ms in medians]
        lines.append(f"| {tokens:,} | {' | '.join(cells)} |")
    return lines


def told_crossover(points, one, other, mode):
    """From how many tokens on `one` takes longer than `other`, in words, or what holds where there is no such N."""
    tokens, first, second = common(points, one, other, mode)
    found = crossover_interval(tokens, first, second)
    if found:
        n, low, high = found
        return f"N = {n:,.0f} ({low:,.0f} to {high:,.0f})"
    if medians(first)[-1] > medians(second)[-1]:
        return f"everywhere from N = {tokens[0]:,}"
    return f"nowhere up to N = {tokens[-1]:,}"


def common(points, one, other, mode):
    """`(tokens, samples of one, samples of other)` at the N at which both were measured."""
    (tokens, first), (again, second) = (series(points, name, mode) for name in (one, other))
    both = np.intersect1d(tokens, again)
    return (
        both,
        [values for n, values in zip(tokens, first, strict=True) if n in both],
        [values for n, values in zip(again, second, strict=True) if n in both],
    )


def memory(points, name, mode):
    """`(tokens, bytes)`: the measured peaks of one contestant's calls, N ascending."""
    found = {p["tokens"]: p["memory"][mode]["bytes"] for p in points if p["contestant"] == name and "memory" in p}
    tokens = np.array([n for n in sorted(found) if found[n] is not None])
    return tokens, np.array([found[n] for n in tokens], "float64")


def memory_ends(points, name, mode, limit):
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
