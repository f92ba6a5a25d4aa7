"""What is kept of a run while it lasts: whole or not at all, one process's, and nothing else is touched."""

import errno
import os
import resource
import warnings

import numpy as np
import pytest

from tests import crash
from tests.test_records import RECIPE, SIZES, written
from vattn_utils import models
from vattn_utils.training import durable, records, run_folder, train, writing
from vattn_utils.training.records import RecordError
from vattn_utils.training.run_folder import RunFolder, TrainingError


def parts(epoch):
    return {"weights": {"00000": np.full(5, epoch)}, "history": {"loss": np.ones(epoch)}}


@pytest.fixture
def folder(tmp_path):
    """A run after its second epoch."""
    with RunFolder(tmp_path / "run") as held:
        held.claim({"recipe": "any"})
        for epoch in range(3):
            held.save(epoch, parts(epoch))
        yield held


def test_the_last_two_epochs_are_kept(folder):
    assert sorted(path.name for path in folder.path.glob("epoch-*")) == ["epoch-0001", "epoch-0002"]
    assert folder.load()[0] == 2
    assert folder.history() == {"loss": [1.0, 1.0]}


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "empty"])
@pytest.mark.parametrize("file", ["weights.npz", "history.npz", "manifest.json"])
def test_a_damaged_epoch_is_named_and_the_one_before_is_gone_on_with(folder, file, damage):
    path = folder.path / "epoch-0002" / file
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.touch()
    with pytest.warns(UserWarning, match=r"epoch-0002 is damaged: .*; the run goes on after epoch 1"):
        epoch, found = folder.load()
    assert epoch == 1
    np.testing.assert_array_equal(found["weights"]["00000"], parts(1)["weights"]["00000"])
    folder.save(2, parts(2))
    with warnings.catch_warnings(action="error"):
        assert folder.load()[0] == 2


def test_a_run_of_which_nothing_is_whole_is_no_new_one(folder):
    for epoch in folder.path.glob("epoch-*"):
        (epoch / "weights.npz").unlink()
    with pytest.raises(TrainingError, match=r"epoch-0002 is damaged.*epoch-0001 is damaged.*no whole epoch is left"):
        folder.load()


def test_a_second_process_is_refused(folder):
    with pytest.raises(TrainingError, match="another process is training in"), RunFolder(folder.path):
        pass
    with RunFolder.of(folder):  # who holds it may enter again
        assert folder.load()[0] == 2


@pytest.mark.skipif(durable.fcntl is None, reason="without locks nobody is kept out")
def test_a_lock_that_was_removed_while_it_was_waited_for_is_not_held_beside_a_new_one(tmp_path, monkeypatch):
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    leaving, flock = [first], durable.fcntl.flock

    def late(*given):  # the file is open, and now who has it leaves and removes it
        if leaving:
            leaving.pop().__exit__()
        flock(*given)

    first.__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(durable.fcntl, "flock", late)
        second.__enter__()
    with pytest.raises(TrainingError, match="another process is training in"), RunFolder(tmp_path / "run"):
        pass
    second.__exit__()
    assert not (tmp_path / "run").exists()


def test_where_no_open_file_can_be_removed_the_lock_is_closed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "fcntl", None)
    held = RunFolder(tmp_path / "run").__enter__()
    unlink = durable.Path.unlink

    def of_windows(path, **named):
        assert held._lock.closed
        unlink(path, **named)

    monkeypatch.setattr(durable.Path, "unlink", of_windows)
    held.__exit__()
    assert not (tmp_path / "run").exists()


def test_what_an_older_version_began_is_refused_and_not_misread(tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": {}, "model": {}, "digest": ""}')
    (tmp_path / "backup").mkdir()
    for resume in (True, False):
        with pytest.raises(TrainingError, match=r"an older version began.*finish it with that version"):
            train.state_directory("vit", tmp_path, resume)


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is damaged"), ('{"name": "npm"}', "is not ours"), ("[]", "is not")]
)
def test_a_run_json_that_is_not_ours_or_damaged_claims_nothing(tmp_path, content, words):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=words):
        train.state_directory("vit", tmp_path, resume=True)


def test_only_what_is_ours_is_removed_when_a_run_is_finished(folder):
    (folder.path / "epoch-notes.txt").write_text("years of work")
    (folder.path / "epoch-backup").mkdir()
    folder.finish("vit")
    assert sorted(path.name for path in folder.path.iterdir()) == ["epoch-backup", "epoch-notes.txt", "lock"]


def test_a_folder_in_which_no_run_is_kept_is_not_left_behind(tmp_path):
    with RunFolder(tmp_path / "run") as held:
        assert held.foreign() == []
    assert not (tmp_path / "run").exists()


def test_a_finished_run_whose_state_is_half_removed_is_not_begun_again(folder, monkeypatch):
    monkeypatch.setattr(run_folder.shutil, "rmtree", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.finish("vit")
    assert folder.run()["finished"] == "vit"
    with pytest.raises(TrainingError, match="is finished, its record is vit"):
        folder.claim({"recipe": "any"})


def test_a_full_disk_leaves_the_last_whole_epoch(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full)
        with pytest.raises(TrainingError, match=r"epoch 3 could not be kept in .*No space left.*go on with --resume"):
            folder.save(3, parts(3))
    assert folder.load()[0] == 2
    assert not list(folder.path.glob(".epoch*"))


def fails_for(folder, number, fsync=os.fsync):
    """An `os.fsync` that fails for the folder `folder` with the error `number`."""

    def failing(descriptor):
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    return failing


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_bring_a_folder_to_the_disk_is_no_fault(tmp_path, monkeypatch, number):
    monkeypatch.setattr(durable.os, "fsync", fails_for(tmp_path, number))
    for content in (b"old", b"new"):
        durable.write_folder(tmp_path / "epoch", {"file": content})
    assert crash.tree(tmp_path) == {"epoch": None, "epoch/file": b"new"}


def test_where_only_the_last_step_fails_the_old_folder_lies_beside_the_new_one(tmp_path, monkeypatch):
    durable.write_folder(tmp_path / "epoch", {"file": b"old"})
    monkeypatch.setattr(durable.os, "fsync", fails_for(tmp_path, errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durable.write_folder(tmp_path / "epoch", {"file": b"new"})
    assert crash.tree(tmp_path) == {".epoch.old": None, ".epoch.old/file": b"old", "epoch": None, "epoch/file": b"new"}


def test_a_disk_that_would_not_hold_the_run_is_found_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: type("", (), {"free": 100}))
    with RunFolder(tmp_path / "run") as held, pytest.raises(TrainingError, match="0 MB left, and the run takes"):
        held.save(0, parts(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are a process's own")
def test_a_limit_on_the_size_of_files_is_found_before_the_run_begins(tmp_path):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with RunFolder(tmp_path / "run") as held:
                held.save(0, {"weights": {"00000": np.zeros(1000)}})
        except TrainingError as error:
            os._exit(7 if "File too large" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert RunFolder(tmp_path / "run").load() is None


def test_a_folder_in_which_nothing_can_be_written_is_found_before_the_run_begins(tmp_path, tiny):
    (tmp_path / "file").touch()
    with (
        pytest.raises(TrainingError, match=r"no run can be kept in .*give another directory"),
        RunFolder(tmp_path / "file" / "run"),
    ):
        pass
    with pytest.raises(RecordError, match=r"no record can be written in .*set \$VATTN_RECORDS"):
        train.train("eanet", tiny, "book", RECIPE, overrides=SIZES, root=tmp_path / "file")


def test_a_record_is_replaced_only_if_that_is_said_and_before_the_first_step(tiny, tmp_path, monkeypatch):
    model = models.build("eanet", num_classes=4, **SIZES)
    record = written("eanet-tiny-book", model, tiny, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(train, "build", lambda *_: pytest.fail("a model was built"))
        with pytest.raises(RecordError, match=r"there is a record eanet-tiny-book in .*: --replace"):
            train.train("eanet", tiny, "book", RECIPE, overrides=SIZES, root=tmp_path)
    history = {name: [2.0] for name in record.history}
    with pytest.raises(RecordError, match=r"there is a record eanet-tiny-book in .*: --replace"):
        writing.check_place(record.name, tmp_path, history=history)
    writing.check_place(record.name, tmp_path, history=record.history)  # of the very run that wrote it
    model.logits.bias.assign(np.ones(4))
    assert written(record.name, model, tiny, tmp_path, replace=True).sha256 != record.sha256
    assert [path.name for path in tmp_path.iterdir()] == [record.name]


def test_a_record_that_was_being_replaced_when_a_process_died_is_still_the_record(tiny, tmp_path):
    record = written("eanet-tiny-book", models.build("eanet", num_classes=4, **SIZES), tiny, tmp_path)
    record.path.rename(durable.kept(record.path))
    with pytest.raises(RecordError, match=r"there is a record eanet-tiny-book in .*: --replace"):
        writing.check_place(record.name, tmp_path)
    assert records.load(record.name, tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [record.name]


def test_what_no_model_can_be_built_of_is_a_sentence(tiny):
    with pytest.raises(TrainingError, match=r"no vit can be built with \{'depth': '__import__'\}: depth="):
        train.build("vit", tiny, "book", RECIPE, {"depth": "__import__"})
