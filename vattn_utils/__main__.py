"""One command line: `python -m vattn_utils train | sweep | records | faithfulness | audit | export | publish`.

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
from vattn_utils.data import DataError, Dataset, from_folder
from vattn_utils.data.checks import check_whole
from vattn_utils.maps import attribution, comparison
from vattn_utils.maps.passport import passport
from vattn_utils.publish import PublishError, hub, live, space, upload
from vattn_utils.training import records, sweep, sweep_file, sweep_standing, train, verification, writing
from vattn_utils.training.records import RecordError
from vattn_utils.training.run_folder import TrainingError
from vattn_utils.training.sweep_file import SweepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` (None: the process's) say, and return the exit status: 0, or 1 if something was found wrong.

    Raises SystemExit, with a sentence on stderr, for arguments that are not known or do not fit together.
    """
    parser = argparse.ArgumentParser(prog="python -m vattn_utils", description="Attention in Vision: its commands.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add, what in (
        (_train, "train a model and record the run"),
        (_sweep, "train the runs that a file lists, the most valuable first"),
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
    except (DataError, RecordError, TrainingError, SweepError, PublishError) as error:
        return parser.error(str(error))


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=models.MODELS)
    of_what = parser.add_mutually_exclusive_group()
    of_what.add_argument("--dataset", default="cifar100", help="cifar10, cifar100, shapes10 or shapes100")
    of_what.add_argument("--data", type=Path, metavar="FOLDER", help="your own pictures: a folder of each class's")
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

    def do(options: argparse.Namespace) -> None:
        changes = {field.name: getattr(options, field.name) for field in fields}
        try:
            overrides = dict(map(_override, options.set))
            if options.data:
                own = _own(options.data, overrides.get("image_size", 32))
                options.dataset = own.name
                if options.validation is None:  # the usual thousands are more than a folder holds
                    changes["validation"] = max(1, len(own.x_train) // 10)
            recipe = training.recipe(
                options.model, options.variant, **{name: value for name, value in changes.items() if value is not None}
            )
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


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the runs, in TOML: see vattn_utils/training/sweep_file.py")
    parser.add_argument("--hours", type=_positive, help="of wall time, after which all is saved; default: to the end")
    parser.add_argument("--processes", type=int, help="runs at a time; default: one a core, or one on an accelerator")
    parser.add_argument("--state", type=Path, default=sweep_standing.STATE, help="of the runs; default: %(default)s")
    parser.add_argument("--list", action="store_true", help="say what is done, what is left and at what cost")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--run", metavar="NAME", help="train this one alone, in this process")
    where.add_argument("--ray", metavar="ADDRESS", help="train on this Ray cluster; local: on one begun here")

    def do(options: argparse.Namespace) -> int:
        runs = sweep_file.read(options.file)
        if options.list:
            print(sweep_standing.listing(runs, options.state))
            return 0
        if options.run:
            return sweep.run_one(runs, options.run, options.state, options.hours)
        if options.processes is not None and options.processes < 1:
            parser.error(f"--processes {options.processes} trains nothing; give 1 or more")
        return min(sweep.sweep_all(runs, options.hours, options.processes, options.state, options.ray), 1)

    parser.set_defaults(do=do)


def _records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verify", action="store_true", help="check every record, and evaluate again all that ship weights"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write every record's history for TensorBoard")

    def do(options: argparse.Namespace) -> bool:
        if options.tensorboard:
            recorded = records.load_all()
            for record in recorded:
                writing.write_events(record)
            for folder in sorted({record.path.parent for record in recorded}):
                print(f"To see them: tensorboard --logdir {folder}")
        elif options.verify:
            faults = verification.verify()
            print(*faults, sep="\n", file=sys.stderr)
            return bool(faults)
        else:
            print(records.table())
        return False

    parser.set_defaults(do=do)


def _faithfulness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", required=True, help="name of a recorded run, such as vit-shapes10-book")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of a run on your own pictures: where they are")
    parser.add_argument("--images", type=int, default=512, help="how many test images, from the first on")
    parser.add_argument(
        "--methods", type=_names, help=f"separated by commas, of: {', '.join(attribution.METHODS)}; default: all"
    )
    parser.add_argument("--method", help="of this one only the passport: what the book says under its maps")
    parser.add_argument("--seed", type=int, default=0, help="of ties, noise, mosaics and weights drawn anew")

    def do(options: argparse.Namespace) -> None:
        try:
            if options.data:
                _own(options.data, records.load(options.record).config.get("image_size", 32))
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

    def do(options: argparse.Namespace) -> None:
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


def _own(folder: Path, size: object) -> Dataset:
    """One's own pictures, which `data.load` finds by their name from now on."""
    own = from_folder(folder, check_whole("image_size", size))
    print(f"{own!r}; of each picture the central square, resized to {size} x {size} pixels")
    return own


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time; give hours, more than 0")
    return number


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
