"""The runs of a sweep on an existing Ray cluster: the same commands, each in a process of one of its workers.

The queue is that of `sweep`, and so are its tries: Ray only says where a run is trained, and that a worker died. The
file, the runs' folders, results, records and data lie on a file system that all machines share, under the same path.
"""

import contextlib
import importlib
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from vattn_utils.training.sweep_file import SweepError

LOCAL = "local"
TOLD = ("KERAS_", "VATTN_", "TF_", "XLA_", "OMP_", "OPENBLAS_", "PYTHONPATH")  # of the environment, to the workers


class Cluster:
    """A Ray cluster, for as long as `with Cluster(...)` lasts: a core for each run, or a GPU where it has any.

    Args:
        address: of the cluster's head, or "local" for a Ray that is begun here and ends with this process.
        environment: of the runs' processes.
        cores: how many a local one has.

    Raises SweepError if Ray is not installed, or if nothing answers there.
    """

    def __init__(self, address: str, environment: dict[str, str], cores: int) -> None:
        try:
            self.ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise SweepError("a Ray cluster needs ray; pip install 'vattn-utils[cluster]'") from error
        told = {name: value for name, value in environment.items() if name.startswith(TOLD)}
        own = {"num_cpus": cores, "include_dashboard": False} if address == LOCAL else {}
        try:
            self.ray.init(address, runtime_env={"env_vars": told}, log_to_driver=False, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SweepError(f"no Ray cluster answers at {address}: {error}; start one, or use --ray local") from error
        found = self.ray.cluster_resources()
        self.resource = "num_gpus" if found.get("GPU") else "num_cpus"
        self.count = max(1, int(found.get("GPU") or found.get("CPU", 1)))

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def begin(self, command: list[str], log: Path, place: list[int]) -> Any:
        """Begin `python -m vattn_utils ...`, wherever there is room, its output in the file `log`: a `Remote`."""
        # One run a process, as here; and Ray begins none again by itself: the queue does, and counts.
        task = self.ray.remote(max_calls=1, max_retries=0, **{self.resource: 1})(_run)
        return Remote(self.ray, task.remote(command[2:], str(log.resolve())), log)


class Remote:
    """A run on the cluster, as `subprocess.Popen` speaks of a process."""

    def __init__(self, ray: Any, reference: Any, log: Path) -> None:
        self.ray, self.reference, self.log = ray, reference, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, or None while it runs: 1 if its worker died, which its log then says."""
        if self.returncode is None and self._ended(0):
            try:
                self.returncode = self.ray.get(self.reference)
            except self.ray.exceptions.RayError as error:
                with self.log.open("a", encoding="utf-8") as file:
                    print(f"{type(error).__name__}: {str(error).splitlines()[-1]}", file=file)
                self.returncode = 1
        return self.returncode

    def terminate(self) -> None:
        """End it; what it saved is kept."""
        self.ray.cancel(self.reference, force=True)

    kill = terminate

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it ended. Raises `subprocess.TimeoutExpired` if it has not in `seconds`."""
        if not self._ended(seconds):
            raise subprocess.TimeoutExpired("a run on Ray", seconds or 0)

    def _ended(self, seconds: float | None) -> bool:
        return bool(self.ray.wait([self.reference], timeout=seconds)[0])


def _run(arguments: list[str], log: str) -> int:
    """In a worker: `python -m` with these arguments, the module's name first. Returns the exit status."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.argv = arguments
        try:
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(bool(end.code))
        except Exception:
            traceback.print_exc()
            return 1
    return 0
