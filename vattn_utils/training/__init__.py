"""A recipe, and `fit`: Keras' own loop, schedules, optimizer and callbacks, made repeatable and resumable.

Everything random in a run is a function of the recipe's seed, the epoch and the batch, so that a run that was killed
and resumed equals one that was not. The test images never enter this module's `fit`.
"""

import dataclasses
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np

from vattn_utils.models.layers import check_choice
from vattn_utils.training.augmentation import AUGMENTATIONS, augment, mix
from vattn_utils.training.muon import Muon

OPTIMIZERS = {"adamw": keras.optimizers.AdamW, "muon": Muon}
FEW_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained. A run is its model's config, its data's digest and this.

    Args:
        epochs, batch_size: how long, in what steps; the images left over by the last full batch wait an epoch.
        learning_rate: the peak, reached after `warmup` (a share of all steps) from 0; then a cosine down to
            `floor` times the peak. floor=1 keeps it constant.
        optimizer: "adamw", or "muon" for `muon.Muon`.
        weight_decay: by Keras' rule, w -= learning rate * weight_decay * w; not applied to biases, norms, scales,
            position embeddings, class tokens and class queries.
        clip_norm: the global norm that gradients are clipped to; 0 leaves them.
        label_smoothing: share of each target that is spread over all classes.
        augmentation: names from `augmentation.AUGMENTATIONS`, applied in order to 0 to 255 images.
        mixup, cutmix: parameter of the Beta distribution of each; 0 turns it off.
        mix_share: the share of batches that mixup and cutmix are applied to.
        unmixed_share: the share of epochs, the last, in which nothing is mixed.
        ema: momentum of an exponential moving average of the weights, which is what is validated and kept; 0: none.
        precision: Keras' dtype policy in training, "float32" or "mixed_bfloat16".
        validation: how many training images are held out, by `Dataset.split(validation, seed)`.
        select: "last" epoch, or "best" by accuracy on the held-out images.
        seed: of the split, the order, the augmentation and dropout. (The initial weights are the model's.)
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: float = 0.1
    floor: float = 0.0
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    augmentation: tuple = ("flip", "crop")
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_share: float = 1.0
    unmixed_share: float = 0.0
    ema: float = 0.0
    precision: str = "float32"
    validation: int = 5000
    select: str = "last"
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        for name in self.augmentation:
            if name not in AUGMENTATIONS:
                raise ValueError(f"augmentation {name!r} is not known; there are {', '.join(AUGMENTATIONS)}")
        for name in ("epochs", "batch_size", "validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not possible; use 1 or more")
        for name in ("warmup", "floor", "label_smoothing", "mix_share", "unmixed_share", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not a share; use a number from 0 to 1")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("select", self.select, ("last", "best"))


# What each model is trained with; the command line and the chapters change only what they say they change.
RECIPES = {
    "vit-book": Recipe(epochs=26),
    "eanet-book": Recipe(epochs=32),
    "patch_convnet-book": Recipe(
        epochs=64, learning_rate=5e-3, optimizer="muon", augmentation=("flip", "crop", "trivial"),
    ),
    # keras.io's settings, mended: contrast before normalisation, and tfa's weight decay of 1e-4 in Keras' rule.
    "vit-keras-io": Recipe(
        epochs=10, batch_size=256, learning_rate=1e-3, warmup=0, floor=1, weight_decay=0.1, clip_norm=0,
        label_smoothing=0, augmentation=("flip", "zoom"), select="best",
    ),
    "eanet-keras-io": Recipe(
        learning_rate=1e-3, warmup=0, floor=1, weight_decay=0.1, clip_norm=0, validation=10_000,
        augmentation=("flip", "rotate", "contrast", "zoom"),
    ),
    "patch_convnet-keras-io": Recipe(
        learning_rate=1e-3, warmup=0.15, weight_decay=0.1, clip_norm=0, label_smoothing=0, validation=10_000,
        select="best",
    ),
}  # fmt: skip


def recipe(model, variant="book", **changes):
    """The recipe of `model` ("vit", "eanet", "patch_convnet") and `variant`, with `changes` to its fields.

    A paper variant is trained with the book's recipe. Raises ValueError for an unknown model or field.
    """
    base = RECIPES.get(f"{model}-{variant}") or RECIPES.get(f"{model}-book")
    if base is None:
        raise ValueError(f"no recipe for {model!r}; there are {', '.join(RECIPES)}")
    unknown = set(changes) - {field.name for field in dataclasses.fields(Recipe)}
    if unknown:
        raise ValueError(f"a recipe has no {', '.join(sorted(unknown))}; see training.Recipe")
    return dataclasses.replace(base, **changes)


@dataclasses.dataclass(frozen=True)
class Run:
    """What `fit` did.

    history: one list a quantity, one value an epoch: loss, accuracy, top5, val_loss, val_accuracy, val_top5,
        learning_rate, seconds. Accuracies are shares, 0 to 1.
    images: training images in an epoch. epoch: the epoch whose weights the model now has, counted from 1.
    """

    history: dict
    images: int
    epoch: int

    @property
    def seconds(self):
        return sum(self.history["seconds"])

    @property
    def images_per_second(self):
        """By the median epoch, validation included."""
        return self.images / float(np.median(self.history["seconds"]))


def fit(model, dataset, recipe, directory=None, callbacks=(), verbose=True):
    """Train `model` on the dataset's training images by `recipe`; the model ends with the selected weights.

    Args:
        model: a built `Classifier`, made under the recipe's precision.
        dataset: a `data.Dataset`; only its training images are used.
        directory: where the run's state is kept. If it holds a run of the same recipe, model and data, that run is
            resumed after its last whole epoch (or found finished); None keeps nothing.
        callbacks: further Keras callbacks.
        verbose: a progress bar in a terminal, one line an epoch elsewhere; False prints nothing.

    Returns a `Run`. Raises ValueError if precision, classes or the directory's run do not fit.
    """
    if model.dtype_policy.name != recipe.precision:
        raise ValueError(
            f"the model was built as {model.dtype_policy.name}, but recipe.precision={recipe.precision!r}; "
            f"call keras.config.set_dtype_policy({recipe.precision!r}) before building it"
        )
    if model.num_classes != dataset.num_classes:
        raise ValueError(
            f"the model has {model.num_classes} classes, {dataset.name} has {dataset.num_classes}; "
            f"build it with num_classes={dataset.num_classes}"
        )
    (x, y), (x_val, y_val) = dataset.split(recipe.validation, recipe.seed)
    batches = Batches(x, y, dataset.num_classes, recipe)
    if not len(batches):
        raise ValueError(
            f"{len(x)} training images do not fill one batch of batch_size={recipe.batch_size}; use a smaller one"
        )
    compile_model(model, recipe, len(batches))
    terminal = verbose and sys.stdout.isatty()
    journal = Journal(directory, report=verbose and not terminal)
    best = KeepBest(directory, journal) if recipe.select == "best" else None
    steps = [journal, Repeatable(batches, recipe.seed)]
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _claim(Path(directory), model, dataset, recipe)
        # Behind the journal, so that every epoch that is backed up is also in the history.
        backup = str(Path(directory) / "backup")
        steps.append(keras.callbacks.BackupAndRestore(backup, double_checkpoint=True, delete_checkpoint=False))
    if best:
        steps.append(best)
    if recipe.ema:
        steps.append(keras.callbacks.SwapEMAWeights())
    model.fit(
        batches,
        epochs=recipe.epochs,
        validation_data=(x_val, keras.utils.to_categorical(y_val, dataset.num_classes)),
        validation_batch_size=500,
        callbacks=[*steps, *callbacks],
        shuffle=False,  # Keras would draw an order of its own over that of `Batches`
        verbose=1 if terminal else 0,
    )
    if best:
        model.set_weights(best.weights())
    return Run(journal.history, len(batches) * recipe.batch_size, best.epoch if best else recipe.epochs)


def compile_model(model, recipe, steps_per_epoch):
    """Give `model` the recipe's optimizer, schedule and loss: warm-up and cosine, cross-entropy on logits."""
    steps = recipe.epochs * steps_per_epoch
    warmup_steps = round(recipe.warmup * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else recipe.learning_rate,
        decay_steps=max(steps - warmup_steps, 1),
        alpha=recipe.floor,
        warmup_target=recipe.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    optimizer = OPTIMIZERS[recipe.optimizer](
        schedule,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip_norm or None,
        use_ema=bool(recipe.ema),
        ema_momentum=recipe.ema or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_list=undecayed(model))
    optimizer.build(model.trainable_variables)  # TensorFlow traces a step twice that makes variables
    model.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        run_eagerly=steps < FEW_STEPS,  # done sooner than a graph of one step is traced
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
    )


def undecayed(model):
    """The weights that decay would only harm: vectors (biases, norms, scales), positions, class tokens and queries."""
    named = ("embedding", "token", "class_query")
    return [w for w in model.trainable_weights if len(w.shape) < 2 or w.name in named]


class Batches(keras.utils.PyDataset):
    """Augmented training batches `(images, targets)`: images 0 to 255, targets `(B, num_classes)`.

    A pure function of (recipe.seed, epoch, index); `epoch` is set by `Repeatable`.
    """

    def __init__(self, x, y, num_classes, recipe):
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2), max_queue_size=16)
        self.x, self.y, self.num_classes, self.recipe = x, y, num_classes, recipe
        self.epoch = 0
        self._order = (None, None)  # the epoch it belongs to, and the order

    def __len__(self):
        return len(self.x) // self.recipe.batch_size

    def __getitem__(self, index):
        epoch, recipe = self.epoch, self.recipe
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((recipe.seed, epoch)).permutation(len(self.x)))
        rows = self._order[1][index * recipe.batch_size : (index + 1) * recipe.batch_size]
        random = np.random.default_rng((recipe.seed, epoch, index))
        images = augment(self.x[rows], recipe.augmentation, random)
        targets = np.eye(self.num_classes, dtype="float32")[self.y[rows]]
        if epoch >= round((1 - recipe.unmixed_share) * recipe.epochs) or random.random() >= recipe.mix_share:
            return images.astype("float32"), targets
        return mix(images, targets, random, recipe.mixup, recipe.cutmix)


class Repeatable(keras.callbacks.Callback):
    """Before each epoch, set the data's epoch and every random generator inside the model from (seed, epoch)."""

    def __init__(self, batches, seed):
        super().__init__()
        self.batches, self.seed = batches, seed

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        random = np.random.default_rng((self.seed, epoch, 2**32 - 1))
        for state in states:
            state.assign(random.integers(0, 2**31, state.shape).astype("uint32"))


class Journal(keras.callbacks.Callback):
    """The history, one entry an epoch, kept in `directory/history.json` and printed, a line an epoch, if asked."""

    def __init__(self, directory=None, report=False):
        super().__init__()
        self.path = Path(directory) / "history.json" if directory is not None else None
        self.report, self.history = report, {}

    def on_train_begin(self, logs=None):
        if self.path and self.path.exists():
            self.history = json.loads(self.path.read_text())

    def on_epoch_begin(self, epoch, logs=None):
        # An epoch that was written here but not yet backed up is trained again.
        self.history = {name: values[:epoch] for name, values in self.history.items()}
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs = {**logs, "learning_rate": float(self.model.optimizer.learning_rate)}
        logs["seconds"] = time.perf_counter() - self.started
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self.path:
            write_atomically(self.path, json.dumps(self.history))
        if self.report:
            print(
                f"epoch {epoch + 1:{len(str(self.params['epochs']))}}/{self.params['epochs']}  "
                f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.1%}  "
                f"validation loss {logs['val_loss']:.3f}  accuracy {logs['val_accuracy']:.1%}",
                flush=True,
            )


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the epoch with the highest accuracy on the held-out images.

    It looks when validation ends, while the averaged weights (`Recipe.ema`) are still in the model.
    """

    def __init__(self, directory, journal):
        super().__init__()
        self.path = Path(directory) / "best.npz" if directory is not None else None
        self.journal, self.epoch, self.accuracy, self._weights = journal, 0, -1.0, None

    def on_train_begin(self, logs=None):
        accuracies = self.journal.history.get("val_accuracy", [])
        if accuracies:
            self.accuracy, self.epoch = max(accuracies), int(np.argmax(accuracies)) + 1

    def on_test_end(self, logs=None):
        if logs["accuracy"] <= self.accuracy:
            return
        self.accuracy = logs["accuracy"]
        self.epoch = len(self.journal.history.get("loss", [])) + 1
        self._weights = self.model.get_weights()
        if self.path:
            partial = self.path.with_suffix(".partial.npz")
            np.savez(partial, *self._weights)
            partial.replace(self.path)

    def weights(self):
        if self._weights is not None:
            return self._weights
        with np.load(self.path) as arrays:
            return [arrays[name] for name in arrays.files]


def evaluate(model, x, y, batch_size=500):
    """Loss (nats), top-1 and top-5 (shares, 0 to 1) of `model` on images `(N, H, W, 3)` and labels `(N,)`."""
    logits = model.predict(x, batch_size=batch_size, verbose=0).astype("float64")
    own = logits[np.arange(len(y)), y]
    highest = logits.max(axis=1)
    loss = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - own
    rank = (logits > own[:, None]).sum(axis=1)
    return {"loss": float(loss.mean()), "top1": float((rank == 0).mean()), "top5": float((rank < 5).mean())}


def write_atomically(path, text):
    """Write `text` to `path` so that a reader finds the old file or the new one, never a part."""
    partial = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _claim(directory, model, dataset, recipe):
    """Refuse a directory that belongs to another run; otherwise say whose it is."""
    run = {"recipe": dataclasses.asdict(recipe), "model": model.get_config(), "digest": dataset.digest}
    if model.non_trainable_weights:
        kept = b"".join(keras.ops.convert_to_numpy(w).tobytes() for w in model.non_trainable_weights)
        run["kept"] = hashlib.sha256(kept).hexdigest()
    text = json.dumps(run, sort_keys=True, default=str)
    path = directory / "run.json"
    if path.exists() and path.read_text() != text:
        raise ValueError(
            f"{directory} holds another run (its recipe, model, base or data differ); "
            "give another directory or delete it"
        )
    write_atomically(path, text)
