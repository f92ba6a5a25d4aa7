"""Where images come from, and how they are checked: `load("cifar100")` gives the same arrays everywhere.

Plain NumPy; nothing here knows a model. How CIFAR is found and fetched stands in `cifar.py`, how the embedded images
are drawn in `shapes.py`.
"""

from pathlib import Path

from vattn_utils.data import cifar, folder, shapes
from vattn_utils.data.checks import check_class_names, check_images, check_labels, nearest_hint
from vattn_utils.data.dataset import (
    DamagedData,
    DataError,
    Dataset,
    DataUnavailable,
    UnknownDataset,
    WrongLayout,
)
from vattn_utils.data.fetch import FetchError
from vattn_utils.data.folder import from_arrays, from_folder
from vattn_utils.data.pictures import read_picture

__all__ = [
    "NAMES",
    "DamagedData",
    "DataError",
    "DataUnavailable",
    "Dataset",
    "FetchError",
    "UnknownDataset",
    "WrongLayout",
    "at_hand",
    "check_class_names",
    "check_images",
    "check_labels",
    "from_arrays",
    "from_folder",
    "is_own",
    "load",
    "read_picture",
]

NAMES = (*cifar.CLASS_NAMES, *shapes.NUM_CLASSES)


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set `name`: "cifar10", "cifar100", or, always at hand, "shapes10" and "shapes100".

    CIFAR is taken from the first that has it: `<root>/<name>.npz`, `$VATTN_DATA/<name>.npz`, the cache
    (`$VATTN_CACHE`, else `~/.cache/vattn`), the servers in `cifar.SOURCES`, from which it goes into the cache. A
    file has the keys x_train, y_train, x_test, y_test, with the images in any order. Wherever they come from, the
    arrays are the same to the last bit: they are put into canonical order, and their digest is compared with ours.

    Args:
        name: one of the four names, or that of what `from_folder` or `from_arrays` made in this process.
        root: a directory to look in first; shapes need none.

    Raises:
        UnknownDataset: for another name.
        WrongLayout, DamagedData: if a file that was found is not the data set; no other place is tried then.
        DataUnavailable: if there is no file, and no server gave one; if `root` or `$VATTN_DATA` may not be read; or
            if one's own pictures are not at hand.
        ValueError: if `$VATTN_DATA` or `$VATTN_CACHE` is a relative path.
    """
    if is_own(name):
        return folder.read(name)
    _check_name(name)
    return shapes.load(name) if name in shapes.NUM_CLASSES else cifar.load(name, root)


def at_hand(name: str, root: str | Path | None = None) -> Path | None:
    """The file that `load(name, root)` would take the data set from, or None if it would ask the network.

    The file is not opened. Shapes are always at hand: theirs is the module that draws them; one's own pictures have no
    file. Raises as `load` does where a name or a folder cannot be.
    """
    if is_own(name):
        return None
    _check_name(name)
    if name in shapes.NUM_CLASSES:
        return Path(shapes.__file__)
    return cifar.find(name, root)[0]


def is_own(name: str) -> bool:
    """Whether `name` is that of somebody's own pictures, which nobody else has: `from_folder`, `from_arrays`."""
    return isinstance(name, str) and name.startswith(folder.PREFIX)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UnknownDataset(f"unknown data set {name!r}; {nearest_hint(name, NAMES)}")
