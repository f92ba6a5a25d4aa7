"""What `audit` was handed over, and what it measures of it: one training step and one prediction of the same images."""

import contextlib
import dataclasses
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from vattn_utils import training
from vattn_utils.audit.given import Sample, rows
from vattn_utils.audit.instruments import GradientReader, Seen, Watch, is_float, read

IMAGES = 16  # how many are looked at
FEW = 4  # and how many where each layer computes them several times
DRAWS = 4  # of the augmentation, to tell its mean effect on sizes from chance
STIRS = (1, 4, 16)  # by how many times their own size weights are changed, to see what outputs can be
LOSS_SCALE = 1024.0  # keeps small gradients above zero in float16, and large ones below infinity


@dataclasses.dataclass
class Case:
    """What was handed over, and what `measure` adds: one training step and one prediction of the same images.

    dataset, sample: what it is trained on, and what was read of it. steps: in an epoch, or None.
    learning, predicting: a `Watch` of each. closely: of a prediction of a few images, with what enters each layer.
    outputs: of the prediction, `(B, classes)`, of the first where there are several. several: how many there are.
    stirred: outputs with other weights, up to far too large ones; empty where some of `outputs` are negative.
    moved: the ids of the variables that the step changed.
    gradients: those of two steps, each by variable id; in the second what was all zeros is not.
    error: what the training step raised, if it did.
    magnification: of each image in training over that in prediction, draw after draw of the augmentation, or None.
    """

    model: keras.Model
    dataset: Any
    sample: Sample
    recipe: training.Recipe | None
    test: Any
    validation_data: Any
    callbacks: list[keras.callbacks.Callback]
    schedule: Callable[[int], Any] | None
    class_weight: dict[int, float] | None
    epochs: int | None
    steps: int | None
    optimizer: Any = None
    error: Exception | None = None
    several: int = 1
    gradients: list[dict[int, np.ndarray | None]] = dataclasses.field(default_factory=list)
    stirred: list[np.ndarray] = dataclasses.field(default_factory=list)
    magnification: np.ndarray | None = None
    learning: Watch = dataclasses.field(init=False)
    predicting: Watch = dataclasses.field(init=False)
    closely: Watch = dataclasses.field(init=False)
    outputs: np.ndarray = dataclasses.field(init=False)
    moved: set[int] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.x, self.y = rows(self.sample.x, lambda array: array[:IMAGES]), self.sample.y[:IMAGES]
        self.weight = None if self.sample.weight is None else self.sample.weight[:IMAGES]

    @property
    def seen(self) -> str:
        """Which images went through the step and the prediction, in words."""
        return f"{len(self.y)} of {self.sample.count:,} {self.sample.name}"

    @property
    def targets(self) -> np.ndarray:
        """What the loss is given for the images x: the labels, or by a recipe rows of them."""
        return np.eye(self.outputs.shape[-1], dtype="float32")[_numbers(self.y)] if self.recipe else self.y

    def measure(self) -> None:
        """Run the step and the prediction, each under a `Watch`; the weights are as before afterwards."""
        model = self.model
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        vars(model)["optimizer"] = GradientReader(0.0, loss_scale_factor=LOSS_SCALE if scaled else None)
        model.run_eagerly = True
        model.train_function = model.predict_function = None
        before = {id(v): read(v) for v in model.variables}
        with taking(self.x):
            self.predicting, self.outputs = self.predict(self.x)
        self.closely, _ = self.predict(rows(self.x, lambda array: array[:FEW]), keep=True)
        self.learning = self.learn(self.x)
        if self.learning.image is None and self.predicting.image is not None:  # JAX traces its training step
            with Watch(model) as self.learning:
                model(self.x, training=True)
        self.moved = {id(v) for v in model.variables if not np.array_equal(read(v), before[id(v)])}
        self.magnify()
        for variable in model.trainable_variables:  # opens gates that start at zero
            if not before[id(variable)].any():
                random = np.random.default_rng(len(variable.path))
                variable.assign(random.normal(0, 0.02, variable.shape).astype("float32"))
        self.learn(rows(self.x, lambda array: array[::-1]), self.y[::-1])
        self.stir(before)
        for variable in model.variables:
            variable.assign(before[id(variable)])

    def stir(self, before: dict[int, np.ndarray]) -> None:
        """Predict with other weights: a softmax over outputs that are still equal looks like many other things."""
        if self.outputs.min() < 0:
            return
        random = np.random.default_rng(0)
        for times in STIRS:
            for variable in self.model.trainable_variables:
                value = before[id(variable)]
                size = times * max(float(np.sqrt(np.mean(value**2))), np.prod(value.shape[:-1]) ** -0.5)
                if is_float(value):
                    variable.assign(value + size * random.standard_normal(value.shape, "float32"))
            found = self.predict(self.x)[1]
            if np.isfinite(found).all():
                self.stirred.append(found)

    def predict(self, x: Any, keep: bool = False) -> tuple[Watch, np.ndarray]:
        """The `Watch` of a prediction of images x, and its outputs in float32 or float64."""
        with Watch(self.model, keep=keep) as watch:
            outputs = keras.tree.flatten(self.model.predict_on_batch(x))
        self.several = len(outputs)
        found = np.asarray(outputs[0])
        return watch, found if found.dtype == "float64" else found.astype("float32")

    def learn(self, x: Any, y: np.ndarray | None = None) -> Watch:
        """The `Watch` of a training step on images x, augmented by the recipe; its gradients are kept."""
        y = self.y if y is None else y
        weights = dict(sample_weight=self.weight, class_weight=self.class_weight)
        if self.recipe:
            recipe = dataclasses.replace(self.recipe, batch_size=len(x))
            x, y = training.Batches(x, _numbers(y), self.outputs.shape[-1], recipe)[0]
            weights = {}
        with Watch(self.model) as watch:
            try:
                self.step(x, y, **weights)
                self.gradients.append(self.model.optimizer.gradients)
            except Exception as error:  # whatever the user's loss and labels do: that is a finding
                self.error = error
        return watch

    def step(self, x: Any, y: np.ndarray, **weights: Any) -> None:
        """One training step."""
        try:
            self.model.train_on_batch(x, y, **weights)
        except Exception:  # a `train_step` that takes x and y alone, which `fit` gives it where there are no weights
            self.model.fit(x, y, batch_size=len(y), shuffle=False, verbose=0, **weights)

    def magnify(self) -> None:
        """Let two patterns through: a ramp, whose slope falls when it is enlarged, and a step, whose height does not.

        A contrast changes both alike, so that their quotient is the enlargement alone.
        """
        alone = isinstance(self.x, np.ndarray) and self.x.ndim == 4 and np.isfinite(self.x).all()
        if not alone or self.error or (self.recipe and (self.recipe.mixup or self.recipe.cutmix)):
            return
        place = np.linspace(0, 1, self.x.shape[2])
        slopes = self.compare(place, _slopes)
        heights = self.compare(0.7 + 0.2 * (place > 0.5), _heights)  # where no contrast clips, normalised or not
        if slopes is not None and heights is not None:
            found = heights / slopes
            self.magnification = found[np.isfinite(found) & (found > 0)]

    def compare(self, columns: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        """What `measure` finds of images with such columns, in training over prediction, in several draws; or None."""
        low, high = self.x.min(), self.x.max()
        images = np.broadcast_to((low + (high - low) * columns)[None, None, :, None], self.x.shape).astype(self.x.dtype)
        watches = []
        steps: list[Callable[[np.ndarray], Any]] = [self.predict, *[self.learn] * DRAWS]
        for step in steps:
            with contextlib.suppress(Seen), Watch(self.model, glance=True) as watch:
                step(images)
            watches.append(watch)
        seen = [watch.image for watch in watches if watch.image is not None and watch.image.ndim == 4]
        if len(seen) < len(watches):
            return None
        predicting, *learning = (measure(image.mean(axis=-1)) for image in seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([found / predicting for found in learning])


@contextlib.contextmanager
def taking(x: Any) -> Iterator[None]:
    """Say in a ValueError that the model does not take x, if it does not: each layer has a word of its own for that."""
    try:
        yield
    except Exception as error:
        shapes = ", ".join(f"{array.shape} {array.dtype}" for array in keras.tree.flatten(x))
        reason = textwrap.shorten(str(error), 200)
        raise ValueError(f"the model does not take the data, a batch of {shapes}: {reason}") from error


def _numbers(y: np.ndarray) -> np.ndarray:
    return y.reshape(-1) if y.size == len(y) else y.argmax(-1)


def _slopes(images: np.ndarray) -> np.ndarray:
    """(B,): the median slope of each grey image where it has one, if it has it nearly everywhere."""
    down, right = images[:, 1:, :-1] - images[:, :-1, :-1], images[:, :-1, 1:] - images[:, :-1, :-1]
    steepness = np.hypot(down, right).reshape(len(images), -1)
    values = images[:, :-1, :-1].reshape(len(images), -1)
    flat = steepness < 1e-3 * steepness.max()
    found = np.ma.median(np.ma.masked_array(steepness, flat), axis=1).filled(np.nan)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    clipped = flat & ((values == low) | (values == high))  # or filled
    return _usual(found, np.abs(steepness - found[:, None]) < 0.25 * found[:, None], ~clipped)


def _heights(images: np.ndarray) -> np.ndarray:
    """(B,): how far the bright part of each grey image lies above the dark one, if it has these two."""
    values = images.reshape(len(images), -1)
    low, high = np.quantile(values, (0.25, 0.75), axis=1, keepdims=True)
    away = np.minimum(np.abs(values - low), np.abs(values - high))
    return _usual((high - low)[:, 0], away <= 0.1 * (high - low), np.ones_like(away, bool))


def _usual(found: np.ndarray, fits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """`found`, and NaN for images of which less than half is as expected: erased, posterised, mixed with others."""
    share = (fits & among).sum(axis=1) / np.maximum(among.sum(axis=1), 1)
    return np.where((share >= 0.5) & (fits.mean(axis=1) >= 0.2), found, np.nan)
