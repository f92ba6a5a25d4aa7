"""Every map of the book against every measure, at full size: a line a record and method, with the value of every image.

    python benchmarks/faithfulness.py           # measures what is missing of results/faithfulness.jsonl
    python benchmarks/faithfulness.py --list    # says what is missing, measures nothing
    python benchmarks/faithfulness.py --images 16 --into /tmp/few.jsonl    # a trial

The three records that the book shows on CIFAR (512 test images; removal, mosaics, other weights) and the three models
of `shapes` (512 images, all with masks), by all of `attribution.METHODS`, each as it is and smoothed by a Gaussian of
one patch. Under three hours on two cores; it may be stopped at any time, and goes on with the next cell. Of the models
of `shapes` further trainings too, with other seeds, by all but the slow methods: of those that are recorded. Of these
stays what the book compares over trainings (`KEPT`).
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from vattn_utils import data, models
from vattn_utils.data.files import write_atomically
from vattn_utils.maps import attribution, comparison, localisation, measured
from vattn_utils.training import records
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "faithfulness.jsonl"
IMAGES = 512
FEW = 64  # for other weights and another label, and for the methods that ask a model a thousand times
SIGMA = 1.0  # of the smoothed form, in patches
DIGITS = 4  # of each image's number: a probability to 1e-4
SEED = 0
PHOTOGRAPHS = ("vit-cifar100-book", "eanet-cifar100-book", "patch_convnet-cifar10-book")
SHAPES = ("vit-shapes10-book", "eanet-shapes10-book", "patch_convnet-shapes10-book")
SEEDS = tuple(f"{record}{measured.SEED}{seed}" for record in SHAPES for seed in (1, 2))
KEPT = ("difference", "other label", "new weights")  # of the measures, for a further training


def wanted() -> list[tuple[str, str]]:
    """All cells, (record, method): the slow methods on the shapes models only, each trained once."""
    found = []
    for record in (*SHAPES, *PHOTOGRAPHS, *(record for record in SEEDS if record not in unrecorded())):
        model = _made(records.load(record))
        found += [(record, method) for method in attribution.methods(model, slow=record in SHAPES)]
    return found


def unrecorded() -> list[str]:
    """The further trainings of which there is no record, so that nobody can measure their maps."""
    there = records.names()
    return [record for record in SEEDS if record not in there]


def _made(record, **changed):
    """A record's model without its weights, which do not say what methods it has, and other arguments where given."""
    return models.constructor(record.kind, record.variant)[0](**{**record.config, **changed})


def lines(path: Path) -> list[dict]:
    """What is measured so far."""
    return from_lines(path.read_text(), path.name) if path.exists() else []


class Judged:
    """What all cells of one record share: its model, its images, its mosaics."""

    def __init__(self, name: str, images: int, mosaics: int):
        self.record = records.load(name)
        dataset = data.load(self.record.dataset)
        self.dataset, self.model = dataset, self.record.model()
        masks = None if dataset.masks_test is None else dataset.masks_test[:images]
        pool = dataset.x_test[: 8 * mosaics], dataset.y_test[: 8 * mosaics]
        found = comparison.subject(
            self.model, dataset.x_test[:images], dataset.y_test[:images], masks, mosaics, pool, SEED
        )
        self.subject = dataclasses.replace(found, few=min(FEW, images))
        self.large = self._large(pool, mosaics) if mosaics and self.record.kind == "patch_convnet" else None

    def _large(self, pool, mosaics):
        """A model without positions takes mosaics of whole images too: the model for that, and what it is asked."""
        large = _made(self.record, image_size=2 * self.model.image_size)
        large.build()
        large.set_weights(self.model.get_weights())
        own = attribution.probabilities(self.model, pool[0])[np.arange(len(pool[1])), pool[1]]
        pictures, labels = localisation.mosaics(*pool, own, mosaics, SEED, halve=False)
        cells = np.random.default_rng(SEED).integers(0, 4, mosaics)
        return large, pictures, labels[np.arange(mosaics), cells], cells

    def cell(self, method: str) -> dict:
        """The line of one method, without provenance."""
        of = self.subject
        if method in attribution.SLOW:
            few = slice(of.few)
            cut = None if of.masks is None else of.masks[few]
            of = dataclasses.replace(
                of, images=of.images[few], labels=of.labels[few], others=of.others[few], masks=cut,
                scenes=None, few=min(16, of.few), ends={},
            )  # fmt: skip
        plain, chance = comparison.judge(of, method)
        smooth, _ = comparison.judge(of, method, SIGMA)
        if of.scenes:
            pictures, targets, _ = of.scenes
            plain["confidence"] = attribution.probabilities(self.model, pictures)[np.arange(len(targets)), targets]
        if of.scenes and self.large:
            large, pictures, targets, cells = self.large
            maps = attribution.METHODS[method](large, pictures, targets, SEED)
            wide = comparison.enlarged(large, method, maps, "nearest")
            plain["grid pointing, whole images"] = localisation.grid_pointing(wide, cells)
            asked = attribution.probabilities(large, pictures)
            plain["confidence, whole images"] = asked[np.arange(len(targets)), targets]
            chance["grid pointing, whole images"] = 0.25
        if self.record.name in SEEDS:
            plain, smooth, chance = ({name: of[name] for name in KEPT if name in of} for of in (plain, smooth, chance))
        return {
            "record": self.record.name,
            "dataset": self.record.dataset,
            "method": method,
            "images": len(of.images),
            "seed": SEED,
            "sigma": SIGMA,
            "chance": chance,
            "values": {name: np.round(values, DIGITS).tolist() for name, values in plain.items()},
            "smoothed": {name: np.round(values, DIGITS).tolist() for name, values in smooth.items()},
        }


def measure_missing(path: Path, images: int) -> None:
    """Measure what is missing, cell by cell: each is written before the next begins."""
    there, judged = lines(path), None
    done = {(line["record"], line["method"]) for line in there}
    for record, method in wanted():
        if (record, method) in done:
            continue
        begin = time.perf_counter()
        if judged is None or judged.record.name != record:
            mosaics = max(1, comparison.MOSAICS * images // IMAGES) if record not in (*SHAPES, *SEEDS) else 0
            judged = Judged(record, images, mosaics)
        there.append({**judged.cell(method), "provenance": provenance()})
        write_atomically(path, "".join(map(to_line, there)))
        gain = np.mean(there[-1]["values"]["difference"])
        print(f"{record}, {method}: difference {gain:.3f}, {time.perf_counter() - begin:.0f} s", flush=True)


def listed(path: Path) -> str:
    """What is missing, in words."""
    done = {(line["record"], line["method"]) for line in lines(path)}
    missing = [cell for cell in wanted() if cell not in done]
    return "\n".join([
        f"{len(done)} measured, {len(missing)} missing", *(f"  {r}: {m}" for r, m in missing),
        *(f"  {record}: there is no record of this training" for record in unrecorded()),
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what is missing, measure nothing")
    parser.add_argument("--images", type=int, default=IMAGES, help="test images; fewer are a trial, with --into")
    parser.add_argument("--into", type=Path, default=RESULTS, help="the file of lines")
    options = parser.parse_args()
    if options.list:
        print(listed(options.into))
    else:
        if options.images != IMAGES and options.into == RESULTS:
            parser.error(f"--images {options.images} is a trial and no measurement; say --into FILE")
        measure_missing(options.into, options.images)
        print(listed(options.into))
