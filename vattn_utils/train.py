"""Train a model and record the run: `python -m vattn_utils.train eanet --dataset cifar100 --epochs 50`."""

import argparse
import ast
import dataclasses
import shutil
from pathlib import Path

import keras

from vattn_utils import data, eanet, patch_convnet, records, training, vit
from vattn_utils.attention import AttentionRecorder

BUILDERS = {"vit": vit.build, "eanet": eanet.build, "patch_convnet": patch_convnet.build}


def build(kind, dataset, variant, recipe, overrides=None):
    """The untrained model of a run: for the classes and the statistics of `dataset`, under the recipe's precision."""
    arguments = dict(variant=variant, num_classes=dataset.num_classes, **dataset.statistics(), **(overrides or {}))
    return with_policy(recipe.precision, recipe.seed, lambda: BUILDERS[kind](**arguments))


def with_policy(precision, seed, make):
    """What `make()` returns under Keras' dtype policy `precision`, after all random generators were seeded."""
    keras.utils.set_random_seed(seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(policy)


def train(kind, dataset, variant, recipe, name=None, overrides=None, directory=None, root=None, watch=4):
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

    Returns the `records.Record`.
    """
    provenance = records.provenance(recipe.precision)
    model = build(kind, dataset, variant, recipe, overrides)
    _, (x_val, _) = dataset.split(recipe.validation, recipe.seed)
    watched = Path(directory) / "attention.npz" if directory is not None else None
    recorder = AttentionRecorder(x_val[:watch], path=watched)
    run = training.fit(model, dataset, recipe, directory, callbacks=[recorder])
    name = name or f"{kind}-{dataset.name}-{variant}"
    return records.write(name, model, dataset, variant, recipe, run, provenance, recorder.recorded(), root)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m vattn_utils.train", description=__doc__)
    parser.add_argument("model", choices=BUILDERS)
    parser.add_argument("--dataset", default="cifar100", help="cifar10, cifar100, shapes10 or shapes100")
    parser.add_argument("--variant", default="book", choices=("book", "keras-io", "paper"))
    parser.add_argument("--name", help="of the record; default: MODEL-DATASET-VARIANT")
    parser.add_argument("--directory", type=Path, help="where the run's state is kept; default: _build/runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that directory")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the model's constructor",
    )
    for field in dataclasses.fields(training.Recipe):
        option = "--" + field.name.replace("_", "-")
        kind = {"augmentation": lambda text: tuple(filter(None, text.split(",")))}.get(field.name, type(field.default))
        parser.add_argument(option, type=kind, help=f"of the recipe; the model's own if not given ({field.name})")
    options = parser.parse_args(arguments)
    changes = {f.name: getattr(options, f.name) for f in dataclasses.fields(training.Recipe)}
    try:
        recipe = training.recipe(options.model, options.variant, **{k: v for k, v in changes.items() if v is not None})
        overrides = {name: _literal(value) for name, _, value in (item.partition("=") for item in options.set)}
    except ValueError as error:
        parser.error(str(error))
    name = options.name or f"{options.model}-{options.dataset}-{options.variant}"
    directory = options.directory or Path("_build/runs") / name
    if directory.exists() and not options.resume:
        parser.error(f"{directory} holds a run already; add --resume to go on with it, or delete it")
    record = train(options.model, data.load(options.dataset), options.variant, recipe, name, overrides, directory)
    print(f"{record.name}: test top-1 {record.metrics['top1']:.2%}, top-5 {record.metrics['top5']:.2%}; {record.path}")
    shutil.rmtree(directory)


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
