"""What a model is trained with: `Recipe`, and the recipe of each of the book's models."""

import dataclasses
from typing import Any

import keras

from vattn_utils.data.checks import check_choice, nearest_hint
from vattn_utils.training.augmentation import AUGMENTATIONS
from vattn_utils.training.muon import Muon

OPTIMIZERS = {"adamw": keras.optimizers.AdamW, "muon": Muon}
MIXED_ONLY = ("mix_share", "unmixed_share")  # what a recipe without mixup and cutmix does not need to say


def _field(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained. A run is its model's config, its data's digest and this.

    Every field is an argument. Raises ValueError for a name that is not known and for a number out of range.
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
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        for name in self.augmentation:
            if name not in AUGMENTATIONS:
                raise ValueError(f"augmentation {name!r} is not known; {nearest_hint(name, AUGMENTATIONS)}")
        for name in ("epochs", "batch_size", "validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not possible; use 1 or more")
        for name in ("warmup", "min_lr_ratio", "label_smoothing", "mix_share", "unmixed_share", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not a share; use a number from 0 to 1")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("select", self.select, ("last", "best"))

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
