"""How fast the models are on this machine: upstream's formulation of each against ours, and ours with what we add.

    python benchmarks/speed.py --quick                # prints ratios; four minutes on two idle cores
    python benchmarks/speed.py --only vit eanet       # more forms and turns; writes its lines into results/speed.jsonl

Whatever is compared takes turns in one process, on the backend that KERAS_BACKEND names, so that whatever else the
machine does meets all alike. A part is a model; "data": augmentation alone and `data.load`; or, if it is asked for,
"memory": the most that a process takes which trains one model.
"""

import argparse
import functools
import itertools
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from vattn_utils import data, models, training
from vattn_utils.audit import upstream
from vattn_utils.cost.counts import multiply_adds
from vattn_utils.data.files import write_atomically
from vattn_utils.maps import attention
from vattn_utils.models.classifier import Classifier
from vattn_utils.models.counting import parameters
from vattn_utils.training import augmentation
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance
from vattn_utils.training.train import build

RESULT = Path(__file__).parent / "results" / "speed.jsonl"
BATCH = 128
FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
CLASSES = {"vit": 100, "eanet": 100, "patch_convnet": 10}
SAME = {"vit": {}, "eanet": {}, "patch_convnet": {"share_trunk": True}}  # of "keras-io", to be upstream's architecture


class Form(NamedTuple):
    """How a model is written and trained.

    name: "published", upstream's with its augmentation; "upstream", without; "ours", the same architecture, optimizer
        and loss; "added", that with the tanh GELU; "recipe", a variant of ours with its recipe, augmentation included.
    variant: of ours; "book, self-attention" is EANet's twin.
    """

    name: str
    precision: str
    variant: str = "keras-io"


UPSTREAM, OURS, ADDED = Form("upstream", FLOAT32), Form("ours", FLOAT32), Form("added", BFLOAT16)
PUBLISHED, BOOK, TWIN = (
    Form("published", BFLOAT16),
    Form("recipe", BFLOAT16, "book"),
    Form("recipe", BFLOAT16, "book, self-attention"),
)
QUICK = [UPSTREAM, OURS, ADDED, BOOK]
ALL = [*QUICK, PUBLISHED]
PLAIN = Form("ours", FLOAT32, "book")  # what maps are made with


class Contender(NamedTuple):
    """A model that has trained once, `first` seconds after it was begun; `step` trains it on `images` more."""

    model: keras.Model
    step: Callable[[], Any]
    images: int
    first: float


def contender(kind: str, form: Form) -> Contender:
    """The model `kind` in that form, after its first step."""
    data.load(f"shapes{CLASSES[kind]}")  # drawn once, and not timed
    begin = time.perf_counter()
    with models.under_policy(form.precision):
        model, step, images = by_recipe(kind, form) if form.name == "recipe" else alike(kind, form)
    step()
    first = time.perf_counter() - begin
    print(f"{kind}, {form.name} ({form.variant}, {form.precision}): {first:.1f} s to its first step", file=sys.stderr)
    return Contender(model, step, images, first)


def alike(kind: str, form: Form) -> tuple[keras.Model, Callable[[], Any], int]:
    """Upstream's model or ours of the same architecture, with one optimizer, loss and batch for both."""
    classes = CLASSES[kind]
    logits = True
    if form.name in ("upstream", "published"):
        model = getattr(upstream, kind).build()
        model = (model[0] if isinstance(model, list) else model).model
        logits = kind != "eanet"  # which ends in a softmax
        if form.name == "upstream":
            leave_augmentation_out(model)
    else:
        added = {"gelu": "tanh"} if form.name == "added" else {}
        model = models.build(kind, num_classes=classes, variant="keras-io", **SAME[kind], **added)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), loss, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)  # a step that makes variables is traced twice
    images, labels = pixels(BATCH).astype("float32"), np.arange(BATCH) % classes
    return model, lambda: model.train_on_batch(images, labels), BATCH


def leave_augmentation_out(model: keras.Model) -> None:
    """Upstream augments within the model, and we do not: for the same work in both, images pass unchanged."""
    if isinstance(model, upstream.patch_convnet.PatchConvNet):
        model.augmentation = model.preprocessing
    for layer in model._flatten_layers():
        if type(layer).__name__.startswith("Random"):
            layer.call = lambda images, **_: images


def form_of(line: dict[str, Any]) -> Form:
    """The form that a line is of."""
    return Form(line["name"], line["precision"], line["variant"])


def by_recipe(kind: str, form: Form) -> tuple[keras.Model, Callable[[], Any], int]:
    """A variant of ours, trained as its recipe says on augmented batches."""
    variant, _, twin = form.variant.partition(", ")
    recipe = training.recipe(kind, variant, precision=form.precision, epochs=1)
    dataset = data.load(f"shapes{CLASSES[kind]}")
    model = build(kind, dataset, variant, recipe, {"attention": "self"} if twin else None)
    batches = training.Batches(
        pixels(8 * recipe.batch_size),
        np.arange(8 * recipe.batch_size) % dataset.num_classes,
        dataset.num_classes,
        recipe,
    )
    training.compile_model(model, recipe, 1000)  # enough that it is no run of a few steps, which are not compiled
    indices = itertools.cycle(range(len(batches)))
    return model, lambda: model.train_on_batch(*batches[next(indices)]), recipe.batch_size


def pixels(count: int) -> np.ndarray:
    """Noise, 0 to 255: what stands in an image does not change how long it takes."""
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype="uint8")


def turns(calls: dict[Any, Callable[[], Any]], count: int) -> dict[Any, list[float]]:
    """The seconds of `count` calls of each, in turns, after one more that is not counted."""
    seconds: dict[Any, list[float]] = {which: [] for which in calls}
    for turn in range(count + 1):
        for which, call in calls.items():
            begin = time.perf_counter()
            call()
            if turn:
                seconds[which].append(time.perf_counter() - begin)
    return seconds


def told(seconds: list[float], images: int) -> dict[str, Any]:
    """Images a second: the median, and between which rates the middle half of the turns lay."""
    quarters = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    quarters = [min(max(quarter, min(seconds)), max(seconds)) for quarter in quarters]  # of two, it goes beyond both
    rates = [images / quarter for quarter in quarters]
    return {"images_per_second": rates[1], "middle_half": [rates[2], rates[0]], "turns": len(seconds)}


def measured(kind: str, forms: list[Form], count: int, ceilings: dict[str, float]) -> list[dict[str, Any]]:
    """The lines of a model: training and inference in each form; maps against a forward pass, of the book's variant."""
    found = {form: contender(kind, form) for form in forms}
    batch, lines = pixels(BATCH), []
    of = {
        "training": turns({form: made.step for form, made in found.items()}, count),
        "inference": turns(
            {form: functools.partial(made.model.predict_on_batch, batch) for form, made in found.items()}, count
        ),
    }
    ours = models.build(kind, num_classes=10)
    calls = {"forward": lambda: ours.predict_on_batch(batch), "maps": lambda: attention.maps(ours, batch, BATCH)}
    of |= {what: {PLAIN: times} for what, times in turns(calls, 2 * count).items()}
    for what, by_form in of.items():
        for form, seconds in by_form.items():
            images = found[form].images if what == "training" else BATCH
            line = {"measure": what, "model": kind, **form._asdict(), **told(seconds, images)}
            if form in found:
                line |= described(kind, form, found[form], line["images_per_second"], what, ceilings)
            lines.append(line)
    return lines


def described(kind, form, made, rate, what, ceilings):
    """What else a line says: parameters and optimizer, the seconds to the first step, the share of the ceiling."""
    counted = made.model
    if not isinstance(counted, Classifier):
        counted = models.build(kind, num_classes=10, variant="keras-io", **SAME[kind])
    work = 2 * multiply_adds(counted, (1, 32, 32, 3)) * (3 if what == "training" else 1)  # forward, and twice that back
    own = {"parameters": parameters(made.model), "share_of_ceiling": work * rate / ceilings[form.precision]}
    if what == "training":
        recipe = training.recipe(kind, form.variant.partition(",")[0])
        own["optimizer"] = recipe.optimizer if form.name == "recipe" else "adamw"
        own["seconds_to_first_step"] = made.first
    return own


def ceiling(precision: str, size: int = 2048) -> float:
    """The most operations a second that a product of square matrices reaches; a multiplication and its sum are two."""
    dtype = precision.removeprefix("mixed_")
    left, right = (ops.cast(keras.random.normal((size, size)), dtype) for _ in range(2))
    times = turns({0: lambda: ops.convert_to_numpy(ops.matmul(left, right)[:1, :1])}, 15)[0]
    return 2 * size**3 / min(times)


def of_data(count: int) -> list[dict[str, Any]]:
    """Augmentation alone, and how long CIFAR takes to load where it is at hand."""
    x, targets = pixels(BATCH), np.eye(100, dtype="float32")[np.arange(BATCH) % 100]
    random = np.random.default_rng(0)
    ways = {
        "flip, crop": lambda: augmentation.augment(x, ("flip", "crop"), random),
        "flip, crop, trivial_augment, cutmix": lambda: augmentation.mix(
            augmentation.augment(x, ("flip", "crop", "trivial_augment"), random), targets, random, cutmix=1.0
        ),
    }
    lines = [
        {"measure": "augmentation", "name": way, **told(seconds, BATCH)}
        for way, seconds in turns(ways, 10 * count).items()
    ]
    if data.at_hand("cifar100"):
        seconds = turns({0: lambda: data.load("cifar100")}, count)[0]
        lines.append({"measure": "load", "name": "cifar100", "seconds": statistics.median(seconds), "turns": count})
    return lines


def of_memory() -> list[dict[str, Any]]:
    """The most memory that each model takes, upstream's, ours and the book's."""
    return [
        {"measure": "memory", "model": kind, **form._asdict(), "mib": peak_bytes(kind, form) / 2**20}
        for kind in models.MODELS
        for form in (UPSTREAM, OURS, BOOK)
    ]


def peak_bytes(kind: str, form: Form) -> int:
    """The highest resident memory of a process of its own that trains three steps, everything counted."""
    command = [sys.executable, __file__, "--child", kind, *form]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def own_peak() -> int:
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts, on Linux, what the process was before it became this program
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


RATIOS: dict[str, tuple[tuple[str, Form], tuple[str, Form]]] = {  # of the table: what against what
    "training, ours / upstream's": (("training", OURS), ("training", UPSTREAM)),
    "training, ours with bfloat16 and tanh / upstream's": (("training", ADDED), ("training", UPSTREAM)),
    "inference, ours / upstream's": (("inference", OURS), ("inference", UPSTREAM)),
    "inference, ours with bfloat16 and tanh / upstream's": (("inference", ADDED), ("inference", UPSTREAM)),
    "all maps, their time / a forward pass's (book)": (("forward", PLAIN), ("maps", PLAIN)),
}


def table(lines: list[dict[str, Any]]) -> list[str]:
    """What was measured, as lines to print: a column for each model, and then what is of none."""
    found = {(line["model"], line["measure"], form_of(line)): line for line in lines if "model" in line}
    kinds = list(dict.fromkeys(kind for kind, *_ in found))
    rows: dict[str, list[float | None]] = {}
    for label, (one, other) in RATIOS.items():
        pairs = [(found.get((kind, *one)), found.get((kind, *other))) for kind in kinds]
        rows[label] = [a and b and a["images_per_second"] / b["images_per_second"] for a, b in pairs]
    for label, form, key in (
        ("upstream, float32: images a second in training", UPSTREAM, "images_per_second"),
        ("book by its recipe, bfloat16: images a second in training", BOOK, "images_per_second"),
        ("    seconds to its first step", BOOK, "seconds_to_first_step"),
        ("    share of the ceiling", BOOK, "share_of_ceiling"),
    ):
        rows[label] = [found.get((kind, "training", form), {}).get(key) for kind in kinds]
    rows |= {
        f"most memory, MiB: {form.name}, {form.variant}, {form.precision}": [
            found.get((kind, "memory", form), {}).get("mib") for kind in kinds
        ]
        for form in (UPSTREAM, OURS, BOOK)
    }
    printed = [f"{'':60}" + "".join(f"{kind:>15}" for kind in kinds)] if kinds else []
    for label, cells in rows.items():
        if any(cells):
            printed.append(f"{label:60}" + "".join(f"{cell:15.4g}" if cell else " " * 15 for cell in cells))
    for line in lines:
        for key, unit in (("images_per_second", "images/s"), ("seconds", "s"), ("operations_per_second", "FLOP/s")):
            if "model" not in line and key in line:
                printed.append(f"{line['measure'] + ', ' + line['name']:60}{line[key]:15.4g} {unit}")
    return printed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks/speed.py", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer forms and turns; prints and writes nothing")
    parser.add_argument(
        "--only", nargs="+", default=[*models.MODELS, "data"], choices=[*models.MODELS, "data", "memory"]
    )
    parser.add_argument("--turns", type=int, help="of each form; 3 or 6")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)  # train three steps and print the memory it took
    options = parser.parse_args(arguments)
    if options.child:
        made = contender(options.child[0], Form(*options.child[1:]))
        made.step(), made.step()
        print(own_peak())
        return
    count = options.turns or (3 if options.quick else 6)
    kinds = [part for part in options.only if part in models.MODELS]
    ceilings = {precision: ceiling(precision) for precision in (FLOAT32, BFLOAT16)} if kinds else {}
    lines = [{"measure": "ceiling", "name": p, "precision": p, "operations_per_second": c} for p, c in ceilings.items()]
    for part in options.only:
        if part in kinds:
            twin = [TWIN] if part == "eanet" and not options.quick else []
            lines += measured(part, (QUICK if options.quick else ALL) + twin, count, ceilings)
        else:
            lines += of_data(count) if part == "data" else of_memory()
        if not options.quick:
            keep(options.result, lines)
    print("\n".join(table(lines)))


def keep(path: Path, lines: list[dict[str, Any]]) -> None:
    """Put `lines` into the file, in the place of those that say the same of this backend."""
    backend = keras.backend.backend()

    def what(line):
        where = line["provenance"]["backend"] if "provenance" in line else backend
        return [line["measure"], line.get("model"), line["name"], line.get("precision"), line.get("variant"), where]

    new = [what(line) for line in lines]
    old = from_lines(path.read_text(), path.name) if path.exists() else []
    made = [{**line, "provenance": provenance(line.get("precision", FLOAT32))} for line in lines]
    kept = [line for line in old if what(line) not in new]
    write_atomically(path, "".join(map(to_line, [*kept, *made])))


if __name__ == "__main__":
    main()
