"""One's own pictures as a `Dataset`: a folder with a folder for each class, or arrays.

Which images are trained on and which are held out depends on what is on them and on a seed, not on the names of files
nor on their order: the same pictures give the same data set everywhere, and its name says which they are.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from vattn_utils.data.checks import check_class_names, check_images, check_labels, check_number, check_whole
from vattn_utils.data.dataset import DamagedData, Dataset, DataUnavailable, WrongLayout, join_digests, split_digest
from vattn_utils.data.pictures import read_picture

PREFIX = "pictures-"  # of the names of such data sets; the beginning of their digest follows
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders, beside what begins with a dot
MOST_CLASSES = 256  # a label is one byte of an image's key
NAMED = 5  # files in a message; of more their number is said

_READ: dict[str, Dataset] = {}  # what this process has read, by name


def from_folder(path: str | Path, size: int = 32, test: float = 0.2, seed: int = 0) -> Dataset:
    """The pictures in a folder as a data set: each folder in it is a class, and its name is the class's.

    Every picture is turned as its camera noted (EXIF), its central square is resized to `size` pixels, transparent
    pixels are laid on white, and grey becomes colour (see `read_picture`): pictures of any sizes may stand together. A
    picture that is there twice, pixel for pixel, is taken once, with a warning that names it: it could be trained on
    and tested with.

    Args:
        path: of the folder. Links are followed; names that begin with a dot are passed over.
        size: edge length of the images, in pixels.
        test: the share of each class that is held out for testing, above 0 and below 1; at least one image of it.
        seed: of the choice; the same pictures and seed hold the same images out, whatever the files are called.

    Returns a `Dataset`, named after its digest. Raises `DataUnavailable` for a folder that is not there or may not be
    read; `WrongLayout`, with the file's name, for one that holds no classes, a class with fewer than two pictures,
    what is no picture, or one picture in two classes; `DamagedData` for a picture that cannot be read; and ValueError
    for a size, share or seed that is not possible.
    """
    path, size = Path(path).expanduser(), check_whole("size", size, 1)
    test, seed = _share(test), check_whole("seed", seed, 0)
    try:
        classes = [entry for entry in _entries(path) if entry.is_dir()]
        if loose := [entry for entry in _entries(path) if not entry.is_dir()]:
            raise WrongLayout(f"{_named(loose)} belongs to no class; put it into a folder of its class, in that folder")
        files = [(label, file) for label, folder in enumerate(classes) for file in _entries(folder)]
    except OSError as error:
        raise DataUnavailable(f"{path} cannot be read as a folder of pictures: {error.strerror}") from error
    if wrong := [file for _, file in files if file.is_dir() or file.suffix.lower() not in SUFFIXES]:
        raise WrongLayout(
            f"{_named(wrong)} is no picture; a class is a folder of files that end with {', '.join(SUFFIXES)}"
        )
    for label, folder in enumerate(classes):
        if not any(of == label for of, _ in files):
            raise WrongLayout(f"class {folder.name!r} holds no picture; put two or more into it, or remove it")
    if not files:
        raise WrongLayout(f"{path.name!r} holds no classes; put the pictures of each class into a folder of its own")
    images = np.concatenate([_read(file, size) for _, file in files])
    labels = np.array([label for label, _ in files])
    return _made(images, labels, [folder.name for folder in classes], test, seed, [_short(file) for _, file in files])


def from_arrays(
    images: ArrayLike, labels: ArrayLike, class_names: Sequence[str] | None = None, test: float = 0.2, seed: int = 0
) -> Dataset:
    """Images and labels as a data set; split, and freed of doubles, as `from_folder` says.

    Args:
        images: uint8 `(N, size, size, 3)`.
        labels: integers `(N,)`.
        class_names: one for each class; None counts them.
        test, seed: of `from_folder`.

    Raises TypeError or ValueError for what are no such images and labels, `WrongLayout` as `from_folder` does.
    """
    images, test, seed = check_images(images), _share(test), check_whole("seed", seed, 0)
    if images.dtype != np.uint8:
        raise TypeError(
            f"images are {images.dtype}, a data set keeps whole numbers; use np.rint(images).astype('uint8')"
        )
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images of shape {images.shape} are not square; cut or resize them, or use from_folder")
    labels = check_labels(labels, len(images))
    names = check_class_names(class_names, int(labels.max()) + 1 if class_names is None else len(class_names))
    check_labels(labels, len(images), len(names))
    return _made(images, labels, names, test, seed, [f"image {index}" for index in range(len(images))])


def read(name: str) -> Dataset:
    """The data set of that name that this process has made. Raises `DataUnavailable` if it has made none."""
    if name not in _READ:
        raise DataUnavailable(
            f"{name} is not at hand: these are somebody's own pictures, known by their digest; name their folder "
            "(--data FOLDER, or data.from_folder), with the size and the seed that they were read with"
        )
    return _READ[name]


def _made(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], test: float, seed: int, sources: Sequence[str]
) -> Dataset:
    """The data set; `sources` says for each image how to call it."""
    try:
        names = check_class_names(class_names, len(class_names))
    except ValueError as error:
        raise WrongLayout(f"the classes cannot be named after their folders: {error}") from error
    if not 2 <= len(names) <= MOST_CLASSES:
        raise WrongLayout(f"there are {len(names)} classes; use 2 to {MOST_CLASSES}")
    keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
    kept = _without_doubles(keys, labels, sources)
    held_out, random = np.zeros(len(images), bool), np.random.Philox(seed)
    for label, name in enumerate(names):
        of_class = sorted((index for index in kept if labels[index] == label), key=keys.__getitem__)
        if len(of_class) < 2:
            raise WrongLayout(f"class {name!r} holds {len(of_class)} different pictures; use two or more")
        count = min(max(round(test * len(of_class)), 1), len(of_class) - 1)
        drawn = np.argsort(random.random_raw(len(of_class)), kind="stable")[:count]
        held_out[np.array(of_class)[drawn]] = True
    parts: dict[str, np.ndarray] = {}
    digests = []
    for split, chosen in (("train", kept[~held_out[kept]]), ("test", kept[held_out[kept]])):
        order, digest = split_digest(images[chosen], labels[chosen])
        parts |= {f"x_{split}": images[chosen][order], f"y_{split}": labels[chosen][order].astype(np.int64)}
        digests.append(digest)
    digest = join_digests(*digests)
    dataset = Dataset(PREFIX + digest[:12], **parts, class_names=tuple(names), digest=digest)
    _READ[dataset.name] = dataset
    return dataset


def _share(test: object) -> float:
    return check_number("test", test, 0, below=1)


def _without_doubles(keys: Sequence[bytes], labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """The indices of the first of all equal images; a warning names the others, an error those of two classes."""
    first: dict[bytes, int] = {}
    doubles = []
    for index, key in enumerate(keys):
        same = first.setdefault(key, index)
        if labels[same] != labels[index]:
            raise WrongLayout(f"{sources[same]} and {sources[index]} are the same picture, of two classes; remove one")
        if same != index:
            doubles.append(f"{sources[index]} (as {sources[same]})")
    if doubles:
        more = f" and {len(doubles) - NAMED} more" if len(doubles) > NAMED else ""
        warnings.warn(f"taken once, being there twice: {', '.join(doubles[:NAMED])}{more}", stacklevel=4)
    return np.array(list(first.values()))


def _read(file: Path, size: int) -> np.ndarray:
    try:
        return read_picture(file, size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # PIL has all of these
        why = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
        why = why.replace(str(file), file.name)  # a message is shown to others, who have no such folder
        raise DamagedData(f"{_short(file)} is no picture one can read: {why}; save it again or remove it") from error


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in the order of names, without what systems leave there."""
    return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and entry.name.lower() not in LITTER)


def _short(file: Path) -> str:
    """A file by its class and name; what is no text in it stays visible as its bytes."""
    return f"{file.parent.name}/{file.name}".encode("utf-8", "backslashreplace").decode()


def _named(files: Sequence[Path]) -> str:
    more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
    return _short(files[0]) + more
