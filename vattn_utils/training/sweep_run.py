"""One run of a sweep, from where it stands to its result: a record, or one sealed line in the results of an experiment.

Whoever trains a run holds its folder (`RunFolder`) and looks, once it does, whether another process has finished it. So
any number of processes may work on one sweep: no run is trained twice, and none is lost.
"""

import contextlib
import dataclasses
import json
import pkgutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vattn_utils import data, models
from vattn_utils.models.counting import parameters
from vattn_utils.training import durable, migration, records, train
from vattn_utils.training.loop import evaluate, fit
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance
from vattn_utils.training.run_folder import RunFolder, TrainingError
from vattn_utils.training.sweep_file import Sweep, SweepError
from vattn_utils.training.sweep_task import Task

ANEW = "give this one another name, or delete that"
MINUTE = 60.0  # between two saved epochs on an accelerator, where an epoch takes seconds


class OutOfTime(Exception):
    """The next epoch of a run would not end in time; those before it are saved."""


class StopInTime(keras.callbacks.Callback):
    """End a run, with `OutOfTime`, after the last epoch that ends before `deadline`, as long as each took until now.

    Args:
        deadline: by `time.monotonic()`.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline, self.longest, self.stopped = deadline, 0.0, False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.begun = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.begun)
        if epoch + 1 < self.params["epochs"] and now + self.longest > self.deadline:
            self.model.stop_training = self.stopped = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.stopped:
            raise OutOfTime


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a run. judged: the accuracy, a share, on the images called `where`. seconds: in training, and for
    how many `images` in all epochs together. device: that trained it."""

    judged: float
    where: str
    seconds: float
    images: int
    device: str


def result(task: Task, sweep: Sweep) -> Result | None:
    """What came of `task`, or None if it is not finished.

    Raises SweepError if what is there under its name was made otherwise than the file says.
    """
    if task.record:
        return _recorded(task, sweep)
    line = next((m for m in lines(sweep, task.experiment) if (m["arm"], m["seed"]) == (task.arm, task.seed)), None)
    if line is None:
        return None
    what = f"{task.experiment}.jsonl has the arm {task.arm!r}, seed {task.seed},"
    wanted = json.loads(json.dumps({"dataset": task.dataset, **task.said()}))
    if task.images:
        wanted["images"] = task.images + (0 if task.call else task.recipe.validation)
    found = migration.recipe({"dataset": line["dataset"], "images": line["images"], **line["run"]})
    _same(what, wanted, found)
    if bool(task.call) == ("variant" in line["run"]):  # which functions of one's own do not have
        raise SweepError(f"{what} {'without' if task.call else 'with'} a call, and the file says otherwise; {ANEW}")
    if task.judge == "test" and "test" not in line:
        raise SweepError(f"{what} without the test images, and the file says judge = 'test'; {ANEW}")
    where = "held-out" if "held_out" in line else "test"
    accuracy = line[where.replace("-", "_")]["accuracy"]
    history = line["history"]
    held_in = line["images"] - line["run"].get("validation", 0)
    seconds = sum(history.get("seconds", ()))
    return Result(accuracy, where, seconds, held_in * len(history["loss"]), line["provenance"]["device"])


def lines(sweep: Sweep, experiment: str | None) -> list[dict[str, Any]]:
    """The results of an experiment that there are, in their order."""
    path = sweep.results / f"{experiment}.jsonl"
    return from_lines(path.read_text(encoding="utf-8"), path.name) if path.exists() else []


def _recorded(task: Task, sweep: Sweep) -> Result | None:
    assert task.record is not None
    if not (sweep.records / task.record).exists():
        return None
    record = records.load(task.record, sweep.records)
    wanted = {"dataset": task.dataset, "base": task.base, **vars(task.recipe), **task.config()}
    found = {"dataset": record.dataset, "base": record.base_name, **vars(record.recipe), **config_of(record)}
    if (record.kind, record.variant) != (task.model, task.variant) or wanted != found:
        if task.replace:
            return None
        _same(f"the record {task.record} is there, made", wanted, found, "replace = true lets this run replace it")
    return of_record(record)


def config_of(record: records.Record) -> dict[str, Any]:
    """What distinguishes its model from others, by argument: an older record may lack newer ones."""
    with keras.device("cpu"):
        return train.distinctive(models.constructor(record.kind, record.variant)[0](**record.config))


def of_record(record: records.Record) -> Result:
    """What a record says of its run."""
    device = record.provenance["device"]
    return Result(record.metrics["top1"], "test", record.seconds, record.images_seen, device)


def _same(what: str, wanted: dict, found: dict, way_out: str = ANEW) -> None:
    """Raise SweepError unless both say the same where both say something."""
    for key in sorted(wanted.keys() & found.keys()):
        if wanted[key] != found[key]:
            raise SweepError(f"{what} with {key}={found[key]!r}, and the file says {wanted[key]!r}; {way_out}")


def run(task: Task, sweep: Sweep, state: Path, seconds: float | None = None) -> Result:
    """Train `task` from where it stands in its folder under `state`, and keep what comes of it.

    Args:
        seconds: how long that may take; None means any time.

    Returns its result, also if it was there. Raises OutOfTime when time is over, `run_folder.InUse` if another process
    is training it, DataError if its data are not to be had, TrainingError if it cannot be trained or kept now, and
    SweepError, RecordError or another ValueError if it cannot be at all.
    """
    begun = provenance(task.recipe.precision)
    accelerated = "CPU core" not in begun["device"]
    stop = [] if seconds is None else [StopInTime(time.monotonic() + seconds)]
    with RunFolder(state / task.name, every=MINUTE if accelerated else 0) as folder:
        if result(task, sweep) is None:
            dataset = data.load(task.dataset)
            if task.record:
                train.train(
                    task.model, dataset, task.variant, task.recipe, task.record, task.overrides, folder, sweep.records,
                    base=task.base, replace=task.replace, callbacks=stop,
                )  # fmt: skip
            else:
                line = _called(task, dataset, folder) if task.call else _measured(task, dataset, sweep, folder, stop)
                made = {**begun, "precision": line["run"]["precision"]}
                _add(sweep, task, {"arm": task.arm, "seed": task.seed, **line, "provenance": made})
        folder.finish(task.name)
    found = result(task, sweep)
    assert found is not None
    return found


def _measured(task: Task, dataset: data.Dataset, sweep: Sweep, folder: RunFolder, callbacks: list) -> dict[str, Any]:
    """Train a model of the package, and judge it."""
    recipe = task.recipe
    if task.images:
        dataset = dataset.take(task.images + recipe.validation)
    model = train.build(task.model, dataset, task.variant, recipe, task.overrides)
    told = task.said()
    if task.start:
        start = records.load(task.start, sweep.records)
        begin_with(model, start)
        told["start_sha256"] = start.sha256[records.WEIGHTS]
    history = fit(model, dataset, recipe, folder, callbacks).history
    _, held_out = dataset.split(recipe.validation, recipe.seed)
    judged = {"held_out": _judged(model, *held_out)}
    if task.judge == "test":
        judged["test"] = _judged(model, dataset.x_test, dataset.y_test)
    if task.measure:
        judged["measured"] = pkgutil.resolve_name(task.measure)(model, *held_out)
    return {**_about(dataset), "run": told, "parameters": parameters(model), "history": history, **judged}


def _called(task: Task, dataset: data.Dataset, folder: RunFolder) -> dict[str, Any]:
    """What a function of the file's own makes of the data: the line's `run`, `parameters`, `history` and `test`."""
    assert task.call is not None
    if task.images:
        dataset = dataset.take(task.images)
    return {**_about(dataset), **pkgutil.resolve_name(task.call)(dataset, task.seed, folder, **task.arguments)}


def _about(dataset: data.Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "digest": dataset.digest, "images": len(dataset.x_train)}


def _judged(model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """As a history calls it."""
    found = evaluate(model, x, y)
    return {"loss": found["loss"], "accuracy": found["top1"], "top5": found["top5"]}


def begin_with(model: keras.Model, record: records.Record) -> None:
    """Give `model` the weights of `record`, but for the logits: these are of other classes.

    Raises `TrainingError` if another weight is not there or does not fit.
    """
    theirs = {records.weight_name(weight): weight for weight in record.model().weights}
    for weight in model.weights:
        name = records.weight_name(weight)
        if name.startswith("logits/"):
            continue
        if name not in theirs or tuple(theirs[name].shape) != tuple(weight.shape):
            raise TrainingError(f"{name} of {record.name} does not fit this model; begin with one of its shape")
        weight.assign(theirs[name])


def _add(sweep: Sweep, task: Task, line: dict[str, Any]) -> None:
    """Add a line to the results of its experiment: the file is whole at any time, whoever else writes to it."""
    path = sweep.results / f"{task.experiment}.jsonl"
    with _alone(path.with_name(f".{path.name}.lock")):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        durable.write_file(path, (before + to_line(line)).encode())


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock `path`, as soon as nobody else does."""
    while True:
        try:
            held = durable.lock(path)
            break
        except BlockingIOError:
            time.sleep(0.05)
    try:
        yield
    finally:
        durable.unlock(held, remove=True)
