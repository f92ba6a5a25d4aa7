"""Short runs, minutes to an hour each: what a defect costs, and what one part of a model buys.

    python benchmarks/short_runs.py                       # the runs that are missing, one after the other
    python benchmarks/short_runs.py mixing --list         # what there is and what is missing

The arms of an experiment differ in what their names say and in nothing else: same images, same seeds, same recipe.
Each finished run is one line of `results/<experiment>.jsonl`. A run that was interrupted goes on after its last whole
epoch. Started more than once, a processor core each, the processes divide the runs among them. CIFAR must be at hand
(`$VATTN_DATA`).
"""

import argparse
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras

from vattn_utils import data, training
from vattn_utils.audit import upstream
from vattn_utils.models.counting import parameters
from vattn_utils.training import records
from vattn_utils.training.loop import parts
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance
from vattn_utils.training.run_folder import Checkpoints, RunFolder, TrainingError
from vattn_utils.training.train import build, with_policy

RESULTS = Path(__file__).parent / "results"


def by_recipe(dataset, seed, directory, kind, variant="book", overrides=None, **changes):
    """Train a model of the package by its recipe, with `changes`: `(model, history, what was done)`."""
    recipe = training.recipe(kind, variant, seed=seed, precision="mixed_bfloat16", **changes)
    model = build(kind, dataset, variant, recipe, overrides)
    run = training.fit(model, dataset, recipe, directory)
    return model, run.history, {"model": kind, "variant": variant, **dataclasses.asdict(recipe)}


def by_script(dataset, seed, directory, epochs=10, batch_size=128, **mended):
    """Train keras.io's EANet as its page does, at 4-pixel patches: `(model, history, what was done)`."""
    keras.utils.set_random_seed(seed)
    train, (x_val, y_val) = dataset.split(0.2, seed)
    example = upstream.eanet.build(patch_size=4, data=(train, (dataset.x_test, dataset.y_test)), **mended)
    x, y = example.data
    validation = x_val, keras.utils.to_categorical(y_val, 100)
    history = _fit(example.model, directory, epochs, validation, x, y, batch_size=batch_size)
    done = {"model": "upstream.eanet", "precision": "float32", "seed": seed, "batch_size": batch_size}
    return example.model, history, {**done, "epochs": epochs, "patch_size": 4, **mended}


def by_vit_script(dataset, seed, directory, normalization, epochs=5, batch_size=256):
    """Train keras.io's ViT as its page does, coarser and smaller: `(model, history, what was done)`."""
    keras.utils.set_random_seed(seed)
    (x, y), validation = dataset.split(0.1, seed)
    rules = {"Keras": keras.layers.LayerNormalization, "Keras 3.0.0": upstream.older.EarlyLayerNormalization}
    splits = ((x, y), (dataset.x_test, dataset.y_test))
    size = {"patch_size": 18, "head_units": (512, 256)}
    model = upstream.vit.build(**size, normalization=rules[normalization], data=splits).model
    history = _fit(model, directory, epochs, validation, x, y, batch_size=batch_size)
    done = {"model": "upstream.vit", "precision": "float32", "seed": seed, "batch_size": batch_size, "epochs": epochs}
    return model, history, {**done, **size, "normalization": normalization}


def by_tail(dataset, seed, directory, optimizer, name="patch_convnet-cifar10-keras-io", epochs=5):
    """Train a recorded model on as it was trained, but through the end of PatchConvNet's page: its rate, its decay.

    That page has a warm-up and a cosine of 50 epochs, and a decay of 1e-4. Returns `(model, history, what was done)`.
    """
    record = records.load(name)
    recipe = record.recipe
    model = with_policy("mixed_bfloat16", seed, record.model)
    (x, y), (x_val, y_val) = dataset.split(recipe.validation, recipe.seed)
    batches = training.Batches(x, y, dataset.num_classes, recipe)
    page, steps = 10 * epochs * len(batches), epochs * len(batches)
    whole = keras.optimizers.schedules.CosineDecay(0.0, 0.85 * page, warmup_target=1e-3, warmup_steps=0.15 * page)
    begin = float(whole(page - steps))
    schedule = keras.optimizers.schedules.PolynomialDecay(begin, steps, 0.0, power=2)  # a cosine's foot
    rules = {"keras": keras.optimizers.AdamW, "addons": upstream.older.DecoupledAdamW}
    model.compile(
        rules[optimizer](schedule, weight_decay=1e-4),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    validation = x_val, keras.utils.to_categorical(y_val, dataset.num_classes)
    again = training.Repeatable(batches, seed)
    history = _fit(model, directory, epochs, validation, batches, callbacks=[again], shuffle=False)
    done = {"model": name, "precision": "mixed_bfloat16", "seed": seed, "batch_size": recipe.batch_size}
    done |= {"augmentation": recipe.augmentation, "label_smoothing": recipe.label_smoothing, "epochs": epochs}
    return model, history, {**done, "learning_rate": begin, "optimizer": optimizer, "weight_decay": 1e-4}


def _fit(model, directory, epochs, validation, *batches, callbacks=(), **options):
    history = training.History(report=True)
    model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(directory, parts(model, history))
    directory.claim({"weights": [weight.shape for weight in model.weights], "epochs": epochs})
    begun, callbacks = checkpoints.resume(), [history, *callbacks, checkpoints]
    options |= {"initial_epoch": begun, "epochs": epochs, "callbacks": callbacks, "validation_data": validation}
    model.fit(*batches, verbose=0, **options)
    return history.history


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is compared: `train(dataset, seed, directory, **arm)` for each of `arms`, with each of `seeds`.

    images: how many training images there are, those that are held out among them.
    """

    train: Callable
    dataset: str
    images: int
    arms: dict
    seeds: tuple = (0, 1, 2)


def _arms(kind, arms, **common):
    return {name: dict(kind=kind, overrides=overrides, **common) for name, overrides in arms.items()}


SHORT = dict(epochs=5, validation=2000)
# keras.io's EANet as it was recorded, but for ten epochs and with a quarter of its tokens.
RECORDED = vars(records.load("eanet-cifar100-keras-io", RESULTS.parents[1] / "records").recipe)
AS_RECORDED = {name: value for name, value in RECORDED.items() if name not in ("seed", "precision")} | {"epochs": 10}
QUARTER = {"patch_size": 4, "dropout": 0.0, "attention_dropout": 0.0}
EXPERIMENTS = {
    # What the ports broke.
    "clip": Experiment(
        by_script,
        "cifar100",
        20_000,
        {
            "as published": dict(contrast_first=False, weight_decay=1e-4),
            "contrast first": dict(contrast_first=True, weight_decay=1e-4),
            "contrast first, decay 0.1": dict(contrast_first=True, weight_decay=0.1),
        },
        seeds=(0,),
    ),
    "last-epochs": Experiment(
        by_tail,
        "cifar10",
        50_000,
        {"Keras' rule": dict(optimizer="keras"), "the rule of TensorFlow Addons": dict(optimizer="addons")},
        seeds=(0,),
    ),
    # Why the page's log shows a ViT that learned so little.
    "layer-norm": Experiment(
        by_vit_script,
        "cifar100",
        10_000,
        {
            "today's gradient": dict(normalization="Keras"),
            "gradient of Keras 3.0.0": dict(normalization="Keras 3.0.0"),
        },
        seeds=(0, 1),
    ),
    # What each part buys.
    "mixing": Experiment(
        by_recipe,
        "cifar100",
        20_000,
        _arms(
            "eanet",
            {"external": {}, "external without mixing": {"mixing": False}, "self": {"attention": "self"}},
            **SHORT,
        ),
    ),
    "patch-convnet": Experiment(
        by_recipe,
        "cifar10",
        20_000,
        _arms(
            "patch_convnet",
            {
                "attention pooling": {},
                "mean": {"pooling": "mean"},
                # A shared block counts as the first, and the first has no stochastic depth.
                "no drop path": {"drop_path": 0.0},
                "no drop path, shared trunk": {"drop_path": 0.0, "share_trunk": True},
            },
            **SHORT,
        )
        | {"AdamW, 2e-3": dict(kind="patch_convnet", optimizer="adamw", learning_rate=2e-3, **SHORT)},
    ),
    "pooling": Experiment(
        by_recipe,
        "cifar100",
        20_000,
        _arms(
            "vit",
            {name: {"pooling": name} for name in ("sequence", "class", "mean")},
            **SHORT,
        ),
    ),
    # EANet against the transformer that its page holds against it, and against one with heads of the usual width.
    "twins": Experiment(
        by_recipe,
        "cifar100",
        50_000,
        _arms(
            "eanet",
            {
                "external": QUARTER,
                "self, heads four times as wide": QUARTER | {"attention": "self"},
                "self": QUARTER | {"attention": "self", "head_dim": None},
            },
            variant="keras-io",
            **AS_RECORDED,
        ),
    ),
}


@contextlib.contextmanager
def in_hand(name, arm, seed, state):
    """Take a run in hand: the `RunFolder` of its state, or None while another process has it."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(RunFolder(Path(state) / name / f"{arm.replace(' ', '-')}-{seed}"))
        except TrainingError:
            folder = None
        yield folder


def run(name, arm, seed, directory, results=RESULTS):
    """Train one arm of one experiment with one seed, and add it to the results."""
    experiment = EXPERIMENTS[name]
    dataset = data.load(experiment.dataset).take(experiment.images)
    made = provenance()
    model, history, done = experiment.train(dataset, seed, directory, **experiment.arms[arm])
    values = model.evaluate(
        dataset.x_test, _like(model, dataset.y_test, dataset.num_classes), batch_size=500, verbose=0, return_dict=True
    )
    finished = {
        "arm": arm,
        "seed": seed,
        "run": done,
        "dataset": dataset.name,
        "digest": dataset.digest,
        "images": experiment.images,
        "parameters": parameters(model),
        "history": history,
        "test": values,
        "provenance": {**made, "precision": done["precision"]},
    }
    path = Path(results) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # one short write, and so whole beside another process's
        file.write(to_line(finished))
    directory.finish(name)
    return finished


def _like(model, labels, classes):
    """Labels as the model's loss takes them."""
    sparse = isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    return labels if sparse else keras.utils.to_categorical(labels, classes)


def missing(name, results=RESULTS):
    """The (arm, seed) of the experiment `name` that have no result, in the order in which they should be run."""
    experiment, path = EXPERIMENTS[name], Path(results) / f"{name}.jsonl"
    lines = from_lines(path.read_text(), path.name) if path.exists() else ()
    there = {(line["arm"], line["seed"]) for line in lines}
    return [(arm, seed) for seed in experiment.seeds for arm in experiment.arms if (arm, seed) not in there]


def spare_slow_kernels():
    """Let PyTorch multiply attention out on a CPU, where a training step through its own kernels takes longer."""
    if keras.backend.backend() == "torch":
        import torch

        if not torch.cuda.is_available():
            torch.nn.functional.scaled_dot_product_attention = multiplied_out


def multiplied_out(query, key, value, attn_mask=None, is_causal=False, scale=None):
    """What our layers ask of `torch.nn.functional.scaled_dot_product_attention`: `(B, heads, N, d)`, no mask."""
    if attn_mask is not None or is_causal or scale is not None:
        raise ValueError(f"attn_mask={attn_mask}, is_causal={is_causal}, scale={scale}: only plain attention is here")
    scores = keras.ops.matmul(query * query.shape[-1] ** -0.5, keras.ops.swapaxes(key, -1, -2))
    return keras.ops.matmul(keras.ops.softmax(scores), value)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/short_runs.py", description=__doc__.split("\n")[0])
    parser.add_argument("experiments", nargs="*", default=[], help=f"of {', '.join(EXPERIMENTS)}; all if none is named")
    parser.add_argument("--list", action="store_true", help="say what is missing and run nothing")
    parser.add_argument("--state", type=Path, default=Path("_build/runs"), help="where unfinished runs are kept")
    options = parser.parse_args(arguments)
    unknown = set(options.experiments) - set(EXPERIMENTS)
    if unknown:
        parser.error(f"experiment {', '.join(sorted(unknown))} is not known; there are {', '.join(EXPERIMENTS)}")
    spare_slow_kernels()
    for name in options.experiments or EXPERIMENTS:
        left = missing(name)
        total = len(EXPERIMENTS[name].arms) * len(EXPERIMENTS[name].seeds)
        print(f"{name}: {total - len(left)} of {total} runs are there")
        for arm, seed in left:
            if options.list:
                print(f"{name}: {arm}, seed {seed} is missing")
                continue
            with in_hand(name, arm, seed, options.state) as directory:
                if directory is None:
                    continue
                if (arm, seed) not in missing(name):  # another process has finished it since
                    directory.finish(name)
                    continue
                print(f"{name}: {arm}, seed {seed}", flush=True)
                test = run(name, arm, seed, directory)["test"]
                print(f"{name}: {arm}, seed {seed}: test {', '.join(f'{k} {v:.4f}' for k, v in test.items())}")


if __name__ == "__main__":
    main()
