"""Old records read by new code: what a record's `config` and `recipe` were called before, as pure functions.

The files stay as they were written; only what is read from them is translated.
"""

from typing import Any

RECIPE = {"floor": "min_lr_ratio"}
AUGMENTATIONS = {"trivial": "trivial_augment"}
# Arguments that every token model once had and that only keras.io's still differ in: {variant: {model: what it was}}.
_DROPPED: dict[str, Any] = {"final_norm": True, "epsilon": 1e-6, "head_units": (), "head_dropout": 0.0}
_OF_KERAS_IO: dict[str, dict[str, Any]] = {
    "vit": {"final_norm": True, "epsilon": 1e-6},
    "eanet": {**_DROPPED, "final_norm": False, "epsilon": 1e-5},
}


def config(name: str, variant: str, values: dict[str, Any]) -> dict[str, Any]:
    """A model's constructor arguments as today's class of `name` and `variant` takes them.

    Raises ValueError for an argument that is gone and was not what the class now always has.
    """
    if name not in _OF_KERAS_IO:
        return dict(values)
    gone = _OF_KERAS_IO[name] if variant == "keras-io" else _DROPPED
    for argument, value in gone.items():
        found = values.get(argument, value)
        if (tuple(found) if isinstance(found, list) else found) != value:
            raise ValueError(f"{argument}={found!r} of a {variant} {name} is no longer built; it is always {value!r}")
    return {argument: value for argument, value in values.items() if argument not in gone}


def recipe(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's fields by today's names, its augmentations too."""
    values = {RECIPE.get(name, name): value for name, value in values.items()}
    return {**values, "augmentation": [AUGMENTATIONS.get(name, name) for name in values.get("augmentation", ())]}


def record(values: dict[str, Any]) -> dict[str, Any]:
    """The content of a `record.json` with the `config` and the `recipe` of today."""
    translated = config(values["model"], values["variant"], values["config"])
    return {**values, "config": translated, "recipe": recipe(values["recipe"])}
