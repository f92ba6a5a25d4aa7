"""What `audit` was handed over, and what it measures of it: one training step and one prediction of the same images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from vattn_utils import training
from vattn_utils.audit.instruments import GradientReader, Watch, read

DRAWS = 4  # of the augmentation, to tell its mean effect on sizes from chance


@dataclasses.dataclass
class Case:
    """What was handed over, and what `measure` adds: one training step and one prediction of the same images.

    learning, predicting: a `Watch` of each. outputs: of the prediction, `(B, classes)`.
    moved: the ids of the variables that the step changed.
    gradients: those of two steps, each by variable id; in the second what was all zeros is not.
    error: what the training step raised, if it did.
    magnification: of each image in training over that in prediction, draw after draw of the augmentation, or None.
    """

    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray
    recipe: training.Recipe | None
    test: Any
    validation_data: Any
    callbacks: list[keras.callbacks.Callback]
    schedule: Callable[[int], Any] | None
    epochs: int | None
    steps: int
    optimizer: Any = None
    error: Exception | None = None
    gradients: list[dict[int, np.ndarray | None]] = dataclasses.field(default_factory=list)
    magnification: np.ndarray | None = None
    learning: Watch = dataclasses.field(init=False)
    predicting: Watch = dataclasses.field(init=False)
    outputs: np.ndarray = dataclasses.field(init=False)
    moved: set[int] = dataclasses.field(init=False)

    def measure(self) -> None:
        """Run the step and the prediction, each under a `Watch`; the weights are as before afterwards."""
        model = self.model
        vars(model)["optimizer"] = GradientReader(0.0)
        model.run_eagerly = True
        model.train_function = model.predict_function = None
        before = {id(v): read(v) for v in model.variables}
        self.predicting, self.outputs = self.predict(self.x)
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
        self.learn(self.x[::-1], self.y[::-1])
        for variable in model.variables:
            variable.assign(before[id(variable)])

    def predict(self, x: np.ndarray) -> tuple[Watch, np.ndarray]:
        """The `Watch` of a prediction of images x, and its outputs."""
        with Watch(self.model) as watch:
            outputs = self.model.predict_on_batch(x)
        return watch, np.asarray(keras.tree.flatten(outputs)[0])

    def learn(self, x: np.ndarray, y: np.ndarray | None = None) -> Watch:
        """The `Watch` of a training step on images x, augmented by the recipe; its gradients are kept."""
        y = self.y if y is None else y
        if self.recipe:
            recipe = dataclasses.replace(self.recipe, batch_size=len(x))
            x, y = training.Batches(x, _numbers(y), self.outputs.shape[-1], recipe)[0]
        with Watch(self.model) as watch:
            try:
                self.model.train_on_batch(x, y)
                self.gradients.append(self.model.optimizer.gradients)
            except Exception as error:  # whatever the user's loss and labels do: that is a finding
                self.error = error
        return watch

    @property
    def targets(self) -> np.ndarray:
        """What the loss is given for the images x: the labels, or by a recipe rows of them."""
        return np.eye(self.outputs.shape[-1], dtype="float32")[_numbers(self.y)] if self.recipe else self.y

    def magnify(self) -> None:
        """Let two patterns through: a ramp, whose slope falls when it is enlarged, and a step, whose height does not.

        A contrast changes both alike, so that their quotient is the enlargement alone.
        """
        if self.x.ndim != 4 or self.error or (self.recipe and (self.recipe.mixup or self.recipe.cutmix)):
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
        watches = [self.predict(images)[0], *(self.learn(images) for _ in range(DRAWS))]
        del self.gradients[-DRAWS:]
        seen = [watch.image for watch in watches if watch.image is not None and watch.image.ndim == 4]
        if len(seen) < len(watches):
            return None
        predicting, *learning = (measure(image.mean(axis=-1)) for image in seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([found / predicting for found in learning])


def _numbers(y):
    return y.reshape(-1) if y.size == len(y) else y.argmax(-1)


def _slopes(images):
    """(B,): the median slope of each grey image where it has one."""
    down, right = images[:, 1:, :-1] - images[:, :-1, :-1], images[:, :-1, 1:] - images[:, :-1, :-1]
    steepness = np.hypot(down, right).reshape(len(images), -1)
    steepness[steepness < 1e-3 * steepness.max()] = np.nan  # where it was clipped or filled
    return np.nanmedian(steepness, axis=1)


def _heights(images):
    """(B,): how far the bright part of each grey image lies above the dark one."""
    low, high = np.quantile(images.reshape(len(images), -1), (0.1, 0.9), axis=1)
    return high - low
