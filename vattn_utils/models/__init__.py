"""The book's three models, by name: `MODELS` and `build`. Each has a module that reads as its paper."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

from vattn_utils.data.checks import check_choice, nearest_hint
from vattn_utils.models import keras_io
from vattn_utils.models.classifier import Classifier
from vattn_utils.models.eanet import EANet
from vattn_utils.models.patch_convnet import PatchConvNet
from vattn_utils.models.vit import ViT

# {model: {variant: (its class, its arguments)}}
_CLASSES: dict[str, type[Classifier]] = {"vit": ViT, "eanet": EANet, "patch_convnet": PatchConvNet}
MODELS: dict[str, dict[str, tuple[type[Classifier], dict[str, Any]]]] = {
    name: {variant: (model_class, arguments) for variant, arguments in model_class.VARIANTS.items()}
    for name, model_class in _CLASSES.items()
}
MODELS["vit"]["keras-io"] = keras_io.KerasIOViT, keras_io.VARIANTS["vit"]
MODELS["eanet"]["keras-io"] = keras_io.KerasIOEANet, keras_io.VARIANTS["eanet"]


def constructor(name: str, variant: str = "book") -> tuple[type[Classifier], dict[str, Any]]:
    """The class of the model `name` in `variant`, and the arguments that make it one. Raises ValueError."""
    check_choice("model", name, tuple(MODELS))
    check_choice("variant", variant, tuple(MODELS[name]))
    return MODELS[name][variant]


def build(name: str, variant: str = "book", **overrides: Any) -> Classifier:
    """A built model; see `unbuilt` for what is given, and raised."""
    model = unbuilt(name, variant, **overrides)
    model.build()
    return model


def unbuilt(name: str, variant: str = "book", **overrides: Any) -> Classifier:
    """A model that has no weights yet: made in no time, but most of what does not fit is found already.

    Args:
        name: "vit", "eanet" or "patch_convnet".
        variant: "book", "keras-io" or "paper"; what each of them is, stands in the model's module.
        overrides: arguments of the model that replace the variant's, among them `num_classes`.

    Raises:
        ValueError: the model, the variant or an argument is unknown (with the nearest one that exists), or the
            arguments do not fit together.
    """
    model_class, arguments = constructor(name, variant)
    signatures = [inspect.signature(c.__init__) for c in model_class.__mro__ if issubclass(c, Classifier)]
    allowed = {name for signature in signatures for name in signature.parameters} - {"self", "args", "kwargs"}
    for unknown in set(overrides) - allowed:
        hint = nearest_hint(unknown, sorted(allowed))
        raise ValueError(f"unknown argument {unknown!r} for {model_class.__name__}; {hint}")
    return model_class(**{**arguments, **overrides})


@contextlib.contextmanager
def under_policy(policy: str) -> Iterator[None]:
    """Models that are built within compute in `policy`, a dtype policy of Keras; then the one before holds again."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def name_of(model: Classifier) -> str:
    """The name in `MODELS` of a model of the book."""
    return next(name for name, variants in MODELS.items() if type(model) in [c for c, _ in variants.values()])
