"""Images that are held out, where training can see them: among its own, as validation data, or in a callback."""

import functools
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding
from vattn_utils.audit.given import READ, images, readable_once
from vattn_utils.audit.instruments import read

SIDE = 32  # pixels along a side that are compared; of larger images every second, third, ...
LEVELS = 16  # of brightness, from the darkest to the brightest of an image's channel
GOLDEN = 0.6180339887  # farthest from all ratios of whole numbers: no level turns on rounding
VALUES = 48  # two rows of fewer may be equal by chance
TWINS = 0.005  # the share of images that public data sets hold twice without anybody's fault


def test_images(case: Case) -> Finding:
    """Test images among those to train or validate on, or in what a callback holds or refers to; and validation
    images among those to train on. An image is the same on any scale."""
    once = [name for name in ("dataset", "validation_data", "test") if readable_once(getattr(case, name))]
    trained = _digests([case.sample.x] if "dataset" in once else images(case.dataset))
    validated, held = _digests(images(case.validation_data)), _digests(images(case.test))
    places = {"the training set": trained, "validation_data": validated}
    for callback in case.callbacks:
        name = type(callback).__name__
        places[name] = places.get(name, set()) | _digests(_arrays(_referred(callback)))
    pairs = [(place, found, "test", held) for place, found in places.items()]
    pairs.append(("the training set", trained, "validation", validated))
    counts: dict[str, int] = {}
    leaks: list[str] = []
    twins: list[str] = []
    for place, among, name, out in pairs:
        if not (count := len(among & out)):
            continue
        counts[place if name == "test" else f"{place}, {name}"] = count
        text = f"{place} holds {count} of {len(out)} {name} images"
        (leaks if count > TWINS * min(len(among), len(out)) else twins).append(text)
    looked = [f"{len(among):,} images of {name}" for name, among in (*places.items(), ("test", held)) if among]
    left = f"altered images, more than {READ:,} of what yields batches, rows of fewer than {VALUES} values"
    left += "".join(f", {name}, which can be read only once" for name in once)
    made = functools.partial(
        Finding, "test images", numbers=counts, looked_at=", ".join(looked) or "nothing", not_looked_at=left
    )
    if leaks:
        return made(DEFECT, ", ".join(leaks), "hold training images out for that")
    if not (held or validated):
        found = "no test or validation images were given" if case.test is None else "no test images could be compared"
        return made(UNKNOWN, found, "give test=")
    name = "test" if held else "validation"
    searched = [place for place, among in places.items() if among and (held or among is trained)]
    found = f"none of {len(held or validated)} {name} images in {', '.join(searched)}"
    found = f"{', '.join(twins)}: no more than public data sets hold twice" if twins else found
    return made(OK, found)


def _digests(arrays: Iterable[np.ndarray]) -> set[bytes]:
    """One digest an image that is not flat, the same for it on any scale, of each channel too."""
    found: set[bytes] = set()
    for array in arrays:
        if array.ndim < 2 or not array.size or array.dtype.kind not in "uifb":
            continue
        step = max(1, array.shape[1] // SIDE) if array.ndim > 2 else 1
        array = array[:, ::step, ::step] if array.ndim > 2 else array
        if array[0].size < VALUES:
            continue
        axes = (1, 2) if array.ndim == 4 else tuple(range(1, array.ndim))
        for start in range(0, len(array), 1024):
            part = array[start : start + 1024].astype("float32")
            low, high = part.min(axes, keepdims=True), part.max(axes, keepdims=True)
            levels = (part - low) * (LEVELS / np.where(high > low, high - low, 1)) + GOLDEN
            flat = (high <= low).reshape(len(part), -1).all(axis=1)
            rows = np.nan_to_num(levels).astype("uint8").reshape(len(part), -1)
            found |= {blake2b(row.tobytes(), digest_size=16).digest() for row in rows[~flat]}
    return found


def _referred(callback: Any) -> list[Any]:
    """What a callback holds, and what its methods refer to: closures and globals of the script."""
    found = list(vars(callback).values())
    for owner in type(callback).__mro__:
        for method in vars(owner).values() if not owner.__module__.startswith("keras.") else ():
            if hasattr(method, "__code__"):
                found += [method.__globals__.get(name) for name in method.__code__.co_names]
                found += [cell.cell_contents for cell in method.__closure__ or () if cell != type(cell)()]
    return found


def _arrays(value: Any, depth: int = 3) -> list[np.ndarray]:
    """The arrays in nested tuples, lists and dicts, those with several rows."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in _arrays(item, depth - 1)] if depth else []
    if isinstance(value, np.ndarray) or ops.is_tensor(value):
        array = read(value)
        return [array] if array is not None and array.ndim > 1 else []
    return []
