"""Methods against measures, on one model: which maps can be trusted, how far, and against what chance.

`attribution` makes the maps; `faithfulness`, `localisation` and `sanity` judge them. Here they meet, image by image, so
that two methods can be compared on the same images.
"""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vattn_utils import data
from vattn_utils.data.checks import check_choice, check_whole
from vattn_utils.maps import attribution, faithfulness, localisation, sanity
from vattn_utils.maps.attention import to_image_size
from vattn_utils.maps.given import given
from vattn_utils.models.classifier import Classifier
from vattn_utils.statistics import bootstrap, spearman
from vattn_utils.training import records

FILLS = {"mean": 8, "blur": 4, "linear": 3}  # in how many steps: the linear one solves a system for each image
SANITY = 16  # images for which maps are made again, with another label and with other weights


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    values: method -> measure -> one number an image, `(B,)`.
    chance: method -> measure -> what a map that knows nothing gets; a measure without such a number is missing.
    """

    values: dict[str, dict[str, np.ndarray]]
    chance: dict[str, dict[str, float]]

    def lines(self, seed: int = 0) -> list[str]:
        """The table as Markdown lines: means over the images, each with the half-width of its 95 % interval.

        A measure's chance level stands in the last row, or, where it differs from method to method, in brackets.
        """
        measures = list(next(iter(self.values.values())))
        levels = {measure: {of[measure] for of in self.chance.values() if measure in of} for measure in measures}
        lines = [f"| method | {' | '.join(measures)} |", "|---" + "|---:" * len(measures) + "|"]
        for method, found in self.values.items():
            cells = [_with_interval(found[measure], seed) for measure in measures]
            for place, measure in enumerate(measures):
                if len(levels[measure]) > 1:
                    cells[place] += f" ({self.chance[method][measure]:.3f})"
            lines.append(f"| {method} | {' | '.join(cells)} |")
        common = [
            f"{min(found):.3f}" if len(found) == 1 else "in brackets" if found else "" for found in levels.values()
        ]
        return [*lines, f"| *chance* | {' | '.join(common)} |"]

    def better(self, one: str, other: str, measure: str, seed: int = 0) -> tuple[float, float, float]:
        """By how much method `one` exceeds `other` on `measure`, paired over the images: (mean, low, high)."""
        return bootstrap(self.values[one][measure] - self.values[other][measure], seed)


def compare(
    model: Classifier,
    images: np.ndarray,
    labels: ArrayLike,
    masks: np.ndarray | None = None,
    mosaics: int = 0,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Judge maps of `model` by removal of patches, against masks or mosaics, and under another label or other weights.

    Args:
        model: a `Classifier`.
        images, labels: `(B, H, W, 3)`, 0 to 255, and integers `(B,)`: the classes that are explained.
        masks: bool `(B, H, W)`, where the object is; None where nobody knows.
        mosaics: how many mosaics of four images to make for grid pointing; 0 for none.
        names: which of `attribution.METHODS`; None means all that are defined for the model and not slow.
        seed: of everything drawn at random.

    Returns a `Comparison`. Its measures: deletion, insertion, difference (mean fill); blur, linear (the difference
    with that fill); the five of `localisation.MEASURES` against masks; grid pointing; and two rank correlations of a
    map with what becomes of it: "other label" for the model's likeliest other class, "new weights" with all weights
    drawn anew. A map that stays as it was (1) says nothing about the class, or nothing about the model.
    """
    possible = attribution.methods(model, slow=True)
    names = attribution.methods(model) if names is None else names
    for name in names:
        check_choice("method", name, possible)
    images, labels = given(model, images, labels)
    probabilities = attribution.probabilities(model, images)
    others = np.where(np.arange(probabilities.shape[1]) == labels[:, None], -1, probabilities).argmax(axis=1)
    few = slice(SANITY)
    scenes = _scenes(images, labels, probabilities, mosaics, seed) if mosaics else None
    values: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    chance: dict[str, dict[str, float]] = {name: {} for name in names}
    for name in names:
        method = attribution.METHODS[name]
        maps = method(model, images, labels, seed)
        values[name] |= _removals(model, images, labels, maps, seed)
        chance[name] |= {"difference": 0.0, "blur": 0.0, "linear": 0.0}
        if masks is not None:
            large = to_image_size(maps, masks.shape[1:])
            for measure, judge in localisation.MEASURES.items():
                values[name][measure.replace("_", " ")] = judge(large, masks)
                chance[name][measure.replace("_", " ")] = localisation.chance(judge, large, masks).mean()
        if scenes:
            pictures, targets, cells = scenes
            values[name]["grid pointing"] = localisation.grid_pointing(method(model, pictures, targets, seed), cells)
            chance[name]["grid pointing"] = 0.25
        again = method(model, images[few], others[few], seed)
        values[name]["other label"] = spearman(maps[few], again)
        values[name]["new weights"] = maps[few]
    with sanity.kept_weights(model):
        sanity.randomise(model, np.random.default_rng(seed))
        for name, found in values.items():
            again = attribution.METHODS[name](model, images[few], labels[few], seed)
            found["new weights"] = spearman(found["new weights"], again)
    return Comparison(values, chance)


def _removals(model, images, labels, maps, seed):
    """Areas under the curves of removal: all three with the mean fill, the difference with the others."""
    found = {}
    for fill, steps in FILLS.items():
        removal = faithfulness.remove_by_rank(
            lambda altered: attribution.probabilities(model, altered), images, labels, maps, fill, steps, seed
        )
        deletion, insertion, difference = removal.areas()
        mean = {"deletion": deletion, "insertion": insertion, "difference": difference}
        found |= mean if fill == "mean" else {fill: difference}
    return found


def _scenes(images, labels, probabilities, number, seed):
    """Mosaics of confident images, and for each the label and the number of one of its cells, drawn at random."""
    own = probabilities[np.arange(len(labels)), labels]
    pictures, their_labels = localisation.mosaics(images, labels, own, number, seed)
    cells = np.random.default_rng(seed).integers(0, 4, number)
    return pictures, their_labels[np.arange(number), cells], cells


def _with_interval(values, seed):
    mean, low, high = bootstrap(values, seed)
    return f"{mean:.3f} ± {(high - low) / 2:.3f}"


def report(name: str, images: int = 512, methods: Sequence[str] | None = None, seed: int = 0) -> None:
    """Print the table of a recorded run, on the test images of its data.

    Args:
        name: of the record, such as "vit-shapes10-book".
        images: how many test images, from the first on.
        methods: which of `attribution.METHODS`; None means all that are defined for its model.
        seed: of ties, noise, mosaics and weights drawn anew.

    Raises ValueError for a record, a method or a number of images that there is not, or weights that are not shipped.
    """
    record = records.load(name)
    model, dataset = record.model(), data.load(record.dataset)
    images = check_whole("images", images, 1, len(dataset.x_test))
    x, labels = dataset.x_test[:images], dataset.y_test[:images]
    masks = dataset.masks_test[:images] if dataset.masks_test is not None else None
    begin = time.perf_counter()
    found = compare(model, x, labels, masks, images if masks is None else 0, methods, seed)
    print(f"{record.name}: {images} test images of {dataset.name}, test accuracy {record.metrics['top1']:.2%}")
    print(*found.lines(seed), sep="\n")
    print(f"Means and half-widths of 95 % intervals over the images; measured in {time.perf_counter() - begin:.0f} s.")
