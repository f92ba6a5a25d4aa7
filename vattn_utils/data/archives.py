"""Archives are read within limits, whatever they claim to hold: the arrays of an npz file, the files of a .tar.gz.

Nothing is extracted to disk, no link is followed, and no pickle is opened.
"""

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from vattn_utils.data.dataset import DamagedData, WrongLayout

MOST_BYTES = 2**28  # of an archive, packed and unpacked; CIFAR has 0.7 of that


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays called `keys` of an npz file, whatever they are.

    Raises WrongLayout if one is missing, DamagedData for what is no npz file of at most `MOST_BYTES`, unpacked.
    """
    try:
        return _arrays(path, keys)
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedData(
            f"{path} cannot be read as an npz file: {error}; delete it or put a whole copy there"
        ) from error


def _arrays(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DamagedData(f"{path} is no file but a folder, a device or a pipe; put an npz file there")
    if path.stat().st_size > MOST_BYTES:
        raise DamagedData(f"{path} has {path.stat().st_size:,} bytes; a data set has at most {MOST_BYTES:,}")
    with zipfile.ZipFile(path) as file:  # np.load would take any pickle or .npy for an answer
        names = file.namelist()
        if missing := [key for key in keys if f"{key}.npy" not in names]:
            there = ", ".join(sorted(name.removesuffix(".npy") for name in names))
            raise WrongLayout(f"{path} has no {', '.join(missing)}, but {there}; it needs {', '.join(keys)}")
        if twice := [key for key in keys if names.count(f"{key}.npy") > 1]:
            raise DamagedData(f"{path} has {', '.join(twice)} more than once; put a file there that has it once")
        members = [file.getinfo(f"{key}.npy") for key in keys]
        if (size := sum(member.file_size for member in members)) > MOST_BYTES:
            raise DamagedData(f"{path} has {size:,} bytes when unpacked; a data set has at most {MOST_BYTES:,}")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise DamagedData(f"{path} is packed in a way that NumPy does not write; save it by np.savez")
        found = {}
        for key, member in zip(keys, members, strict=True):
            plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1  # nor encrypted
            with _stored(path, member) if plain else file.open(member) as stream:
                found[key] = np.lib.format.read_array(stream, allow_pickle=False)
        return found


def _stored(path: Path, member: zipfile.ZipInfo) -> BinaryIO:
    """The file itself, at the first byte of a member that is not packed.

    NumPy reads an array from a file in one piece, and from a `zipfile` in many, each with its checksum, which says less
    than the data's digest: in an eighth of the time.
    """
    stream = path.open("rb")
    stream.seek(member.header_offset + 26)  # of the member's own header, 30 bytes and two fields as long as it says
    lengths = [int.from_bytes(stream.read(2), "little") for _ in range(2)]
    stream.seek(sum(lengths), os.SEEK_CUR)
    return stream


def read_tar(path: str | Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the path and the bytes of each file in a .tar.gz. Links and devices are no files; paths are only read.

    Raises DamagedData as soon as more than `MOST_BYTES` come out of it.
    """
    with _Limited(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            if member.issparse() or member.size > MOST_BYTES:  # its holes are unpacked from nothing
                raise DamagedData(f"{member.name} unpacks to {member.size:,} bytes; no file of a data set does")
            if file := archive.extractfile(member) if member.isfile() else None:
                yield PurePosixPath(member.name), file.read()


class _Limited(gzip.GzipFile):
    """A stream that ends in an error after `MOST_BYTES`."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.left = MOST_BYTES

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self.left -= len(block)
        if self.left < 0:
            raise DamagedData(f"an archive has more than {MOST_BYTES:,} bytes when unpacked; no data set has")
        return block
