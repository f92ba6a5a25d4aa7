"""What the live page's models are made from, as digests: whether they must be made again. Needs no Keras."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
FOLDER = ROOT / "_build" / "live"
LIST = "models.json"
CODE = ("controls.py", "litert.py", "live.py")  # of this station, what a graph follows from
# The records on the live page, by what the page calls their models.
RECORDS = {
    "vit": "vit-cifar100-book",
    "eanet": "eanet-cifar100-book",
    "patch_convnet": "patch_convnet-cifar10-book",
    "patch_convnet_per_class": "patch_convnet-cifar10-book-per-class",
}


def digest(name: str) -> str:
    """Of all that the graph of the record `name` follows from: the record, the code, and what converts it."""
    code = [*sorted((PACKAGE / "models").glob("*.py")), *(PACKAGE / "publish" / file for file in CODE)]
    tools = [f"{tool} {version(tool)}" for tool in ("keras", "tensorflow", "numpy")]
    # A record names the SHA-256 of its weights, and that of the record whose encoder it has.
    return _digest([ROOT / "records" / name / "record.json", *code], tools)


def digest_of_all() -> str:
    """Of all that `models.json` follows from."""
    passports = ROOT / "benchmarks" / "results" / "passports.jsonl"
    # Scores, where tokens look, and class names.
    told = ("maps/passport.py", "maps/pixels.py", "statistics.py", "training/measurements.py", "data/cifar.py")
    more = [*(PACKAGE / file for file in told), *([passports] if passports.exists() else [])]
    return _digest(more, [digest(name) for name in RECORDS.values()])


def files(folder: Path) -> list[str]:
    """The names of what a page needs of `folder`: the list, and the models that it names."""
    return [LIST, *(entry["file"] for entry in json.loads((folder / LIST).read_text())["models"])]


def fresh(folder: Path) -> bool:
    """Whether `folder` holds the models and their list as they would be made now."""
    if not (folder / LIST).is_file() or not all((folder / name).is_file() for name in files(folder)):
        return False
    return json.loads((folder / LIST).read_text())["made_from"] == digest_of_all()


def _digest(files: Iterable[Path], words: Iterable[str]) -> str:
    found = hashlib.sha256()
    for piece in (*(path.read_bytes() for path in files), *(word.encode() for word in words)):
        found.update(hashlib.sha256(piece).digest())
    return found.hexdigest()
