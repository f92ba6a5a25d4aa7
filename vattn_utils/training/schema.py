"""What a `record.json` holds, field by field: nothing in it is believed that can be checked without its model."""

import datetime
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from vattn_utils import models
from vattn_utils.data.checks import check_choice, check_class_names, check_number, check_whole
from vattn_utils.training.recipes import PRECISIONS

WEIGHTS, ATTENTION = "model.safetensors", "attention.npz"
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
PARAMETERS = 10**9  # no model of this package has more
AT_LEAST = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")  # of the history

Check = Callable[[str, Any], Any]
_share = partial(check_number, least=0, most=1)
_positive = partial(check_number, least=0)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise TypeError(f"{name} is {_short(value)}, and no text")


def _name(name: str, value: Any) -> None:
    _text(name, value)
    if not NAME.fullmatch(value):
        raise ValueError(f"{name}={value!r} is no name of a record")


def _digest(name: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{name} is {_short(value)}, and no SHA-256")


def _date(name: str, value: Any) -> None:
    _text(name, value)
    datetime.date.fromisoformat(value)


def _commit(name: str, value: Any) -> None:
    if value is not None:
        _text(name, value)


def _object(
    name: str, value: Any, known: dict[str, Check] | None = None, needed: tuple[str, ...] | None = None
) -> None:
    """A JSON object; of `known`, each looked at; with the `needed` ones, None for all that are known."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {_short(value)}, and no object")
    if known is None:
        return
    if odd := sorted(value.keys() - known.keys()):
        raise ValueError(f"{name} has {', '.join(odd)}, which this version does not know")
    if missing := [key for key in (known if needed is None else needed) if key not in value]:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    for key, check in known.items():
        if key in value:
            check(f"{name}: {key}", value[key])


def _names(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise TypeError(f"{name} is {_short(value)}, and no list")
    check_class_names(value, len(value))


def _versions(name: str, value: Any) -> None:
    _object(name, value)
    for library, version in value.items():
        _text(f"{name}: {library}", version)


def _history(name: str, value: Any) -> None:
    _object(name, value)
    if missing := [key for key in AT_LEAST if key not in value]:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    for quantity, values in value.items():
        if not isinstance(values, list):
            raise TypeError(f"{name}: {quantity} is {_short(values)}, and no list")
        check = _share if re.search("accuracy|top", quantity) else _positive
        for epoch, number in enumerate(values, 1):
            check(f"{name}: {quantity} of epoch {epoch}", number)


# What each field may be.
FIELDS: dict[str, Check] = {
    "name": _name,
    "model": partial(check_choice, choices=tuple(models.MODELS)),
    "variant": _text,
    "config": _object,
    "recipe": _object,
    "dataset": _text,
    "digest": _text,
    "epochs": check_whole,
    "selected_epoch": check_whole,
    "images_seen": check_whole,
    "images_per_second": _positive,
    "seconds": _positive,
    "parameters": partial(check_whole, most=PARAMETERS),
    "test": partial(_object, known={"loss": _positive, "top1": _share, "top5": _share}),
    "history": _history,
    "provenance": partial(
        _object,
        known={
            "date": _date,
            "device": _text,
            "backend": partial(check_choice, choices=("tensorflow", "jax", "torch")),
            "precision": partial(check_choice, choices=PRECISIONS),
            "versions": _versions,
            "commit": _commit,
        },
    ),
    "sha256": partial(_object, known={WEIGHTS: _digest, ATTENTION: _digest}, needed=(WEIGHTS,)),
    "class_names": _names,
    "rounding": partial(check_number, least=-1, most=1),
    "base": partial(
        _object, known={"name": _name, "sha256": _digest, "epochs": check_whole, "images_seen": check_whole}
    ),
}
OPTIONAL = ("class_names", "rounding", "base")  # of own pictures only; older records were not asked; most have no base


def check(values: Any, folder: str) -> None:
    """Look at everything that the `record.json` in the folder of that name says, and at whether it fits together.

    Raises TypeError or ValueError, which names the field, what it is and what it may be.
    """
    _object("record.json", values, FIELDS, tuple(name for name in FIELDS if name not in OPTIONAL))
    if values["name"] != folder:
        raise ValueError(f"it is the record {values['name']}, in the folder {folder}; give the folder its name back")
    epochs, history = values["epochs"], values["history"]
    for quantity, numbers in history.items():
        if len(numbers) != epochs:
            raise ValueError(f"history: {quantity} has {len(numbers)} values for {epochs} epochs")
    if values["selected_epoch"] > epochs:
        raise ValueError(f"selected_epoch={values['selected_epoch']} is none of {epochs} epochs")
    if "class_names" in values and len(values["class_names"]) != values["config"].get("num_classes"):
        raise ValueError(f"class_names has {len(values['class_names'])} names, which is not the model's num_classes")
    if values["images_seen"] % epochs:
        raise ValueError(f"images_seen={values['images_seen']} is no multiple of {epochs} epochs")
    if values["test"]["top1"] > values["test"]["top5"]:
        raise ValueError(f"test: top1={values['test']['top1']} is more than top5={values['test']['top5']}")
    median = float(np.median(history["seconds"]))
    derived = {"seconds": sum(history["seconds"]), "images_per_second": values["images_seen"] / epochs / median}
    for name, expected in derived.items():
        if not math.isclose(values[name], expected, rel_tol=1e-6):
            raise ValueError(f"{name}={values[name]} is not what follows from its history, {expected}")
    if "base" in values and values["base"]["name"] == values["name"]:
        raise ValueError(f"it is its own base, {values['name']}")


def check_sizes(config: dict[str, Any], held: int) -> None:
    """Raise ValueError if a model of `config` has more weights than `held`: seen before it is built.

    Every model has matrices of dim x dim, dim x mlp_dim and dim x num_classes, and a kernel a block.
    """
    sizes = {name: config.get(name, 1) for name in ("dim", "mlp_dim", "num_classes", "depth", "memory_slots")}
    for name, size in sizes.items():
        check_whole(f"config: {name}", size)
        wide = sizes["dim"] if name in ("dim", "mlp_dim", "num_classes") else 1
        if size * wide > held:
            raise ValueError(f"config: {name}={size} needs at least {size * wide:,} weights, its files hold {held:,}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:37]}..."
