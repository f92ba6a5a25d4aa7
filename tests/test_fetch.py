"""A file is fetched from a server on this machine that fails in every way an address can."""

import hashlib
import io
import sys
import time

import numpy as np
import pytest
from faulty_server import FaultyServer
from PIL import Image

from vattn_utils import data
from vattn_utils.data import fetch as module
from vattn_utils.data.fetch import FetchError, fetch


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    with FaultyServer() as server:
        yield server


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_fetched_once(server):
    server.files["/a"] = b"content"
    path = fetch(server.url("/a"))
    assert path.read_bytes() == b"content"
    assert fetch(server.url("/a")) == path
    assert server.requests == ["/a"]


def test_the_whole_address_tells_files_apart(server):
    server.files |= {"/one/cat.png": b"one", "/two/cat.png": b"two", "/two/cat.png?size=2": b"three"}
    assert [fetch(server.url(path)).read_bytes() for path in server.files] == [b"one", b"two", b"three"]


def test_an_address_may_be_written_in_capitals(server):
    server.files["/a"] = b"content"
    assert fetch(server.url("/a").replace("http", "HTTP")).read_bytes() == b"content"


@pytest.mark.parametrize("address", ["file:///etc/hosts", "ftp://host/file", "data.npz", "/data.npz"])
def test_what_is_no_address_on_the_web_is_refused(server, address):
    with pytest.raises(ValueError, match="should begin with http:// or https://"):
        fetch(address)


def test_mirrors_are_tried_in_their_order_until_one_gives_the_known_file(server):
    server.files |= {"/b": b"another", "/c": b"content", "/d": b"content"}
    path = fetch([server.url(f"/{name}") for name in "abcd"], sha256(b"content"))
    assert path.read_bytes() == b"content"
    assert server.requests == ["/a", "/b", "/c"]


def test_when_none_has_it_each_says_why_and_nothing_is_kept(server, tmp_path):
    server.files["/b"] = b"another"
    with pytest.raises(FetchError) as caught:
        fetch([server.url("/a"), server.url("/b")], sha256(b"content"))
    for words in (server.url("/a"), "404", server.url("/b"), f"found {sha256(b'another')}"):
        assert words in str(caught.value)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_kept_file_that_was_altered_is_fetched_again(server):
    server.files["/a"] = b"content"
    path = fetch(server.url("/a"), sha256(b"content"))
    path.write_bytes(b"altered")
    assert fetch(server.url("/a"), sha256(b"content")).read_bytes() == b"content"
    assert server.requests == ["/a", "/a"]


def test_half_a_file_is_none(server):
    server.files["/a"], server.faults["/a"] = bytes(1000), "broken"
    with pytest.raises(FetchError, match="the connection broke after 500 of 1,000 bytes"):
        fetch(server.url("/a"))


@pytest.mark.parametrize("fault", [None, "endless"], ids=["announced", "endless"])
def test_more_bytes_than_are_allowed_are_not_taken(server, fault):
    server.files["/a"], server.faults["/a"] = bytes(100_001), fault
    with pytest.raises(FetchError, match="it has more than 100,000 bytes"):
        fetch(server.url("/a"), most_bytes=100_000)


def test_a_dripping_server_is_left_when_the_time_is_up(server):
    server.files |= {"/a": bytes(1000), "/b": b"content"}
    server.faults["/a"] = "dripping"
    start = time.monotonic()
    assert fetch((server.url("/a"), server.url("/b")), seconds=0.3).read_bytes() == b"content"
    assert time.monotonic() - start < 5


def test_a_silent_server_is_left(server, monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.2)
    server.files["/a"], server.faults["/a"] = bytes(1000), "stalled"
    with pytest.raises(FetchError, match="timed out"):
        fetch(server.url("/a"))


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals(server, monkeypatch, terminal):
    server.files["/archive.tar.gz"] = bytes(10_000)
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    fetch(server.url("/archive.tar.gz"))
    assert ("100%" in stderr.getvalue()) is terminal
    assert bool(stderr.getvalue()) is terminal


# Pictures by address


def test_a_picture_is_read_from_its_address_in_any_case(server, random):
    file, pixels = io.BytesIO(), random.integers(0, 256, (8, 8, 3), dtype="uint8")
    Image.fromarray(pixels).save(file, "PNG")
    server.files["/picture"] = file.getvalue()
    for address in (server.url("/picture"), server.url("/picture").replace("http", "Http")):
        np.testing.assert_array_equal(data.read_picture(address, 8)[0], pixels)


def test_a_picture_that_is_not_there_is_refused_with_a_way_out(server):
    with pytest.raises(FetchError, match=r"not to be had from .*/nothing: .*404.*; save it by hand and give"):
        data.read_picture(server.url("/nothing"), 8)


def test_a_picture_is_small(server, monkeypatch):
    monkeypatch.setattr(data.pictures, "MOST_BYTES", 100)
    server.files["/picture"] = bytes(101)
    with pytest.raises(FetchError, match="it has more than 100 bytes"):
        data.read_picture(server.url("/picture"), 8)
