"""A sweep: which runs it trains, in which order, what it keeps of them, and how it stops. Most runs are scripts."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from vattn_utils import data
from vattn_utils.__main__ import main
from vattn_utils.training import records, sweep, sweep_file, sweep_run, sweep_standing
from vattn_utils.training.measurements import from_lines
from vattn_utils.training.run_folder import Checkpoints, InUse, RunFolder, TrainingError
from vattn_utils.training.sweep_file import SweepError

ROOT = Path(__file__).parents[1]
TINY = """
results = "results"
records = "records"
[[grid]]
value = 1
experiment = "tiny"
models = ["eanet"]
dataset = "shapes10"
images = 60
seeds = [0, 1]
recipe = {epochs = 3, batch_size = 30, validation = 40}
set = {tokenizer = "patch", patch_size = 16, dim = 8, depth = 1, heads = 1, mlp_dim = 8, memory_slots = 2}
change = [{arm = "external"}, {arm = "self", set = {attention = "self"}, judge = "test"}]
"""
RECORD = TINY.replace("images = 60\n", "").replace('experiment = "tiny"', 'record = "tiny-{seed}"')
RECORD = RECORD.replace('change = [{arm = "external"}, {arm = "self", set = {attention = "self"}, judge = "test"}]', "")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A hundred shapes are all there are."""
    images, labels, _ = data.shapes.draw(range(100), 10)
    found = data.Dataset(
        "shapes10", images, labels, images[:20], labels[:20], class_names=tuple("abcdefghij"), digest="few"
    )
    monkeypatch.setattr(data, "load", lambda name: found)


@pytest.fixture
def file(tmp_path):
    def write(text=TINY):
        (tmp_path / "runs.toml").write_text(text)
        return sweep_file.read(tmp_path / "runs.toml")

    return write


def lines(of):
    return from_lines((of.results / "tiny.jsonl").read_text(), "tiny.jsonl")


def dearest(model, images, labels):
    """What a run is asked beside its accuracy: how many held-out images it was shown, and its highest logit."""
    return {"images": len(images), "labels": labels.tolist(), "logit": float(np.array(model(images)).max())}


def test_a_run_is_asked_what_the_file_names(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asked", SimpleNamespace(dearest=dearest))
    of = file(TINY.replace('{arm = "external"}', '{arm = "external", measure = "asked:dearest"}'))
    for task in of.tasks[:2]:
        sweep_run.run(task, of, tmp_path / "state")
    asked, other = lines(of)
    assert asked["measured"]["images"] == len(asked["measured"]["labels"]) == 40
    assert np.isfinite(asked["measured"]["logit"])
    assert "measured" not in other


def without_seconds(history):
    return {name: values for name, values in history.items() if name != "seconds"}


def test_a_line_says_what_was_trained_and_how_it_was_judged(file, tmp_path):
    of = file()
    found = sweep_run.run(of.tasks[0], of, tmp_path / "state")
    (line,) = lines(of)
    assert (line["arm"], line["seed"], line["images"], line["dataset"]) == ("external", 0, 100, "shapes10")
    assert line["run"]["epochs"] == len(line["history"]["loss"]) == 3
    assert line["run"]["set"]["dim"] == 8
    assert set(line["held_out"]) == {"loss", "accuracy", "top5"}
    assert "test" not in line  # the test images choose nothing
    assert found.where == "held-out"
    assert found.judged == line["held_out"]["accuracy"] == pytest.approx(line["history"]["val_accuracy"][-1])
    assert line["provenance"]["precision"] == "float32"
    assert not list((tmp_path / "state").rglob("epoch-*"))


def test_the_test_images_are_judged_where_that_is_asked_for(file, tmp_path):
    of = file()
    sweep_run.run(of.task("tiny/self-1"), of, tmp_path)
    assert set(lines(of)[0]) >= {"held_out", "test"}


def test_a_run_that_is_finished_is_not_trained_again_nor_taken_for_another(file, tmp_path, monkeypatch):
    of = file()
    sweep_run.run(of.tasks[0], of, tmp_path)
    monkeypatch.setattr(sweep_run, "fit", None)
    sweep_run.run(of.tasks[0], of, tmp_path)
    assert len(lines(of)) == 1
    with pytest.raises(SweepError, match=r"the arm 'external', seed 0, with epochs=3, and the file says 4"):
        sweep_run.result(file(TINY.replace("epochs = 3", "epochs = 4")).tasks[0], of)
    with pytest.raises(SystemExit):
        main(["sweep", str(of.path), "--list"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 50}, "with images=100, and the file says 90; give"),
        ({"judge": "test"}, "without the test images"),
        ({"call": "math:dist", "images": 100}, "without a call, and the file says otherwise"),
    ],
)
def test_a_line_of_other_images_another_judge_or_another_function_is_not_taken_for_this_run(change, words, file):
    of = file()
    made = {"dataset": "shapes10", "digest": "few", "images": 100, "run": of.tasks[0].said(), "parameters": 1}
    history = {"loss": [1.0], "seconds": [1.0]}
    provenance = {"device": "1 CPU core", "commit": None}
    line = {"arm": "external", "seed": 0, **made, "history": history, "held_out": {"accuracy": 0.5}}
    sweep_run._add(of, of.tasks[0], {**line, "provenance": provenance})
    assert sweep_run.result(of.tasks[0], of).judged == 0.5
    other = dataclasses.replace(of.tasks[0], **change)
    with pytest.raises(SweepError, match=words):
        sweep_run.result(other, of)


def test_a_run_whose_time_was_over_goes_on_and_ends_as_if_nothing_had_been(file, tmp_path):
    of = file()
    with pytest.raises(sweep_run.OutOfTime):
        sweep_run.run(of.tasks[0], of, tmp_path / "state", seconds=1e-3)
    assert not (of.results / "tiny.jsonl").exists()
    assert sweep_standing.standings(of, tmp_path / "state")["tiny/external-0"].epochs == 1
    assert "1 of 3 epochs" in sweep_standing.listing(of, tmp_path / "state")
    sweep_run.run(of.tasks[0], of, tmp_path / "state")
    sweep_run.run(sweep_file.read(of.path).tasks[0], file(TINY.replace('"results"', '"others"')), tmp_path / "other")
    one, other = lines(of)[0], lines(file(TINY.replace('"results"', '"others"')))[0]
    for name, values in without_seconds(one["history"]).items():
        np.testing.assert_allclose(values, other["history"][name], rtol=1e-4, err_msg=name)


def test_a_record_is_written_once_and_replaced_where_the_file_says_so(file, tmp_path):
    of = file(RECORD)
    assert [task.name for task in of.tasks] == ["tiny-0", "tiny-1"]
    sweep_run.run(of.tasks[0], of, tmp_path)
    assert records.load("tiny-0", of.records).recipe == of.tasks[0].recipe
    made = (of.records / "tiny-0" / "record.json").read_bytes()
    sweep_run.run(of.tasks[0], of, tmp_path)
    assert (of.records / "tiny-0" / "record.json").read_bytes() == made
    other = file(RECORD.replace("epochs = 3", "epochs = 1"))
    with pytest.raises(SweepError, match="made with epochs=3, and the file says 1; replace = true lets this run"):
        sweep_run.run(other.tasks[0], other, tmp_path)
    other = file(RECORD.replace("epochs = 3", "epochs = 1").replace("value = 1", "value = 1\nreplace = true"))
    assert sweep_run.result(other.tasks[0], other) is None
    sweep_run.run(other.tasks[0], other, tmp_path)
    assert records.load("tiny-0", of.records).epochs == 1


def test_a_run_begins_with_the_weights_of_a_record_but_for_the_classes(file, tmp_path):
    of = file(RECORD)
    sweep_run.run(of.tasks[0], of, tmp_path)
    record = records.load("tiny-0", of.records)
    model = of.tasks[0].build()
    before = [keras.ops.convert_to_numpy(weight) for weight in model.logits.weights]
    sweep_run.begin_with(model, record)
    theirs = {records.weight_name(weight): weight for weight in record.model().weights}
    for weight in model.weights:
        if not records.weight_name(weight).startswith("logits/"):
            np.testing.assert_array_equal(weight, theirs[records.weight_name(weight)])
    for weight, kept in zip(model.logits.weights, before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    with pytest.raises(ValueError, match="tiny-0 does not fit this model"):
        sweep_run.begin_with(file(RECORD.replace("dim = 8", "dim = 16")).tasks[0].build(), record)


def test_a_run_that_another_process_trains_is_left_alone(file, tmp_path, capsys):
    of = file()
    with RunFolder(tmp_path / "tiny" / "external-0"), pytest.raises(InUse):
        sweep_run.run(of.tasks[0], of, tmp_path)


def test_quick_epochs_go_by_unsaved_but_never_the_last_and_two_saved_ones_are_kept(tmp_path, monkeypatch):
    with RunFolder(tmp_path / "run", every=1e6) as folder:
        folder.claim({"recipe": "any"})
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(folder, "save", lambda epoch, parts: saved.append(epoch))
            checkpoints = Checkpoints(folder, {})
            checkpoints.set_params({"epochs": 4})
            checkpoints.set_model(SimpleNamespace(stop_training=False))
            checkpoints.on_train_begin()
            for epoch in range(4):
                checkpoints.on_epoch_end(epoch)
            checkpoints.model.stop_training = True
            checkpoints.on_epoch_end(1)
        assert saved == [0, 4, 2]
        for epoch in (0, 5, 9):
            folder.save(epoch, {"weights": {"0": np.zeros(1)}})
        assert sorted(path.name for path in folder.path.glob("epoch-*")) == ["epoch-0005", "epoch-0009"]


def test_two_processes_add_their_lines_to_one_file(file):
    of = file()
    task = of.tasks[0]

    def add(number):
        sweep_run._add(of, task, {"arm": "x", "seed": number, "provenance": {"commit": None}})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["seed"] for line in lines(of)) == list(range(20))
    assert sorted(path.name for path in of.results.iterdir()) == ["tiny.jsonl"]


SCRIPT = """
import json, os, sys, time
from pathlib import Path
name, state = sys.argv[1], Path(sys.argv[2])
with (state / "asked").open("a") as file:
    file.write(f"{name} {time.monotonic()}\\n")
"""


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Every run is a script of Python that notes that it was asked, and then does what is said here."""

    def use(then):
        def command(sweep, task, state, hours):
            return [sys.executable, "-c", SCRIPT + then, task.name, str(state)]

        monkeypatch.setattr(sweep, "_command", command)
        monkeypatch.setattr(sweep, "PAUSE", 0.01)
        (tmp_path / "state").mkdir()
        return tmp_path / "state"

    return use


def asked(state):
    return [line.split()[0] for line in (state / "asked").read_text().splitlines()]


def test_runs_are_begun_in_their_order_as_many_at_a_time_as_are_said(file, scripts, capsys):
    state = scripts("time.sleep(0.2)")
    assert sweep.sweep_all(file(), processes=4, state=state) == 0
    assert sorted(asked(state)) == sorted(task.name for task in file().tasks)
    (state / "asked").unlink()
    sweep.sweep_all(file(), processes=1, state=state)
    assert asked(state) == [task.name for task in file().tasks]
    times = [float(line.split()[1]) for line in (state / "asked").read_text().splitlines()]
    assert min(np.diff(times)) > 0.2


def test_what_fails_is_told_and_tried_once_more_and_the_others_go_on(file, scripts, capsys):
    state = scripts("sys.exit('out of luck' if name == 'tiny/external-0' else 0)")
    assert sweep.sweep_all(file(), processes=1, state=state) == 1
    assert asked(state).count("tiny/external-0") == 2
    assert len(asked(state)) == 5
    told = capsys.readouterr().out
    assert "tiny/external-0: failed: out of luck; is tried again" in told
    assert "delete" in told
    assert sweep.sweep_all(file(), processes=1, state=state) == 1
    assert asked(state).count("tiny/external-0") == 2
    told = capsys.readouterr().out
    assert "given up earlier: tiny/external-0; delete their .failed in" in told
    assert "0 of 4 runs are done, 1 failed" in told
    assert "failed: out of luck" in sweep_standing.listing(file(), state)
    (state / "tiny" / "external-0.failed").unlink()
    sweep.sweep_all(file(), processes=1, state=state)
    assert asked(state).count("tiny/external-0") == 4


def test_what_cannot_be_trained_is_not_tried_again(file, scripts, capsys):
    state = scripts("print('no such data', file=sys.stderr); sys.exit(77 if name == 'tiny/self-1' else 0)")
    assert sweep.sweep_all(file(), processes=2, state=state) == 1
    assert asked(state).count("tiny/self-1") == 1
    assert "tiny/self-1: failed: no such data; delete" in capsys.readouterr().out


def test_without_its_data_no_run_is_begun_and_each_set_is_fetched_once(file, scripts, monkeypatch):
    asked_for = []

    def load(name):
        asked_for.append(name)
        raise data.DataUnavailable("no server gave it")

    monkeypatch.setattr(data, "load", load)
    state = scripts("pass")
    with pytest.raises(data.DataUnavailable):
        sweep.sweep_all(file(), processes=2, state=state)
    assert asked_for == ["shapes10"]
    assert not list(state.iterdir())


@pytest.mark.parametrize("error", [data.DataUnavailable("no network"), TrainingError("no room left")])
def test_what_may_be_mended_is_no_reason_to_refuse_a_run(error, file, monkeypatch, capsys):
    def fails(*_):
        raise error

    monkeypatch.setattr(sweep_run, "run", fails)
    assert sweep.run_one(file(), "tiny/self-0") == sweep.FAILED
    assert f"{type(error).__name__}: {error}" in capsys.readouterr().err


def test_an_error_in_the_sweep_itself_leaves_no_process_behind(file, scripts, monkeypatch):
    state = scripts("""
pid = state / "pid"
if name == "tiny/external-0":
    (state / "new").write_text(str(os.getpid()))
    (state / "new").rename(pid)
    time.sleep(60)
while not pid.exists():
    time.sleep(0.01)
""")
    monkeypatch.delattr(sweep._Queue, "_ended")
    with pytest.raises(AttributeError, match="_ended"):
        sweep.sweep_all(file(), processes=2, state=state)
    with pytest.raises(ProcessLookupError):
        os.kill(int((state / "pid").read_text()), 0)


def test_a_run_that_another_process_just_finishes_can_be_listed(file, tmp_path, monkeypatch):
    def gone(_):
        raise TrainingError("no whole epoch is left")

    (tmp_path / "tiny" / "external-0").mkdir(parents=True)
    (tmp_path / "tiny" / "external-0" / "run.json").touch()
    monkeypatch.setattr(RunFolder, "load", gone)
    assert sweep_standing.standings(file(), tmp_path)["tiny/external-0"].epochs == 0


def test_no_run_is_begun_once_an_epoch_would_not_end_in_time(file, scripts, capsys):
    state = scripts("sys.exit(75)")
    assert sweep.sweep_all(file(), hours=1, processes=1, state=state) == 0
    assert len(asked(state)) == 1
    assert "saved, as another epoch would not end in time" in capsys.readouterr().out


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
def test_at_the_end_of_the_time_and_when_asked_all_processes_are_ended(number, file, scripts, capsys):
    state = scripts("(state / 'begun').touch(); time.sleep(60)")
    if number is not None:

        def ask():
            while not (state / "begun").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        threading.Thread(target=ask).start()
    begun = time.monotonic()
    assert sweep.sweep_all(file(), hours=None if number else 1 / 3600, processes=2, state=state) == 0
    assert time.monotonic() - begun < 20
    told = capsys.readouterr().out
    assert ("time is over" if number is None else f"asked to stop ({number.name})") in told
    assert not (state / "tiny" / "external-0.failed").exists()


def test_a_run_waits_for_the_record_that_it_begins_with(file, scripts, capsys):
    text = RECORD.replace("seeds = [0, 1]", "seeds = [0]").replace("value = 1", "value = 0.5")
    later = TINY.split("[[grid]]")[1].replace("seeds = [0, 1]", 'seeds = [0]\nstart = "tiny-0"')
    state = scripts("pass")
    sweep.sweep_all(file(f"{text}[[grid]]{later}"), processes=2, state=state)
    assert asked(state) == ["tiny-0"]  # which wrote none here, and so the two others wait
    assert "tiny/self-0: not begun, as there is no tiny-0" in capsys.readouterr().out


def test_cores_are_shared_out(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    told = sweep._environment(3)
    assert (told["OMP_NUM_THREADS"], told["TF_NUM_INTRAOP_THREADS"]) == ("3", "3")
    before = os.sched_getaffinity(0)
    with sweep._kept_to([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_a_sweep_that_is_killed_loses_nothing_and_does_nothing_twice(tmp_path):
    """The example, by real processes: killed in the middle with all that it began, and then gone on with."""
    text = (ROOT / "examples" / "tiny.toml").read_text().replace("../_build/tiny", "made")
    (tmp_path / "tiny.toml").write_text(text)
    command = [sys.executable, "-m", "vattn_utils", "sweep", "tiny.toml", "--state", "state", "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("state/*/epoch-*")) + list(tmp_path.glob("state/*/*/epoch-*")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    told, _ = first.communicate(timeout=30)
    assert "asked to stop (SIGTERM)" in told
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "3 of 3 runs are done, 0 failed" in found.stdout
    made = from_lines((tmp_path / "made" / "tiny.jsonl").read_text(), "tiny.jsonl")
    assert sorted(line["arm"] for line in made) == ["external attention", "no mixing"]
    assert json.loads((tmp_path / "made/records/patch_convnet-shapes10-tiny/record.json").read_text())["epochs"] == 1
    assert not list(tmp_path.glob("state/**/epoch-*"))
