"""A sweep on Ray: its queue, its tries and its results are those of any sweep, whatever becomes of a worker."""

import importlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from vattn_utils.__main__ import main
from vattn_utils.training import records, sweep_file, sweep_ray
from vattn_utils.training.measurements import from_lines
from vattn_utils.training.sweep_file import SweepError

TWO = """
results = "results"
records = "records"
[[run]]
value = 2
record = "kept"
model = "eanet"
dataset = "shapes10"
recipe = {epochs = 1, batch_size = 500, validation = 14000}
set = {tokenizer = "patch", patch_size = 16, dim = 8, depth = 1, heads = 1, mlp_dim = 8, memory_slots = 2}
[[run]]
value = 1
experiment = "tiny"
arm = "external"
model = "eanet"
dataset = "shapes10"
images = 60
recipe = {epochs = 40, batch_size = 30, validation = 40}
set = {tokenizer = "patch", patch_size = 16, dim = 8, depth = 1, heads = 1, mlp_dim = 8, memory_slots = 2}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "runs.toml"
    path.write_text(TWO)
    return path


def kill_once(saved, killed):
    """Kill the worker, of those that this process began, in which a run goes on that has saved an epoch."""
    while not saved.exists():
        time.sleep(0.02)
    workers = [worker for worker in psutil.Process().children(recursive=True) if worker.cmdline()[:1] == ["ray::_run"]]
    for worker in workers:
        if any(Path(file.path).is_relative_to(saved.parent) for file in worker.open_files()):
            worker.kill()
            killed.append(worker.pid)


def test_a_run_whose_worker_is_killed_is_resumed_and_every_record_is_whole_and_there_once(file, tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vattn-utils[cluster]'")
    state, killed = tmp_path / "state", []
    run = state / "tiny" / "external-0"
    thread = threading.Thread(target=kill_once, args=(run / "epoch-0003", killed), daemon=True)
    thread.start()
    command = ["sweep", str(file), "--state", str(state), "--ray", "local", "--processes", "2"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert len(killed) == 1
    assert "tiny/external-0: failed: WorkerCrashedError" in told
    assert "is tried again" in told
    assert "2 of 2 runs are done, 0 failed" in told
    (line,) = from_lines((tmp_path / "results" / "tiny.jsonl").read_text(), "tiny.jsonl")
    assert {len(values) for values in line["history"].values()} == {40}
    begun = (state / "tiny" / "external-0.log").read_text().splitlines()
    assert sum(said.startswith("epoch  1/40") for said in begun) == 1  # it went on from what it had saved
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["kept"]
    records.load("kept", tmp_path / "records").model()
    assert not list(state.rglob("epoch-*"))
    assert main(command) == 0  # and nothing is left to train
    assert "0 of 2 runs are left" in capsys.readouterr().out


def test_without_ray_it_is_said_what_would_bring_it(file, monkeypatch, capsys):
    def without(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(SystemExit):
        main(["sweep", str(file), "--state", str(file.parent / "state"), "--ray", "local"])
    assert "pip install 'vattn-utils[cluster]'" in capsys.readouterr().err
    assert not (file.parent / "state").exists()


def fake_ray(**resources):
    """As much of Ray as can be seen without it: what it was asked for, and tasks that end at once."""
    asked = {}

    def remote(**options):
        asked.update(options)
        return lambda function: SimpleNamespace(remote=lambda *arguments: (function, arguments))

    return SimpleNamespace(
        init=lambda address, **named: asked.update(address=address, **named),
        shutdown=lambda: asked.update(over=True),
        cluster_resources=lambda: resources,
        remote=remote,
        asked=asked,
    )


@pytest.mark.parametrize(
    ("resources", "count", "each"), [({"CPU": 64.0}, 64, "num_cpus"), ({"CPU": 64.0, "GPU": 8.0}, 8, "num_gpus")]
)
def test_a_cluster_trains_a_run_a_core_or_one_a_gpu_and_is_told_what_the_runs_need(
    resources, count, each, monkeypatch, tmp_path
):
    ray = fake_ray(**resources)
    monkeypatch.setattr(importlib, "import_module", {"ray": ray}.__getitem__)
    environment = {"KERAS_BACKEND": "jax", "VATTN_DATA": "/data", "HOME": "/root"}
    with sweep_ray.Cluster("10.0.0.1:6379", environment, cores=2) as cluster:
        assert cluster.count == count
        cluster.begin([sys.executable, "-m", "vattn_utils", "sweep"], tmp_path / "log", [0])
    assert ray.asked["address"] == "10.0.0.1:6379"
    assert "num_cpus" not in ray.asked or each == "num_cpus"  # an existing cluster has the cores that it has
    assert (ray.asked[each], ray.asked["max_retries"]) == (1, 0)
    assert ray.asked["runtime_env"] == {"env_vars": {"KERAS_BACKEND": "jax", "VATTN_DATA": "/data"}}
    assert ray.asked["over"]


def test_a_cluster_that_does_not_answer_is_told(monkeypatch):
    def init(*_, **__):
        raise ConnectionError("could not find any running Ray instance")

    monkeypatch.setattr(importlib, "import_module", {"ray": SimpleNamespace(init=init)}.__getitem__)
    with pytest.raises(SweepError, match=r"no Ray cluster answers at 10\.0\.0\.1:1: could not.*or use --ray local"):
        sweep_ray.Cluster("10.0.0.1:1", {}, cores=2)


@pytest.mark.parametrize(("body", "status"), [("", 0), ("raise SystemExit(75)", 75), ("raise OSError('full')", 1)])
def test_a_worker_runs_the_command_itself_and_says_how_it_ended(body, status, tmp_path, monkeypatch):
    (tmp_path / "spoken.py").write_text(f"import sys\nprint(*sys.argv[1:])\n{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert sweep_ray._run(["spoken", "a", "b"], str(tmp_path / "new" / "log")) == status
    said = (tmp_path / "new" / "log").read_text().splitlines()
    assert said[0] == "a b"
    assert status != 1 or said[-1] == "OSError: full"


def test_the_command_of_a_run_holds_in_any_folder(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    sweep = importlib.import_module("vattn_utils.training.sweep")
    runs = sweep_file.read("runs.toml")
    command = sweep._command(runs, runs.tasks[0], Path("state"), None)
    assert command[4:] == [str(file), "--run", "kept", "--state", str(file.parent / "state")]
    with pytest.raises(subprocess.TimeoutExpired):
        sweep_ray.Remote(SimpleNamespace(wait=lambda *_, **__: ([], [])), None, Path("log")).wait(0)
