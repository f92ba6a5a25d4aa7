"""A file is written whole or not at all, whatever writes it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vattn_utils.data import files
from vattn_utils.data.files import write_atomically


@pytest.mark.parametrize("content", ["ö\n", "ö\n".encode(), lambda path: path.write_text("ö\n", encoding="utf-8")])
def test_text_bytes_and_what_a_function_writes_are_written_into_a_folder_that_is_made(tmp_path, content):
    write_atomically(tmp_path / "new" / "file.txt", content)
    assert (tmp_path / "new" / "file.txt").read_text(encoding="utf-8") == "ö\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


def test_a_function_is_given_a_path_with_the_same_suffix(tmp_path):
    write_atomically(tmp_path / "arrays.npz", lambda path: np.savez(path, a=np.arange(3)))
    assert np.load(tmp_path / "arrays.npz")["a"].tolist() == [0, 1, 2]


def test_the_old_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [inner.name for inner in tmp_path.iterdir()] == ["file.txt"]


def test_threads_that_write_one_file_at_once_do_not_meet(tmp_path):
    both = threading.Barrier(2, timeout=10)

    def write(partial):
        partial.write_text("whole")
        both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: write_atomically(tmp_path / "file.txt", write), range(2)))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.txt", "whole")]


def test_a_folder_that_is_set_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VATTN_CACHE", "~/cache")
    assert files.cache() == tmp_path / "cache"
    monkeypatch.setenv("VATTN_CACHE", "")
    assert files.cache() == tmp_path / ".cache" / "vattn"
