"""What a model is trained with: `Recipe`, and the recipe of each of the book's models."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from vattn_utils.data.checks import check_choice, check_number, check_whole, nearest_hint
from vattn_utils.training.augmentation import AUGMENTATIONS
from vattn_utils.training.muon import Muon

OPTIMIZERS = {"adamw": keras.optimizers.AdamW, "muon": Muon}
MIXED_ONLY = ("mix_share", "unmixed_share")  # what a recipe without mixup and cutmix does not need to say
# Policies of Keras whose weights are kept in float32, as runs and records keep them.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def _names(name: str, value: Any) -> tuple[str, ...]:
    """Of augmentations, as a tuple."""
    if isinstance(value, str):
        raise ValueError(f"{name}={value!r} is one text; use a tuple, such as ({value!r},)")
    names = tuple(value)
    for one in names:
        if one not in AUGMENTATIONS:
            raise ValueError(f"{name} {one!r} is not known; {nearest_hint(one, AUGMENTATIONS)}")
    return names


# What each field may be, by name.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("epochs", "batch_size", "validation"), check_whole),
    "learning_rate": partial(check_number, least=1e-9, most=100),
    **dict.fromkeys(("warmup", "min_lr_ratio", "mix_share", "unmixed_share"), partial(check_number, least=0, most=1)),
    **dict.fromkeys(("label_smoothing", "ema"), partial(check_number, least=0, below=1)),
    **dict.fromkeys(("weight_decay", "clip_norm", "mixup", "cutmix"), partial(check_number, least=0, most=1e6)),
    "optimizer": partial(check_choice, choices=OPTIMIZERS),
    "augmentation": _names,
    "precision": partial(check_choice, choices=PRECISIONS),
    "select": partial(check_choice, choices=("last", "best")),
    "seed": partial(check_whole, least=0, most=2**32 - 1),
}


def _field(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained. A run is its model's config, its data's digest and this.

    Every field is an argument. Raises TypeError or ValueError for what it cannot be: a name that is not known, a number
    that is out of range or not finite, a share or a count that is none.
    """

    epochs: int = _field(50, "how often each training image is seen")
    batch_size: int = _field(128, "images a step; those left over by the last full batch wait an epoch")
    learning_rate: float = _field(2e-3, "the peak of the schedule: a climb, then half a cosine down")
    warmup: float = _field(0.1, "share of all steps in which the rate climbs from 0 to its peak")
    min_lr_ratio: float = _field(0.0, "where the rate ends, as a share of the peak; 1 keeps it constant")
    optimizer: str = _field("adamw", "who takes the steps: adamw, or muon")
    weight_decay: float = _field(0.05, "pull of the matrices towards zero, times the learning rate, at every step")
    clip_norm: float = _field(1.0, "a longer gradient is shortened to this length; 0 leaves them")
    label_smoothing: float = _field(0.1, "share of each target that is spread over all classes")
    augmentation: tuple[str, ...] = _field(("flip", "crop"), "what is done at random to each image, in this order")
    mixup: float = _field(0.0, "blend pairs of images: parameter of the Beta distribution of their shares; 0 is off")
    cutmix: float = _field(0.0, "paste a rectangle of one image into another: the same of its area; 0 is off")
    mix_share: float = _field(1.0, "share of the batches that are mixed")
    unmixed_share: float = _field(0.0, "share of the epochs, the last ones, in which nothing is mixed")
    ema: float = _field(0.0, "momentum of a running mean of the weights, which is validated and kept; 0 is off")
    precision: str = _field("float32", "the numbers that the model computes with in training, a dtype policy of Keras")
    validation: int = _field(5000, "training images that are held out")
    select: str = _field("last", "which epoch's weights are kept: last, or best by accuracy on the held-out images")
    seed: int = _field(0, "of everything random")

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            value = getattr(self, name)
            found = check(name, value)
            if name == "augmentation":
                object.__setattr__(self, name, found)
            elif isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())

    def table(self) -> list[tuple[str, str, str]]:
        """(name, value, meaning) of every field, as text; how much is mixed only where something is."""
        rows = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in MIXED_ONLY or self.mixup or self.cutmix:
                text = ", ".join(value) if isinstance(value, tuple) else str(value)
                rows.append((field.name, text, field.metadata["meaning"]))
        return rows


# What each model is trained with; the command line and the chapters change only what they say they change.
RECIPES = {
    "vit-book": Recipe(epochs=26),
    "eanet-book": Recipe(epochs=32),
    "patch_convnet-book": Recipe(
        epochs=64, learning_rate=5e-3, optimizer="muon", augmentation=("flip", "crop", "trivial_augment"),
    ),
    # keras.io's settings, mended: contrast before normalisation, and tfa's weight decay of 1e-4 in Keras' rule.
    "vit-keras-io": Recipe(
        epochs=10, batch_size=256, learning_rate=1e-3, warmup=0, min_lr_ratio=1, weight_decay=0.1, clip_norm=0,
        label_smoothing=0, augmentation=("flip", "zoom"), select="best",
    ),
    "eanet-keras-io": Recipe(
        learning_rate=1e-3, warmup=0, min_lr_ratio=1, weight_decay=0.1, clip_norm=0, validation=10_000,
        augmentation=("flip", "rotate", "contrast", "zoom"),
    ),
    "patch_convnet-keras-io": Recipe(
        learning_rate=1e-3, warmup=0.15, weight_decay=0.1, clip_norm=0, label_smoothing=0, validation=10_000,
        select="best",
    ),
}  # fmt: skip


def recipe(model: str, variant: str = "book", **changes: Any) -> Recipe:
    """The recipe of `model` ("vit", "eanet", "patch_convnet") and `variant`, with `changes` to its fields.

    A paper variant is trained with the book's recipe. Raises ValueError for an unknown model or field.
    """
    base = RECIPES.get(f"{model}-{variant}") or RECIPES.get(f"{model}-book")
    if base is None:
        raise ValueError(
            f"no recipe for {model!r}; {nearest_hint(model, dict.fromkeys(name.partition('-')[0] for name in RECIPES))}"
        )
    fields = [field.name for field in dataclasses.fields(Recipe)]
    for name in changes:
        if name not in fields:
            raise ValueError(f"a recipe has no {name}; {nearest_hint(name, fields)}")
    return dataclasses.replace(base, **changes)
