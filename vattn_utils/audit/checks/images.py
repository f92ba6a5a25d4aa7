"""What training and prediction are shown: images of one range and one size, and no test image in training."""

import hashlib
import math

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding
from vattn_utils.audit.instruments import read


def input_range(case: Case) -> Finding:
    """Augmentation that clips, or normalises otherwise than prediction does, shows the model another range."""
    learned, predicted = case.learning.image, case.predicting.image
    if learned is None or predicted is None:
        return Finding("input range", UNKNOWN, "what the first layer with weights sees could not be read")
    extremes = [float(np.mean((x == x.min()) | (x == x.max()))) for x in (learned, predicted)]
    unseen = float(np.mean((predicted < learned.min()) | (predicted > learned.max())))
    grid = np.linspace(0, 1, 201)
    scale = float(predicted.std()) or 1.0
    distance = float(np.abs(np.quantile(learned, grid) - np.quantile(predicted, grid)).mean() / scale)
    numbers = dict(at_extremes=extremes, unseen=unseen, distance=distance)
    spans = _spans(case)
    if spans and not 0.5 < spans[1] / spans[0] < 2:
        found = f"training images span {spans[0]:.3g}, test images {spans[1]:.3g}"
        return Finding("input range", DEFECT, found, "scale both alike, best inside the model", dict(spans=spans))
    found = (
        f"{case.predicting.first} sees {_range(learned)} in training and {_range(predicted)} in prediction of the same "
        f"images; {extremes[0]:.1%} against {extremes[1]:.1%} of the values lie exactly at an end of the range"
    )
    if unseen > 0.05 or extremes[0] - extremes[1] > 0.1 or distance > 0.5:
        found += f"; {unseen:.1%} of prediction's values are outside training's range"
        advice = "augment before normalising, or give each augmentation the value_range it works on"
        return Finding("input range", DEFECT, found, advice, numbers)
    return Finding("input range", OK, found, "", numbers)


def resolution(case: Case) -> Finding:
    """Objects as large in training as in prediction (Touvron et al. 2019, "Fixing the train-test discrepancy")."""
    ratios = case.magnification
    seen = [watch.image for watch in (case.learning, case.predicting) if watch.image is not None]
    if ratios is None or len(ratios) < 2 or len(seen) < 2:
        return Finding("resolution", UNKNOWN, "not images, or what the first layer sees could not be read")
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
        return Finding("resolution", DEFECT, found, advice, numbers)
    return Finding("resolution", OK, found, "", numbers)


def test_images(case: Case) -> Finding:
    """Test images where training can see them: as validation data, or in what a callback holds or refers to."""
    if case.test is None:
        return Finding("test images", UNKNOWN, "no test images were given", "give test=")
    held = _digests(_images(case.test))
    places = {"validation_data": _arrays(_batches(case.validation_data))}
    for callback in case.callbacks:
        places[type(callback).__name__] = _arrays(_referred(callback))
    counts = {place: sum(len(held & _digests(array)) for array in arrays) for place, arrays in places.items()}
    seen = {place: count for place, count in counts.items() if count}
    if seen:
        found = ", ".join(f"{place} holds {count} of {len(held)} test images" for place, count in seen.items())
        return Finding("test images", DEFECT, found, "hold training images out for that", counts)
    return Finding("test images", OK, f"none of {len(held)} in {', '.join(places)}", "", counts)


def _spans(case):
    """From the lowest to the highest value, of the images to train on and of the test images."""
    if case.test is None:
        return None
    test = read(_images(case.test)[: len(case.x)])
    return [float(x.max()) - float(x.min()) for x in (case.x, test)]


def _images(test):
    return test[0] if isinstance(test, (tuple, list)) else test


def _referred(callback):
    """What a callback holds, and what its methods refer to: closures and globals of the script."""
    found = list(vars(callback).values())
    for owner in type(callback).__mro__:
        for method in vars(owner).values() if not owner.__module__.startswith("keras.") else ():
            if hasattr(method, "__code__"):
                found += [method.__globals__.get(name) for name in method.__code__.co_names]
                found += [cell.cell_contents for cell in method.__closure__ or ()]
    return found


def _batches(value):
    """Validation data as arrays: as given, or all batches of what yields them."""
    if value is None or isinstance(value, (tuple, list)):
        return value
    if isinstance(value, keras.utils.PyDataset):
        return [value[index] for index in range(len(value))]
    return list(value)


def _arrays(value, depth=3):
    """The arrays in nested tuples, lists and dicts, those with several rows."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in _arrays(item, depth - 1)] if depth else []
    if isinstance(value, np.ndarray) or ops.is_tensor(value):
        array = read(value)
        return [array] if array is not None and array.ndim > 1 else []
    return []


def _digests(images):
    """One digest a row, the same for 0 to 255 in any type and for 0 to 1."""
    images = read(images).astype("float32")
    if images.size and images.max() <= 1:
        images = images * 255
    return {hashlib.sha256(np.round(row, 2).tobytes()).digest() for row in images}


def _range(x):
    return f"{x.min():.3g} to {x.max():.3g} (mean {x.mean():.2g})"


def _size(size):
    return " x ".join(map(str, size))
