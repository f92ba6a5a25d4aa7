"""One command line: `python -m vattn_utils train | records | faithfulness | audit | export | publish`.

Here arguments are read, and nothing else: what a command does stands in its station.
"""

import argparse
import ast
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from vattn_utils import audit, models, training
from vattn_utils.audit import upstream
from vattn_utils.data import DataError
from vattn_utils.maps import attribution, comparison
from vattn_utils.maps.passport import passport
from vattn_utils.publish import PublishError, hub, live, space, upload
from vattn_utils.training import records, train, verification, writing
from vattn_utils.training.records import RecordError
from vattn_utils.training.run_folder import TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` (None: the process's) say, and return the exit status: 0, or 1 if something was found wrong.

    Raises SystemExit, with a sentence on stderr, for arguments that are not known or do not fit together.
    """
    parser = argparse.ArgumentParser(prog="python -m vattn_utils", description="Attention in Vision: its commands.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add, what in (
        (_train, "train a model and record the run"),
        (_records, "list the recorded runs"),
        (_faithfulness, "measure how far the maps of a recorded run can be trusted, against chance"),
        (_audit, "check a published training script, one defect at a time"),
        (_export, "write the recorded models as the live page runs them"),
        (_publish, "write a recorded run as a repository of the Hugging Face Hub, or the live page as a Space"),
    ):
        name = add.__name__.removeprefix("_")
        add(commands.add_parser(name, help=what, description=what.capitalize() + "."))
    options = parser.parse_args(arguments)
    try:
        return int(options.do(options) or 0)
    except (DataError, RecordError, TrainingError, PublishError) as error:
        return parser.error(str(error))


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=models.MODELS)
    parser.add_argument("--dataset", default="cifar100", help="cifar10, cifar100, shapes10 or shapes100")
    variants = sorted({variant for of_model in models.MODELS.values() for variant in of_model})
    parser.add_argument("--variant", default="book", choices=variants)
    parser.add_argument("--name", help="of the record; default: MODEL-DATASET-VARIANT")
    parser.add_argument("--base", metavar="RECORD", help="a record whose encoder is taken over and not trained")
    parser.add_argument("--directory", type=Path, help="where the run's state is kept; default: _build/runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that directory")
    parser.add_argument("--replace", action="store_true", help="replace a record of that name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of the model's constructor"
    )
    recipe = parser.add_argument_group("recipe", "how it is trained; what is not given is as in the model's own recipe")
    fields = dataclasses.fields(training.Recipe)
    for field in fields:
        kind = _names if field.name == "augmentation" else type(field.default)
        recipe.add_argument("--" + field.name.replace("_", "-"), type=kind, help=field.metadata["meaning"])

    def do(options):
        changes = {field.name: getattr(options, field.name) for field in fields}
        try:
            recipe = training.recipe(
                options.model, options.variant, **{name: value for name, value in changes.items() if value is not None}
            )
            overrides = dict(map(_override, options.set))
            directory = train.state_directory(
                options.name or train.default_name(options.model, options.dataset, options.variant),
                options.directory,
                options.resume,
            )
        except (TypeError, ValueError) as error:
            parser.error(str(error))
        train.run(
            options.model, options.dataset, options.variant, recipe, directory, options.name, overrides, options.base,
            options.replace,
        )  # fmt: skip

    parser.set_defaults(do=do)


def _records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verify", action="store_true", help="check every record, and evaluate again all that ship weights"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write every record's history for TensorBoard")

    def do(options):
        if options.tensorboard:
            for record in records.load_all():
                writing.write_events(record)
            print(f"To see them: tensorboard --logdir {records.folder()}")
        elif options.verify:
            faults = verification.verify()
            print(*faults, sep="\n", file=sys.stderr)
            return bool(faults)
        else:
            print(records.table())

    parser.set_defaults(do=do)


def _faithfulness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", required=True, help="name of a recorded run, such as vit-shapes10-book")
    parser.add_argument("--images", type=int, default=512, help="how many test images, from the first on")
    parser.add_argument(
        "--methods", type=_names, help=f"separated by commas, of: {', '.join(attribution.METHODS)}; default: all"
    )
    parser.add_argument("--method", help="of this one only the passport: what the book says under its maps")
    parser.add_argument("--seed", type=int, default=0, help="of ties, noise, mosaics and weights drawn anew")

    def do(options):
        try:
            if options.method:
                print(passport(options.record, options.method, options.images, options.seed).sentence())
                return
            comparison.report(options.record, options.images, options.methods, options.seed)
        except ValueError as error:
            parser.error(str(error))

    parser.set_defaults(do=do)


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("example", choices=upstream.EXAMPLES, help="a page of keras.io, as it is published")
    parser.set_defaults(do=lambda options: audit.report(options.example))


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", type=Path, required=True, metavar="DIR", help="where the models and their list go")
    parser.set_defaults(do=lambda options: live.export(options.live))


def _publish(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("record", nargs="?", help="name of a recorded run that ships weights")
    what.add_argument("--space", action="store_true", help="the live page instead, as a static Space")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder, which must not be there yet")
    parser.add_argument("--replace", action="store_true", help="replace an older publication in that folder")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it there too; needs huggingface_hub and a token")

    def do(options):
        if options.push:
            upload.check(options.push)
        if options.space:
            space.publish(options.to, options.replace)
        else:
            hub.publish(options.record, options.to, options.push, options.replace)
        print(f"{options.to}: {sum(path.is_file() for path in options.to.rglob('*'))} files")
        if options.push:
            print(upload.upload(options.to, options.push, "space" if options.space else "model"))

    parser.set_defaults(do=do)


def _own(folder: Path, size: int) -> Dataset:
    """One's own pictures, which `data.load` finds by their name as long as what is returned is in use."""
    own = from_folder(folder, size)
    print(f"{own!r}; each picture's central square, resized to {size} x {size} pixels")
    return own


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _override(text: str) -> tuple[str, object]:
    """("heads", 4) of "heads=4"; what is not a Python literal is text."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"--set {text} names no value; write --set NAME=VALUE, for example --set heads=4")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    raise SystemExit(main())
