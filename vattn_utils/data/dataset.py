"""What a data set is: images, labels, classes, and a digest that says which images they are. Plain NumPy."""

import dataclasses
import hashlib

import numpy as np

from vattn_utils.data.checks import check_number, check_whole

Pair = tuple[np.ndarray, np.ndarray]  # images and their labels
KEYS = ("x_train", "y_train", "x_test", "y_test")
MASKS = ("masks_train", "masks_test")


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

    def __post_init__(self) -> None:
        for field in (*KEYS, *MASKS):
            if getattr(self, field) is not None:
                getattr(self, field).setflags(write=False)

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test images, "
            f"{self.num_classes} classes, digest {self.digest[:12]}"
        )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def repeated(self) -> dict[str, int]:
        """How many images stand in the data more than once, pixel by pixel, whatever their labels.

        "test in training": test images that stand among the training images; "training" and "test": images that an
        equal one of the same split stands before.
        """
        train, test = ([image.tobytes() for image in images] for images in (self.x_train, self.x_test))
        known = set(train)
        return {
            "test in training": sum(image in known for image in test),
            "training": len(train) - len(known),
            "test": len(test) - len(set(test)),
        }

    def statistics(self) -> dict[str, tuple[float, ...]]:
        """{"mean": (r, g, b), "std": (r, g, b)} of the training images, in units of 0 to 255, exact to the last bit.

        A channel that is the same in every pixel has nothing to be divided by: its std is 1.
        """
        total = squares = np.zeros(3, np.uint64)  # whole numbers, so that no order of adding matters
        for start in range(0, len(self.x_train), 2000):
            part = self.x_train[start : start + 2000].astype(np.uint32)
            total, squares = total + part.sum((0, 1, 2)), squares + (part * part).sum((0, 1, 2))
        mean, square = (sums / self.x_train[..., 0].size for sums in (total, squares))
        variance = square - mean**2
        return {"mean": tuple(mean.tolist()), "std": tuple(np.sqrt(np.where(variance > 0, variance, 1)).tolist())}

    def split(self, validation: int | float, seed: int) -> tuple[Pair, Pair]:
        """Hold a part of the training images out: `((x, y), (x_val, y_val))`, each in the data set's order.

        Args:
            validation: how many images, or which fraction of them, between 0 and 1.
            seed: an integer from 0; the same seed holds the same images out everywhere.

        Raises ValueError if nothing would be left on one side.
        """
        total = len(self.x_train)
        seed = check_whole("seed", seed, 0)
        if isinstance(validation, float | np.floating):
            count = round(check_number("validation", validation) * total)
        else:
            count = check_whole("validation", validation, 1, total - 1)
        if not 0 < count < total:
            raise ValueError(
                f"validation={validation} holds out {count} of {total} training images; "
                f"use 1 to {total - 1}, or a fraction between 0 and 1"
            )
        # NumPy promises the bit generators' streams for good, but not that of a Generator's permutation.
        order = np.argsort(np.random.Philox(seed).random_raw(total), kind="stable")
        held_out, kept = np.sort(order[:count]), np.sort(order[count:])
        return (self.x_train[kept], self.y_train[kept]), (self.x_train[held_out], self.y_train[held_out])

    def take(self, n: int) -> "Dataset":
        """The data set of the first `n` training images and the first `n` test images, or all there are of those.

        Its digest is its own. Raises ValueError if there are fewer training images.
        """
        n = check_whole("n", n, 1, len(self.x_train))
        parts: dict = {key: None if getattr(self, key) is None else getattr(self, key)[:n] for key in (*KEYS, *MASKS)}
        train, test = (
            split_digest(parts[f"x_{split}"], parts[f"y_{split}"], parts[f"masks_{split}"])[1]
            for split in ("train", "test")
        )
        return dataclasses.replace(self, **parts, digest=join_digests(train, test))


def split_digest(images: np.ndarray, labels: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """The canonical order of a split's images, and its digest.

    An image's key is the SHA-256 of its pixels and its label, as bytes (and of its mask, a byte a pixel, if it has
    one). The canonical order `(N,)` is that of ascending keys; the digest, a hex string, is the SHA-256 over the keys
    in that order: it is the same for any order of the images, and for no other images.
    """
    count = len(images)
    parts = [images, labels.astype(np.uint8), *([] if masks is None else [masks])]
    # A row of bytes an image, few enough at once to stay in the cache: joined image by image they take longer.
    columns = [np.ascontiguousarray(part).reshape(count, -1).view(np.uint8) for part in parts if count]
    keys: list[bytes] = []
    for start in range(0, count, 256):
        rows = np.concatenate([column[start : start + 256] for column in columns], axis=1)
        keys += [hashlib.sha256(row).digest() for row in rows]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return np.array(order, dtype=np.int64), hashlib.sha256(b"".join(keys[i] for i in order)).hexdigest()


def join_digests(train: str, test: str) -> str:
    """One digest for both splits, of theirs."""
    return hashlib.sha256(f"{train}{test}".encode()).hexdigest()
