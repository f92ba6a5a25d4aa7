"""What only a chapter needs: its profile, and the data and the run that belong to it.

Import this module before Keras: it imports it without the log of TensorFlow.
"""

import logging
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


@contextmanager
def _quiet():
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

from vattn_utils import data, training  # noqa: E402  # after Keras was imported without its log
from vattn_utils.data import Dataset  # noqa: E402
from vattn_utils.training import records, train  # noqa: E402
from vattn_utils.training.provenance import provenance as whole_provenance  # noqa: E402

PROFILES = {
    "published": "real CIFAR images, the recorded run; nothing is trained here.",
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
    """A chapter's name and the profile it runs in: `published`, `quick` or `full`."""

    name: str
    profile: str
    # Where quick runs are recorded: it goes when the chapter does.
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
        root: str | Path | None = None,
        base: str | None = None,
        **overrides: Any,
    ) -> records.Record:
        """The run that the chapter speaks of, as a `records.Record`.

        Published: the recorded one, `<kind>-<dataset>-<variant><suffix>`. Quick: the same architecture, trained here
        by the same loop for two short epochs. Full: trained here by the recorded recipe. Nothing is trained twice:
        who asks the same again gets the same run.

        Args:
            kind: "vit", "eanet" or "patch_convnet".
            dataset: what `data` returned.
            suffix: of the record's name, for example "-self".
            root: where a full run's record is written; None means `_build/records`.
            base: the name of another run of the chapter whose encoder is kept where this is trained here.
            overrides: of the model's `build`, where a run is trained here.
        """
        name = f"{kind}-{dataset.name}-{variant}{suffix}"
        asked = f"{name} {root} {base} {overrides}"
        if asked not in self._made:
            self._made[asked] = self._run(kind, dataset, variant, name, root, base, overrides)
        return self._made[asked]

    def _run(self, kind, dataset, variant, name, root, base, overrides):
        if self.published:
            return records.load(name)
        if self.full:
            recipe, root = records.load(name).recipe, root or Path("_build/records")
        else:
            recipe = training.recipe(kind, variant, epochs=2, batch_size=64, validation=QUICK_IMAGES // 5)
            root = self._folder.name
        own = root in (self._folder.name, Path("_build/records"))  # where a cell may be run again
        return train.train(kind, dataset, variant, recipe, name, overrides, root=root, base=base, replace=own)


def provenance() -> dict[str, Any]:
    """On what a chapter is executed here: the device and the versions."""
    made = whole_provenance()
    return {name: made[name] for name in ("device", "versions")}


def open_chapter(name: str, profile: str, seed: int = 0) -> Chapter:
    """Begin a chapter: choose the profile, set the picture style, seed all random numbers, say what is run.

    Args:
        name: the chapter's file name without suffix.
        profile: the literal of the parameters cell. $VATTN_PROFILE, where it is set, takes its place.
        seed: of Python, NumPy and Keras.

    Returns a `Chapter`. Raises ValueError for a profile that does not exist.
    """
    source = "$VATTN_PROFILE" if os.environ.get("VATTN_PROFILE") else "the parameters cell"
    profile = os.environ.get("VATTN_PROFILE") or profile
    if profile not in PROFILES:
        raise ValueError(f"profile={profile!r} (from {source}) does not exist; use one of {', '.join(PROFILES)}")
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    plt.rcParams.update(STYLE)
    keras.utils.set_random_seed(seed)
    print(f"Profile {profile}: {PROFILES[profile]}")
    return Chapter(name, profile)
