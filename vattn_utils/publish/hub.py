"""A recorded run as a repository for the Hugging Face Hub: the model in three formats, its card, its logs, its picture.

Everything is made and verified in memory and then written at once: a folder is whole, or not there.
"""

import json
import os
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import keras
import numpy as np
from keras import ops
from safetensors.numpy import save

from vattn_utils.models.classifier import Classifier
from vattn_utils.publish import PublishError, card, litert, made, metadata, samples
from vattn_utils.publish.example import example
from vattn_utils.training import durable, records, writing
from vattn_utils.training.records import Record

# What stands in a folder that this package publishes, the live page's `index.html` and `look` among it.
NAMES = {
    "README.md", "LICENSE", "model.keras", "model.tflite", "model.safetensors", "labels.json", "record.json",
    "attention.png", "tensorboard", "index.html", "look", *samples.FILES,
}  # fmt: skip


def publish(name: str, folder: Path, repository: str | None = None, replace: bool = False) -> None:
    """Write the record `name` as a repository of the Hub into `folder`, which appears whole or not at all.

    Args:
        repository: "OWNER/NAME", which the card names as the place to fetch it from; None means that it says no place.
        replace: whether an older publication in `folder` may be replaced.

    Raises `RecordError` for a record that is missing, altered or without weights, and where Keras does not run on
    TensorFlow; `PublishError` for a folder that may not or cannot be written, and for files that do not hold the model.
    """
    check_place(folder, replace)
    litert.check_backend()
    write(folder, files(records.load(name), repository))


def files(record: Record, repository: str | None = None) -> dict[str, bytes]:
    """The files of a record's repository, by name; see `publish`."""
    model, names = record.model(), metadata.class_names(record)
    shown = example(record, model, names)
    found = {
        "README.md": card.text(record, model, shown, repository).encode(),
        "LICENSE": licence(),
        "model.keras": saved(model),
        "model.tflite": litert.whole(model),
        "model.safetensors": save(weights(model)),
        "labels.json": (json.dumps(names, indent=1, ensure_ascii=False) + "\n").encode(),
        "record.json": (record.path / "record.json").read_bytes(),
        **_log(record),
        **shown.files,
    }
    verify(model, found, shown.images)
    return found


def check_place(folder: Path, replace: bool) -> None:
    """Raise `PublishError` if there is something at `folder`, unless it was published and may be replaced."""
    if not os.path.lexists(folder):
        return
    if not replace:
        raise PublishError(f"{folder} is there; replace it with --replace, or give another folder")
    if not folder.is_dir() or folder.is_symlink():
        raise PublishError(f"{folder} is no folder of its own; give another")
    there, card_there = sorted(path.name for path in folder.iterdir()), folder / "README.md"
    if not card_there.is_file() or not card_there.read_bytes().startswith(b"---\n"):
        foreign = there
    else:
        foreign = [name for name in there if name not in NAMES]
    if foreign:
        raise PublishError(
            f"{folder} holds {foreign[0]}, which was not published; move that away, or give another folder"
        )


def write(folder: Path, content: dict[str, bytes]) -> None:
    """Write what is published into `folder`, whole. Raises `PublishError` if it cannot be written."""
    folder = folder.absolute()  # "." has no name to be written beside
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        durable.write_folder(folder, content)
    except OSError as error:
        raise PublishError(f"{folder} could not be written: {error}") from error


def licence() -> bytes:
    """The licence's text, from the checkout or from the installed package."""
    path = made.ROOT / "LICENSE"
    if path.is_file():
        return path.read_bytes()
    return (distribution("vattn-utils").read_text("licenses/LICENSE") or "").encode()


def weights(model: Classifier) -> dict[str, np.ndarray]:
    """All weights of a recorded model under their names in a record, float16, which is what they were read from."""
    return {records.weight_name(weight): ops.convert_to_numpy(weight).astype("float16") for weight in model.weights}


def saved(model: Classifier) -> bytes:
    """The model as a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def _log(record: Record) -> dict[str, bytes]:
    """The record's history for TensorBoard, by its place in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            writing.write_events(record, Path(folder) / "tensorboard")
        except ModuleNotFoundError as error:
            raise PublishError("the log of a run is TensorBoard's; pip install tensorboard") from error
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).glob("tensorboard/*")}


def verify(model: Classifier, content: dict[str, bytes], images: np.ndarray) -> None:
    """Raise `PublishError` unless `model.keras` and `model.tflite` compute what `model` does, for `images`."""
    logits, attention = model(images, return_attention=True)
    expected = {"logits": logits, **{f"attention_{index}": weights for index, weights in enumerate(attention)}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content["model.keras"])
        again = keras.saving.load_model(path, safe_mode=True)
    same = [np.array_equal(*pair) for pair in zip(again.get_weights(), model.get_weights(), strict=True)]
    if not all(same) or not np.allclose(again(images), logits, atol=litert.BOUND):
        raise PublishError("model.keras does not hold the record's model")
    runs = [litert.run(content["model.tflite"], images=image[None].astype("float32")) for image in images]
    for name, values in expected.items():
        found = np.concatenate([run[name] for run in runs])
        apart = np.abs(found - ops.convert_to_numpy(values)).max()
        if not apart <= litert.BOUND:  # what is no number is not equal either
            raise PublishError(f"{name} of model.tflite differs from Keras' by {apart:.2g}, more than {litert.BOUND:g}")
