"""One run of a sweep, as data: what is trained on what, by which recipe, and what it becomes."""

import dataclasses
import functools
import json
import re
from typing import Any

import keras

from vattn_utils import models
from vattn_utils.training import train
from vattn_utils.training.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Task:
    """One run of a sweep.

    name: its own, and that of its folder. value: the higher, the sooner. dataset, seed: of its data and of everything
    random. images: how many training images there are beside the held-out ones; None means all. experiment, arm: of the
    line that it becomes, or `record`: the name of its record. replace: whether that may replace another. judge:
    "held-out", or "test" for the test images too. model, variant, overrides, recipe: of the model's `build`, and how it
    is trained. start: the record whose weights it begins with. base: the one whose encoder it keeps. measure: a
    function of the trained model, held-out images and their labels; what it returns stands in the line. call,
    arguments: a function that trains in its own way, in the place of all these.
    """

    name: str
    value: float
    dataset: str
    seed: int = 0
    images: int | None = None
    experiment: str | None = None
    arm: str | None = None
    record: str | None = None
    replace: bool = False
    judge: str = "held-out"
    model: str = ""
    variant: str = "book"
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    start: str | None = None
    base: str | None = None
    measure: str | None = None
    call: str | None = None
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """What is trained and how, as the line of a run says it under `run`."""
        if self.call:
            return {"seed": self.seed, **self.arguments}
        told = {"model": self.model, "variant": self.variant, "set": self.overrides, "start": self.start}
        return {**told, **dataclasses.asdict(self.recipe)}

    def build(self) -> models.Classifier:
        """The model, for the classes of its data. Raises TypeError or ValueError if there is none."""
        return models.build(self.model, self.variant, num_classes=self._classes, **self.overrides)

    def config(self) -> dict[str, Any]:
        """What distinguishes the model from others, by argument. Raises TypeError or ValueError if there is none."""
        return _config(self.model, self.variant, self._classes, json.dumps(self.overrides))

    @property
    def _classes(self) -> int:
        return int(re.sub(r"\D", "", self.dataset))


@functools.cache  # a sweep has many seeds of few models
def _config(name: str, variant: str, classes: int, overrides: str) -> dict[str, Any]:
    with keras.device("cpu"):
        return train.distinctive(models.unbuilt(name, variant, num_classes=classes, **json.loads(overrides)))
