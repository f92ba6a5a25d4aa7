"""Many runs, the most valuable first: `python -m vattn_utils sweep runs.toml --hours 8`.

Each run is trained by a process of its own, which is kept to its share of the cores: one a core, or one on an
accelerator. What is finished is skipped, what was begun is gone on with, and what fails is told, with its log, and
tried once more. When time is over, or at SIGTERM and SIGINT, the processes are ended: of each run, what was saved is
kept, on a CPU all whole epochs, on an accelerator, where they are quick, those of about a minute ago. Two sweeps of one
file, at once too, divide its runs among them. With `--ray ADDRESS` the processes are those of a cluster: `sweep_ray`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from vattn_utils import data
from vattn_utils.training import sweep_run
from vattn_utils.training.provenance import PACKAGE, provenance
from vattn_utils.training.run_folder import InUse, TrainingError
from vattn_utils.training.sweep_file import Sweep, SweepError
from vattn_utils.training.sweep_ray import Cluster
from vattn_utils.training.sweep_run import OutOfTime
from vattn_utils.training.sweep_standing import STATE, TRIES, accuracy, failures, failures_file, kind, standings
from vattn_utils.training.sweep_task import Task

DONE, FAILED, PAUSED, ELSEWHERE, REFUSED = 0, 1, 75, 76, 77  # the exit status of a run's process
PAUSE = 0.2  # seconds between two looks at the processes
GRACE = 20.0  # and for one that is to end
# Of an accelerator's memory, each process takes what it needs, and not all there is.
SPARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def sweep_all(
    sweep: Sweep,
    hours: float | None = None,
    processes: int | None = None,
    state: Path = STATE,
    ray: str | None = None,
) -> int:
    """Train what is left of `sweep`; prints a line where a run begins, and one where it ends.

    Args:
        hours: of wall time, after which all that goes on is saved and ended; None means until nothing is left.
        processes: how many runs at a time; None means one a core, or one on an accelerator.
        state: the folder of all runs' folders and logs.
        ray: the address of the Ray cluster that trains them, or "local"; None means processes of this machine.

    Returns how many runs failed, now or earlier. Raises SweepError before anything begins, if a run or a cluster cannot
    be, and DataError if its data are not to be had.
    """
    deadline = time.monotonic() + 3600 * hours if hours else None
    for name, value in SPARING.items():
        os.environ.setdefault(name, value)
    found = standings(sweep, state)
    left = [task for task in sweep.tasks if not (found[task.name].result or found[task.name].failed)]
    accelerated = kind(provenance()["device"]) != "CPU"
    _build_once(left)
    for name in sorted({task.dataset for task in left}):  # or each process would fetch what is not there yet
        data.load(name)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    given_up = [task.name for task in sweep.tasks if found[task.name].failed]
    stack = contextlib.ExitStack()
    count, begin = processes or (1 if accelerated else len(cores)), _begin
    if ray and left:
        cluster = stack.enter_context(Cluster(ray, _environment(1), processes or len(cores)))
        count, begin = processes or cluster.count, cluster.begin
    places = [cores[place::count] or [cores[place % len(cores)]] for place in range(count)]
    print(f"{len(left)} of {len(sweep.tasks)} runs are left; {count} at a time", flush=True)
    if given_up:
        print(f"given up earlier: {', '.join(given_up)}; delete their .failed in {state} to try again", flush=True)
    unfinished = {task.record for task in sweep.tasks if task.record and not found[task.name].result}
    queue = _Queue(sweep, left, unfinished, state, places, deadline, begin)
    why = ""
    with stack, _asked_to_stop() as asked:
        try:
            while queue.left or queue.running:
                if asked:
                    why = f"asked to stop ({signal.Signals(asked[0]).name})"
                elif deadline is not None and time.monotonic() >= deadline:
                    why = "time is over"
                if why or not queue.step():
                    break
                time.sleep(PAUSE)
        finally:
            queue.end()
    if why:
        print(f"{why}: what was begun is saved, and the same command goes on with it", flush=True)
    elif queue.left and not queue.over:
        for task in queue.left:
            print(f"{task.name}: not begun, as there is no {' or '.join(queue.missing(task))}", flush=True)
    after = standings(sweep, state)
    done = sum(at.result is not None for at in after.values())
    failed = len(queue.failed) + len(given_up)
    print(f"{done} of {len(sweep.tasks)} runs are done, {failed} failed", flush=True)
    return failed


class _Queue:
    """The runs that are left, and the processes that train them."""

    def __init__(
        self,
        sweep: Sweep,
        left: list[Task],
        unfinished: set[str],
        state: Path,
        places: Sequence[list[int]],
        deadline: float | None,
        begin: Callable[[list[str], Path, list[int]], Any],
    ) -> None:
        self.sweep, self.left, self.state, self.deadline, self.begin = sweep, left, state, deadline, begin
        self.unfinished = unfinished  # records that runs of the file will write, or should have written
        self.places = list(places)
        self.running: dict[str, tuple[Task, list[int], Any]] = {}  # a `Popen`, or what speaks as one
        self.failed: list[str] = []
        self.over = False  # a run did not begin an epoch that would not end in time

    def step(self) -> bool:
        """Look at what ended, and begin what there is room for. Returns False if nothing more can be done.

        A run that begins with a record of another one waits for it.
        """
        for name, (task, place, process) in list(self.running.items()):
            if process.poll() is not None:
                del self.running[name]
                self.places.append(place)
                self._ended(task, process.returncode)
        for task in [task for task in self.left if not self.missing(task)]:
            if not self.places or self.over:
                break
            self.left.remove(task)
            place = self.places.pop(0)
            self.running[task.name] = task, place, self._begun(task, place)
        return bool(self.running)

    def missing(self, task: Task) -> list[str]:
        """The records that `task` begins with and that are still to come."""
        return sorted({name for name in (task.start, task.base) if name} & self.unfinished)

    def end(self) -> None:
        """End all processes; what they saved is kept."""
        for _, _, process in self.running.values():
            process.terminate()
        for _, _, process in self.running.values():
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def _begun(self, task: Task, place: list[int]) -> Any:
        print(f"{task.name}: begins", flush=True)
        log = _log(self.state, task)
        log.parent.mkdir(parents=True, exist_ok=True)
        # It has a little less time, so that it ends by itself.
        hours = None if self.deadline is None else max(self.deadline - GRACE - time.monotonic(), 1) / 3600
        return self.begin(_command(self.sweep, task, self.state, hours), log, place)

    def _ended(self, task: Task, status: int) -> None:
        if status == DONE:
            failures_file(self.state, task).unlink(missing_ok=True)
            found = sweep_run.result(task, self.sweep)
            if found:
                self.unfinished.discard(task.record or "")
                print(f"{task.name}: done in {found.seconds / 3600:.2f} h, {accuracy(found)}", flush=True)
        elif status == PAUSED:
            self.over = True
            print(f"{task.name}: saved, as another epoch would not end in time", flush=True)
        elif status == ELSEWHERE:
            print(f"{task.name}: another process is training it", flush=True)
        else:
            why = _why(_log(self.state, task), status)
            file = failures_file(self.state, task)
            tries = [*failures(self.state, task), *[why] * (TRIES if status == REFUSED else 1)]
            file.write_text("\n".join(tries) + "\n", encoding="utf-8")
            again = len(tries) < TRIES
            self.left += [task] * again
            self.failed += [task.name] * (not again)
            way_out = "is tried again" if again else f"delete {file} to try it again"
            print(f"{task.name}: failed: {why}; {way_out}; its log is {_log(self.state, task)}", flush=True)


def run_one(sweep: Sweep, name: str, state: Path = STATE, hours: float | None = None) -> int:
    """Train the run called `name` in this process, within `hours`, and return what its exit status says."""
    task = sweep.task(name)
    try:
        sweep_run.run(task, sweep, state, 3600 * hours if hours else None)
    except OutOfTime:
        return PAUSED
    except InUse as error:
        print(error, file=sys.stderr)
        return ELSEWHERE
    except (data.DataError, TrainingError) as error:  # no network, a full disk: mended, it goes on
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    except ValueError as error:  # what cannot be, and will not be the next time
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED
    return DONE


def _command(sweep: Sweep, task: Task, state: Path, hours: float | None) -> list[str]:
    """What trains `task` alone, from any folder: see `run_one`."""
    file, folder = str(sweep.path.resolve()), str(state.resolve())
    command = [sys.executable, "-m", "vattn_utils", "sweep", file, "--run", task.name, "--state", folder]
    return command if hours is None else [*command, "--hours", str(hours)]


def _begin(command: list[str], log: Path, place: list[int]) -> Any:
    """Begin a process that is kept to the cores `place`, its output in the file `log`."""
    with log.open("ab") as file, _kept_to(place):
        return subprocess.Popen(command, stdout=file, stderr=file, env=_environment(len(place)), start_new_session=True)


def _build_once(tasks: list[Task]) -> None:
    """Build each model that will be trained, and forget it. Raises SweepError for one that cannot be built."""
    built: list[tuple] = []
    for task in tasks:
        if task.call or (kind := (task.model, task.variant, task.overrides)) in built:
            continue
        built.append(kind)
        try:
            with keras.device("cpu"):
                task.build()
        except (TypeError, ValueError) as error:
            raise SweepError(f"{task.name} cannot be built with {task.overrides}: {error}") from error
    keras.backend.clear_session()


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or SIGINT comes, which then stands in it."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _kept_to(cores: list[int]) -> Iterator[None]:
    """What is begun within runs on these cores, where the system knows how."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _environment(threads: int) -> dict[str, str]:
    """Of a run's process: as many threads as it has cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    usual = dict.fromkeys(names, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return usual | dict(os.environ) | {"PYTHONPATH": path}


def _log(state: Path, task: Task) -> Path:
    return state / f"{task.name}.log"


def _why(log: Path, status: int) -> str:
    """What a process that failed said last."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return said[-1].strip() if said else f"exit status {status}"
