"""Instruments of `audit`: look into any Keras model while it computes, and leave it as it was.

Nothing is judged here. Values are read in eager mode; on a backend that traces its training step (JAX), what cannot be
read is None.
"""

import contextlib
import dataclasses
from collections import Counter, defaultdict

import keras
import numpy as np
from keras import ops

from vattn_utils import training

DRAWS = 4  # of the augmentation, to tell its mean effect on sizes from chance


def layers_of(model):
    """All layers inside `model`, itself included, at any depth, each once."""
    # Public `layers` ends at the first layer that is not itself a model.
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def own_variables(layer):
    """The variables that `layer` made itself, without those of the layers inside it."""
    inner = {id(v) for part in layer._flatten_layers(include_self=False, recursive=False) for v in part.variables}
    return [v for v in layer.variables if id(v) not in inner]


def is_weighted(layer):
    """Whether `layer` has weights of its own that it multiplies with: a statistic is a vector that is not trained."""
    return any(is_float(v) and (v.trainable or len(v.shape) > 1) for v in own_variables(layer))


def drop_rate(layer):
    """The rate of a dropout layer of any kind (also stochastic depth); 0 for every other layer."""
    rate = getattr(layer, "rate", 0)
    return rate if isinstance(rate, (int, float)) and 0 < rate < 1 and not layer.trainable_variables else 0


def is_float(array):
    return "float" in keras.backend.standardize_dtype(array.dtype)


def read(tensor):
    """`tensor` as NumPy, or None where there is nothing to read: symbolic, or traced."""
    try:
        return np.array(ops.convert_to_numpy(tensor))
    except Exception:  # each backend has an exception of its own for a value that is not there yet
        return None


class Watch:
    """While the context lasts, note what goes in and out of every layer inside `model`.

    Args:
        model: a built model.
        disturb: a layer whose first output gets noise added, so that one sees who depends on it.

    Attributes:
        calls: how often each layer was called, by id.
        parents: the layers that called it, by id.
        image: what the first layer with weights looks at: the last `(B, H, W, C)` before it, else its own input.
        first: the path of that layer.
        dropped: for each dropout layer that was called, by id, whether its output differed from its input.
        width: length of the last axis of each layer's first input, by id.
        second: each layer's input when it was called for the second time, by id.
    """

    def __init__(self, model, disturb=None):
        self.layers, self.disturb = layers_of(model), disturb
        self.weighted = {id(layer) for layer in self.layers if is_weighted(layer)}
        self.calls, self.parents = Counter(), defaultdict(dict)
        self.image, self.first, self.dropped, self.width, self.second = None, None, {}, {}, {}
        self._stack = [None]

    def __enter__(self):
        self._undo = contextlib.ExitStack()
        for layer in self.layers:
            # Past Keras' own __setattr__, which would track the function's owner.
            kept = vars(layer).get("call")
            vars(layer)["call"] = self._watched(layer, layer.call)
            self._undo.callback(lambda l=layer, k=kept: vars(l).update(call=k) if k else vars(l).pop("call"))
        return self

    def __exit__(self, *error):
        self._undo.close()

    def _watched(self, layer, call):
        def watched(*args, **kwargs):
            tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, np.ndarray) or ops.is_tensor(x)]
            given = tensors[0] if tensors else None
            self._before(layer, given)
            self._stack.append(layer)
            try:
                output = call(*args, **kwargs)
            finally:
                self._stack.pop()
            return self._after(layer, given, output)

        return watched

    def _before(self, layer, given):
        self.calls[id(layer)] += 1
        parent = self._stack[-1]
        self.parents[id(layer)][id(parent)] = parent
        if given is None:
            return
        if len(given.shape):
            self.width.setdefault(id(layer), given.shape[-1])
        if self.calls[id(layer)] == 2:
            self.second[id(layer)] = read(given)
        if self.first is None:
            self._look(given)
            # Of positions, an embedding is asked by number: that is not the image.
            if id(layer) in self.weighted and is_float(given):
                self.first = layer.path
                self.image = read(given) if self.image is None else self.image

    def _after(self, layer, given, output):
        if self.first is None and ops.is_tensor(output):
            self._look(output)
        if drop_rate(layer) and given is not None:
            before, after = read(given), read(keras.tree.flatten(output)[0])
            if before is not None and after is not None:
                self.dropped[id(layer)] = self.dropped.get(id(layer), False) or not np.array_equal(before, after)
        if layer is self.disturb and self.calls[id(layer)] == 1:
            return keras.tree.map_structure(_disturbed, output)
        return output

    def _look(self, tensor):
        if len(tensor.shape) == 4:
            self.image = read(tensor)


def _disturbed(x):
    if not (ops.is_tensor(x) and is_float(x)):
        return x
    return x + ops.cast(np.random.default_rng(0).normal(size=x.shape), x.dtype)


class GradientReader(keras.optimizers.SGD):
    """In the place of a model's optimizer: keeps the gradients of a step, and changes no weight.

    gradients: for each variable, by id, its gradient as NumPy; None where the loss does not depend on it.
    """

    gradients = None

    def apply(self, grads, trainable_variables=None):
        # JAX hands the gradients over alone, in the order the optimizer was built with.
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        self.gradients = {
            id(v): None if g is None else read(g) for g, v in zip(list(grads), list(variables), strict=True)
        }
        return self.iterations


@contextlib.contextmanager
def untouched(model):
    """Whatever happens in the context, afterwards `model` has its weights, seeds, optimizer and settings again."""
    attributes = dict(vars(model))
    values = [(v, read(v)) for v in [*model.variables, *model.metrics_variables]]
    try:
        yield
    finally:
        if model.compiled:
            model.reset_metrics()
        vars(model).clear()
        vars(model).update(attributes)
        for variable, value in values:
            variable.assign(value)


@dataclasses.dataclass
class Case:
    """What was handed over, and what `measure` adds: one training step and one prediction of the same images.

    learning, predicting: a `Watch` of each. outputs: of the prediction.
    gradients: those of two steps, each by variable id; in the second what was all zeros is not. error: what the
    training step raised, if it did. magnification: of each image in training over that in prediction, draw after draw
    of the augmentation, or None.
    """

    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray
    recipe: object
    test: object
    validation_data: object
    callbacks: list
    schedule: object
    epochs: int
    steps: int
    optimizer: object = None
    error: Exception = None
    gradients: list = dataclasses.field(default_factory=list)
    magnification: np.ndarray = None

    def measure(self):
        model = self.model
        vars(model)["optimizer"] = GradientReader(0.0)
        model.run_eagerly = True
        model.train_function = model.predict_function = None
        self.before = {id(v): read(v) for v in model.variables}
        self.predicting, self.outputs = self.predict(self.x)
        self.learning = self.learn(self.x)
        if self.learning.image is None and self.predicting.image is not None:  # JAX traces its training step
            with Watch(model) as self.learning:
                model(self.x, training=True)
        self.moved = {id(v) for v in model.variables if not np.array_equal(read(v), self.before[id(v)])}
        self.magnify()
        for variable in model.trainable_variables:  # opens gates that start at zero
            if not self.before[id(variable)].any():
                random = np.random.default_rng(len(variable.path))
                variable.assign(random.normal(0, 0.02, variable.shape).astype("float32"))
        self.learn(self.x[::-1], self.y[::-1])
        for variable in model.variables:
            variable.assign(self.before[id(variable)])

    def predict(self, x):
        with Watch(self.model) as watch:
            outputs = self.model.predict_on_batch(x)
        return watch, np.asarray(keras.tree.flatten(outputs)[0])

    def learn(self, x, y=None):
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
    def targets(self):
        """What the loss is given for the images x: the labels, or by a recipe rows of them."""
        return np.eye(self.outputs.shape[-1], dtype="float32")[_numbers(self.y)] if self.recipe else self.y

    def magnify(self):
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

    def compare(self, columns, measure):
        """What `measure` finds of images with such columns, in training over prediction, in several draws; or None."""
        low, high = self.x.min(), self.x.max()
        images = np.broadcast_to((low + (high - low) * columns)[None, None, :, None], self.x.shape).astype(self.x.dtype)
        watches = [self.predict(images)[0], *(self.learn(images) for _ in range(DRAWS))]
        del self.gradients[-DRAWS:]
        if any(watch.image is None or watch.image.ndim != 4 for watch in watches):
            return None
        predicting, *learning = (measure(watch.image.mean(axis=-1)) for watch in watches)
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
