"""Recorded runs: what was trained, how, on what, what came of it, and the weights.

A record is a folder `<model>-<dataset>-<variant>/` with `record.json`, `model.safetensors` (float16, each array under
its variable's path) and, where attention was recorded in training, `attention.npz`. The metrics in a record are those
of these float16 weights. A record that was trained on the encoder of another, its *base*, has the rest only. Weights
of more than `SHIPPED_BYTES` stay on the machine that trained them: such a record ships without.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vattn_utils import models
from vattn_utils.data import files
from vattn_utils.data.checks import nearest_hint
from vattn_utils.models.counting import parameters
from vattn_utils.training import measurements, migration, repository, schema
from vattn_utils.training.places import RecordError, fetched, find, is_published, names
from vattn_utils.training.places import folder as folder
from vattn_utils.training.recipes import Recipe
from vattn_utils.training.schema import ATTENTION, WEIGHTS

SHIPPED_BYTES = 5_000_000


@dataclasses.dataclass(frozen=True)
class Record:
    """One recorded run, as its `record.json` has it.

    path: its folder. kind, variant, config: of the model, and its constructor's arguments. dataset, digest: what it
    was trained on. selected_epoch: whose weights these are, counted from 1. images_seen: in all epochs together.
    images_per_second, seconds: in training. metrics: on all test images, `loss` (nats), `top1` and `top5` (shares, 0
    to 1). history: see `Run`. provenance: when, where and with what. sha256: of each file. rounding: what float16
    added to top-1 (a share); None in older records. base_run: what is known of the record whose encoder it has.
    class_names: of somebody's own pictures, which nobody else can ask; None for data that the package knows.
    """

    path: Path
    name: str
    kind: str
    variant: str
    config: dict[str, Any]
    recipe: Recipe
    dataset: str
    digest: str
    epochs: int
    selected_epoch: int
    images_seen: int
    images_per_second: float
    seconds: float
    parameters: int
    metrics: dict[str, float]
    history: dict[str, list[float]]
    provenance: dict[str, Any]
    sha256: dict[str, str]
    rounding: float | None = None
    base_run: dict[str, Any] | None = None
    class_names: list[str] | None = None

    @property
    def base_name(self) -> str | None:
        """The name of the record whose encoder this one's model has, or None."""
        return self.base_run["name"] if self.base_run else None

    @property
    def base(self) -> "Record | None":
        """The record whose encoder this one's model has, or None. Raises `RecordError` if it is gone or altered."""
        if self.base_run is None:
            return None
        name, beside = self.base_run["name"], self.path.parent
        root = beside if name in names(beside) else None
        base = load(name, root) if root or name in names() else None
        if base is None or base.sha256.get(WEIGHTS) != self.base_run["sha256"]:
            raise RecordError(
                f"record {self.name} has the encoder of {name}, which is {'another by now' if base else 'not there'}; "
                "restore that one from version control or train this one again"
            )
        if base.base_run is not None:
            raise RecordError(f"record {self.name} has the encoder of {name}, which itself has another's")
        return base

    def all_of(self, name: str) -> str:
        """The number called `name`, "epochs" or "images_seen", behind that of the base, as text: "64 + 10"."""
        return (f"{self.base_run[name]:,} + " if self.base_run else "") + f"{getattr(self, name):,}"

    @property
    def ships_weights(self) -> bool:
        """Whether its weights, two bytes a parameter, are few enough to be shipped."""
        return 2 * self.parameters <= SHIPPED_BYTES

    @property
    def has_weights(self) -> bool:
        """Whether its weights are shipped, or happen to be here."""
        return self.ships_weights or (self.path / WEIGHTS).exists()

    def check_files(self) -> None:
        """Raise `RecordError` if a file that should be there, weights or attention, is missing or altered."""
        for file in self.sha256:
            if file != WEIGHTS or self.has_weights:
                self._verified(file)

    def model(self) -> keras.Model:
        """The model with the recorded weights, float32.

        Raises `RecordError` if they are missing, altered or too large to be shipped, or if they are not those of the
        model in name, shape, type or number, or not finite.
        """
        arrays = self._tensors()
        base = self.base
        held = sum(array.size for array in (arrays | (base._tensors() if base else {})).values())
        try:
            schema.check_sizes(self.config, held)
            with models.under_policy("float32"):
                model = models.constructor(self.kind, self.variant)[0](**self.config)
                model.build()
        except (TypeError, ValueError) as error:
            raise RecordError(f"{self.path} has a config that is not that of a model: {error}") from error
        if base:
            arrays |= base.encoder_weights(model)
        expected = {weight_name(weight): tuple(weight.shape) for weight in model.weights}
        found = {name: array.shape for name, array in arrays.items()}
        if expected != found:
            odd = sorted(dict(expected.items() ^ found.items()))
            raise RecordError(f"{self.path} does not fit its model: {', '.join(odd[:5])}; train it again")
        if parameters(model) != self.parameters:
            raise RecordError(f"{self.path} says {self.parameters:,} parameters, its model has {parameters(model):,}")
        for weight in model.weights:
            weight.assign(arrays[weight_name(weight)].astype("float32"))
        return model

    def encoder_weights(self, model: keras.Model) -> dict[str, np.ndarray]:
        """What this record holds for the encoder of `model`, by name."""
        names = {weight_name(weight) for layer in model.encoder() for weight in layer.weights}
        return {name: array for name, array in self._tensors().items() if name in names}

    def _tensors(self) -> dict[str, np.ndarray]:
        """What `model.safetensors` holds, by name: float16, finite."""
        path = self._verified(WEIGHTS)
        try:
            arrays = load_file(path)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path} is no safetensors file of weights: {error}") from error
        if odd := [f"{name} ({array.dtype})" for name, array in arrays.items() if array.dtype != np.float16]:
            raise RecordError(f"{path} holds weights that are not float16: {', '.join(odd[:5])}")
        check_finite(str(path), arrays)
        return arrays

    def attention(self) -> dict[str, np.ndarray]:
        """What an `AttentionRecorder` recorded in training. Raises `RecordError` if it is missing or altered."""
        path = self._verified(ATTENTION)
        try:
            with np.load(path) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise RecordError(f"{path} is no .npz file of arrays: {error}") from error
        if "epoch" not in found or any(len(array) != len(found["epoch"]) for array in found.values()):
            raise RecordError(f"{path} does not hold one map an epoch")
        check_finite(str(path), found)
        return found

    def _verified(self, file: str) -> Path:
        path, expected = self.path / file, self.sha256.get(file)
        if expected is None:
            raise RecordError(f"record {self.name} was made without {file}")
        if not path.exists() and file == WEIGHTS and not self.ships_weights:
            raise RecordError(
                f"record {self.name} ships no weights, they take more than {SHIPPED_BYTES:,} bytes; "
                "train it by its recipe, vattn_utils.training.train.command(record)"
            )
        if is_published(self.path.parent):
            return fetched(f"records/{self.name}/{file}", expected)
        if not path.exists():
            raise RecordError(f"record {self.name} lacks {file}; restore it from version control")
        found = files.sha256_of(path)
        if found != expected:
            raise RecordError(
                f"{path} was altered: its SHA-256 is {found}, record.json says {expected}; "
                "restore it from version control or train it again"
            )
        return path


# What a field of a record is called in record.json, where it is called otherwise.
IN_JSON = {"kind": "model", "metrics": "test", "base_run": "base"}
FIELDS = {IN_JSON.get(field.name, field.name): field for field in dataclasses.fields(Record) if field.name != "path"}


def check_finite(where: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `RecordError` unless every number in `arrays` is finite."""
    if odd := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise RecordError(f"{where} holds what is not finite: {', '.join(odd[:5])}; train it again")


def load(name: str, root: str | Path | None = None) -> Record:
    """The record called `name`, for example "eanet-cifar100-book", from `root`, or `folder()` and the published ones.

    Where the package is installed, a published one is fetched, its files as they are asked for. What an older record
    calls otherwise has today's names (`migration`). Raises `RecordError` if there is none, or if its `record.json`
    is not to be had, cannot be read, or says what cannot be (`schema`).
    """
    path = find(name, root)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RecordError(f"{path} is not JSON ({error}); restore it from version control") from error
    return parse(path.parent, values)


def parse(path: Path, values: Any) -> Record:
    """The record in the folder `path` whose `record.json` holds `values`. Raises `RecordError`."""
    try:
        schema.check(values, path.name)
        values = migration.record(values)
        fields = [field.name for field in dataclasses.fields(Recipe)]
        for field in values["recipe"].keys() - set(fields):
            raise ValueError(f"recipe has {field}, which this version does not know; {nearest_hint(field, fields)}")
        values["recipe"] = Recipe(**values["recipe"])
        models.constructor(values["model"], values["variant"])
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path / 'record.json'} cannot be read by this version: {error}") from error
    return Record(path, **{field.name: values[name] for name, field in FIELDS.items() if name in values})


def load_all(root: str | Path | None = None) -> list[Record]:
    """Every record in `root`, or else every one that `load` finds without it, by name."""
    return [load(name, root) for name in names(root)]


def measured(name: str) -> list[dict[str, Any]]:
    """What `benchmarks/results/<name>.jsonl` holds: short runs or measurements, a dict each, in their order.

    Raises `RecordError` if there is no such file, or it is not to be had, and `measurements.MeasurementError` for a
    line that was changed.
    """
    file, known = f"benchmarks/results/{name}.jsonl", repository.names("benchmarks/results/*.jsonl")
    if file not in known:
        known = [Path(other).stem for other in known]
        raise RecordError(f"no measurements {name!r} in benchmarks/results; there are: {', '.join(known) or 'none'}")
    return measurements.from_lines(fetched(file).read_text(encoding="utf-8"), f"{name}.jsonl")


def table(root: str | Path | None = None) -> str:
    """Every record, as `load_all` has them, as one row of text, under a heading."""
    rows = [("record", "parameters", "epochs", "images seen", "top-1", "top-5", "seed", "device", "precision", "hours")]
    for record in load_all(root):
        rows.append((
            record.name, f"{record.parameters:,}", record.all_of("epochs"), record.all_of("images_seen"),
            f"{record.metrics['top1']:.2%}", f"{record.metrics['top5']:.2%}", str(record.recipe.seed),
            record.provenance["device"], record.provenance["precision"], f"{record.seconds / 3600:.2f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def weight_name(weight: keras.Variable) -> str:
    """A variable's path below its model, for example `block_0/attention/memory_key`."""
    return weight.path.split("/", 1)[1]
