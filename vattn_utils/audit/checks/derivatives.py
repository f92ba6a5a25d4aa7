"""Whether each layer's gradient is the slope of what the layer computes: finite differences, layer by layer.

The only check that looks beside the step itself. A layer is asked apart from its model, at the numbers that entered it,
stirred and moved off zero: there an error shows that hides at tidy points (the layer normalisation of early Keras 3 was
wrong in proportion to the mean).
"""

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.case import FEW, Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding, some
from vattn_utils.audit.instruments import is_float, read
from vattn_utils.maps.gradients import gradient

STEPS = (2e-3, 1e-3)  # of the numbers' own size; the second where the first is off: does the difference converge?
OFF = 0.05  # of the gradient's length: rounding leaves a few thousandths, the kinks of ReLU a hundredth
FAINT = 0.01  # of the output's length: below it, a gradient drowns in rounding
ROUGH, RANDOM, STOPPED, AROUND = "too rough for differences", "random", "stopped", "around one of these"


def layer_gradients(case: Case) -> Finding:
    """Gradients inside layers that are there, and not zero, and wrong."""
    wrong: dict[str, float] = {}
    skipped: dict[str, list[str]] = defaultdict(list)
    answers: dict[Any, float | str] = {}
    kinds = {}
    for layer in reversed(case.closely.layers):  # from inside out: what is wrong inside is not asked again around it
        if id(layer) not in case.closely.arguments:
            continue
        alone = _Alone(layer, *case.closely.arguments[id(layer)], id(layer) in case.closely.behind)
        kinds[id(layer)] = kind = alone.kind()
        inner = {kinds.get(id(part)) for part in layer._flatten_layers(include_self=False)}
        if kind in answers or not alone.arrays:
            continue
        if any(isinstance(answer, str) or answer > OFF for part, answer in answers.items() if part in inner):
            answers[kind] = AROUND
        elif layer.compute_dtype not in ("float32", "float64"):
            answers[kind] = f"{layer.compute_dtype} is too coarse"
        else:
            try:
                answers[kind] = _answer(alone)
            except Exception as error:  # a layer that is not to be asked alone; what is around it may be
                skipped[type(error).__name__].append(layer.path or layer.name)
                continue
        answer, name = answers[kind], layer.path or layer.name
        if isinstance(answer, str):
            skipped[answer].append(name)
        elif answer > OFF:
            wrong[name] = answer
    stopped = skipped.pop(STOPPED, [])
    asked = sum(isinstance(answer, float) for answer in answers.values())
    made = functools.partial(
        Finding,
        "layer gradients",
        looked_at=f"{asked} kinds of layers, each alone, at what {min(FEW, len(case.y))} images put into it",
        not_looked_at="; ".join(["the loss", *(f"{reason}: {some(names)}" for reason, names in skipped.items())]),
        numbers=dict(asked=asked, wrong=wrong, stopped=stopped, skipped=dict(skipped)),
    )
    if wrong:
        worst = [f"{name} by {error:.0%}" for name, error in wrong.items()]
        advice = "write the layer in keras.ops, without a gradient of its own; right if that is meant to differ"
        return made(DEFECT, f"gradients are not the slopes of what is computed, by their length: {some(worst)}", advice)
    if stopped:
        return made(UNKNOWN, f"no gradient passes {some(stopped)}", "right if it is stopped on purpose")
    if not asked:
        return made(UNKNOWN, "no layer could be asked")
    return made(OK, "the gradients of all layers that were asked are the slopes of what they compute")


class _Alone:
    """A layer as a function of arrays: of its float inputs, where training needs their gradient, and of its weights.

    blocks: which of the arrays are moved together: the inputs, and the weights.
    Whatever the layer draws at random or keeps up to date is the same at each call, and as it was after it.
    """

    def __init__(self, layer: keras.layers.Layer, args: tuple, kwargs: dict[str, Any], inputs: bool) -> None:
        self.layer = layer
        kwargs = {**kwargs, "training": True} if kwargs.get("training") is not None else kwargs
        self.call = (args, kwargs)
        self.leaves = keras.tree.flatten(self.call)
        self.places = [place for place, leaf in enumerate(self.leaves) if inputs and _is_float_array(leaf)]
        self.arrays = [read(self.leaves[place]) for place in self.places]
        self.arrays += [read(v) for v in layer.trainable_variables]
        before, count = range(len(self.places)), len(self.arrays)
        blocks = [before, range(len(before), count)]
        if before and any(True for _ in layer._flatten_layers(include_self=False)):  # its weights are its parts'
            blocks = [before]
        self.blocks = [block for block in blocks if block]

    def __call__(self, *tensors: Any) -> list[Any]:
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=False):
            leaves[place] = tensor
        args, kwargs = keras.tree.pack_sequence_as(self.call, leaves)
        weights = list(tensors[len(self.places) :])
        kept = [v.value for v in self.layer.non_trainable_variables]
        outputs, _ = self.layer.stateless_call(weights, kept, *args, **kwargs)
        return [output for output in keras.tree.flatten(outputs) if _is_float_array(output)]

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The same in NumPy and double precision, so that a difference loses nothing more."""
        return [read(output).astype("float64") for output in self(*map(ops.convert_to_tensor, arrays))]

    def kind(self) -> Any:
        """Equal for layers that compute the same function, whatever their weights."""
        plain, kind = (bool, int, float, str, tuple), type(self.layer)
        settings = [
            (name, value)
            for name, value in vars(self.layer).items()
            if isinstance(value, plain) or (hasattr(value, "__code__") and not hasattr(kind, name))
            if name != "name" and not name.startswith("_")
        ]
        return kind, repr(settings), *(array.shape for array in self.arrays)

    def stirred(self, random: np.random.Generator, amount: float) -> list[np.ndarray]:
        """The arrays, inputs moved by about their own size, weights by a tenth of it."""
        noise = [random.standard_normal(array.shape, "float32") for array in self.arrays]
        moved = [amount * (1 + part / 2) if i < len(self.places) else part / 10 for i, part in enumerate(noise)]
        return [a + (_size(a) or 0.1) * part for a, part in zip(self.arrays, moved, strict=True)]


def _answer(alone: _Alone) -> float | str:
    """By what part of its length a gradient is off, at two points; or, in words, why that cannot be said."""
    errors = []
    for seed in (0, 1):
        found = _ask(alone, np.random.default_rng(seed))
        if isinstance(found, str) or found <= OFF:
            return found
        errors.append(found)
    return min(errors)


def _ask(alone: _Alone, random: np.random.Generator) -> float | str:
    for amount in (1, 0):  # moved, a number may leave what a logarithm takes
        arrays = alone.stirred(random, amount)
        outputs = alone.outputs(arrays)
        if all(np.isfinite(output).all() for output in outputs):
            break
    else:
        return "not finite"
    if not outputs:
        return "no float output"
    # Half along the output itself, of which a normalisation must keep the length.
    weights = [random.standard_normal(output.shape) + output / (_size(output) or 1) for output in outputs]
    faint = FAINT * math.sqrt(sum(float((output**2).sum()) for output in outputs))

    def scalar(*tensors: Any) -> Any:
        terms = [ops.sum(o * ops.cast(w, o.dtype)) for o, w in zip(alone(*tensors), weights, strict=True)]
        return sum(terms[1:], terms[0])

    def slope(directions: Sequence[np.ndarray], step: float) -> float:
        sides = []
        for signed in (step, -step):
            moved = [array + (signed * v).astype("float32") for array, v in zip(arrays, directions, strict=True)]
            sides.append(alone.outputs(moved))
        return sum(float(((a - b) * w).sum()) for a, b, w in zip(*sides, weights, strict=True)) / (2 * step)

    found = [part.astype("float64") for part in gradient(scalar, arrays)]
    errors = []
    ways = [
        [_direction(a, random, i < len(alone.places)) * (i in block) for i, a in enumerate(arrays)]
        for block in alone.blocks
    ]
    ways.append([_size(a) / (_size(part) or 1) * part for a, part in zip(arrays, found, strict=True)])  # uphill
    for directions in ways:
        expected = sum(float((part * v).sum()) for part, v in zip(found, directions, strict=True))
        usual = math.hypot(*(np.linalg.norm(part) * _size(v) for part, v in zip(found, directions, strict=True)))
        unit = max(usual, abs(expected), faint)
        slopes = [slope(directions, STEPS[0])]
        if not abs(slopes[0] - expected) <= OFF * unit:  # also where it is no number
            slopes.append(slope(directions, STEPS[1]))
            if any((a != b).any() for a, b in zip(outputs, alone.outputs(arrays), strict=True)):
                return RANDOM
            if not abs(slopes[1] - expected) > 4 * abs(slopes[0] - slopes[1]):
                return ROUGH
            if not usual:
                return STOPPED
        errors.append(abs(slopes[-1] - expected) / unit if unit else 0.0)
    return max(errors)


def _direction(array: np.ndarray, random: np.random.Generator, is_input: bool) -> np.ndarray:
    """Where to go from `array`: anywhere and, for inputs, up and outwards, which a normalisation must not feel."""
    size, noise = _size(array), random.standard_normal(array.shape, "float32")
    return size * (noise + 1 + (array - array.mean()) / (array.std() or 1)) if is_input else size * noise


def _size(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype="float64")))) if array.size else 0.0


def _is_float_array(leaf: Any) -> bool:
    return (isinstance(leaf, np.ndarray) or ops.is_tensor(leaf)) and is_float(leaf)
