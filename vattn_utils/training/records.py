"""Recorded runs: what was trained, how, on what, what came of it, and the weights.

A record is a folder `<model>-<dataset>-<variant>/` with `record.json`, `model.safetensors` (float16, each array under
its variable's path) and, where attention was recorded in training, `attention.npz`. The metrics in a record are those
of these float16 weights. A record that was trained on the encoder of another, its *base*, has the rest only. Weights
of more than `SHIPPED_BYTES` stay on the machine that trained them: such a record ships without.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import load_file, save_file

from vattn_utils import data, models, training

SHIPPED_BYTES = 5_000_000


class RecordError(ValueError):
    """A record is missing, altered, or does not fit its model."""


def folder():
    """Where records are: `$VATTN_RECORDS`, the repository's `records/`, or those installed with the package."""
    here = Path(__file__).resolve().parents[1]
    if "VATTN_RECORDS" in os.environ:
        return Path(os.environ["VATTN_RECORDS"])
    checkout = here.parent / "records"
    return checkout if checkout.is_dir() else here / "recorded"


@dataclasses.dataclass(frozen=True)
class Record:
    """One recorded run: `values` is the content of `record.json`, whose main parts have properties."""

    path: Path
    values: dict

    @property
    def name(self):
        return self.values["name"]

    @property
    def history(self):
        """One list a quantity, one value an epoch; see `training.Run`."""
        return self.values["history"]

    @property
    def metrics(self):
        """On all test images: `loss` (nats), `top1` and `top5` (shares, 0 to 1)."""
        return self.values["test"]

    @property
    def config(self):
        """The model's constructor arguments."""
        return self.values["config"]

    @property
    def recipe(self):
        return training.Recipe(**self.values["recipe"])

    @property
    def provenance(self):
        """When, where and with what the run was made."""
        return self.values["provenance"]

    @property
    def base(self):
        """The record whose encoder this one's model has, or None. Raises `RecordError` if it is gone or altered."""
        if "base" not in self.values:
            return None
        name, root = self.values["base"]["name"], self.path.parent
        base = load(name, root) if (root / name).exists() else None
        if base is None or base.values["sha256"].get("model.safetensors") != self.values["base"]["sha256"]:
            raise RecordError(
                f"record {self.name} has the encoder of {name}, which is {'another by now' if base else 'not there'}; "
                "restore that one from version control or train this one again"
            )
        return base

    def all_of(self, name):
        """The number called `name`, behind that of the base, as text: "64 + 10" for "epochs"."""
        base = self.values.get("base")
        return (f"{base[name]:,} + " if base else "") + f"{self.values[name]:,}"

    @property
    def ships_weights(self):
        """Whether its weights, two bytes a parameter, are few enough to be shipped."""
        return 2 * self.values["parameters"] <= SHIPPED_BYTES

    def check_files(self):
        """Raise `RecordError` if a file that should be there, weights or attention, is missing or altered."""
        for file in self.values["sha256"]:
            if file != "model.safetensors" or self.ships_weights or (self.path / file).exists():
                self._verified(file)

    def model(self):
        """The model with the recorded weights, float32.

        Raises `RecordError` if they are missing, altered or too large to be shipped.
        """
        arrays = load_file(self._verified("model.safetensors"))
        model = models.MODELS[self.values["model"]](**self.config)
        model.build()
        if base := self.base:
            arrays |= base._encoder(model)
        expected = {_weight_name(weight): tuple(weight.shape) for weight in model.weights}
        found = {name: array.shape for name, array in arrays.items()}
        if expected != found:
            odd = sorted(dict(expected.items() ^ found.items()))
            raise RecordError(f"{self.path} does not fit its model: {', '.join(odd[:5])}; train it again")
        for weight in model.weights:
            weight.assign(arrays[_weight_name(weight)].astype("float32"))
        return model

    def _encoder(self, model):
        """What this record holds for the encoder of `model`, by name."""
        names = {_weight_name(weight) for layer in model.encoder() for weight in layer.weights}
        arrays = load_file(self._verified("model.safetensors"))
        return {name: array for name, array in arrays.items() if name in names}

    def attention(self):
        """What an `AttentionRecorder` recorded in training, as a dict of arrays."""
        with np.load(self._verified("attention.npz")) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _verified(self, file):
        path, expected = self.path / file, self.values["sha256"].get(file)
        if expected is None:
            raise RecordError(f"record {self.name} was made without {file}")
        if not path.exists() and file == "model.safetensors" and not self.ships_weights:
            raise RecordError(
                f"record {self.name} ships no weights, they take more than {SHIPPED_BYTES:,} bytes; "
                "train it by its recipe, vattn_utils.train.command(record)"
            )
        if not path.exists():
            raise RecordError(f"record {self.name} lacks {file}; restore it from version control")
        found = _sha256(path)
        if found != expected:
            raise RecordError(
                f"{path} was altered: its SHA-256 is {found}, record.json says {expected}; "
                "restore it from version control or train it again"
            )
        return path


def load(name, root=None):
    """The record called `name`, for example "eanet-cifar100-book", from `root` or `folder()`.

    Raises `RecordError` if there is none, or if its `record.json` cannot be read.
    """
    root = Path(root) if root is not None else folder()
    path = root / name / "record.json"
    if not path.exists():
        known = ", ".join(sorted(p.parent.name for p in root.glob("*/record.json"))) or "none"
        raise RecordError(f"no record {name!r} in {root}; there are: {known}")
    try:
        values = json.loads(path.read_text())
        missing = {"name", "model", "config", "recipe", "history", "test", "sha256"} - set(values)
    except json.JSONDecodeError as error:
        raise RecordError(f"{path} is not JSON ({error}); restore it from version control") from error
    if missing:
        raise RecordError(f"{path} lacks {', '.join(sorted(missing))}; restore it from version control")
    return Record(path.parent, values)


def load_all(root=None):
    """Every record in `root` or `folder()`, by name."""
    root = Path(root) if root is not None else folder()
    return [load(path.parent.name, root) for path in sorted(root.glob("*/record.json"))]


def measured(name):
    """What `benchmarks/results/<name>.jsonl` holds: short runs or measurements, a dict each, in their order.

    Raises `RecordError` if there is no such file.
    """
    here = Path(__file__).resolve().parents[1]
    root = here.parent / "benchmarks" / "results"
    path = (root if root.is_dir() else here / "measured") / f"{name}.jsonl"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl"))) or "none"
        raise RecordError(f"no measurements {name!r} in {path.parent}; there are: {known}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(name, model, dataset, variant, recipe, run, provenance, attention=None, root=None, base=None):
    """Record a finished run, evaluated on the dataset's test images, under `root`/`name`.

    Args:
        model: the trained `Classifier`.
        dataset: the `data.Dataset` that it was trained on.
        variant: the name of the model's variant.
        recipe, run: what `training.fit` took and returned.
        provenance: what `provenance()` said when the training began.
        attention: what an `AttentionRecorder` recorded, if one did.
        base: the `Record`, in the same `root`, whose encoder the model kept as it is.

    The weights are rounded to float16; `rounding` in the record is what that added to top-1 (shares, may be negative).
    The folder appears whole or not at all, and replaces an older one. Returns the `Record`. Raises `RecordError` if the
    encoder is not that of `base`.
    """
    root = Path(root) if root is not None else folder()
    kind = next(kind for kind, constructor in models.MODELS.items() if type(model) is constructor)
    config = {key: value for key, value in model.get_config().items() if key not in ("dtype", "trainable")}
    partial = root / f".{name}.{os.getpid()}"
    partial.mkdir(parents=True)
    try:
        arrays = {_weight_name(weight): np.asarray(weight.numpy()).astype("float16") for weight in model.weights}
        for path, array in (base._encoder(model) if base else {}).items():
            if not np.array_equal(arrays.pop(path), array):
                raise RecordError(f"{path} is not what {base.name} holds; train with it as base from the beginning")
        save_file(arrays, partial / "model.safetensors")
        if attention is not None:
            np.savez_compressed(partial / "attention.npz", **attention)
        values = {
            "name": name,
            "model": kind,
            "variant": variant,
            "config": json.loads(json.dumps(config)),
            "recipe": dataclasses.asdict(recipe),
            "dataset": dataset.name,
            "digest": dataset.digest,
            "epochs": len(run.history["loss"]),
            "selected_epoch": run.epoch,
            "images_seen": run.images * len(run.history["loss"]),
            "images_per_second": run.images_per_second,
            "seconds": run.seconds,
            "history": run.history,
            "provenance": provenance,
            "sha256": {path.name: _sha256(path) for path in sorted(partial.iterdir())},
        }
        if base:
            values["base"] = {"name": base.name, "sha256": base.values["sha256"]["model.safetensors"]}
            values["base"] |= {count: base.values[count] for count in ("epochs", "images_seen")}
        shipped = Record(partial, values).model()
        values["parameters"] = sum(prod(weight.shape) for weight in shipped.trainable_weights)
        values["test"] = training.evaluate(shipped, dataset.x_test, dataset.y_test)
        shipped.set_weights(model.get_weights())
        trained = training.evaluate(shipped, dataset.x_test, dataset.y_test)
        values["rounding"] = values["test"]["top1"] - trained["top1"]
        (partial / "record.json").write_text(json.dumps(values, indent=1) + "\n")
        if (root / name).exists():
            shutil.rmtree(root / name)
        partial.replace(root / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(name, root)


def provenance(precision="float32"):
    """When, where and with what something is run: date, device, backend, precision, versions, commit."""
    backend = keras.backend.backend()
    library = sys.modules.get({"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}[backend])
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": _device(),
        "backend": backend,
        "precision": precision,
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            backend: getattr(library, "__version__", "unknown"),
            "numpy": np.__version__,
        },
        "commit": _commit(),
    }


def _device():
    """The accelerators that Keras sees, or else the CPU cores that this process may use."""
    if keras.backend.backend() == "torch":  # for which Keras 3 lists no devices
        cuda = sys.modules["torch"].cuda
        accelerators = [cuda.get_device_name(index) for index in range(cuda.device_count())]
    else:
        accelerators = [device for device in keras.distribution.list_devices() if "cpu" not in device.lower()]
    if accelerators:
        return f"{len(accelerators)} x {accelerators[0]}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s' * (cores > 1)} ({platform.machine()})"


def _commit():
    """The commit of the code that runs, with "+" if files of the package differ from it; None outside a checkout."""
    package = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(package)]
    found = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=False)
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _weight_name(weight):
    """A variable's path below its model, for example `block_0/attention/memory_key`."""
    return weight.path.split("/", 1)[1]


def _sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_events(record):
    """Write the record's history as scalars for TensorBoard, into its folder `tensorboard/`; needs `tensorboard`."""
    from tensorboard.summary import Writer

    folder = record.path / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    writer = Writer(str(folder))
    finished = np.cumsum(record.history["seconds"])
    for name, values in record.history.items():
        for epoch, value in enumerate(values, 1):
            writer.add_scalar(name, value, epoch, wall_time=finished[epoch - 1])
    writer.close()
    (written,) = folder.iterdir()
    written.rename(folder / "events.out.tfevents")  # without the machine's name


def table(root=None):
    """Every record as one row of text, under a heading."""
    rows = [("record", "parameters", "epochs", "images seen", "top-1", "top-5", "seed", "device", "precision", "hours")]
    for record in load_all(root):
        v = record.values
        rows.append((
            record.name, f"{v['parameters']:,}", record.all_of("epochs"), record.all_of("images_seen"),
            f"{record.metrics['top1']:.2%}", f"{record.metrics['top5']:.2%}", str(v["recipe"]["seed"]),
            v["provenance"]["device"], v["provenance"]["precision"], f"{v['seconds'] / 3600:.2f}",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def verify(root=None, tolerance=0.001):
    """Check every record's files; where its weights and its data are at hand, evaluate it again. Returns the faults.

    tolerance: by how much top-1 and top-5 (shares) may differ from the record.
    """
    faults = []
    for record in load_all(root):
        try:
            record.check_files()
            if not (record.ships_weights or (record.path / "model.safetensors").exists()):
                print(f"{record.name}: its weights are too large to be shipped; nothing to evaluate")
                continue
            model = record.model()
            if not data.at_hand(record.values["dataset"]):
                print(f"{record.name}: weights whole; {record.values['dataset']} is not at hand to evaluate them")
                continue
            dataset = data.load(record.values["dataset"])
            found = training.evaluate(model, dataset.x_test, dataset.y_test)
        except (RecordError, OSError) as error:
            faults.append(str(error))
            continue
        print(f"{record.name}: top-1 {found['top1']:.2%}, recorded {record.metrics['top1']:.2%}")
        faults += [
            f"{record.name}: {metric} is {found[metric]:.2%}, the record says {record.metrics[metric]:.2%}"
            for metric in ("top1", "top5")
            if abs(found[metric] - record.metrics[metric]) > tolerance
        ]
    return faults
