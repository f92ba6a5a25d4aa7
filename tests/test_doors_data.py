"""Doors of the data: files, folders, servers and pictures of every kind give what is meant, or a sentence, in time."""

import errno
import gzip
import io
import os
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faulty_server import FaultyServer, archive, binary_archive
from PIL import Image

from vattn_utils import data
from vattn_utils.data import archives, cifar, files, pictures, shapes
from vattn_utils.data.dataset import KEYS
from vattn_utils.data.fetch import FetchError, fetch


@pytest.fixture
def server():
    with FaultyServer() as server:
        yield server


def members(arrays):
    """The four members of an npz file, by name."""
    found = {}
    for key in KEYS:
        file = io.BytesIO()
        np.save(file, arrays[key])
        found[f"{key}.npy"] = file.getvalue()
    return found


def zipped(path, members, more=()):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in [*members.items(), *more]:
            file.writestr(name, content)
    return path.parent


def refused(root, error, words):
    with pytest.raises(error, match=words):
        data.load("cifar10", root)


# npz files


def test_members_that_are_no_arrays_are_damage(arrays, tmp_path):
    refused(zipped(tmp_path / "cifar10.npz", dict.fromkeys(members(arrays), b"\x80\x04N.")), data.DamagedData, "magic")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_damage(arrays, tmp_path):
    root = zipped(tmp_path / "cifar10.npz", members(arrays), [("x_train.npy", b"")])
    refused(root, data.DamagedData, "x_train more than once")


@pytest.mark.parametrize(("field", "value", "words"), [(8, 1, "encrypted"), (10, 99, "packed in a way")])
def test_an_encrypted_member_and_one_packed_in_an_unknown_way_are_damage(arrays, tmp_path, field, value, words):
    root = zipped(tmp_path / "cifar10.npz", members(arrays))
    content = bytearray((tmp_path / "cifar10.npz").read_bytes())
    place = content.index(b"PK\x01\x02")  # of the first member, in the directory at the end
    content[place + field : place + field + 2] = struct.pack("<H", value)
    (tmp_path / "cifar10.npz").write_bytes(content)
    refused(root, data.DamagedData, words)


def test_a_file_that_swells_is_not_unpacked(arrays, tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "cifar10.npz", **{key: np.zeros(100_000, "uint8") for key in KEYS})
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    monkeypatch.setattr(archives.zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    refused(tmp_path, data.DamagedData, "has 400,512 bytes when unpacked; a data set has at most 100,000")


def test_a_file_that_is_too_large_is_not_opened(arrays, tmp_path):
    with (tmp_path / "cifar10.npz").open("wb") as file:
        file.truncate(2**30)
    refused(tmp_path, data.DamagedData, "has 1,073,741,824 bytes; a data set has at most")


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_what_is_no_file_is_not_read(arrays, tmp_path, kind):
    path = tmp_path / "cifar10.npz"
    {"device": lambda: path.symlink_to("/dev/zero"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    refused(tmp_path, data.DamagedData, "is no file but a folder, a device or a pipe")


# Archives


def served(monkeypatch, server, content):
    server.files["/a"] = content
    monkeypatch.setitem(cifar.SOURCES, "cifar10", (cifar.Source("binary", ((server.url("/a"),),)),))


def test_an_archive_of_many_files_is_left_when_they_are_too_much_together(arrays, monkeypatch, server):
    served(monkeypatch, server, archive({f"data_batch_{index}.bin": bytes(20 * 3073) for index in range(30)}))
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    refused(None, data.DataUnavailable, "more than 100,000 bytes when unpacked")


def test_an_archive_within_the_limit_is_read(arrays, monkeypatch, server):
    served(monkeypatch, server, binary_archive(arrays))
    monkeypatch.setattr(archives, "MOST_BYTES", 120_000)
    assert len(data.load("cifar10").x_train) == 20


def test_a_file_made_of_holes_is_not_unpacked(arrays, monkeypatch, server):
    block = bytearray(512)  # the old GNU form of a sparse file: its real size stands apart from what is stored
    block[:10], block[100:108], block[124:136] = b"data_batch", b"0000644\0", b"00000000000\0"
    block[156:157], block[257:265] = b"S", b"ustar  \0"
    block[386:410], block[483:495] = b"00000000000\0" * 2, b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    served(monkeypatch, server, gzip.compress(bytes(block) + bytes(1024)))
    refused(None, data.DataUnavailable, "unpacks to 8,589,934,591 bytes")


# Servers


def test_a_server_whose_header_drips_is_left_when_the_time_is_up(server, tmp_path):
    server.files |= {"/a": b"a", "/b": b"content"}
    server.faults["/a"] = "dripping header"
    start = time.monotonic()
    addresses = server.url("/a"), server.url("/b")
    assert fetch(addresses, folder=tmp_path, seconds=0.3).read_bytes() == b"content"
    with pytest.raises(FetchError, match=r"/a: it had not answered after 0.3 seconds"):
        fetch(addresses[0], folder=tmp_path / "other", seconds=0.3)
    assert time.monotonic() - start < 5


# Folders


@pytest.mark.parametrize("variable", ["VATTN_DATA", "VATTN_CACHE"])
def test_a_relative_folder_is_refused_with_a_whole_one(arrays, monkeypatch, tmp_path, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "sets")
    for door in (data.load, data.at_hand):
        with pytest.raises(ValueError, match=rf"{variable}='sets' is no whole path; .* such as '{tmp_path}/sets'"):
            door("cifar10")


def test_the_home_of_nobody_is_no_whole_path(monkeypatch):
    monkeypatch.setenv("VATTN_DATA", "~nobody-of-that-name/sets")
    with pytest.raises(ValueError, match="no whole path"):
        data.at_hand("cifar10")


def test_a_tilde_in_vattn_data_is_the_home_and_may_not_be_passed_over(arrays, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VATTN_DATA", "~/sets")
    (tmp_path / "sets").mkdir()
    np.savez(tmp_path / "sets" / "cifar10.npz", **arrays)
    assert data.at_hand("cifar10") == tmp_path / "sets" / "cifar10.npz"
    assert len(data.load("cifar10").x_train) == 20


def test_without_a_home_data_is_found_elsewhere_or_a_sentence_says_how(arrays, monkeypatch, tmp_path):
    monkeypatch.delenv("VATTN_CACHE")
    monkeypatch.setattr(files.os.path, "expanduser", lambda path: path)  # what Python does where there is no home
    assert data.at_hand("cifar10") is None
    refused(None, data.DataUnavailable, "no home to keep it in; set VATTN_CACHE")
    with pytest.raises(OSError, match="no home to keep what is fetched; set VATTN_CACHE"):
        fetch("http://127.0.0.1:9/a")
    np.savez(tmp_path / "cifar10.npz", **arrays)
    monkeypatch.setenv("VATTN_DATA", str(tmp_path))
    assert len(data.load("cifar10").x_train) == 20


@pytest.fixture
def closed(monkeypatch, tmp_path):
    """A folder that may not be looked into. The tests may be run by a user who may everything."""
    path, stat = tmp_path / "closed", Path.stat

    def refuse(self, **options):
        if self.is_relative_to(path) and self != path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    return path


def test_a_named_folder_that_is_closed_is_an_error_and_not_passed_over(arrays, monkeypatch, closed, tmp_path):
    (tmp_path / "cache").mkdir()
    np.savez(tmp_path / "cache" / "cifar10.npz", **arrays)
    monkeypatch.setenv("VATTN_DATA", str(closed))
    for door in (data.load, data.at_hand):
        with pytest.raises(
            data.DataUnavailable, match=f"VATTN_DATA: {closed} may not be looked into; make it readable"
        ):
            door("cifar10")


def test_a_closed_cache_is_no_place_and_is_named(arrays, monkeypatch, closed):
    monkeypatch.setenv("VATTN_CACHE", str(closed))
    assert data.at_hand("cifar10") is None
    refused(None, data.DataUnavailable, f"cache: {closed} may not be looked into")


# Data sets


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True, None, 10**6, (1,)])
def test_a_split_and_a_part_are_of_a_possible_size(tiny, value):
    with pytest.raises((TypeError, ValueError), match=r"validation=.*; use"):
        tiny.split(value, seed=0)
    with pytest.raises((TypeError, ValueError), match=r"n=.*; use 1 to 96"):
        tiny.take(value)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True])
def test_a_seed_is_a_whole_number_from_0(tiny, seed):
    for door in (lambda: tiny.split(5, seed), lambda: shapes.draw([0], seed=seed)):
        with pytest.raises((TypeError, ValueError), match=r"seed=.*; use 0 "):
            door()


def test_indices_of_shapes_are_not_rounded():
    with pytest.raises(ValueError, match="list of integers"):
        shapes.draw([0.7])
    assert shapes.draw([])[0].shape == (0, 32, 32, 3)


# Pictures

RED, BLUE = (254, 0, 0), (0, 0, 254)


@pytest.fixture
def upright():
    """Red above blue, with a white corner so that no turn and no reflection of it is the same."""
    found = np.zeros((40, 40, 3), "uint8")
    found[:20, :, 0], found[20:, :, 2], found[:10, :10] = 255, 255, 255
    return found


# How a camera that was held so lays the picture down: EXIF's numbers, and what takes an upright one there.
HELD = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", HELD)
@pytest.mark.parametrize("door", ["path", "PIL", "address"])
def test_a_photograph_is_upright_however_the_camera_was_held(upright, tmp_path, server, orientation, door):
    exif, picture = Image.Exif(), Image.fromarray(upright)
    exif[0x0112] = orientation
    lying = picture if HELD[orientation] is None else picture.transpose(HELD[orientation])
    lying.save(tmp_path / "phone.png", exif=exif)
    server.files["/phone.png"] = (tmp_path / "phone.png").read_bytes()
    sources = {
        "path": tmp_path / "phone.png", "PIL": Image.open(tmp_path / "phone.png"), "address": server.url("/phone.png")
    }  # fmt: skip
    np.testing.assert_array_equal(data.read_picture(sources[door], 40)[0], upright)


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def test_addresses_that_end_alike_and_one_whose_picture_changes_give_each_its_own(server):
    server.files |= {"/cat/a.png": png("red"), "/dog/a.png": png("blue"), "/dog/a.png?size=2": png("green")}
    colours = [tuple(data.read_picture(server.url(path), 8)[0, 0, 0]) for path in server.files]
    assert colours == [(255, 0, 0), (0, 0, 255), (0, 128, 0)]
    server.files["/cat/a.png"] = png("yellow")
    assert tuple(data.read_picture(server.url("/cat/a.png").replace("http", "HTTP"), 8)[0, 0, 0]) == (255, 255, 0)


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.full((8, 8), 40_000, "uint16")).save(tmp_path / "grey.png")
    assert (data.read_picture(tmp_path / "grey.png", 8) == 156).all()


def test_floats_and_whole_numbers_of_pil_are_those_of_arrays():
    assert (data.read_picture(Image.fromarray(np.full((8, 8), 0.5, "float32")), 8) == 128).all()
    assert (data.read_picture(Image.fromarray(np.full((8, 8), 77, "int32")), 8) == 77).all()
    with pytest.raises(ValueError, match="integers from 0 to 255"):
        data.read_picture(Image.fromarray(np.full((8, 8), 70_000, "int32")), 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    picture = Image.new("RGBA", (8, 8), (10, 20, 30, 0)).convert("LA" if mode == "LA" else "RGBA")
    picture = picture.quantize() if mode == "P" else picture
    picture.save(tmp_path / "clear.png")
    assert (data.read_picture(tmp_path / "clear.png", 8) == 255).all()


@pytest.mark.parametrize("source", [None, 5, b"picture.png", {}])
def test_what_is_no_picture_at_all_is_refused(source):
    with pytest.raises(TypeError, match="is no picture; give a path, an address, an array or a PIL image"):
        data.read_picture(source, 8)


@pytest.mark.parametrize("array", [np.zeros((0, 8, 3), "uint8"), [], np.zeros((8, 8), bool), np.full((8, 8), "a")])
def test_an_array_without_pixels_or_of_no_numbers_is_refused(array):
    with pytest.raises(ValueError, match="is not known; use"):
        data.read_picture(array, 8)


@pytest.mark.parametrize("size", [0, -1, 1.5, None, 1_000_000, "8", True, (8, 8)])
def test_the_size_of_a_picture_is_a_whole_number_of_pixels(upright, size):
    with pytest.raises((TypeError, ValueError), match=r"size=.*; use 1 to 4,096"):
        data.read_picture(upright, size)


def test_a_folder_a_device_and_a_pipe_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="is a folder, a device or a pipe"):
            data.read_picture(path, 8)
    with pytest.raises(FileNotFoundError):
        data.read_picture(tmp_path / "nothing.png", 8)


def test_a_file_that_is_too_large_for_a_picture_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "large.png").write_bytes(png("red"))
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="a picture may have 10"):
        data.read_picture(tmp_path / "large.png", 8)


def test_a_picture_that_takes_too_long_is_given_up(server, monkeypatch):
    monkeypatch.setattr(pictures, "SECONDS", 0.2)
    server.files["/a"], server.faults["/a"] = png("red"), "dripping header"
    with pytest.raises(FetchError, match=r"had not answered after 0.2 seconds; save it by hand"):
        data.read_picture(server.url("/a"), 8)
