"""What only a chapter needs: its profile, and the data and the runs that belong to it.

Import this module before Keras: it imports it without the log of TensorFlow.
"""

import dataclasses
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what libraries write to the file descriptor of stderr to nowhere; exceptions still arrive."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# What TensorFlow says about the machine would stand in the committed outputs. These are read when it is imported, but
# it logs a few lines before it reads them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
with _quiet():
    import keras

# tqdm says it to whoever imports it in a notebook without ipywidgets, and many libraries import tqdm.
warnings.filterwarnings("ignore", message="IProgress not found")

from vattn_utils import data, training  # noqa: E402  # after Keras was imported without its log
from vattn_utils.data import Dataset  # noqa: E402
from vattn_utils.data.checks import check_whole  # noqa: E402
from vattn_utils.training import records, train  # noqa: E402
from vattn_utils.training.provenance import provenance as whole_provenance  # noqa: E402

PROFILES = {
    "published": "real CIFAR images, and recorded runs in place of long ones.",
    "quick": "the embedded shapes instead of CIFAR, a short run trained here and now.",
    "full": "real CIFAR images, trained here from scratch with the recorded recipe.",
}

QUICK_IMAGES = 200  # what a chapter trains on in the quick profile

INK = "#21272f"  # of text and axes; a page in the dark draws it bright

STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "figure.dpi": 100,
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Chapter:
    """A chapter's name, the profile it runs in, and for how long and where it trains; see `open_chapter`."""

    name: str
    profile: str
    epochs: int = 0
    directory: str = ""
    # Where quick runs are recorded, if no directory is named: it goes when the chapter does.
    _folder: tempfile.TemporaryDirectory = field(default_factory=tempfile.TemporaryDirectory, repr=False)
    # What was loaded or trained: who asks again, further down the page, gets the same.
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def published(self) -> bool:
        return self.profile == "published"

    @property
    def quick(self) -> bool:
        return self.profile == "quick"

    @property
    def full(self) -> bool:
        return self.profile == "full"

    def data(self, name: str) -> Dataset:
        """The `data.Dataset` called "cifar10" or "cifar100"; in the quick profile shapes with as many classes."""
        if name not in self._made:
            shapes = name.replace("cifar", "shapes")
            self._made[name] = data.load(shapes).take(QUICK_IMAGES) if self.quick else data.load(name)
        return self._made[name]

    def run(
        self,
        kind: str,
        dataset: Dataset,
        variant: str = "book",
        suffix: str = "",
        base: str | None = None,
        **overrides: Any,
    ) -> records.Record:
        """The run that the chapter speaks of, as a `records.Record`.

        Published: the recorded one, `<kind>-<dataset>-<variant><suffix>`. Quick: the same architecture, trained here
        by the same loop for two short epochs. Full: trained here by the recorded recipe, and recorded in
        `_build/records`. Nothing is trained twice: who asks the same again gets the same run. With a `directory` its
        records and the state of each run are kept there: a run that is there already goes on, or is found finished.

        Args:
            kind: "vit", "eanet" or "patch_convnet".
            dataset: what `data` returned.
            suffix: of the record's name, for example "-self".
            base: the name of another run of the chapter whose encoder is kept where this is trained here.
            overrides: of the model's `build`, where a run is trained here.

        Raises `TrainingError`, a ValueError, if the `directory` holds another run of this name.
        """
        name = f"{kind}-{dataset.name}-{variant}{suffix}"
        asked = f"{name} {base} {overrides}"
        if asked not in self._made:
            self._made[asked] = self._run(kind, dataset, variant, name, base, overrides)
        return self._made[asked]

    def _run(
        self, kind: str, dataset: Dataset, variant: str, name: str, base: str | None, overrides: dict[str, Any]
    ) -> records.Record:
        if self.published:
            return records.load(name)
        if self.full:
            recipe = records.load(name).recipe
        else:
            recipe = training.recipe(kind, variant, epochs=2, batch_size=64, validation=QUICK_IMAGES // 5)
        recipe = dataclasses.replace(recipe, epochs=self.epochs or recipe.epochs)
        if self.directory:
            place = Path(self.directory)
            kept: dict[str, Any] = dict(root=place / "records", directory=place / "runs" / name)
        else:  # where a cell may be run again
            kept = dict(root=Path("_build/records") if self.full else self._folder.name, replace=True)
        return train.train(kind, dataset, variant, recipe, name, overrides, base=base, **kept)

    def beside(self, record: records.Record) -> str:
        """A table of Markdown: a run of this chapter, and the recorded one beside it if it was trained here."""
        shown = {"recorded": records.load(record.name.replace("shapes", "cifar"))}
        if not self.published:
            shown = {"trained here": record} | shown
        lines = ["| run | data | epochs | test top-1 | minutes | trained on |", "|---|---|---:|---:|---:|---|"]
        for what, one in shown.items():
            made = one.provenance
            lines.append(
                f"| {what} | {one.dataset} | {one.epochs} | {100 * one.metrics['top1']:.2f} % | {one.seconds / 60:.1f} "
                f"| {made['device']}, {made['backend']} |"
            )
        return "\n".join(lines)


def provenance() -> dict[str, Any]:
    """On what a chapter is executed here: the device and the versions."""
    made = whole_provenance()
    return {name: made[name] for name in ("device", "versions")}


def told_minutes(name: str) -> str:
    """How long a chapter takes in each profile, and on what, in a sentence; "" where it was not measured.

    Measured by `benchmarks/minutes.py`. Of the full profile the training is what the recorded runs took.
    """
    try:
        found = [row for row in records.measured("minutes") if row["chapter"] == name]
    except records.RecordError:  # without a network, where the package is installed: nothing else waits for it
        return ""
    told = []
    for device, rows in groupby(found, key=lambda row: re.sub(r" \(.*?\)", "", row["device"])):
        minutes = [f"{max(1, round(row['seconds'] / 60))} min {row['profile']}" for row in rows]
        told.append(f"{', '.join(minutes)} ({device})")
    return f"It takes about {'; '.join(told)}." if told else ""


def open_chapter(name: str, profile: str, seed: int = 0, epochs: int = 0, directory: str = "") -> Chapter:
    """Begin a chapter: choose the profile, set the picture style, seed all random numbers, say what is run.

    Args:
        name: the chapter's file name without suffix.
        profile: the literal of the parameters cell. $VATTN_PROFILE, where it is set, takes its place.
        seed: of Python, NumPy and Keras.
        epochs: of every run that is trained here; 0 means as many as the profile has.
        directory: where the runs that are trained here, and their records, are kept, so that they go on after the
            runtime was cut off: for example a folder of a mounted drive. "" keeps nothing but what ended.

    Returns a `Chapter`. Raises ValueError for a profile that does not exist, for a number of epochs below 0, and for
    epochs or a directory in the published profile, which trains nothing.
    """
    source = "$VATTN_PROFILE" if os.environ.get("VATTN_PROFILE") else "the parameters cell"
    profile = os.environ.get("VATTN_PROFILE") or profile
    if profile not in PROFILES:
        raise ValueError(f"profile={profile!r} (from {source}) does not exist; use one of {', '.join(PROFILES)}")
    check_whole("epochs", epochs, 0)
    for asked, value in {"epochs": epochs, "directory": directory}.items():
        if value and profile == "published":
            raise ValueError(f"{asked}={value!r}, but the published profile trains nothing; use quick or full")
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    plt.rcParams.update(STYLE)
    keras.utils.set_random_seed(seed)
    print(f"Profile {profile}: {PROFILES[profile]}", *filter(None, [told_minutes(name)]), sep="\n")
    return Chapter(name, profile, epochs, directory)
