"""An installed package has no records beside it: it fetches what is asked for, checks it, and keeps it."""

import hashlib
import json
import re
import shutil
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faulty_server import FaultyServer

from vattn_utils import __version__, training
from vattn_utils.__main__ import main
from vattn_utils.data import fetch
from vattn_utils.training import places, records, repository, train
from vattn_utils.training.records import RecordError

ROOT = Path(__file__).parents[1]
TRUNK, ON_IT = "patch_convnet-tiny-book", "per-class"
SIZES = dict(image_size=8, strides=(2,), dim=16, depth=1, mlp_dim=16)
RECIPE = training.Recipe(epochs=1, batch_size=16, learning_rate=3e-3, validation=16, augmentation=())


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    """What the repository publishes: two records, one on the encoder of the other, and measurements."""
    root = tmp_path_factory.mktemp("repository")
    train.train("patch_convnet", tiny, "book", RECIPE, overrides=SIZES, root=root / "records", watch=1)
    on_trunk(tiny, ON_IT, root / "records")
    (root / "benchmarks" / "results").mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks" / "results" / "last-epochs.jsonl", root / "benchmarks" / "results")
    return root


def on_trunk(tiny, name, root=None):
    changes = SIZES | {"queries": "per-class"}
    return train.train("patch_convnet", tiny, "book", RECIPE, name, changes, root=root, watch=1, base=TRUNK)


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    """A server of what is published, and a package that is installed, whose user has a home and nothing in it."""
    files = {f"/{path.relative_to(published).as_posix()}": path.read_bytes() for path in published.rglob("*.*")}
    index = [f"{hashlib.sha256(content).hexdigest()}  {name[1:]}\n" for name, content in files.items()]
    (tmp_path / "MANIFEST.sha256").write_text("".join(line for line in index if "json" in line))
    monkeypatch.setattr(repository, "INDEX", tmp_path / "MANIFEST.sha256")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VATTN_RECORDS", raising=False)
    with FaultyServer() as server:
        server.files |= files
        monkeypatch.setenv("VATTN_MIRROR", server.url("/"))
        yield server


def kept(tmp_path):
    return [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_only_what_is_asked_for_is_fetched_and_only_once(server, tiny):
    assert records.names() == [TRUNK, ON_IT]
    assert server.requests == []
    record = records.load(TRUNK)
    assert record.metrics == records.load(TRUNK).metrics
    assert server.requests == [f"/records/{TRUNK}/record.json"]
    model = record.model()
    assert training.evaluate(model, tiny.x_test, tiny.y_test) == record.metrics
    assert "epoch" in record.attention()
    assert server.requests[1:] == [f"/records/{TRUNK}/model.safetensors", f"/records/{TRUNK}/attention.npz"]


def test_the_table_needs_no_weights(server, capsys):
    assert main(["records"]) in (0, None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["record", TRUNK, ON_IT]
    assert all(path.endswith("/record.json") for path in server.requests)


def test_what_was_fetched_is_at_hand_without_a_network(server):
    records.load(TRUNK).model()
    server.files.clear()
    assert records.load(TRUNK).model().count_params() == records.load(TRUNK).parameters


def test_the_encoder_of_another_is_fetched_with_the_record(server, tiny):
    record = records.load(ON_IT)
    assert training.evaluate(record.model(), tiny.x_test, tiny.y_test) == record.metrics
    assert f"/records/{TRUNK}/model.safetensors" in server.requests


def test_measurements_are_fetched_by_name(server):
    assert records.measured("last-epochs")
    assert server.requests == ["/benchmarks/results/last-epochs.jsonl"]
    with pytest.raises(RecordError, match=r"no measurements 'speed' in .*; there are: last-epochs"):
        records.measured("speed")


@pytest.mark.parametrize("file", ["record.json", "model.safetensors"])
def test_an_altered_file_is_refused_and_not_kept(server, tmp_path, file):
    name = f"/records/{TRUNK}/{file}"
    server.files[name] = server.files[name].replace(b"0", b"1")
    with pytest.raises(RecordError, match=rf"{file} is not to be had from .*not the known file: expected SHA-256"):
        records.load(TRUNK).model()
    assert file not in kept(tmp_path)


def test_a_kept_file_that_was_altered_is_fetched_again_or_refused(server, tmp_path):
    path = records.load(TRUNK).path / "record.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"top1", b"top2"))
    assert "top1" in records.load(TRUNK).metrics
    assert path.read_bytes() == whole
    path.write_bytes(b"{}")
    server.files.clear()
    with pytest.raises(RecordError, match=rf"{re.escape(str(path))} was altered, and .* is not to be had .*404"):
        records.load(TRUNK)


def test_a_file_that_is_not_there_is_named_with_the_way_out(server, tmp_path):
    server.files.clear()
    with pytest.raises(RecordError, match=r"record.json is not to be had from http.*404.*; ask again .*VATTN_MIRROR"):
        records.load(TRUNK)
    assert kept(tmp_path) == []


def test_without_a_network_and_a_cache_it_says_so(server, monkeypatch):
    monkeypatch.setenv("VATTN_MIRROR", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(RecordError, match=r"is not to be had from http://127.0.0.1:9/records/.*refused"):
        records.load(TRUNK)


def test_half_a_file_is_never_seen(server, tmp_path):
    record = records.load(TRUNK)
    server.faults[f"/records/{TRUNK}/model.safetensors"] = "broken"
    with pytest.raises(RecordError, match="the connection broke after"):
        record.model()
    assert kept(tmp_path) == ["record.json"]
    server.faults.clear()
    assert record.model().count_params() == record.parameters


@pytest.mark.parametrize(("fault", "told"), [("dripping", "had come after"), ("stalled", "timed out")])
def test_a_slow_server_is_left(server, monkeypatch, fault, told):
    monkeypatch.setattr(fetch, "SILENCE", 0.3)
    monkeypatch.setattr(repository, "SECONDS", 0.5)
    server.faults[f"/records/{TRUNK}/record.json"] = fault
    start = time.monotonic()
    with pytest.raises(RecordError, match=told):
        records.load(TRUNK)
    assert time.monotonic() - start < 10


def test_many_may_ask_at_once(server, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: records.load(TRUNK)._tensors(), range(16)))
    for arrays in found:
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, found[0][name])
    assert sorted(kept(tmp_path)) == ["model.safetensors", "record.json"]


def test_a_run_is_recorded_in_the_users_folder_and_found_before_the_published_ones(server, tiny, tmp_path):
    own = tmp_path / "home" / ".local" / "share" / "vattn" / "records"
    record = on_trunk(tiny, "mine")
    assert record.path == own / "mine"
    assert record.model().count_params() == record.parameters  # its encoder is a published one's
    assert records.names() == ["mine", TRUNK, ON_IT]
    with pytest.raises(RecordError, match=f"there is a record {ON_IT} among the published ones; give another name"):
        on_trunk(tiny, ON_IT)
    shutil.copytree(records.load(TRUNK).path, own / TRUNK)
    assert records.load(TRUNK).path == own / TRUNK
    (own / TRUNK / "model.safetensors").write_bytes(b"another")
    assert records.load(ON_IT).model() is not None  # it has the encoder of the published one


def test_the_variable_names_another_folder_and_hides_nothing_that_is_published(server, tmp_path, monkeypatch):
    monkeypatch.setenv("VATTN_RECORDS", str(tmp_path / "own"))
    assert records.folder() == tmp_path / "own"
    assert records.names() == [TRUNK, ON_IT]
    assert records.names(tmp_path / "own") == []


def test_without_a_home_the_variables_say_where(server, tmp_path, monkeypatch):
    monkeypatch.setattr(places.files.os.path, "expanduser", lambda path: path)
    with pytest.raises(RecordError, match="no home to keep records in; set VATTN_RECORDS"):
        records.names()
    monkeypatch.setenv("VATTN_RECORDS", str(tmp_path / "own"))
    monkeypatch.delenv("VATTN_CACHE")
    assert records.names() == []
    with pytest.raises(RecordError, match=r"no home to keep benchmarks/results/.* in; set VATTN_CACHE"):
        records.measured("last-epochs")


def test_each_folder_of_logs_is_named(server, capsys):
    main(["records", "--tensorboard"])
    assert capsys.readouterr().out == f"To see them: tensorboard --logdir {records.load(TRUNK).path.parent}\n"
    assert len(list(records.load(TRUNK).path.parent.glob("*/tensorboard/events*"))) == 2


class Installed:
    """What pip knows of an installed package: its links, and what it was installed from."""

    def __init__(self, origin):
        self.origin, self.metadata = origin, self

    def get_all(self, name):
        assert name == "Project-URL"
        return ["Changelog, https://a.host/changes", "Repository, https://a.host/us/book"]

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin and json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, f"https://a.host/us/book/raw/v{__version__}/a/b"),
        ({"url": "file:///tmp/x.whl", "archive_info": {}}, f"https://a.host/us/book/raw/v{__version__}/a/b"),
        ({"url": "https://b.host/fork.git", "vcs_info": {"commit_id": "abc"}}, "https://b.host/fork/raw/abc/a/b"),
        ({"url": "ssh://git@b.host/fork", "vcs_info": {"commit_id": "abc"}}, f"https://a.host/us/book/raw/v{__version__}/a/b"),
    ],
    ids=["index", "wheel", "fork", "ssh"],
)  # fmt: skip
def test_a_file_comes_from_what_the_package_was_installed_from(monkeypatch, origin, expected):
    monkeypatch.delenv("VATTN_MIRROR", raising=False)
    monkeypatch.setattr(repository, "distribution", lambda name: Installed(origin))
    assert repository.address("a/b") == expected


def test_the_index_is_where_a_wheel_has_it_and_only_there():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"MANIFEST.sha256": repository.INDEX.relative_to(ROOT).as_posix()}
    assert not repository.installed()


def test_a_checkout_fetches_nothing(monkeypatch):
    monkeypatch.setattr(repository, "receive", None)
    monkeypatch.delenv("VATTN_RECORDS", raising=False)
    assert records.folder() == ROOT / "records"
    assert records.measured("last-epochs")
    assert repository.names("benchmarks/results/last-*") == ["benchmarks/results/last-epochs.jsonl"]
