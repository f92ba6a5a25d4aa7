"""What the arguments of models and layers may be, by name: looked at where each constructor remembers them.

The limits are those of what one machine builds in minutes; the published models keep far below them. Words ("patch",
"class") are checked by who knows them.
"""

from typing import Any

import numpy as np

from vattn_utils.data.checks import check_number, check_whole

WIDTH, PIXELS = (1, 8192), (1, 4096)
SHARE = dict(least=0.0, below=1.0)

WHOLE = {  # from, to
    "num_classes": (1, 100_000),
    "image_size": PIXELS, "patch_size": PIXELS, "resize_to": PIXELS, "grid": PIXELS,
    "depth": (1, 128),
    "dim": WIDTH, "heads": WIDTH, "head_dim": WIDTH, "mlp_dim": WIDTH, "hidden_dim": WIDTH, "head_units": WIDTH,
    "memory_slots": WIDTH, "coefficient": (1, 64),
    "convolutions": (1, 64), "stages": (1, 8), "pool_size": (1, 64), "strides": (1, 8),
    "squeeze_ratio": (1, 1024), "ratio": (1, 1024),
    "registers": (0, 1024), "count": (0, 1024), "behind": (0, 1024), "prefix_tokens": (0, 1024),
}  # fmt: skip
NUMBERS: dict[str, dict[str, float]] = {
    "dropout": SHARE, "attention_dropout": SHARE, "head_dropout": SHARE, "drop_path": SHARE, "rate": SHARE,
    "epsilon": dict(least=1e-12, most=1.0),
    "layer_scale": {}, "initial": {},
    "mean": {}, "std": dict(least=1e-3),
}  # fmt: skip
SEQUENCES = {"grid": 2, "mean": 3, "std": 3, "strides": None, "head_units": None}  # how many, None for any number
OPTIONAL = {"resize_to", "head_dim", "layer_scale"}  # None is admitted
SWITCHES = {"mixing", "share_trunk", "use_bias"}


def checked(arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` by name, as they are remembered: sequences as tuples.

    Raises TypeError or ValueError, with the limit, for what no constructor takes.
    """
    return {name: _checked(name, value) for name, value in arguments.items()}


def _checked(name: str, value: Any) -> Any:
    if name not in SEQUENCES:
        return _one(name, value, name)
    if not isinstance(value, list | tuple | np.ndarray):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; use a tuple of numbers")
    if SEQUENCES[name] not in (None, len(value)):
        raise ValueError(f"{name}={value} has {len(value)} numbers; use {SEQUENCES[name]}")
    return tuple(_one(f"{name}[{index}]", item, name) for index, item in enumerate(value))


def _one(label: str, value: Any, name: str) -> Any:
    """One value of the argument `name`, which a sentence calls `label`."""
    if value is None and name in OPTIONAL:
        return None
    if name in SWITCHES and not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; use True or False")
    if name in WHOLE:
        return check_whole(label, value, *WHOLE[name])
    return check_number(label, value, **NUMBERS[name]) if name in NUMBERS else value
