"""Train a model and record the run: `python -m vattn_utils train eanet --dataset cifar100 --epochs 50`."""

import contextlib
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import keras

from vattn_utils import data, models
from vattn_utils.training import places, records, writing
from vattn_utils.training.loop import evaluate, fit
from vattn_utils.training.provenance import provenance
from vattn_utils.training.recipes import Recipe
from vattn_utils.training.recipes import recipe as usual_recipe
from vattn_utils.training.recorder import AttentionRecorder
from vattn_utils.training.run_folder import RunFolder, TrainingError

Made = TypeVar("Made")
OF_THE_DATA = ("num_classes", "mean", "std")  # what a model is told of its data set, and nobody else may say


def build(
    kind: str, dataset: data.Dataset, variant: str, recipe: Recipe, overrides: dict[str, Any] | None = None
) -> keras.Model:
    """The untrained model of a run: for the classes and the statistics of `dataset`, under the recipe's precision.

    Args:
        kind, variant, overrides: of `models.build`.
        dataset: what it will be trained on.
        recipe: whose `precision` it computes in, and from whose `seed` its weights are drawn.

    Raises `TrainingError`, a ValueError, for an override of what comes from the data set, and for one of which no model
    can be built.
    """
    overrides = overrides or {}
    for name in set(OF_THE_DATA) & set(overrides):
        raise TrainingError(f"{name}={overrides[name]!r} cannot be set: a model has it from its data set")
    arguments = dict(variant=variant, num_classes=dataset.num_classes, **dataset.statistics(), **overrides)
    try:
        return with_policy(recipe.precision, recipe.seed, lambda: models.build(kind, **arguments))
    except (TypeError, ValueError) as error:
        raise TrainingError(f"no {kind} can be built with {overrides}: {error}") from error


def distinctive(model: keras.Model) -> dict[str, Any]:
    """The arguments of `model`, without those that the data set gives."""
    left_out = {*OF_THE_DATA, "name", "dtype", "trainable"}
    return {name: value for name, value in model.get_config().items() if name not in left_out}


def with_policy(precision: str, seed: int, make: Callable[[], Made]) -> Made:
    """What `make()` returns under Keras' dtype policy `precision`, after all random generators were seeded."""
    keras.utils.set_random_seed(seed)
    with models.under_policy(precision):
        return make()


def train(
    kind: str,
    dataset: data.Dataset,
    variant: str,
    recipe: Recipe,
    name: str | None = None,
    overrides: dict[str, Any] | None = None,
    directory: str | Path | RunFolder | None = None,
    root: str | Path | None = None,
    watch: int = 4,
    base: str | None = None,
    replace: bool = False,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> records.Record:
    """Build, train, evaluate and record a model; what the command line and the chapters' full profile both do.

    Args:
        kind, variant, overrides: of the model's `build`.
        dataset: what it is trained and tested on.
        recipe: how; the model is built under its precision, its weights drawn from its seed.
        name: of the record; None means `<kind>-<dataset>-<variant>`.
        directory: where the run's state is kept while it lasts; see `fit`.
        root: where the record is written; None means `records.folder()`.
        watch: how many validation images have their attention recorded after every epoch.
        base: the name of a record, as `records.load` finds it with `root`, whose encoder the model takes over and
            keeps; see `freeze_backbone`.
        replace: whether a record of that name may be replaced.
        callbacks: further ones, of `fit`.

    Returns the record. Raises `TrainingError` or `RecordError`, both ValueErrors: before the first step for what can be
    known by then, and later for what `fit` says.
    """
    begun = provenance(recipe.precision)
    name = name or default_name(kind, dataset.name, variant)
    place = Path(root) if root is not None else records.folder()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(RunFolder.of(directory)) if directory is not None else None
        writing.check_place(name, place, replace, folder.history() if folder else None)
        model = build(kind, dataset, variant, recipe, overrides)
        trunk = records.load(base, root) if base is not None else None
        if trunk is not None:
            freeze_backbone(model, trunk, name)
        _, (x_val, _) = dataset.split(recipe.validation, recipe.seed)
        recorder = AttentionRecorder(x_val[:watch])
        run = fit(model, dataset, recipe, folder, callbacks=[recorder, *callbacks])
        metrics, rounding = evaluate_as_stored(model, dataset)
        return writing.write(
            name, model, variant=variant, dataset=dataset, recipe=recipe, run=run, metrics=metrics, rounding=rounding,
            provenance=begun, attention=recorder.recorded(), root=place, base=trunk, replace=replace,
        )  # fmt: skip


def evaluate_as_stored(model: keras.Model, dataset: data.Dataset) -> tuple[dict[str, float], float]:
    """The test metrics of `model` with its weights as a record stores them, and what that adds to top-1 (a share)."""
    stored = writing.as_stored(model)
    metrics = evaluate(stored, dataset.x_test, dataset.y_test)
    stored.set_weights(model.get_weights())
    return metrics, metrics["top1"] - evaluate(stored, dataset.x_test, dataset.y_test)["top1"]


def freeze_backbone(model: keras.Model, base: records.Record, name: str) -> None:
    """Give `model`, a `PatchConvNet`, the encoder of the record `base`, not to be trained.

    Its stochastic depth is the model's: `drop_path=0` turns it off. Raises `TrainingError` if the encoder does not
    fit, or if `name`, that of the model's own record, is the base's.
    """
    if name == base.name:
        raise TrainingError(f"name={name!r} is that of the base, which the new record would replace; give it another")
    if base.base_run is not None:
        raise TrainingError(f"{base.name} has its encoder from {base.base_name}; take that one as base")
    recorded = base.model()
    if type(recorded) is not type(model) or not hasattr(model, "encoder"):
        raise TrainingError(
            f"{base.name} has no encoder for a {type(model).__name__}; only a PatchConvNet takes another's"
        )
    wanted, known = model.get_config(), recorded.get_config()
    for argument in set(known) - {*model.READ_OUT, "name", "dtype", "trainable"}:
        if wanted[argument] != known[argument]:
            raise TrainingError(
                f"{argument}={wanted[argument]!r} does not fit the encoder of {base.name}; use {known[argument]!r}"
            )
    for layer, kept in zip(model.encoder(), recorded.encoder(), strict=True):
        layer.set_weights(kept.get_weights())
        layer.trainable = False


def command(record: records.Record) -> str:
    """The command line that trains what `record` holds, on its backend, without the options whose defaults it used."""
    kind, dataset, variant = record.kind, record.dataset, record.variant
    of_what = {"data": "FOLDER"} if data.is_own(dataset) else {"dataset": dataset}
    used: dict[str, Any] = {**of_what, "variant": variant, "name": record.name, "base": record.base_name}
    usual = {"variant": "book", "name": default_name(kind, dataset, variant), "base": None}
    used, usual = used | vars(record.recipe), usual | vars(usual_recipe(kind, variant))
    backend = record.provenance["backend"]
    words = [f"KERAS_BACKEND={backend}"] if backend != "tensorflow" else []
    words += ["python", "-m", "vattn_utils", "train", kind]
    for name, value in used.items():
        if value != usual.get(name):
            words += ["--" + name.replace("_", "-"), ",".join(value) if name == "augmentation" else str(value)]
    # An older record may lack newer arguments: a model made of it has them all.
    model_class, arguments = models.constructor(kind, variant)
    config = model_class(**record.config).get_config()
    untouched = model_class(**{**arguments, **{name: config[name] for name in OF_THE_DATA}}).get_config()
    for name, value in config.items():
        if value != untouched[name]:
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def default_name(kind: str, dataset: str, variant: str) -> str:
    """What the record of a run is called if nothing else is said."""
    return f"{kind}-{dataset}-{variant}"


def state_directory(name: str, directory: str | Path | None = None, resume: bool = False) -> Path:
    """Where the state of the run `name` is kept: `directory`, or `_build/runs/<name>`.

    Raises `TrainingError` if there is a run already and it is not to be resumed, if there is none to be resumed, if it
    cannot be read, or if the folder holds something else.
    """
    places.check_name(name)
    directory = Path(directory or Path("_build/runs") / name)
    folder = RunFolder(directory)
    held = folder.run() is not None
    if held and not resume:
        raise TrainingError(f"{directory} holds a run already; add --resume to go on with it, or delete it")
    if resume and not held:
        raise TrainingError(f"{directory} holds no run to go on with; leave out --resume, or name its --directory")
    if not held and folder.foreign():
        raise TrainingError(f"{directory} is not empty, and what is in it is no run; give another --directory")
    return directory


def run(
    kind: str,
    dataset: str,
    variant: str,
    recipe: Recipe,
    directory: Path,
    name: str | None = None,
    overrides: dict[str, Any] | None = None,
    base: str | None = None,
    replace: bool = False,
) -> None:
    """Load the data set called `dataset`, `train`, say what came of it, and delete the run's state in `directory`.

    A run whose record is written already is said to be finished, and what is left of its state is deleted.
    """
    images = data.load(dataset)
    with RunFolder(directory) as folder:
        begun = folder.run()
        if begun and begun["finished"]:
            record = records.load(begun["finished"])
        else:
            record = train(kind, images, variant, recipe, name, overrides, folder, base=base, replace=replace)
        print(
            f"{record.name}: test top-1 {record.metrics['top1']:.2%}, top-5 {record.metrics['top5']:.2%}; {record.path}"
        )
        folder.finish(record.name)
