"""How a run is written down: as a record, and as a log that TensorBoard reads."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors.numpy import save

from vattn_utils import models
from vattn_utils.data import Dataset, is_own
from vattn_utils.models.counting import parameters
from vattn_utils.training import durable, places, records, repository
from vattn_utils.training.loop import Run
from vattn_utils.training.recipes import Recipe


def write(
    name: str,
    model: keras.Model,
    *,
    variant: str,
    dataset: Dataset,
    recipe: Recipe,
    run: Run,
    metrics: dict[str, float],
    rounding: float,
    provenance: dict[str, Any],
    attention: dict[str, Any] | None = None,
    root: str | Path | None = None,
    base: records.Record | None = None,
    replace: bool = False,
) -> records.Record:
    """Write a finished run down under `root`/`name`. Nothing is computed here but what stands in the files.

    Args:
        name: of the record.
        model: the trained `Classifier`; its weights are rounded to float16.
        variant: the name of the model's variant.
        dataset: what it was trained on.
        recipe, run: what `fit` took and returned.
        metrics: on the test images, of the model as `as_stored` makes it.
        rounding: what that added to top-1 (a share, may be negative).
        provenance: what `provenance()` said when the training began.
        attention: what an `AttentionRecorder` recorded, if one did.
        root: the folder of records; None means `records.folder()`.
        base: the record, in the same `root` or a published one, whose encoder the model kept as it is.
        replace: whether an older record of that name may be replaced; it lives until the new one is whole.

    The folder appears whole or not at all. Returns the `Record`. Raises `RecordError` if it may not be written, or
    cannot be, if something in it is not finite, or if the encoder is not that of `base`.
    """
    root = Path(root) if root is not None else records.folder()
    check_place(name, root, replace, run.history)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        arrays = {records.weight_name(weight): _array(weight).astype("float16") for weight in model.weights}
    records.check_finite(name, arrays | (attention or {}))
    if base is not None:
        for path, array in base.encoder_weights(model).items():
            if not np.array_equal(arrays.pop(path), array):
                raise records.RecordError(f"{path} is not what {base.name} holds; train with it as base throughout")
    files = {records.WEIGHTS: save(arrays)}
    if attention is not None:
        files[records.ATTENTION] = durable.npz(attention, np.savez_compressed)
    epochs = len(run.history["loss"])
    values: dict[str, Any] = {
        "name": name,
        "model": models.name_of(model),
        "variant": variant,
        "config": _config(model),
        "recipe": dataclasses.asdict(recipe),
        "dataset": dataset.name,
        "digest": dataset.digest,
        "epochs": epochs,
        "selected_epoch": run.epoch,
        "images_seen": run.images * epochs,
        "images_per_second": run.images_per_second,
        "seconds": run.seconds,
        "history": run.history,
        "provenance": provenance,
        "sha256": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "parameters": parameters(as_stored(model)),
        "test": metrics,
        "rounding": rounding,
    }
    if is_own(dataset.name):
        values["class_names"] = list(dataset.class_names)
    if base is not None:
        values["base"] = {"name": base.name, "sha256": base.sha256[records.WEIGHTS]}
        values["base"] |= {"epochs": base.epochs, "images_seen": base.images_seen}
    records.parse(root / name, values)  # what `load` would refuse is not written
    files["record.json"] = (json.dumps(values, indent=1) + "\n").encode()
    try:
        root.mkdir(parents=True, exist_ok=True)
        durable.write_folder(root / name, files)
    except OSError as error:
        raise records.RecordError(f"record {name} could not be written in {root}: {error}") from error
    return records.load(name, root)


def check_place(name: str, root: Path, replace: bool = False, history: dict[str, list[float]] | None = None) -> None:
    """Raise `RecordError` unless a record called `name` may and can be written in `root`: asked before a run begins.

    A record that was out of its place when a process died is put back first, and counts, as a published one does.

    Args:
        replace: whether there may be a record of that name.
        history: of the run; a record with the same one, seconds included, was written of it and may be written again.
    """
    places.check_name(name, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        durable.restore(root / name)  # of a process that died while it replaced a record
        with tempfile.TemporaryDirectory(prefix=".", dir=root):
            pass
    except OSError as error:
        raise records.RecordError(f"no record can be written in {root}: {error}; set $VATTN_RECORDS") from error
    if not replace and (where := _taken(name, root, history)):
        raise records.RecordError(
            f"there is a record {name} {where}; give another name, or say that it is to be replaced: --replace"
        )


def _taken(name: str, root: Path, history: dict[str, list[float]] | None) -> str:
    """Where there is a record called `name` that is not that of the run with this `history`; nothing if nowhere."""
    if (root / name).exists():
        return f"in {root}" if not history or records.load(name, root).history != history else ""
    hidden = repository.installed() and root == records.folder() and name in records.names()
    return "among the published ones" if hidden else ""


def as_stored(model: keras.Model) -> keras.Model:
    """A copy of `model` in float32, its weights rounded as a record stores them: what a reader of the record has."""
    copy = type(model)(**_config(model))
    copy.build()
    copy.set_weights([_array(weight).astype("float16").astype("float32") for weight in model.weights])
    return copy


def _config(model: keras.Model) -> dict[str, Any]:
    """The constructor's arguments, as JSON has them."""
    return json.loads(json.dumps({k: v for k, v in model.get_config().items() if k not in ("dtype", "trainable")}))


def _array(weight: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight)


def write_events(record: records.Record, folder: Path | None = None) -> None:
    """Write the record's history as scalars for TensorBoard; needs `tensorboard`.

    Args:
        folder: which is replaced; None means the record's own, `tensorboard/`.
    """
    from tensorboard.summary import Writer

    folder = record.path / "tensorboard" if folder is None else folder
    shutil.rmtree(folder, ignore_errors=True)
    writer = Writer(str(folder))
    finished = np.cumsum(record.history["seconds"])
    for name, values in record.history.items():
        for epoch, value in enumerate(values, 1):
            writer.add_scalar(name, value, epoch, wall_time=finished[epoch - 1])
    writer.close()
    (written,) = folder.iterdir()
    written.rename(folder / "events.out.tfevents")  # without the machine's name
