"""The file of a sweep: runs as data, in TOML, each of them looked at before anything is trained.

results = "results"                # where the lines of short runs go: results/<experiment>.jsonl, beside the file
records = "../records"             # where records go; left out: where `train` puts them

[[run]]                            # one run: a record, or the line of an arm of an experiment
value = 100                        # the higher, the sooner
record = "vit-cifar100-book"
model = "vit"
dataset = "cifar100"
recipe = {epochs = 100, optimizer = "muon"}
set = {depth = 6}

[[grid]]                           # models x variants x changes x seeds
experiment = "ladder"
models = ["vit"]
dataset = "cifar100"
seeds = [0, 1, 2]
images = 20000
change = [{arm = "as it is"}, {arm = "no flips", recipe = {augmentation = ["crop"]}}]
"""

import dataclasses
import functools
import inspect
import itertools
import pkgutil
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vattn_utils import data, models
from vattn_utils.data.checks import check_choice, check_number, check_text, check_whole, nearest_hint
from vattn_utils.training import recipes, records, schema, train
from vattn_utils.training.sweep_task import Task

JUDGES = ("held-out", "test")


class SweepError(ValueError):
    """A sweep cannot be begun: its file says something that cannot be, or what is there was made otherwise."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a file holds: its path, the folders of result lines and of records, the tasks, the most valuable first."""

    path: Path
    results: Path
    records: Path
    tasks: tuple[Task, ...]

    def task(self, name: str) -> Task:
        """The task called `name`. Raises SweepError if there is none."""
        if found := next((task for task in self.tasks if task.name == name), None):
            return found
        raise SweepError(f"{self.path} has no run {name!r}; {nearest_hint(name, [t.name for t in self.tasks])}")


def read(path: str | Path) -> Sweep:
    """The sweep in the file `path`, all of it checked.

    Raises SweepError, which names the table and the key, for a file that is not there or is no TOML, for keys and
    values that are not known or do not fit together, and for two runs of one name.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SweepError(f"{path} is no TOML: {error}") from error
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # where functions that the file names are found
    try:
        _known("the file", content, ("results", "records", "run", "grid"))
        places = {name: folder / _text(name, content.get(name, name)) for name in ("results", "records")}
        if "records" not in content:
            places["records"] = records.folder()
    except (TypeError, ValueError) as error:
        raise SweepError(f"{path}: {error}") from error
    tasks = []
    for kind, expand in (("run", lambda table: [table]), ("grid", _expanded)):
        tables = content.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise SweepError(f"{path}: {kind} is no list of tables; begin each with [[{kind}]]")
        for number, table in enumerate(tables, 1):
            try:
                tasks += [_task(run) for run in expand(table)]
            except (TypeError, ValueError, ImportError, AttributeError) as error:
                raise SweepError(f"{path}, [[{kind}]] number {number}: {error}") from error
    if not tasks:
        raise SweepError(f"{path} has no [[run]] and no [[grid]]; write one")
    by_name: dict[str, Task] = {}
    for task in tasks:
        if by_name.setdefault(task.name, task) is not task:
            raise SweepError(f"{path} has two runs called {task.name}; give one of them another arm or record")
    return Sweep(path, **places, tasks=tuple(sorted(tasks, key=lambda task: -task.value)))


def _expanded(grid: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs of a grid, all of the first seed first."""
    _known("a grid", grid, {*KEYS, *AXES, "change", "cumulative"} - set(AXES.values()))
    axes = {AXES[key]: _list(key, grid[key]) for key in AXES if key in grid}
    changes = _list("change", grid.get("change", [{}]))
    for change in changes:
        _known("a change", _table("change", change), KEYS)
    if _flag("cumulative", grid.get("cumulative", False)):
        changes = list(itertools.accumulate(changes, _changed))
    common = {key: value for key, value in grid.items() if key in KEYS}
    for drawn in itertools.product(*(axes.get(axis, [None]) for axis in AXES.values())):
        own = {axis: value for axis, value in zip(AXES.values(), drawn, strict=True) if value is not None}
        for change in changes:
            run = _changed({**common, **own}, change)
            several = [str(own[axis]) for axis in ("model", "variant") if len(axes.get(axis, ())) > 1]
            if several and ("arm" in run or "experiment" in run):
                run["arm"] = ", ".join([*several, *filter(None, [run.get("arm")])])
            yield run


def _changed(run: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`run` with `change`: tables are merged, all else is replaced."""
    tables = {key: {**run[key], **value} for key, value in change.items() if isinstance(value, dict) and key in run}
    return {**run, **change, **tables}


def _task(run: dict[str, Any]) -> Task:
    _known("a run", run, KEYS)
    run = {key: check(key, run[key]) for key, check in KEYS.items() if key in run}
    for key in ("value", "dataset"):
        if key not in run:
            raise SweepError(f"a run has no {key}; every run needs one")
    run.setdefault("seed", run.get("recipe", {}).get("seed", 0))
    if ("record" in run) == ("experiment" in run):
        raise SweepError("a run becomes a record or a line of an experiment; give one of record and experiment")
    if "experiment" in run:
        if "arm" not in run:
            raise SweepError(f"a run of the experiment {run['experiment']} has no arm; give it a name")
        _without(run, ("replace", "base"), "a line of an experiment")
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", run["arm"]).strip("-.")
        name = f"{run['experiment']}/{slug}-{run['seed']}"
    else:
        _without(run, ("arm", "images", "judge", "start", "call", "measure"), "a record")
        words = {"variant": "book", **run}
        try:
            name = run["record"] = run["record"].format(**{key: words.get(key) for key in IN_NAMES})
        except LookupError as error:
            raise SweepError(f"record={run['record']!r}: no {error}; there are {{{'}, {'.join(IN_NAMES)}}}") from error
        _named("record", name)
    if "call" in run:
        _without(run, ("model", "variant", "set", "recipe", "start", "judge", "measure"), "a run with a call")
        _check_function(run["call"], "dataset", 0, "folder", **run.get("with", {}))
        return Task(name, **{RENAMED.get(key, key): value for key, value in run.items()})
    _without(run, ("with",), "a run without a call")
    if "measure" in run:
        _check_function(run["measure"], "model", "images", "labels")
    if "model" not in run:
        raise SweepError(f"a run has no model; there are {', '.join(models.MODELS)}")
    changes = {"seed": run["seed"], **run.pop("recipe", {})}
    if changes["seed"] != run["seed"]:
        raise SweepError(f"seed={run['seed']} of the run, and {changes['seed']} of its recipe; give one")
    recipe = recipes.recipe(run["model"], run.get("variant", "book"), **changes)
    task = Task(name, recipe=recipe, **{RENAMED.get(key, key): value for key, value in run.items()})
    for argument in set(train.OF_THE_DATA) & set(task.overrides):
        raise SweepError(f"set has {argument}, which a model has from its data set; leave it out")
    task.config()
    return task


def _check_function(name: str, /, *given: Any, **named: Any) -> None:
    try:
        inspect.signature(pkgutil.resolve_name(name)).bind(*given, **named)
    except TypeError as error:
        raise SweepError(f"{name} cannot be called with {named or ', '.join(map(str, given))}: {error}") from error


def _without(run: dict[str, Any], keys: tuple[str, ...], what: str) -> None:
    for key in keys:
        if key in run:
            raise SweepError(f"{key} does not go with {what}; leave it out")


def _known(what: str, table: dict[str, Any], keys: Any) -> None:
    for key in table:
        if key not in keys:
            raise SweepError(f"{what} has the key {key}, which is not known; {nearest_hint(key, sorted(keys))}")


def _is(kind: type, way_out: str, name: str, value: Any) -> Any:
    if not isinstance(value, kind) or value == []:
        raise TypeError(f"{name}={value!r} cannot be; {way_out}")
    return value


_table = functools.partial(_is, dict, "write {key = value}")
_list = functools.partial(_is, list, "write a list, [one, another]")
_flag = functools.partial(_is, bool, "use true or false")


def _text(name: str, value: Any) -> str:
    return check_text(name, _is(str, "write a text in quotes", name, value))


def _of(choices: tuple[str, ...], name: str, value: Any) -> str:
    check_choice(name, value, choices)
    return value


def _named(name: str, value: Any) -> str:
    if not schema.NAME.fullmatch(_text(name, value)):
        raise ValueError(f"{name}={value!r} is no name; use letters, digits, '-', '_' and '.'")
    return value


# What a run may say, and what is made of it.
KEYS: dict[str, Callable[[str, Any], Any]] = {
    "value": check_number,
    "dataset": functools.partial(_of, data.NAMES),
    "seed": functools.partial(check_whole, least=0, most=2**32 - 1),
    "images": check_whole,
    "experiment": _named,
    "arm": _text,
    "record": _text,
    "replace": _flag,
    "judge": functools.partial(_of, JUDGES),
    "model": functools.partial(_of, tuple(models.MODELS)),
    "variant": _text,
    "set": _table,
    "recipe": _table,
    "start": _named,
    "base": _named,
    "call": _text,
    "with": _table,
    "measure": _text,
}
RENAMED = {"set": "overrides", "with": "arguments"}
AXES = {"seeds": "seed", "models": "model", "variants": "variant"}
IN_NAMES = ("model", "dataset", "variant", "seed")
