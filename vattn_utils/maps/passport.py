"""What a map is worth: the few numbers that belong under every map that is read as "where it looked".

A public reader who wants to compute a faithfulness score again needs the data, the number of images, what stands in for
a removed patch, and in how many steps: a `Passport` carries them beside the score, its interval and its rivals.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vattn_utils import data
from vattn_utils.data.checks import check_choice
from vattn_utils.data.dataset import Dataset
from vattn_utils.maps import attribution, comparison, faithfulness, localisation, sanity
from vattn_utils.maps.faithfulness import Removal
from vattn_utils.maps.pixels import smoothed
from vattn_utils.models.classifier import Classifier
from vattn_utils.statistics import bootstrap, not_zero, spearman
from vattn_utils.training import records

STEPS = 8  # portions in which the patches are removed
SANITY = 16  # images for which maps are made again, with other weights
SIGMA = 1.0  # of the Gaussian that smooths a map, in patches
DIGITS = 4  # of each image's number, as it is kept: a probability to 1e-4

# Maps that do not know the model: what a map must beat before it says anything.
RIVALS = {name: attribution.METHODS[name] for name in ("random", "smooth random", "centre")}
SMOOTH = ("smooth random", "centre")  # those of them that remove neighbours together: they are met in smooth form


@dataclasses.dataclass(frozen=True)
class Passport:
    """What one method's maps of one model are worth.

    record, dataset, method: which maps, of what, on the test images of which data.
    top1: the model's accuracy on all test images, 0 to 1: maps of a model that answers wrongly explain wrong answers.
    fill: what stands in for a removed patch.
    steps: in how many equal portions the patches are removed.
    differences: `(n,)`, one number an image, -1 to 1: the mean probability of the true class while the map's last
        patches go first, less the same while its first go first (`faithfulness.Removal.areas`). Chance is 0.
    rivals: the same numbers for `RIVALS`, on the same images.
    new_weights: `(SANITY,)`, rank correlation, -1 to 1, of an image's map with the one after all weights were drawn
        anew. Near 1: the map does not notice what the model has learned.
    localisation: `(n,)`, rank accuracy against the object's mask, 0 to 1 (`localisation.rank_accuracy`); None where
        the data has no masks.
    smoothed: the same numbers as `differences` for the maps blurred by a Gaussian of `SIGMA` patches; None where
        nobody measured them.
    """

    record: str
    dataset: str
    method: str
    top1: float
    fill: str
    steps: int
    differences: np.ndarray
    rivals: Mapping[str, np.ndarray]
    new_weights: np.ndarray
    smoothed: np.ndarray
    localisation: np.ndarray | None = None

    @property
    def images(self) -> int:
        """n: how many test images."""
        return len(self.differences)

    def mean(self) -> float:
        """The mean difference over the images, -1 to 1; chance is 0."""
        return float(self.differences.mean())

    def score(self) -> str:
        """The mean difference with its interval, in words: "0.120 (95 % interval 0.105 to 0.136)"."""
        return "{:.3f} (95 % interval {:.3f} to {:.3f})".format(*bootstrap(self.differences))

    def against(self, rival: str) -> np.ndarray:
        """By how much the map exceeds a rival on each image, `(n,)`: in smooth form where the rival is smooth."""
        own = self.smoothed if rival in SMOOTH else self.differences
        return own - self.rivals[rival]

    def beats(self, rival: str) -> bool:
        """Whether the map exceeds a rival by more than the images' chance; see `beaten`."""
        return rival in beaten([self])[0]

    def gains(self) -> dict[str, tuple[float, float, float]]:
        """By how much the map exceeds each rival (`against`): (mean, low, high) of the 95 % interval."""
        return {name: bootstrap(self.against(name)) for name in self.rivals}

    def sentence(self) -> str:
        """All of it in a few words, as Markdown."""
        won = beaten([self])[0]
        lost = [name for name in self.rivals if name not in won]
        rivals = "better than " + ", ".join(won) if won else ""
        rivals += (" but " if won and lost else "") + ("not better than " + ", ".join(lost) if lost else "")
        smooth = f" (smoothed by one patch {self.smoothed.mean():.3f})"
        where = ""
        if self.localisation is not None:
            where = "; on the object (rank accuracy) {:.2f} ({:.2f} to {:.2f})".format(*bootstrap(self.localisation))
        return (
            f"**{self.method}**, {self.record}: difference of the removal curves {self.score()}{smooth}, chance 0, "
            f"{self.images} test images, {self.steps} steps, removed patches {self.fill}; {rivals}{where}. "
            f"Rank correlation with the map of random weights: {self.new_weights.mean():.2f} "
            f"({len(self.new_weights)} images)."
        )

    def note(self) -> str:
        """`sentence`, folded: what stands below a figure that is read as "where it looked"."""
        return f"<details><summary>What these maps are worth</summary>\n\n{self.sentence()}\n\n</details>"

    def line(self) -> dict[str, Any]:
        """As JSON keeps it: the value of every image, `DIGITS` decimals."""
        kept = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return {name: _rounded(value) for name, value in kept.items()}

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> "Passport":
        """From what `line` gave. Whatever else stands there (provenance, a digest) is left alone."""
        fields = {field.name: line[field.name] for field in dataclasses.fields(cls) if field.name in line}
        arrays = {
            name: np.array(fields[name])
            for name in ("differences", "smoothed", "new_weights", "localisation")
            if name in fields
        }
        rivals = {name: np.array(values) for name, values in fields["rivals"].items()}
        return cls(**(fields | arrays | {"rivals": rivals}))


def all_recorded() -> list[Passport]:
    """The passports that were measured by `benchmarks/passports.py` and ship with the package."""
    return [Passport.of_line(line) for line in records.measured("passports")]


def recorded(record: str, method: str) -> Passport:
    """That of `all_recorded` for a record's maps by a method; raises ValueError, which names all, if there is none."""
    there = all_recorded()
    found = next((one for one in there if (one.record, one.method) == (record, method)), None)
    if found is None:
        known = ", ".join(f"{one.record} by {one.method}" for one in there)
        raise ValueError(f"no passport of {record} by {method}; there are: {known}")
    return found


def beaten(passports: Sequence[Passport]) -> list[list[str]]:
    """Which rivals each of several maps beats.

    That any of them is named wrongly has a chance of 5 % at most (Holm's correction). A map beats a
    rival if its mean gain (`Passport.against`) is above 0 and chance alone would hardly make it so.
    """
    pairs = [(place, rival) for place, one in enumerate(passports) for rival in one.rivals]
    gains = [passports[place].against(rival) for place, rival in pairs]
    won: list[list[str]] = [[] for _ in passports]
    for (place, rival), gain, sure in zip(pairs, gains, not_zero(gains), strict=True):
        if sure and gain.mean() > 0:
            won[place].append(rival)
    return won


def table(passports: Iterable[Passport]) -> str:
    """Passports as a Markdown table.

    Its columns: the map; its difference with the half-width of the 95 % interval, and that of the map in smooth form;
    whether it beats noise (that of single patches and the smooth one) and a blob in the middle of the picture
    (`beaten`, for all of the table together); and its rank correlation with the map of a model of random weights.
    """
    passports = list(passports)
    lines = ["| map | difference | smoothed | beats noise | beats a blob | random weights |"]
    lines.append("|---|---:|---:|---|---|---:|")
    for one, won in zip(passports, beaten(passports), strict=True):
        mean, low, high = bootstrap(one.differences)
        noise, blob = {"random", "smooth random"} <= {*won}, "centre" in won
        lines.append(
            f"| {one.record.partition('-')[0]}: {one.method} | {mean:.3f} ± {(high - low) / 2:.3f} "
            f"| {one.smoothed.mean():.3f} | {'yes' if noise else 'no'} | {'yes' if blob else 'no'} "
            f"| {one.new_weights.mean():.2f} |"
        )
    return "\n".join(lines)


def passport(record: str | records.Record, method: str, images: int = 512, seed: int = 0) -> Passport:
    """Measure what a method's maps of a recorded model are worth, on the test images of its data.

    Patches are removed by rank, in `STEPS` portions, and have the mean colour of the training images (the model's
    own): so an image's number does not depend on which other images are measured with it. True classes are explained.

    Args:
        record: a record or its name, such as "vit-cifar100-book".
        method: one of `attribution.methods(model, slow=True)`.
        images: how many test images, from the first on.
        seed: of ties, random maps and weights drawn anew.

    Returns a `Passport`. Raises ValueError for a record, a method or a number of images that there is not, or weights
    that are not shipped.
    """
    return next(measure(record, (method,), images, seed))


def measure(
    record: str | records.Record, methods: Sequence[str], images: int = 512, seed: int = 0
) -> Iterator[Passport]:
    """`passport` of several methods, one after the other; the rivals are measured once."""
    record = records.load(record) if isinstance(record, str) else record
    model, dataset = record.model(), data.load(record.dataset)
    for method in methods:
        check_choice("method", method, tuple(attribution.methods(model, slow=True)))
    if not SANITY <= images <= len(dataset.x_test):
        raise ValueError(f"images={images} is not possible; use {SANITY} to {len(dataset.x_test)}")
    x, labels = dataset.x_test[:images], dataset.y_test[:images]
    found = {name: _removal(model, x, labels, rival(model, x, labels, seed), seed) for name, rival in RIVALS.items()}
    ends = found["random"].ends
    rivals = {name: removal.areas()[2] for name, removal in found.items()}
    for method in methods:
        maps = attribution.METHODS[method](model, x, labels, seed)
        yield Passport(
            record=record.name,
            dataset=record.dataset,
            method=method,
            top1=record.metrics["top1"],
            fill="in the mean colour",
            steps=STEPS,
            differences=_removal(model, x, labels, maps, seed, ends).areas()[2],
            smoothed=_removal(model, x, labels, smoothed(maps, SIGMA), seed, ends).areas()[2],
            rivals=rivals,
            new_weights=_new_weights(model, method, x[:SANITY], labels[:SANITY], maps[:SANITY], seed),
            localisation=_localisation(model, method, maps, dataset, images),
        )


def _removal(
    model: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    maps: np.ndarray,
    seed: int,
    ends: np.ndarray | None = None,
) -> Removal:
    return faithfulness.remove_by_rank(
        partial(attribution.probabilities, model),
        images,
        labels,
        maps,
        partial(faithfulness.fill_mean, colour=model.mean),
        STEPS,
        seed,
        ends,
    )


def _new_weights(
    model: Classifier, method: str, images: np.ndarray, labels: np.ndarray, maps: np.ndarray, seed: int
) -> np.ndarray:
    with sanity.kept_weights(model):
        sanity.randomise(model, np.random.default_rng(seed))
        return spearman(maps, attribution.METHODS[method](model, images, labels, seed))


def _localisation(model: Classifier, method: str, maps: np.ndarray, dataset: Dataset, images: int) -> np.ndarray | None:
    if dataset.masks_test is None:
        return None
    return localisation.rank_accuracy(comparison.enlarged(model, method, maps), dataset.masks_test[:images])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(of) for name, of in value.items()}
    return np.round(value, DIGITS).tolist() if isinstance(value, np.ndarray) else value
