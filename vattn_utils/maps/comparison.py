"""Methods against measures, on one model: which maps can be trusted, how far, and against what chance.

`attribution` makes the maps; `faithfulness`, `localisation` and `sanity` judge them. Here they meet, image by image, so
that two methods can be compared on the same images.
"""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from vattn_utils import data
from vattn_utils.data.checks import check_choice, check_whole
from vattn_utils.maps import attribution, faithfulness, localisation, sanity
from vattn_utils.maps.given import given
from vattn_utils.maps.pixels import on_image, smoothed, to_image_size
from vattn_utils.models.classifier import Classifier
from vattn_utils.statistics import bootstrap, not_zero, spearman, wilson
from vattn_utils.training import records

FILLS = {"mean": 8, "blur": 4, "linear": 3}  # in how many steps: the linear one solves a system for each image
MOSAICS = 192  # made of the more confident half of eight times as many test images
SANITY = 16  # images for which maps are made again, with another label and with other weights
# Methods whose values belong to what a patch covers: they sum its pixels or alter them. Those of all others belong to
# a token, which may look elsewhere (`attention.receptive_field`).
OF_PATCHES = (
    "random", "smooth random", "centre", "edges", "AttnLRP", "gradient", "gradient x input", "integrated gradients",
    "occlusion", "RISE",
)  # fmt: skip


def enlarged(model: Classifier, name: str, maps: np.ndarray, method: str = "bilinear") -> np.ndarray:
    """Maps of the method `name`, `(B, rows, columns)`, over the pixels of `model`'s images, `(B, H, W)`.

    method: of `attention.to_image_size`.
    """
    if name in OF_PATCHES:
        return to_image_size(maps, (model.image_size, model.image_size), method)
    return on_image(model, maps, method)


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

        The interval is the bootstrap's; Wilson's for the pointing game.

        A measure's chance level stands in the last row; a method's that differs from most others' in brackets.
        """
        measures = list(next(iter(self.values.values())))
        chance = {
            measure: {method: f"{of[measure]:.3f}" for method, of in self.chance.items() if measure in of}
            for measure in measures
        }
        usual = {measure: _of_most(list(found.values())) for measure, found in chance.items()}
        lines = [f"| method | {' | '.join(measures)} |", "|---" + "|---:" * len(measures) + "|"]
        for method, found in self.values.items():
            cells = [_with_interval(measure, found[measure], seed) for measure in measures]
            for place, measure in enumerate(measures):
                if chance[measure].get(method, usual[measure]) != usual[measure]:
                    cells[place] += f" ({chance[measure][method]})"
            lines.append(f"| {method} | {' | '.join(cells)} |")
        common = [(usual[measure] or "in brackets") if found else "" for measure, found in chance.items()]
        return [*lines, f"| *chance* | {' | '.join(common)} |"]

    def gain(self, one: str, other: str, measure: str) -> np.ndarray:
        """By how much method `one` exceeds `other`, image by image, `(n,)`: of the first images, which both have."""
        ours, theirs = self.values[one][measure], self.values[other][measure]
        common = min(len(ours), len(theirs))
        return ours[:common] - theirs[:common]

    def agreement(self, one: str, other: str, names: Sequence[str]) -> float:
        """Do two measures order the methods `names` alike? The rank correlation of their means, -1 to 1."""
        means = [np.array([[self.values[name][measure].mean() for name in names]]) for measure in (one, other)]
        return float(spearman(*means)[0])

    def above(self, rival: str | float, measures: Sequence[str], names: Sequence[str]) -> list[str]:
        """Which of the methods `names` exceed a rival, or a chance level, on each of `measures`.

        That any of those named does not exceed it has a chance of 5 % at most: p-values are corrected for their
        number (Holm).
        """
        gains = [
            self.values[name][measure] - rival if isinstance(rival, float) else self.gain(name, rival, measure)
            for name in names
            for measure in measures
        ]
        won = [sure and gain.mean() > 0 for sure, gain in zip(not_zero(gains), gains, strict=True)]
        return [name for place, name in enumerate(names) if all(won[place * len(measures) :][: len(measures)])]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What all methods are judged on: a model, images, and what is known of them.

    others: integers `(B,)`, for each image the model's likeliest class but its own.
    masks: bool `(B, H, W)` or None.
    scenes: None, or mosaics `(M, H, W, 3)`, the label and the number of one cell of each, `(M,)`, drawn at random.
    few: for how many images maps are made again, with another label and with other weights.
    ends: `faithfulness.Removal.ends` by fill, which the first method fills in.
    made: maps by method and by what they are of, for a method that is judged in smooth form too.
    """

    model: Classifier
    images: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    masks: np.ndarray | None
    scenes: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    seed: int
    few: int = SANITY
    ends: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    made: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)


def subject(
    model: Classifier,
    images: np.ndarray,
    labels: ArrayLike,
    masks: np.ndarray | None = None,
    mosaics: int = 0,
    pool: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> Subject:
    """What `judge` needs; arguments of `compare`."""
    images, labels = given(model, images, labels)
    probabilities = attribution.probabilities(model, images)
    others = np.where(np.arange(probabilities.shape[1]) == labels[:, None], -1, probabilities).argmax(axis=1)
    scenes = None
    if mosaics:
        pictures, their_labels = given(model, *pool) if pool else (images, labels)
        own = attribution.probabilities(model, pictures)[np.arange(len(their_labels)), their_labels]
        pictures, their_labels = localisation.mosaics(pictures, their_labels, own, mosaics, seed)
        cells = np.random.default_rng(seed).integers(0, 4, mosaics)
        scenes = pictures, their_labels[np.arange(mosaics), cells], cells
    return Subject(model, images, labels, others, masks, scenes, seed)


def judge(of: Subject, name: str, sigma: float = 0.0) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """One row of a `Comparison`: by measure the values, one number an image, and the chance level if it has one.

    Args:
        name: which of `attribution.METHODS`.
        sigma: see `compare`.
    """
    model, few = of.model, slice(of.few)

    def made(what: str, pictures: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if (name, what) not in of.made:
            of.made[name, what] = attribution.METHODS[name](model, pictures, targets, of.seed)
        return smoothed(of.made[name, what], sigma) if sigma else of.made[name, what]

    maps = made("images", of.images, of.labels)
    values, chance = _removals(of, maps), {"difference": 0.0, "blur": 0.0, "linear": 0.0}
    if of.masks is not None:
        large = enlarged(model, name, maps)
        for measure, compute in localisation.MEASURES.items():
            values[measure.replace("_", " ")] = compute(large, of.masks)
            chance[measure.replace("_", " ")] = float(localisation.chance(compute, large, of.masks).mean())
    if of.scenes:
        pictures, targets, cells = of.scenes
        large = enlarged(model, name, made("mosaics", pictures, targets), "nearest")
        values["grid pointing"] = localisation.grid_pointing(large, cells)
        chance["grid pointing"] = 0.25
    values["other label"] = spearman(maps[few], made("other label", of.images[few], of.others[few]))
    with sanity.kept_weights(model):
        sanity.randomise(model, np.random.default_rng(of.seed))
        values["new weights"] = spearman(maps[few], made("new weights", of.images[few], of.labels[few]))
    return values, chance


def compare(
    model: Classifier,
    images: np.ndarray,
    labels: ArrayLike,
    masks: np.ndarray | None = None,
    mosaics: int = 0,
    names: Sequence[str] | None = None,
    seed: int = 0,
    pool: tuple[np.ndarray, np.ndarray] | None = None,
    sigma: float = 0.0,
) -> Comparison:
    """Judge maps of `model` by removal of patches, against masks or mosaics, and under another label or other weights.

    Args:
        model: a `Classifier`.
        images, labels: `(B, H, W, 3)`, 0 to 255, and integers `(B,)`: the classes that are explained.
        masks: bool `(B, H, W)`, where the object is; None where nobody knows.
        mosaics: how many mosaics of four images to make for grid pointing; 0 for none.
        names: which of `attribution.METHODS`; None means all that are defined for the model.
        seed: of everything drawn at random.
        pool: images and labels that the mosaics are made of, at least eight for each; None means `images`.
        sigma: of a Gaussian that all maps are blurred by first, in patches: removal favours smooth maps, whatever they
            know, so that a smooth map is fairly compared with the others in smooth form. 0 leaves them as they are.

    Returns a `Comparison`. Maps meet masks and mosaics where their tokens look; what is removed are whole patches, each
    in its token's turn. Its measures: deletion, insertion, difference (what is removed has the model's mean colour);
    blur, linear (the difference with that fill); the five of `localisation.MEASURES` against masks; grid pointing; and
    two rank correlations of a map with what becomes of it: "other label" for the model's likeliest other class, "new
    weights" with all weights drawn anew. A map that stays as it was (1) says nothing about the class, or nothing about
    the model.
    """
    possible = attribution.methods(model, slow=True)
    names = attribution.methods(model) if names is None else names
    for name in names:
        check_choice("method", name, possible)
    judged = subject(model, images, labels, masks, mosaics, pool, seed)
    rows = {name: judge(judged, name, sigma) for name in names}
    return Comparison({name: row[0] for name, row in rows.items()}, {name: row[1] for name, row in rows.items()})


def _removals(of: Subject, maps: np.ndarray) -> dict[str, np.ndarray]:
    """Areas under the curves of removal: all three with the mean fill, the difference with the others.

    No number of an image depends on which other images are judged with it.
    """
    colour = of.model.mean
    found: dict[str, np.ndarray] = {}
    fills: dict[str, faithfulness.Fill] = {
        "mean": partial(faithfulness.fill_mean, colour=colour),
        "blur": faithfulness.fill_blur,
        "linear": partial(faithfulness.fill_linear, colour=colour, seed=of.seed),
    }
    for name, fill in fills.items():
        removal = faithfulness.remove_by_rank(
            partial(attribution.probabilities, of.model),
            of.images, of.labels, maps, fill, FILLS[name], of.seed, of.ends.get(name),
        )  # fmt: skip
        of.ends[name] = removal.ends
        deletion, insertion, difference = removal.areas()
        mean = {"deletion": deletion, "insertion": insertion, "difference": difference}
        found |= mean if name == "mean" else {name: difference}
    return found


def _of_most(found: list[str]) -> str | None:
    """The text that more than half of them are, or None."""
    text = max(found, key=found.count, default="")
    return text if found.count(text) > len(found) / 2 else None


def _with_interval(measure: str, values: np.ndarray, seed: int) -> str:
    # The pointing game is hit or missed: where all hit, a bootstrap's interval has no width.
    # And Wilson's is not the same above and below.
    if measure == "pointing":
        return "{:.3f} [{:.3f}, {:.3f}]".format(*wilson(values.sum(), len(values)))
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
    # Of a few pictures of one's own there are hardly four confident classes, and never 192 mosaics.
    mosaics = MOSAICS if masks is None and not data.is_own(record.dataset) else 0
    pool = dataset.x_test[: 8 * MOSAICS], dataset.y_test[: 8 * MOSAICS]
    begin = time.perf_counter()
    found = compare(model, x, labels, masks, mosaics, methods, seed, pool)
    print(f"{record.name}: {images} test images of {dataset.name}, test accuracy {record.metrics['top1']:.2%}")
    print(*found.lines(seed), sep="\n")
    print(f"Means and half-widths of 95 % intervals over the images; measured in {time.perf_counter() - begin:.0f} s.")
