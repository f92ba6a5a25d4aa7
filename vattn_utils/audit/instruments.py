"""Instruments of `audit`: look into any Keras model while it computes, and leave it as it was.

Nothing is judged here. Values are read in eager mode; on a backend that traces its training step (JAX), what cannot be
read is None.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers inside `model`, itself included, at any depth, each once."""
    # Public `layers` ends at the first layer that is not itself a model.
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables that `layer` made itself, without those of the layers inside it."""
    inner = {id(v) for part in layer._flatten_layers(include_self=False, recursive=False) for v in part.variables}
    return [v for v in layer.variables if id(v) not in inner]


def is_weighted(layer: keras.layers.Layer) -> bool:
    """Whether `layer` has weights of its own that it multiplies with: a statistic is a vector that is not trained."""
    return any(is_float(v) and (v.trainable or len(v.shape) > 1) for v in own_variables(layer))


def drop_rate(layer: keras.layers.Layer) -> float:
    """The rate of a dropout layer of any kind (also stochastic depth); 0 for every other layer."""
    rate = getattr(layer, "rate", 0)
    return rate if isinstance(rate, (int, float)) and 0 < rate < 1 and not layer.trainable_variables else 0


def is_float(array: Any) -> bool:
    """Whether a tensor, array or variable holds floating-point numbers, of any precision."""
    return "float" in keras.backend.standardize_dtype(array.dtype)


def read(tensor: Any) -> Any:
    """`tensor` as NumPy, or None where there is nothing to read: symbolic, or traced."""
    try:
        return np.array(ops.convert_to_numpy(tensor))
    except Exception:  # each backend has an exception of its own for a value that is not there yet
        return None


class Seen(BaseException):
    """Ends a step as soon as `Watch.image` is there; no error, so that nobody takes it for one."""


class Watch:
    """While the context lasts, note what goes in and out of every layer inside `model`.

    Args:
        model: a built model.
        disturb: a layer whose first output gets noise added, so that one sees who depends on it.
        keep: whether what goes into each layer is kept as it is.
        glance: whether `Seen` is raised at the first layer with weights.

    Attributes:
        calls: how often each layer was called, by id.
        parents: the layers that called it, by id.
        image: what the first layer with weights looks at: the last `(B, H, W, C)` before it, else its own input.
        first: the path of that layer.
        dropped: for each dropout layer that was called, by id, whether its output differed from its input.
        width: length of the last axis of each layer's first input, by id.
        second: each layer's input when it was called for the second time, by id.
        arguments: of each layer's first call, by id, positional and named, if they are kept.
        behind: the ids of the layers that were called behind the first layer with weights.
    """

    def __init__(
        self,
        model: keras.Model,
        disturb: keras.layers.Layer | None = None,
        keep: bool = False,
        glance: bool = False,
    ):
        self.layers, self.disturb, self.keep, self.glance = layers_of(model), disturb, keep, glance
        self.weighted = {id(layer) for layer in self.layers if is_weighted(layer)}
        self.calls: Counter[int] = Counter()
        self.parents: dict[int, dict] = defaultdict(dict)
        self.image: np.ndarray | None = None
        self.first: str | None = None
        self.dropped: dict[int, bool] = {}
        self.width: dict[int, int] = {}
        self.second: dict[int, np.ndarray | None] = {}
        self.arguments: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.behind: set[int] = set()
        self._stack: list[keras.layers.Layer | None] = [None]

    def __enter__(self) -> "Watch":
        self._undo = contextlib.ExitStack()
        for layer in self.layers:
            # Past Keras' own __setattr__, which would track the function's owner.
            own = vars(layer)
            if kept := own.get("call"):
                self._undo.callback(own.update, call=kept)
            else:
                self._undo.callback(own.pop, "call")
            own["call"] = self._watched(layer, layer.call)
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def _watched(self, layer: keras.layers.Layer, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, np.ndarray) or ops.is_tensor(x)]
            given = tensors[0] if tensors else None
            if self.first is not None:
                self.behind.add(id(layer))
            if self.keep:
                self.arguments.setdefault(id(layer), (args, kwargs))
            self._before(layer, given)
            self._stack.append(layer)
            try:
                output = call(*args, **kwargs)
            finally:
                self._stack.pop()
            return self._after(layer, given, output)

        return watched

    def _before(self, layer: keras.layers.Layer, given: Any) -> None:
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
                if self.glance:
                    raise Seen

    def _after(self, layer: keras.layers.Layer, given: Any, output: Any) -> Any:
        if self.first is None and ops.is_tensor(output):
            self._look(output)
        if drop_rate(layer) and given is not None:
            before, after = read(given), read(keras.tree.flatten(output)[0])
            if before is not None and after is not None:
                self.dropped[id(layer)] = self.dropped.get(id(layer), False) or not np.array_equal(before, after, True)
        if layer is self.disturb and self.calls[id(layer)] == 1:
            return keras.tree.map_structure(_disturbed, output)
        return output

    def _look(self, tensor: Any) -> None:
        if len(tensor.shape) == 4:
            self.image = read(tensor)


def _disturbed(x: Any) -> Any:
    if not (ops.is_tensor(x) and is_float(x)):
        return x
    return x + ops.cast(np.random.default_rng(0).normal(size=x.shape), x.dtype)


class GradientReader(keras.optimizers.SGD):
    """In the place of a model's optimizer: keeps the gradients of a step, and changes no weight.

    gradients: for each variable, by id, its gradient as NumPy; None where the loss does not depend on it. Where the
        optimizer scales the loss, so that float16 does not lose small gradients, they are scaled too.
    """

    gradients: dict[int, np.ndarray | None] | None = None

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        # JAX hands the gradients over alone, in the order the optimizer was built with.
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        self.gradients = {
            id(v): None if g is None else read(g) for g, v in zip(list(grads), list(variables), strict=True)
        }
        return self.iterations


@contextlib.contextmanager
def untouched(model: keras.Model) -> Iterator[None]:
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
