"""What `benchmarks/faithfulness.py` measured and ships: all methods by all measures, and some of it derived again."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vattn_utils import data
from vattn_utils.maps.comparison import Comparison, judge, subject
from vattn_utils.training import records

NOISE = 2e-3  # what rounding may change in an image's number, which is kept with four decimals


def cells(record: str) -> dict[str, Mapping[str, Any]]:
    """The measured lines of a record, by method, in the order of measurement; none if nobody measured it."""
    try:
        lines = records.measured("faithfulness")
    except records.RecordError:
        return {}
    return {line["method"]: line for line in lines if line["record"] == record}


def recorded(record: str, smoothed: bool = False) -> Comparison:
    """The measured table of a record, as `comparison.compare` gives it.

    Args:
        record: its name, such as "vit-cifar100-book".
        smoothed: whether the maps are those blurred by one patch.

    Raises ValueError for a record that nobody measured.
    """
    found = cells(record)
    if not found:
        raise ValueError(f"nobody measured {record}; run benchmarks/faithfulness.py")
    form = "smoothed" if smoothed else "values"
    return Comparison(
        {method: {name: np.array(of) for name, of in line[form].items()} for method, line in found.items()},
        {method: dict(line["chance"]) for method, line in found.items()},
    )


def derived_again(record: str, methods: Iterable[str], images: int = 64) -> dict[str, tuple[int, int]]:
    """Measure the first images of a record again, and compare them image by image with what was recorded.

    Args:
        record: its name.
        methods: which of those measured.
        images: how many of the first test images.

    Returns for each method how many numbers were compared, and how many differ by more than `NOISE`: where two patches
    are nearly equal, another processor may rank them the other way. Mosaics are left out. Raises ValueError for a
    record or a method that nobody measured.
    """
    found, loaded = cells(record), records.load(record)
    for method in methods:
        if method not in found:
            raise ValueError(f"nobody measured {method} of {record}; there are: {', '.join(found) or 'none'}")
    model, dataset = loaded.model(), data.load(loaded.dataset)
    masks = None if dataset.masks_test is None else dataset.masks_test[:images]
    seed = next(iter(found.values()))["seed"]
    of = subject(model, dataset.x_test[:images], dataset.y_test[:images], masks, seed=seed)
    agreement = {}
    for method in methods:
        known = found[method]["values"]
        live, _ = judge(replace(of, few=min(images, len(known["new weights"]))), method)
        apart = [np.abs(live[name] - np.array(known[name])[: len(live[name])]) > NOISE for name in live]
        agreement[method] = (sum(map(len, apart)), int(sum(map(np.sum, apart))))
    return agreement
