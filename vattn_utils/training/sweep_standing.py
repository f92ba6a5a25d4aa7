"""Where the runs of a sweep stand: what is done, what is left, and at what cost by the rates that were measured."""

import dataclasses
from pathlib import Path
from statistics import median
from typing import Any

from vattn_utils.training import records, sweep_run
from vattn_utils.training.provenance import provenance
from vattn_utils.training.run_folder import RunFolder, TrainingError
from vattn_utils.training.sweep_file import Sweep
from vattn_utils.training.sweep_run import Result
from vattn_utils.training.sweep_task import Task

TRIES = 2  # of a run, over all sweeps of its file
STATE = Path("_build/runs")


@dataclasses.dataclass
class Standing:
    """Where a run stands: its `result` if it is finished, else how many epochs are saved, and what a further one takes.

    hours: that it took, or that are left, by its own rate, that of the same model, or `roughly` by that of a similar
    one; None if nothing like it was measured. failed: why, if nobody tries again.
    """

    result: Result | None
    epochs: int
    hours: float | None
    roughly: bool = False
    failed: str = ""


def standings(sweep: Sweep, state: Path = STATE) -> dict[str, Standing]:
    """Where each run of `sweep` stands, by name.

    Raises SweepError if one is there that was made otherwise.
    """
    results = {task.name: sweep_run.result(task, sweep) for task in sweep.tasks}
    rates = _rates(sweep, results)
    found = {}
    for task in sweep.tasks:
        epochs = task.recipe.epochs
        if done := results[task.name]:
            found[task.name] = Standing(done, epochs, done.seconds / 3600)
            continue
        seconds = _saved(state / task.name).get("seconds", [])
        at = Standing(None, len(seconds), None)
        if seconds:
            at.hours = (epochs - at.epochs) * median(seconds) / 3600
        elif alike := next((key for key in _alike(task) if key in rates), None):
            at.hours = epochs * _images(task) * median(rates[alike]) / 3600
            at.roughly = alike != _alike(task)[0]
        tries = failures(state, task)
        at.failed = tries[-1] if len(tries) >= TRIES else ""
        found[task.name] = at
    return found


def _saved(folder: Path) -> dict[str, list[float]]:
    """The history of the run that is kept there: nothing if there is none, or none to be read."""
    try:
        return (RunFolder(folder).history() if (folder / "run.json").exists() else None) or {}
    except TrainingError:  # another process is just finishing it; if it is damaged, whoever goes on with it says so
        return {}


def _rates(sweep: Sweep, results: dict[str, Result | None]) -> dict[tuple, list[float]]:
    """Seconds an image, by what was trained: of all results and records that were made on such a device as this one."""
    here = kind(provenance()["device"])
    rates: dict[tuple, list[float]] = {}
    measured = [(_alike(task), found) for task in sweep.tasks if (found := results[task.name])]
    for record in records.load_all(sweep.records):
        keys = _keys(record.kind, record.variant, sweep_run.config_of(record), record.recipe.precision)
        measured.append((keys, sweep_run.of_record(record)))
    for keys, found in measured:
        if found.seconds and kind(found.device) == here:
            for key in keys:
                rates.setdefault(key, []).append(found.seconds / found.images)
    return rates


def listing(sweep: Sweep, state: Path = STATE) -> str:
    """What is done, what is left, and at what cost, a line a run."""
    rows, left, unknown = [("value", "run", "state", "hours")], 0.0, 0
    found = standings(sweep, state)
    for task in sweep.tasks:
        at = found[task.name]
        if at.result:
            told = f"done, {accuracy(at.result)}"
        elif at.failed:
            told = f"failed: {at.failed}"
        else:
            told = f"{at.epochs} of {task.recipe.epochs} epochs" if at.epochs else "to come"
            left, unknown = left + (at.hours or 0), unknown + (at.hours is None)
        rows.append(
            (f"{task.value:g}", task.name, told, "?" if at.hours is None else "~" * at.roughly + f"{at.hours:.2f}")
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    done = sum(at.result is not None for at in found.values())
    cost = f"about {left:.1f} hours of one process left"
    if unknown:
        cost += f", without {unknown} runs of which nothing alike was measured here"
    return "\n".join([*table, f"{done} of {len(sweep.tasks)} runs are done; {cost}"])


def _alike(task: Task) -> list[tuple]:
    """What is as fast as `task`, and then what may be."""
    if task.call:
        return [(task.call,)]
    return _keys(task.model, task.variant, task.config(), task.recipe.precision)


def _keys(name: str, variant: str, config: dict[str, Any], precision: str) -> list[tuple]:
    return [(name, str(sorted(config.items())), precision), (name, variant), (name,)]


def _images(task: Task) -> int:
    """How many images an epoch has."""
    whole = 18_000 if task.dataset.startswith("shapes") else 50_000
    return task.images or whole - task.recipe.validation


def kind(device: str) -> str:
    """ "CPU", or the accelerator's name."""
    return "CPU" if "CPU core" in device else device


def accuracy(result: Result) -> str:
    return f"{result.where} {result.judged:.2%}"


def failures_file(state: Path, task: Task) -> Path:
    return state / f"{task.name}.failed"


def failures(state: Path, task: Task) -> list[str]:
    """Why each try failed until now."""
    file = failures_file(state, task)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
