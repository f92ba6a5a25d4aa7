"""What training and prediction are shown: images of one scale, of one range and of one size."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding
from vattn_utils.audit.given import images, picture

SEVERAL = 256  # images whose ends are compared
AGAIN = 30  # times: what a model divides by, it expects to be that large


def input_range(case: Case) -> Finding:
    """Images on several scales, or scaled twice; augmentation that clips, or normalises otherwise than prediction."""
    scales = _scales(case)
    made = functools.partial(
        Finding,
        "input range",
        looked_at=f"{case.seen} in the first layer with weights, and the ends of "
        + ", ".join(f"{len(x)} {name}" for name, (x, *_) in scales.items()) + " images",
        not_looked_at=", ".join(f"{name} images" for name in ("validation", "test") if name not in scales),
    )  # fmt: skip
    for name, (_, low, high) in scales.items():
        if not (math.isfinite(low) and math.isfinite(high)):
            return made(DEFECT, f"{name} images hold values that are not finite", "look for them with np.isfinite")
    advice = "scale all images alike, best inside the model"
    _, low, high = scales["training"]
    for name, (_, lowest, highest) in scales.items():
        if _differ(low, high, lowest, highest):
            found = f"training images go from {low:.3g} to {high:.3g}, {name} images from {lowest:.3g} to {highest:.3g}"
            return made(DEFECT, found, advice, dict(spans=[high - low, highest - lowest]))
    learned, predicted = case.learning.image, case.predicting.image
    if learned is None or predicted is None:
        return made(UNKNOWN, "what the first layer with weights sees could not be read")
    given = picture(case.x).astype("float32")
    shrinks = float(given.std()) / (float(predicted.std(dtype="float32")) or math.inf)
    if shrinks > AGAIN and high - low < AGAIN / 2:
        found = f"the images, {low:.3g} to {high:.3g}, are scaled twice: the model divides them again, and "
        found += f"{case.predicting.first} sees {_range(predicted)}"
        return made(DEFECT, found, "give images from 0 to 255, or take the scaling out of the model")
    extremes = [float(np.mean((x == x.min()) | (x == x.max()))) for x in (learned, predicted)]
    unseen, far = (_outside(predicted, learned, margin) for margin in (0, 0.1))
    grid = np.linspace(0, 1, 201)
    scale = float(predicted.std()) or 1.0
    distance = float(np.abs(np.quantile(learned, grid) - np.quantile(predicted, grid)).mean() / scale)
    numbers = dict(at_extremes=extremes, unseen=unseen, distance=distance)
    found = (
        f"{case.predicting.first} sees {_range(learned)} in training and {_range(predicted)} in prediction of the same "
        f"images; {extremes[0]:.1%} against {extremes[1]:.1%} of the values lie exactly at an end of the range"
    )
    if far > 0.05 or distance > 1:
        found += f"; {unseen:.1%} of prediction's values are outside training's range"
        advice = "augment before normalising, or give each augmentation the value_range it works on"
        return made(DEFECT, found, advice, numbers)
    return made(OK, found, "", numbers)


def resolution(case: Case) -> Finding:
    """Objects as large in training as in prediction.

    Touvron et al. 2019, "Fixing the train-test resolution discrepancy".
    """
    made = functools.partial(
        Finding,
        "resolution",
        looked_at="two patterns, a ramp and a step, in the places of the images, in training and in prediction",
        not_looked_at="what is done to images before the model" + (" but by the recipe" if case.recipe else ""),
    )
    ratios = case.magnification
    seen = [watch.image for watch in (case.learning, case.predicting) if watch.image is not None]
    if ratios is None or len(ratios) < 2 or len(seen) < 2:
        return made(UNKNOWN, "no images, or what the first layer sees is no longer a ramp and a step")
    sizes = [image.shape[1:3] for image in seen]
    logarithms = np.log(ratios)  # in which a zoom by z and one by 1 / z are equal steps
    middle = math.exp(logarithms.mean())
    error = float(logarithms.std(ddof=1)) / math.sqrt(len(ratios))
    numbers = dict(sizes=sizes, magnification=middle, error=error)
    found = (
        f"{_size(sizes[0])} pixels in training, {_size(sizes[1])} in prediction; "
        f"objects {middle:.3f} times as large (standard error {error:.3f})"
    )
    if sizes[0] != sizes[1] or abs(middle - 1) > max(0.04, 5 * error):
        advice = "resize for training and prediction alike, and crop from a padded image"
        return made(DEFECT, found, advice, numbers)
    return made(OK, found, "", numbers)


def _scales(case: Case) -> dict[str, tuple[np.ndarray, float, float]]:
    """For training, validation and test images, if there are: some of them, their lowest and their highest value."""
    found = {}
    given = {"training": picture(case.sample.x), "validation": case.validation_data, "test": case.test}
    for name, value in given.items():
        x = picture(list(images(value, 1)) or np.empty(0))[:SEVERAL]
        if x.size and x.dtype.kind in "uifb":
            found[name] = x, float(x.min()), float(x.max())
    return found


def _differ(low: float, high: float, lowest: float, highest: float) -> bool:
    """Whether one range is several times as long as the other, or reaches far below zero where the other does not."""
    span, other = high - low, highest - lowest
    if not (span and other):
        return False
    below, lower = low < -0.3 * span, lowest < -0.3 * other
    return not 1 / 3 < other / span < 3 or below != lower


def _outside(x: np.ndarray, others: np.ndarray, margin: float) -> float:
    """The share of values x outside the range of the others, which a share of its length widens on both sides."""
    low, high = float(others.min()), float(others.max())
    room = margin * (high - low)  # resampling, as a rotation does it, takes a little off the ends
    return float(np.mean((x < low - room) | (x > high + room)))


def _range(x: np.ndarray) -> str:
    return f"{x.min():.3g} to {x.max():.3g} (mean {x.mean():.2g})"


def _size(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
