"""Where images come from, and how they are checked: `load("cifar100")` gives the same arrays everywhere.

Plain NumPy. Nothing here knows a model; how CIFAR is fetched and unpacked is in `download.py`, how the embedded
images are drawn in `shapes.py`.
"""

import dataclasses
import difflib
import functools
import hashlib
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vattn_utils.data import download, shapes

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
    "shapes10": {
        "train": "824e7b5b5cff975c1ba491129d0f0f792ffb5bad2e652de7885373f13c195fb4",
        "test": "d04894490521114640045ed0e9321885ff2bfdee357b6089d02d8161c416755e",
    },
    "shapes100": {
        "train": "9eacc2558b33fe1ad4b7444be21282fc52f0b000ad280e5ea363a7020fa92ec7",
        "test": "33aaa5d3e7b1a6237bad2a2e4125bd487a8ce836e579390ba4ddc29f61b8d4cd",
    },
}
SHAPES = {"shapes10": 10, "shapes100": 100}  # how many classes each has
SHAPES_TRAIN, SHAPES_TEST = range(18_000), range(18_000, 20_000)  # the indices that are drawn
KEYS = ("x_train", "y_train", "x_test", "y_test")


class DataError(Exception):
    """What all errors about data have in common."""


class UnknownDataset(DataError):
    """There is no data set of that name."""


class DataUnavailable(DataError):
    """The data set is neither on this machine nor to be had from a mirror."""


class WrongLayout(DataError):
    """A file has other arrays than a data set has: keys, types, shapes or labels."""


class DamagedData(DataError):
    """A file cannot be read, or its images are not those of the data set."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images, labels and what belongs to them. The arrays are read-only: one copy may have many readers.

    x_train, x_test: `(N, 32, 32, 3)` uint8; y_train, y_test: `(N,)` int64, an index into `class_names`;
    masks_train, masks_test: `(N, 32, 32)` bool, True on the target's pixels, or None where nobody knows them.
    CIFAR is in canonical order, which mixes the classes; shapes are in the order of their indices.
    digest: the SHA-256 over the digests of the training and the test split, see `split_digest`.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    digest: str
    masks_train: np.ndarray | None = None
    masks_test: np.ndarray | None = None

    def __post_init__(self):
        for field in (*KEYS, "masks_train", "masks_test"):
            if getattr(self, field) is not None:
                getattr(self, field).setflags(write=False)

    def __repr__(self):
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test images, "
            f"{self.num_classes} classes, digest {self.digest[:12]}"
        )

    @property
    def num_classes(self):
        return len(self.class_names)

    def statistics(self):
        """{"mean": (r, g, b), "std": (r, g, b)} of the training images, in units of 0 to 255, exact to the last bit."""
        total, squares = 0, 0  # whole numbers, so that no order of adding matters
        for start in range(0, len(self.x_train), 2000):
            part = self.x_train[start : start + 2000].astype(np.uint32)
            total, squares = total + part.sum(0), squares + (part * part).sum(0)
        mean, square = (sums.sum((0, 1)) / self.x_train[..., 0].size for sums in (total, squares))
        return {"mean": tuple(mean.tolist()), "std": tuple(np.sqrt(square - mean**2).tolist())}

    def split(self, validation, seed):
        """Hold a part of the training images out: `((x, y), (x_val, y_val))`, each in the data set's order.

        Args:
            validation: how many images, or which fraction of them, between 0 and 1.
            seed: an integer from 0; the same seed holds the same images out everywhere.

        Raises ValueError if nothing would be left on one side.
        """
        total = len(self.x_train)
        count = round(validation * total) if isinstance(validation, float) else validation
        if not 0 < count < total:
            raise ValueError(
                f"validation={validation} holds out {count} of {total} training images; "
                f"use 1 to {total - 1}, or a fraction between 0 and 1"
            )
        # NumPy promises the bit generators' streams for good, but not that of a Generator's permutation.
        order = np.argsort(np.random.Philox(seed).random_raw(total), kind="stable")
        held_out, kept = np.sort(order[:count]), np.sort(order[count:])
        return (self.x_train[kept], self.y_train[kept]), (self.x_train[held_out], self.y_train[held_out])

    def take(self, n):
        """The data set of the first `n` training images and the first `n` test images, or all there are of those.

        Its digest is its own. Raises ValueError if there are fewer training images.
        """
        if not 0 < n <= len(self.x_train):
            raise ValueError(f"n={n} images cannot be taken; there are 1 to {len(self.x_train)} for training")
        arrays = {key: getattr(self, key)[:n] for key in KEYS}
        masks = {
            key: None if getattr(self, key) is None else getattr(self, key)[:n] for key in ("masks_train", "masks_test")
        }
        digests = (
            split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"], masks[f"masks_{split}"])[1]
            for split in ("train", "test")
        )
        return dataclasses.replace(self, **arrays, **masks, digest=_join(*digests))


def load(name, root=None):
    """The data set `name`: "cifar10", "cifar100", or, always at hand, "shapes10" and "shapes100".

    CIFAR is taken from the first that has it: `<root>/<name>.npz`, `$VATTN_DATA/<name>.npz`, the cache
    (`$VATTN_CACHE`, else `~/.cache/vattn`), the mirrors in `download.MIRRORS`, from which it goes into the cache. A
    file has the keys x_train, y_train, x_test, y_test, with the images in any order. Wherever they come from, the
    arrays are the same to the last bit: they are put into canonical order, and their digest is compared with ours.

    Args:
        name: one of the four names.
        root: a directory to look in first; shapes need none.

    Raises:
        UnknownDataset: for another name.
        WrongLayout, DamagedData: if a file that was found is not the data set; no other place is tried then.
        DataUnavailable: if there is no file, and no mirror gave one.
    """
    _check_name(name)
    if name in SHAPES:
        return _shapes(name)
    tried = []
    for place, path in _places(name, root):
        if path and path.exists():
            return _dataset(name, _read(path), path)
        tried.append(f"{place}: no {path}" if path else f"{place}: not set")
    return _download(name, tried)


def at_hand(name, root=None):
    """The file that `load(name, root)` would take the data set from, or None if it would ask the network.

    The file is not opened. Shapes are always at hand: theirs is the module that draws them. Raises UnknownDataset.
    """
    _check_name(name)
    if name in SHAPES:
        return Path(shapes.__file__)
    return next((path for _, path in _places(name, root) if path and path.exists()), None)


def _check_name(name):
    names = (*CLASS_NAMES, *SHAPES)
    if name not in names:
        nearest = difflib.get_close_matches(str(name).lower(), names, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UnknownDataset(f"unknown data set {name!r}; {hint}there are {', '.join(names)}")


def _places(name, root):
    """Yield each place that is searched and the file that would be there, None where the place is not set."""
    for place, folder in (("root", root), ("VATTN_DATA", os.environ.get("VATTN_DATA")), ("cache", _cache())):
        yield place, Path(folder, f"{name}.npz") if folder else None


@functools.cache
def _shapes(name):
    num_classes = SHAPES[name]
    arrays = {}
    for split, indices in (("train", SHAPES_TRAIN), ("test", SHAPES_TEST)):
        drawn = shapes.draw(np.array(indices), num_classes)
        found = split_digest(*drawn)[1]
        if found != DIGESTS[name][split]:
            raise DamagedData(
                f"{name} as drawn here is not {name} as published: expected digest {DIGESTS[name][split]} of the "
                f"{split} split, found {found}; shapes.py was changed, or NumPy {np.__version__} reckons wrongly"
            )
        arrays |= {f"{key}_{split}": array for key, array in zip(("x", "y", "masks"), drawn, strict=True)}
    digest = _join(*DIGESTS[name].values())
    return Dataset(name, class_names=shapes.CLASS_NAMES[num_classes], digest=digest, **arrays)


def _cache():
    return Path(os.environ.get("VATTN_CACHE") or Path.home() / ".cache" / "vattn")


def _read(path):
    """The four arrays of an npz file, whatever they are."""
    try:
        with zipfile.ZipFile(path) as file:  # np.load would take any pickle or .npy for an answer
            missing = [key for key in KEYS if f"{key}.npy" not in file.namelist()]
            if missing:
                there = ", ".join(sorted(member.removesuffix(".npy") for member in file.namelist()))
                raise WrongLayout(f"{path} has no {', '.join(missing)}, but {there}; it needs {', '.join(KEYS)}")
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedData(
            f"{path} cannot be read as an npz file: {error}; delete it or put a whole copy there"
        ) from error


def _dataset(name, arrays, source):
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
        arrays |= {f"x_{split}": images[order], f"y_{split}": labels[order]}
    return Dataset(name, **arrays, class_names=class_names, digest=_join(*DIGESTS[name].values()))


def split_digest(images, labels, masks=None):
    """The canonical order of a split's images, and its digest.

    An image's key is the SHA-256 of its pixels and its label, as bytes (and of its mask, a byte a pixel, if it has
    one). The canonical order `(N,)` is that of ascending keys; the digest, a hex string, is the SHA-256 over the keys
    in that order: it is the same for any order of the images, and for no other images.
    """
    parts = [images, labels.astype(np.uint8), *([] if masks is None else [masks])]
    keys = [hashlib.sha256(b"".join(part.tobytes() for part in row)).digest() for row in zip(*parts, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return np.array(order, dtype=np.int64), hashlib.sha256(b"".join(keys[i] for i in order)).hexdigest()


def _join(train, test):
    """One digest for both splits."""
    return hashlib.sha256(f"{train}{test}".encode()).hexdigest()


def _download(name, tried):
    """The data set from the first mirror that gives the right images, and into the cache with it."""
    cache = _cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # A directory of our own: two processes at once do not meet until each replaces the finished file.
        folder = tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise DataUnavailable(f"the cache {cache} cannot be written ({error}); set VATTN_CACHE to a folder") from error
    with folder as folder:
        queue = [(mirror, False) for mirror in download.MIRRORS[name]]
        for mirror, patient in queue:
            try:
                arrays = download.fetch(mirror, CLASS_NAMES[name], folder, patient)
                dataset = _dataset(name, arrays, mirror.urls[0])
            except Exception as error:  # whatever a foreign server or file does, the next one may be fine
                if isinstance(error, download.TooSlow):
                    queue.append((mirror, True))  # better slow than nothing
                tried.append(f"{mirror.urls[0]}: {error or type(error).__name__}")
                continue
            partial = Path(folder, f"{name}.npz")
            np.savez(partial, **{key: getattr(dataset, key) for key in KEYS})
            partial.replace(cache / partial.name)
            return dataset
    raise DataUnavailable(
        f"{name} is not on this machine and could not be downloaded. Tried:\n  "
        + "\n  ".join(tried)
        + f"\nPut {name}.npz (keys {', '.join(KEYS)}; images in any order) into a directory and set VATTN_DATA to it, "
        "or use shapes10 or shapes100, which need no network."
    )


def check_images(images, image_size=None):
    """Raise unless `images` is what every model of this package takes: `(N, height, width, 3)`, values 0 to 255.

    Args:
        images: a NumPy array of integers or floats. Only uint8 is trusted without a look at the values.
        image_size: the height and width the images must have; None admits any.

    Raises TypeError for what is not an array of numbers, ValueError for grey, RGBA, channels-first or single
    images, for another size, for NaN and for values outside 0 to 255.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images are a NumPy array (N, height, width, 3), not {type(images).__name__}; use np.stack")
    if images.dtype.kind not in "uif":
        raise TypeError(f"images of dtype {images.dtype} are not numbers from 0 to 255; convert them to uint8")
    hint = None
    if images.ndim == 3 and images.shape[-1] == 3:
        hint = "one image without a batch axis; use images[None]"
    elif images.ndim in (2, 3):
        hint = "grey images; use np.repeat(images[..., None], 3, axis=-1)"
    elif images.ndim != 4:
        hint = "not a batch of images"
    elif images.shape[-1] == 1:
        hint = "grey images; use np.repeat(images, 3, axis=-1)"
    elif images.shape[-1] == 4:
        hint = "images with an alpha channel; use images[..., :3]"
    elif images.shape[-1] != 3:
        hint = "not colour images, channels last"
        if images.shape[1] == 3:
            hint = "channels first; use np.moveaxis(images, 1, -1)"
    elif image_size is not None and images.shape[1:3] != (image_size, image_size):
        hint = f"not {image_size} x {image_size} pixels; resize them"
    if hint:
        size = image_size or "size"
        raise ValueError(f"images of shape {images.shape} do not fit (N, {size}, {size}, 3): {hint}")
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = images.min(), images.max()
    if np.isnan(low):  # the minimum of anything with a NaN is NaN
        raise ValueError("images hold NaN; values are 0 to 255")
    if low < 0 or high > 255:
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; values are 0 to 255, normalising is a layer of the model"
        )
