"""CIFAR is fetched from a server on this machine that fails in every way a mirror can."""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from faulty_server import FaultyServer, archive, binary_archive, miniature, planes, png_archive, python_archive

from vattn_utils import data
from vattn_utils.data import download


@pytest.fixture
def arrays(monkeypatch, tmp_path):
    """A miniature that passes for CIFAR-10, an empty cache, and no time lost in waiting."""
    arrays = miniature(10)
    publish(monkeypatch, "cifar10", arrays)
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VATTN_DATA", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0)
    return arrays


@pytest.fixture
def server():
    with FaultyServer() as server:
        yield server


def publish(monkeypatch, name, arrays):
    digests = {split: data.split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"])[1] for split in ("train", "test")}
    monkeypatch.setitem(data.DIGESTS, name, digests)


def mirrors(monkeypatch, server, *names, layout="binary", sha256=None, dataset="cifar10"):
    found = tuple(download.Mirror(layout, (server.url(f"/{name}"),), sha256) for name in names)
    monkeypatch.setitem(download.MIRRORS, dataset, found)


def assert_same_images(dataset, arrays):
    for split in ("train", "test"):
        order, _ = data.split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"])
        np.testing.assert_array_equal(getattr(dataset, f"x_{split}"), arrays[f"x_{split}"][order])
        np.testing.assert_array_equal(getattr(dataset, f"y_{split}"), arrays[f"y_{split}"][order])


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


# Whole and right: each layout


def test_a_binary_archive_is_downloaded_once_and_then_cached(monkeypatch, server, arrays, tmp_path):
    server.files["/a"] = binary_archive(arrays)
    mirrors(monkeypatch, server, "a")
    assert_same_images(data.load("cifar10"), arrays)
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == [("/a", None)]
    assert cached(tmp_path) == ["cifar10.npz"]


def test_a_python_archive_is_read(monkeypatch, server, arrays):
    server.files["/a"] = python_archive(arrays)
    mirrors(monkeypatch, server, "a", layout="python", sha256=hashlib.sha256(server.files["/a"]).hexdigest())
    assert_same_images(data.load("cifar10"), arrays)


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_archives_of_cifar100_give_the_fine_labels(monkeypatch, server, arrays, layout):
    hundred = miniature(100, seed=1)
    publish(monkeypatch, "cifar100", hundred)
    if layout == "python":
        server.files["/a"] = python_archive(hundred, ("train", "test"), key=b"fine_labels")
    else:
        server.files["/a"] = binary_archive(hundred, ("train.bin", "test.bin"), superclass=True)
    sha256 = hashlib.sha256(server.files["/a"]).hexdigest()
    mirrors(monkeypatch, server, "a", layout=layout, sha256=sha256, dataset="cifar100")
    assert_same_images(data.load("cifar100"), hundred)


def test_folders_of_pngs_are_read(monkeypatch, server, arrays):
    server.files["/a"] = png_archive(arrays, data.CLASS_NAMES["cifar10"])
    mirrors(monkeypatch, server, "a", layout="png")
    assert_same_images(data.load("cifar10"), arrays)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_parquet_files_are_read(monkeypatch, server, arrays, label):
    import pyarrow as pa
    import pyarrow.parquet
    from PIL import Image

    for split in ("train", "test"):
        images = []
        for image in arrays[f"x_{split}"]:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.table({"img": images, label: arrays[f"y_{split}"]}), file)
        server.files[f"/{split}"] = file.getvalue()
    mirror = download.Mirror("parquet", (server.url("/train"), server.url("/test")))
    monkeypatch.setitem(download.MIRRORS, "cifar10", (mirror,))
    assert_same_images(data.load("cifar10"), arrays)


def test_without_pyarrow_the_parquet_mirror_is_passed_over(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(arrays)
    parquet = download.Mirror("parquet", (server.url("/a"), server.url("/a")))
    binary = download.Mirror("binary", (server.url("/b"),))
    monkeypatch.setitem(download.MIRRORS, "cifar10", (parquet, binary))
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == [("/b", None)]


# Faults


def test_a_missing_file_leads_to_the_next_mirror_at_once(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(arrays)
    mirrors(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_a_broken_download_is_resumed_where_it_broke(monkeypatch, server, arrays):
    server.files["/a"] = body = binary_archive(arrays)
    server.faults["/a"] = ["broken"]
    mirrors(monkeypatch, server, "a")
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == [("/a", None), ("/a", f"bytes={len(body) // 2}-")]
    assert server.lengths == [len(body), len(body) - len(body) // 2]


def test_a_server_without_ranges_starts_again_from_the_first_byte(monkeypatch, server, arrays):
    server.ranges = False
    server.files["/a"] = binary_archive(arrays)
    server.faults["/a"] = ["broken"]
    mirrors(monkeypatch, server, "a")
    assert_same_images(data.load("cifar10"), arrays)
    assert len(server.requests) == 2


def test_halves_of_two_versions_are_never_joined(monkeypatch, server, arrays, tmp_path):
    server.files["/a"] = b"old" * 1000
    server.faults["/a"] = ["broken"]
    new = b"new" * 1000
    monkeypatch.setattr(download.time, "sleep", lambda _: server.files.update({"/a": new}))
    download.download(server.url("/a"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == new


def test_a_download_that_stays_short_leads_to_the_next_mirror(monkeypatch, server, arrays):
    server.files |= {"/a": binary_archive(arrays), "/b": binary_archive(arrays)}
    server.faults["/a"] = ["broken"] * download.ATTEMPTS
    mirrors(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    assert [path for path, _ in server.requests].count("/a") == download.ATTEMPTS


def test_a_silent_server_times_out(monkeypatch, server, arrays):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.files |= {"/a": binary_archive(arrays), "/b": binary_archive(arrays)}
    server.faults["/a"] = ["stalled"]
    mirrors(monkeypatch, server, "a", "b")
    start = time.perf_counter()
    assert_same_images(data.load("cifar10"), arrays)
    assert time.perf_counter() - start < 20  # it would be silent for 30


def test_a_dripping_server_is_left_for_a_faster_one(monkeypatch, server, arrays):
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    server.files |= {"/a": binary_archive(arrays), "/b": binary_archive(arrays)}
    server.faults["/a"] = ["dripping"]
    mirrors(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_a_slow_server_is_better_than_none(monkeypatch, server, arrays):
    monkeypatch.setattr(download, "PATIENCE", 0)
    monkeypatch.setattr(download, "SLOWEST", 1e15)
    server.files["/a"] = binary_archive(arrays)
    mirrors(monkeypatch, server, "a")
    assert_same_images(data.load("cifar10"), arrays)


def altered(arrays):
    x_train = arrays["x_train"].copy()
    x_train[0, 0, 0, 0] ^= 1
    return arrays | {"x_train": x_train}


@pytest.mark.parametrize("damage", ["one bit", "no archive", "cut short", "other images"])
def test_wrong_content_leads_to_the_next_mirror_and_never_into_the_cache(monkeypatch, server, arrays, damage, tmp_path):
    good = binary_archive(arrays)
    bad = {
        "one bit": binary_archive(altered(arrays)),
        "no archive": b"<html>Please log in</html>",
        "cut short": good[: len(good) // 2],
        "other images": binary_archive(miniature(10, seed=2)),
    }[damage]
    server.files |= {"/a": bad, "/b": good}
    mirrors(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    mirrors(monkeypatch, server, "a")
    (tmp_path / "cache" / "cifar10.npz").unlink()
    with pytest.raises(data.DataUnavailable):
        data.load("cifar10")
    assert cached(tmp_path) == []


def test_when_all_mirrors_fail_the_error_says_what_was_tried_and_what_to_do(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(altered(arrays))
    mirrors(monkeypatch, server, "a", "b")
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    message = str(caught.value)
    for words in (server.url("/a"), "404", server.url("/b"), "expected digest", "VATTN_DATA", "shapes10"):
        assert words in message


def test_without_a_network_each_mirror_is_named(monkeypatch, arrays):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    assert all(mirror.urls[0] in str(caught.value) for mirror in download.MIRRORS["cifar10"])


# Safety


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def evil_archive(arrays, path):
    batch = pickle.dumps({b"data": planes(arrays["x_train"]), b"labels": Evil(path)})
    return archive({"batches/data_batch_1": batch, "batches/test_batch": batch})


@pytest.mark.parametrize("known", [True, False])
def test_no_pickle_runs_code_whether_its_archive_is_the_known_one_or_not(monkeypatch, server, arrays, tmp_path, known):
    server.files["/a"] = evil_archive(arrays, tmp_path / "harm")
    sha256 = hashlib.sha256(server.files["/a"]).hexdigest() if known else "0" * 64
    mirrors(monkeypatch, server, "a", layout="python", sha256=sha256)
    with pytest.raises(data.DataUnavailable, match=r"asks for .*mkdir" if known else "not the known one"):
        data.load("cifar10")
    assert not (tmp_path / "harm").exists()


def test_a_python_archive_without_a_known_sha256_is_not_opened(monkeypatch, server, arrays):
    server.files["/a"] = python_archive(arrays)
    mirrors(monkeypatch, server, "a", layout="python", sha256=None)
    with pytest.raises(data.DataUnavailable, match="not the known one"):
        data.load("cifar10")


def test_an_archive_writes_nothing_outside_the_cache(monkeypatch, server, arrays, tmp_path):
    outside = {"../../outside/data_batch_1.bin": b"x", str(tmp_path / "absolute.bin"): b"x"}
    server.files["/a"] = archive(outside)
    mirrors(monkeypatch, server, "a")
    with pytest.raises(data.DataUnavailable):
        data.load("cifar10")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_a_link_in_an_archive_is_not_followed(monkeypatch, server, arrays, tmp_path, kind):
    batch = np.hstack([arrays["y_train"][:, None].astype("uint8"), planes(arrays["x_train"])]).tobytes()
    (tmp_path / "outside").write_bytes(batch)  # what the link leads to would do, if it were followed
    link = tarfile.TarInfo("data_batch_1.bin")
    link.type, link.linkname = kind, str(tmp_path / "outside")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.addfile(link)
        with tarfile.open(fileobj=io.BytesIO(binary_archive(arrays))) as whole:
            tar.addfile(whole.getmember("bin/test_batch.bin"), whole.extractfile("bin/test_batch.bin"))
    server.files["/a"] = file.getvalue()
    mirrors(monkeypatch, server, "a")
    with pytest.raises(data.DataUnavailable, match="no training or no test images"):
        data.load("cifar10")


def test_an_archive_that_swells_is_left_unread(monkeypatch, server, arrays):
    server.files["/a"] = binary_archive(arrays)
    mirrors(monkeypatch, server, "a")
    monkeypatch.setattr(download, "LARGEST_MEMBER", 1000)
    with pytest.raises(data.DataUnavailable, match="no file of CIFAR has that many"):
        data.load("cifar10")


def test_two_processes_at_once_both_get_the_data(server, arrays, tmp_path):
    server.files["/a"] = binary_archive(arrays)
    program = """
import json, sys
from vattn_utils import data
from vattn_utils.data import download
url, digests = json.loads(sys.argv[1])
data.DIGESTS["cifar10"], download.MIRRORS["cifar10"] = digests, (download.Mirror("binary", (url,)),)
print(data.load("cifar10").x_train.sum())
"""
    task = json.dumps([server.url("/a"), data.DIGESTS["cifar10"]])
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", program, task], stdout=subprocess.PIPE))
            for _ in range(2)
        ]
        sums = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sums == [arrays["x_train"].sum()] * 2
    assert cached(tmp_path) == ["cifar10.npz"]
    assert_same_images(data.load("cifar10"), arrays)


def test_a_cache_that_cannot_be_written_is_a_clear_error(monkeypatch, arrays, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(data.DataUnavailable, match="VATTN_CACHE"):
        data.load("cifar10")


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals(monkeypatch, server, tmp_path, terminal):
    server.files["/archive.tar.gz"] = bytes(10_000)
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    download.download(server.url("/archive.tar.gz"), tmp_path / "file")
    assert ("100%" in stderr.getvalue()) is terminal
    assert bool(stderr.getvalue()) is terminal


def test_there_are_mirrors_in_several_formats_over_https_and_every_pickle_has_a_sha256():
    for found in download.MIRRORS.values():
        assert {mirror.layout for mirror in found} >= {"python", "binary", "parquet"}
        assert all(url.startswith("https://") for mirror in found for url in mirror.urls)
        assert all(len(mirror.sha256 or "") == 64 for mirror in found if mirror.layout == "python")
