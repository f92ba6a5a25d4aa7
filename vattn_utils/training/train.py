"""Train a model and record the run: `python -m vattn_utils train eanet --dataset cifar100 --epochs 50`."""

import shlex
import shutil
from pathlib import Path

import keras

from vattn_utils import data, models, training
from vattn_utils.training import records
from vattn_utils.training.recorder import AttentionRecorder

OF_THE_DATA = ("num_classes", "mean", "std")  # what a model is told of its data set, and nobody else may say


def build(kind, dataset, variant, recipe, overrides=None):
    """The untrained model of a run: for the classes and the statistics of `dataset`, under the recipe's precision.

    Raises ValueError for an override of what comes from the data set.
    """
    overrides = overrides or {}
    for name in set(OF_THE_DATA) & set(overrides):
        raise ValueError(f"{name}={overrides[name]!r} cannot be set: a model has it from its data set")
    arguments = dict(variant=variant, num_classes=dataset.num_classes, **dataset.statistics(), **overrides)
    return with_policy(recipe.precision, recipe.seed, lambda: models.build(kind, **arguments))


def with_policy(precision, seed, make):
    """What `make()` returns under Keras' dtype policy `precision`, after all random generators were seeded."""
    keras.utils.set_random_seed(seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(policy)


def train(kind, dataset, variant, recipe, name=None, overrides=None, directory=None, root=None, watch=4, base=None):
    """Build, train, evaluate and record a model; what the command line and the chapters' full profile both do.

    Args:
        kind: "vit", "eanet" or "patch_convnet".
        dataset: a `data.Dataset`.
        variant, overrides: of the model's `build`.
        recipe: a `training.Recipe`; the model is built under its precision, its weights drawn from its seed.
        name: of the record; None means `<kind>-<dataset>-<variant>`.
        directory: where the run's state is kept while it lasts; see `training.fit`.
        root: where the record is written; see `records.write`.
        watch: how many validation images have their attention recorded after every epoch.
        base: the name of a record in `root` whose encoder the model takes over and keeps; see `stand_on`.

    Returns the `records.Record`. Raises ValueError if the encoder of `base` does not fit the model.
    """
    provenance = records.provenance(recipe.precision)
    name = name or default_name(kind, dataset.name, variant)
    model = build(kind, dataset, variant, recipe, overrides)
    if base is not None:
        base = records.load(base, root)
        stand_on(model, base, name)
    _, (x_val, _) = dataset.split(recipe.validation, recipe.seed)
    watched = Path(directory) / "attention.npz" if directory is not None else None
    recorder = AttentionRecorder(x_val[:watch], path=watched)
    run = training.fit(model, dataset, recipe, directory, callbacks=[recorder])
    return records.write(name, model, dataset, variant, recipe, run, provenance, recorder.recorded(), root, base)


def stand_on(model, base, name):
    """Give `model`, a `PatchConvNet`, the encoder of the record `base`, not to be trained.

    Its stochastic depth is the model's: `drop_path=0` turns it off. Raises ValueError if the encoder does not fit, or
    if `name`, that of the model's own record, is the base's.
    """
    if name == base.name:
        raise ValueError(f"name={name!r} is that of the base, which the new record would replace; give it another")
    recorded = base.model()
    if type(recorded) is not type(model) or not hasattr(model, "encoder"):
        raise ValueError(
            f"{base.name} has no encoder for a {type(model).__name__}; only a PatchConvNet takes another's"
        )
    wanted, known = model.get_config(), recorded.get_config()
    for name in set(known) - {*model.READ_OUT, "name", "dtype", "trainable"}:
        if wanted[name] != known[name]:
            raise ValueError(f"{name}={wanted[name]!r} does not fit the encoder of {base.name}; use {known[name]!r}")
    for layer, kept in zip(model.encoder(), recorded.encoder(), strict=True):
        layer.set_weights(kept.get_weights())
        layer.trainable = False


def command(record):
    """The command line that trains what `record` holds, on its backend, without the options whose defaults it used."""
    kind, dataset, variant = (record.values[part] for part in ("model", "dataset", "variant"))
    base, recipe = record.values.get("base", {}).get("name"), training.recipe(kind, variant)
    used = {"dataset": dataset, "variant": variant, "name": record.name, "base": base, **vars(record.recipe)}
    usual = {"variant": "book", "name": default_name(kind, dataset, variant), "base": None, **vars(recipe)}
    backend = record.provenance["backend"]
    words = [f"KERAS_BACKEND={backend}"] if backend != "tensorflow" else []
    words += ["python", "-m", "vattn_utils", "train", kind]
    for name, value in used.items():
        if value != usual.get(name):
            words += ["--" + name.replace("_", "-"), ",".join(value) if name == "augmentation" else str(value)]
    config = models.MODELS[kind](**record.config).get_config()  # an older record may lack newer arguments
    given = {name: config[name] for name in OF_THE_DATA}
    untouched = models.build(kind, variant, **given).get_config()
    for name, value in config.items():
        if value != untouched[name]:
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def default_name(kind, dataset, variant):
    return f"{kind}-{dataset}-{variant}"


def state_directory(name, directory=None, resume=False):
    """Where the state of the run `name` is kept: `directory`, or `_build/runs/<name>`.

    Raises ValueError if there is a run already and it is not to be resumed.
    """
    directory = Path(directory or Path("_build/runs") / name)
    if directory.exists() and not resume:
        raise ValueError(f"{directory} holds a run already; add --resume to go on with it, or delete it")
    return directory


def run(kind, dataset, variant, recipe, directory, name=None, overrides=None, base=None):
    """Load the data set called `dataset`, `train`, say what came of it, and delete the run's state."""
    record = train(kind, data.load(dataset), variant, recipe, name, overrides, directory, base=base)
    print(f"{record.name}: test top-1 {record.metrics['top1']:.2%}, top-5 {record.metrics['top5']:.2%}; {record.path}")
    shutil.rmtree(directory)
