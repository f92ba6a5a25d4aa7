"""What `benchmarks/faithfulness.py` measured and ships: all methods by all measures, and some of it derived again."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from vattn_utils import data
from vattn_utils.maps.attribution import IGNORANT, SLOW
from vattn_utils.maps.comparison import FILLS, Comparison, judge, subject
from vattn_utils.maps.passport import RIVALS, SMOOTH, Passport, all_recorded, beaten
from vattn_utils.statistics import bootstrap, not_zero
from vattn_utils.training import records

NOISE = 2e-3  # what rounding may change in an image's number, which is kept with four decimals
SEED = "-seed-"  # between the name of a record and the number of a further training of the same recipe
LEVELS = 4  # of heat in a cell


@cache  # the lines of all records are many megabytes
def _lines() -> list[dict[str, Any]]:
    try:
        return records.measured("faithfulness")
    except records.RecordError:
        return []


def cells(record: str) -> dict[str, Mapping[str, Any]]:
    """The measured lines of a record, by method, in the order of measurement; none if nobody measured it."""
    return {line["method"]: line for line in _lines() if line["record"] == record}


def recorded(record: str, smoothed: bool = False) -> Comparison:
    """The measured table of a record, as `comparison.compare` gives it.

    Args:
        record: its name, such as "vit-cifar100-book".
        smoothed: whether the maps are those blurred by one patch, but for those that are smooth by themselves
            (`passport.SMOOTH`), which stay as they are.

    Raises ValueError for a record that nobody measured.
    """
    found = _found(record)
    forms = {method: "smoothed" if smoothed and method not in SMOOTH else "values" for method in found}
    return Comparison(
        {method: {name: np.array(of) for name, of in line[forms[method]].items()} for method, line in found.items()},
        {method: dict(line["chance"]) for method, line in found.items()},
    )


def trainings(record: str) -> dict[str, Comparison]:
    """The tables of a record and of further trainings of its recipe with other seeds, by name: as many as there are."""
    further = {line["record"] for line in _lines() if line["record"].startswith(record + SEED)}
    return {name: recorded(name) for name in (record, *sorted(further))}


def passports(record: str) -> list[Passport]:
    """What each measured map of a record is worth, those in `IGNORANT` left out.

    Where nobody measured the whole table, those of `passport.all_recorded`: none for a record that has none.
    """
    found = cells(record)
    if not found:
        return [one for one in all_recorded() if one.record == record]
    run = records.load(record)
    return [
        Passport(
            record=record,
            dataset=line["dataset"],
            method=method,
            top1=run.metrics["top1"],
            fill="in the mean colour",
            steps=FILLS["mean"],
            differences=np.array(line["values"]["difference"]),
            rivals={name: np.array(found[name]["values"]["difference"])[: line["images"]] for name in RIVALS},
            new_weights=np.array(line["values"]["new weights"]),
            smoothed=np.array(line["smoothed"]["difference"]),
            localisation=np.array(line["values"]["rank accuracy"]) if "rank accuracy" in line["values"] else None,
        )
        for method, line in found.items()
        if method not in IGNORANT
    ]


class Choice(NamedTuple):
    """Which of a record's maps to use, by its gain in smooth form over a picture of the middle.

    best: the one with the highest mean gain.
    sure: whether that is above 0 by more than chance, corrected for all comparisons with rivals in the record's table.
    equal: the maps that cannot be told from it on the same images, corrected for their number.
    """

    best: Passport
    sure: bool
    equal: list[str]


def choice(record: str) -> Choice:
    """The map to use for a record, of those measured; methods in `SLOW`, which have fewer images, are left out."""
    there = passports(record)
    won = {one.method: of for one, of in zip(there, beaten(there), strict=True)}
    known = [one for one in there if one.method not in SLOW]
    best = max(known, key=lambda one: one.against("centre").mean())
    others = [one for one in known if one is not best]
    apart = not_zero([best.smoothed - one.smoothed for one in others])
    equal = [one.method for one, sure in zip(others, apart, strict=True) if not sure]
    return Choice(best, "centre" in won[best.method], equal)


def table(record: str) -> str:
    """The measured maps of a record as a Markdown table of six columns with heat, the best first.

    Its columns: the map; its gain, in smooth form, over a picture of the middle, bold where it is above 0 by more than
    chance (`passport.beaten`, for all of the table together); the difference of the removal curves; where it points,
    rank accuracy against masks or grid pointing; and its rank correlation with the map for another label, and with
    other weights. Rivals stand in italics among them; after ± half of the 95 % interval over the images. A cell is
    marked by a class of CSS, "heat-1" to "heat-4" from chance up to the column's highest, or "alarm-1" to "alarm-4"
    the nearer the correlation is to 1.
    """
    plain, smooth, there = recorded(record).values, recorded(record, smoothed=True), passports(record)
    won = {one.method for one, of in zip(there, beaten(there), strict=True) if "centre" in of}
    where, chance = ("rank accuracy", None) if there[0].localisation is not None else ("grid pointing", 0.25)
    gains = {name: smooth.gain(name, "centre", "difference") for name in plain}
    columns = {
        "above a blob by": (gains, 0.0),
        "difference": ({name: of["difference"] for name, of in plain.items()}, 0.0),
        where: (
            {name: of[where] for name, of in plain.items() if where in of},
            chance or recorded(record).chance["random"][where],
        ),
    }
    alarms = {name: {method: of[name] for method, of in plain.items()} for name in ("other label", "new weights")}
    lines = [f"| map | {' | '.join((*columns, *alarms))} |", "|---" + "|---:" * (len(columns) + len(alarms)) + "|"]
    for method in sorted(plain, key=lambda name: -gains[name].mean()):
        row = [f"*{method}*" if method in IGNORANT else method]
        for found, level in columns.values():
            if method not in found:
                row.append("")
                continue
            top = max(values.mean() for values in found.values())
            mean, low, high = bootstrap(found[method])
            text = f"{mean:.3f} ± {(high - low) / 2:.3f}"
            bold = found is gains and method in won
            row.append(_heated("heat", f"**{text}**" if bold else text, (mean - level) / max(top - level, 1e-9)))
        row += [_heated("alarm", f"{found[method].mean():.2f}", found[method].mean()) for found in alarms.values()]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _heated(name: str, text: str, share: float) -> str:
    level = int(np.clip(np.ceil(LEVELS * share - 0.5), 0, LEVELS))
    return f'<span class="{name}-{level}">{text}</span>' if level else text


def _found(record: str) -> dict[str, Mapping[str, Any]]:
    found = cells(record)
    if not found:
        raise ValueError(f"nobody measured {record}; run benchmarks/faithfulness.py")
    return found


def derived_again(record: str, methods: Iterable[str], images: int = 64) -> dict[str, tuple[int, int]]:
    """Measure the first images of a record again, and compare them image by image with what was recorded.

    Args:
        record: its name.
        methods: which of those measured.
        images: how many of the first test images.

    Returns for each method how many numbers were compared, and how many differ by more than `NOISE`: where two patches
    are nearly equal, another processor may rank them the other way. Mosaics are left out, and measures that were
    not kept. Raises ValueError for a record or a method that nobody measured.
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
        apart = [
            np.abs(live[name] - np.array(known[name])[: len(live[name])]) > NOISE for name in live if name in known
        ]
        agreement[method] = (sum(map(len, apart)), int(sum(map(np.sum, apart))))
    return agreement
