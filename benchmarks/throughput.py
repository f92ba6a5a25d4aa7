"""How fast each model trains on this machine: upstream's architectures, the book's, and EANet's twin.

    python benchmarks/throughput.py            # a few minutes; writes results/throughput.jsonl

One line a model: the median over single steps, augmentation included, of the model in training by its recipe. The
models take turns, so that whatever else the machine does meets all of them alike. CIFAR must be at hand.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

from vattn_utils import data, models, training
from vattn_utils.data.files import write_atomically
from vattn_utils.models.counting import parameters
from vattn_utils.training.measurements import to_line
from vattn_utils.training.provenance import provenance
from vattn_utils.training.train import build

RESULT = Path(__file__).parent / "results" / "throughput.jsonl"
DATA = {"vit": "cifar100", "eanet": "cifar100", "patch_convnet": "cifar10"}


def stepper(kind, variant, precision, overrides=None):
    """A function that trains the model on its next batch, the number of images in a batch, and that of parameters."""
    recipe = training.recipe(kind, variant, precision=precision, epochs=1)
    dataset = data.load(DATA[kind])
    model = build(kind, dataset, variant, recipe, overrides)
    (x, y), _ = dataset.split(recipe.validation, recipe.seed)
    batches = training.Batches(x, y, dataset.num_classes, recipe)
    training.compile_model(model, recipe, len(batches))
    indices = itertools.cycle(range(len(batches)))
    return lambda: model.train_on_batch(*batches[next(indices)]), recipe.batch_size, parameters(model)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/throughput.py", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="of each model that are timed")
    parser.add_argument("--models", nargs="*", default=list(models.MODELS), choices=models.MODELS)
    parser.add_argument("--variants", nargs="*", default=["keras-io", "book"])
    parser.add_argument("--precision", default="mixed_bfloat16", choices=("float32", "mixed_bfloat16"))
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    made = provenance(options.precision)
    steppers = {
        (kind, variant): stepper(kind, variant, options.precision)
        for kind in options.models
        for variant in options.variants
    }
    if "eanet" in options.models and "book" in options.variants:
        steppers["eanet", "book, self-attention"] = stepper("eanet", "book", options.precision, {"attention": "self"})
    for step, *_ in steppers.values():
        step(), step()  # the first ones set the backend up
    seconds = {which: [] for which in steppers}
    for _ in range(options.steps):
        for which, (step, *_) in steppers.items():
            begin = time.perf_counter()
            step()
            seconds[which].append(time.perf_counter() - begin)
    lines = []
    for (kind, variant), found in seconds.items():
        _, images, count = steppers[kind, variant]
        rate = images / statistics.median(found)
        print(f"{kind:14}{variant:21}{rate:8.1f} images a second")
        line = {"model": kind, "variant": variant, "parameters": count}
        line["optimizer"] = training.recipe(kind, variant.partition(",")[0]).optimizer
        lines.append({**line, "images_per_second": rate, "provenance": made})
    write_atomically(options.result, "".join(map(to_line, lines)))


if __name__ == "__main__":
    main()
