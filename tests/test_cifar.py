"""CIFAR is read in each of its formats, from servers that fail in every way a mirror can, and nothing else is taken."""

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

import numpy as np
import pytest
from faulty_server import FaultyServer, archive, binary_archive, miniature, planes, python_archive
from PIL import Image

from vattn_utils import data
from vattn_utils.data import archives, cifar, fetch
from vattn_utils.data.dataset import split_digest


@pytest.fixture
def arrays(monkeypatch, tmp_path):
    """A miniature that passes for CIFAR-10, and an empty cache."""
    arrays = miniature(10)
    publish(monkeypatch, "cifar10", arrays)
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VATTN_DATA", raising=False)
    return arrays


@pytest.fixture
def server():
    with FaultyServer() as server:
        yield server


def publish(monkeypatch, name, arrays):
    digests = {split: split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"])[1] for split in ("train", "test")}
    monkeypatch.setitem(cifar.DIGESTS, name, digests)


def sources(monkeypatch, server, *names, layout="binary", sha256=None, dataset="cifar10"):
    """Let the data set be had from each of `names` on the server, one source after the other."""
    found = tuple(cifar.Source(layout, ((server.url(f"/{name}"),),), sha256) for name in names)
    monkeypatch.setitem(cifar.SOURCES, dataset, found)


def assert_same_images(dataset, arrays):
    for split in ("train", "test"):
        order, _ = split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"])
        np.testing.assert_array_equal(getattr(dataset, f"x_{split}"), arrays[f"x_{split}"][order])
        np.testing.assert_array_equal(getattr(dataset, f"y_{split}"), arrays[f"y_{split}"][order])


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


# Whole and right: each layout


def test_a_binary_archive_is_downloaded_once_and_then_cached(monkeypatch, server, arrays, tmp_path):
    server.files["/a"] = binary_archive(arrays)
    sources(monkeypatch, server, "a")
    assert_same_images(data.load("cifar10"), arrays)
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == ["/a"]
    assert cached(tmp_path) == ["cifar10.npz"]


def test_a_python_archive_is_read(monkeypatch, server, arrays):
    server.files["/a"] = python_archive(arrays)
    sources(monkeypatch, server, "a", layout="python", sha256=hashlib.sha256(server.files["/a"]).hexdigest())
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
    sources(monkeypatch, server, "a", layout=layout, sha256=sha256, dataset="cifar100")
    assert_same_images(data.load("cifar100"), hundred)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_parquet_files_are_read(monkeypatch, server, arrays, label):
    import pyarrow as pa
    import pyarrow.parquet

    for split in ("train", "test"):
        images = []
        for image in arrays[f"x_{split}"]:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.table({"img": images, label: arrays[f"y_{split}"]}), file)
        server.files[f"/{split}"] = file.getvalue()
    mirror = cifar.Source("parquet", ((server.url("/train"),), (server.url("/test"),)))
    monkeypatch.setitem(cifar.SOURCES, "cifar10", (mirror,))
    assert_same_images(data.load("cifar10"), arrays)


def test_without_pyarrow_the_parquet_mirror_is_passed_over(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(arrays)
    parquet = cifar.Source("parquet", ((server.url("/a"),), (server.url("/a"),)))
    binary = cifar.Source("binary", ((server.url("/b"),),))
    monkeypatch.setitem(cifar.SOURCES, "cifar10", (parquet, binary))
    monkeypatch.setattr(cifar.importlib.util, "find_spec", lambda name: None)
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == ["/b"]


# Faults


def test_a_missing_file_leads_to_the_next_mirror_at_once(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(arrays)
    sources(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == ["/a", "/b"]


def test_copies_of_one_file_are_tried_one_after_the_other(monkeypatch, server, arrays):
    server.files |= {"/b": b"another file", "/c": python_archive(arrays)}
    copies = tuple(server.url(path) for path in ("/a", "/b", "/c"))
    sha256 = hashlib.sha256(server.files["/c"]).hexdigest()
    monkeypatch.setitem(cifar.SOURCES, "cifar10", (cifar.Source("python", (copies,), sha256),))
    assert_same_images(data.load("cifar10"), arrays)
    assert server.requests == ["/a", "/b", "/c"]


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
    sources(monkeypatch, server, "a", "b")
    assert_same_images(data.load("cifar10"), arrays)
    sources(monkeypatch, server, "a")
    (tmp_path / "cache" / "cifar10.npz").unlink()
    with pytest.raises(data.DataUnavailable):
        data.load("cifar10")
    assert cached(tmp_path) == []


def test_when_all_mirrors_fail_the_error_says_what_was_tried_and_what_to_do(monkeypatch, server, arrays):
    server.files["/b"] = binary_archive(altered(arrays))
    sources(monkeypatch, server, "a", "b")
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    message = str(caught.value)
    for words in (server.url("/a"), "404", server.url("/b"), "expected digest", "VATTN_DATA", "shapes10"):
        assert words in message


def test_without_a_network_each_address_is_named(monkeypatch, arrays):
    monkeypatch.setattr(cifar.importlib.util, "find_spec", lambda name: True)

    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(fetch.urllib.request, "urlopen", refuse)
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    asked = [address for source in cifar.SOURCES["cifar10"] for address in source.files[0]]
    assert all(address in str(caught.value) for address in asked)


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
    sources(monkeypatch, server, "a", layout="python", sha256=sha256)
    with pytest.raises(data.DataUnavailable, match=r"asks for .*mkdir" if known else "not the known file"):
        data.load("cifar10")
    assert not (tmp_path / "harm").exists()


def test_a_python_archive_without_a_known_sha256_is_not_opened(monkeypatch, server, arrays):
    server.files["/a"] = python_archive(arrays)
    sources(monkeypatch, server, "a", layout="python", sha256=None)
    with pytest.raises(data.DataUnavailable, match="without a known SHA-256 is not opened"):
        data.load("cifar10")


def test_an_archive_writes_nothing_outside_the_cache(monkeypatch, server, arrays, tmp_path):
    outside = {"../../outside/data_batch_1.bin": b"x", str(tmp_path / "absolute.bin"): b"x"}
    server.files["/a"] = archive(outside)
    sources(monkeypatch, server, "a")
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
    sources(monkeypatch, server, "a")
    with pytest.raises(data.DataUnavailable, match="no training or no test images"):
        data.load("cifar10")


def test_an_archive_that_swells_is_left_unread(monkeypatch, server, arrays):
    server.files["/a"] = binary_archive(arrays)
    sources(monkeypatch, server, "a")
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    with pytest.raises(data.DataUnavailable, match=r"more than 1,000 bytes when unpacked|unpacks to"):
        data.load("cifar10")


def test_two_processes_at_once_both_get_the_data(server, arrays, tmp_path):
    server.files["/a"] = binary_archive(arrays)
    program = """
import json, sys
from vattn_utils import data
from vattn_utils.data import cifar
url, digests = json.loads(sys.argv[1])
cifar.DIGESTS["cifar10"], cifar.SOURCES["cifar10"] = digests, (cifar.Source("binary", ((url,),)),)
print(data.load("cifar10").x_train.sum())
"""
    task = json.dumps([server.url("/a"), cifar.DIGESTS["cifar10"]])
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


def addresses(name):
    return [address for source in cifar.SOURCES[name] for copies in source.files for address in copies]


def test_there_are_several_formats_over_https_and_every_pickle_has_a_sha256():
    for name, found in cifar.SOURCES.items():
        assert {source.layout for source in found} == {"python", "binary", "parquet"}
        assert all(address.startswith("https://") for address in addresses(name))
        assert all(len(source.sha256 or "") == 64 for source in found if source.layout == "python")
