"""`fit`: Keras' own loop, schedules, optimizer and callbacks, made repeatable and resumable; and `evaluate`.

Everything random in a run is a function of the recipe's seed, the epoch and the batch, and everything that is not is
kept after each epoch (`run_folder`, in the place of Keras' `BackupAndRestore`), so that a run that was killed and
resumed equals one that was not. The test images never enter `fit`.
"""

import contextlib
import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vattn_utils.data import Dataset
from vattn_utils.data.checks import check_images, check_labels
from vattn_utils.training.augmentation import augment, mix
from vattn_utils.training.callbacks import History, KeepBest, Repeatable
from vattn_utils.training.distribution import devices
from vattn_utils.training.feeding import Fed, spare_processes
from vattn_utils.training.recipes import OPTIMIZERS, Recipe
from vattn_utils.training.run_folder import Checkpoints, Part, RunFolder, TrainingError, Variables

FEW_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Run:
    """What `fit` did.

    history: one list a quantity, one value an epoch: loss, accuracy, top5, val_loss, val_accuracy, val_top5,
        learning_rate, seconds. Accuracies are shares, 0 to 1.
    images: training images in an epoch. epoch: the epoch whose weights the model now has, counted from 1.
    """

    history: dict[str, list[float]]
    images: int
    epoch: int

    @property
    def seconds(self) -> float:
        """How long all epochs took."""
        return sum(self.history["seconds"])

    @property
    def images_per_second(self) -> float:
        """By the median epoch, validation included."""
        return self.images / float(np.median(self.history["seconds"]))


def fit(
    model: keras.Model,
    dataset: Dataset,
    recipe: Recipe,
    directory: str | Path | RunFolder | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: bool = True,
    distribution: str | None = None,
) -> Run:
    """Train `model` on the dataset's training images by `recipe`; the model ends with the selected weights.

    Args:
        model: a built `Classifier`, made under the recipe's precision.
        dataset: only its training images are used.
        recipe: how.
        directory: where the run's state is kept. If it holds a run of the same recipe, model and data, that run is
            resumed after its last whole epoch (or found finished); None keeps nothing.
        callbacks: further Keras callbacks; those that are a `run_folder.Part` are kept with the run.
        verbose: a progress bar in a terminal, one line an epoch elsewhere; False prints nothing.
        distribution: "auto" divides every batch among all devices that JAX has, which gives what one device would; a
            run may be resumed on another number of them. None trains on one.

    Returns a `Run`. Raises `TrainingError`, a ValueError, if precision, classes or the directory's run do not fit, if
    another process is training there, if an epoch cannot be kept, if the loss is not finite after one, or if batches
    cannot be divided as `distribution` says.
    """
    among = devices(distribution, recipe.batch_size)
    if model.dtype_policy.name != recipe.precision:
        raise TrainingError(
            f"the model was built as {model.dtype_policy.name}, but recipe.precision={recipe.precision!r}; "
            f"call keras.config.set_dtype_policy({recipe.precision!r}) before building it"
        )
    if model.num_classes != dataset.num_classes:
        raise TrainingError(
            f"the model has {model.num_classes} classes, {dataset.name} has {dataset.num_classes}; "
            f"build it with num_classes={dataset.num_classes}"
        )
    (x, y), (x_val, y_val) = dataset.split(recipe.validation, recipe.seed)
    batches = Batches(x, y, dataset.num_classes, recipe)
    if not len(batches):
        raise TrainingError(
            f"{len(x)} training images do not fill one batch of batch_size={recipe.batch_size}; use a smaller one"
        )
    verbose = verbose and not among.process
    terminal = verbose and sys.stdout.isatty()
    history = History(report=verbose and not terminal)
    best = KeepBest(history) if recipe.select == "best" else None
    callbacks = list(callbacks)
    with contextlib.ExitStack() as stack:
        stack.enter_context(among.spread(model))
        compile_model(model, recipe, len(batches))
        spare = spare_processes()
        fed = among.share(stack.enter_context(Fed(batches, spare)) if spare else batches)
        steps = [history, Repeatable(batches, recipe.seed), *([best] if best else [])]
        if recipe.ema:
            steps.append(keras.callbacks.SwapEMAWeights())
        steps += callbacks
        begun = 0
        if directory is not None:
            folder = RunFolder.of(directory)
            checkpoints = Checkpoints(folder, parts(model, history, best, callbacks))
            if not among.process:  # the others go on with what the first one keeps
                stack.enter_context(folder)
                folder.claim(_whose(model, dataset, recipe))
                steps.append(checkpoints)
            begun = checkpoints.resume()
        model.fit(
            fed,
            initial_epoch=begun,
            epochs=recipe.epochs,
            **among.validation(x_val, keras.utils.to_categorical(y_val, dataset.num_classes)),
            callbacks=steps,
            shuffle=False,  # Keras would draw an order of its own over that of `Batches`
            verbose=1 if terminal else 0,
        )
    if best:
        model.set_weights(best.weights())
    return Run(history.history, len(batches) * recipe.batch_size, best.epoch if best else recipe.epochs)


def parts(
    model: keras.Model,
    history: History,
    best: KeepBest | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Part]:
    """All that is kept of a run of a compiled `model`, by name; of `callbacks` those that are a `Part`."""
    if not model.optimizer.built:  # the one that scales the loss, around ours
        model.optimizer.build(model.trainable_variables)
    kept: dict[str, Part] = {
        "weights": Variables("model", model.variables),  # the states of its random generators too
        "optimizer": Variables("optimizer", model.optimizer.variables),
        "history": history,
    }
    if best:
        kept["best"] = best
    return kept | {f"{i}-{type(c).__name__}": c for i, c in enumerate(callbacks) if isinstance(c, Part)}


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Give `model` the recipe's optimizer, schedule and loss: warm-up and cosine, cross-entropy on logits."""
    steps = recipe.epochs * steps_per_epoch
    warmup_steps = round(recipe.warmup * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else recipe.learning_rate,
        decay_steps=max(steps - warmup_steps, 1),
        alpha=recipe.min_lr_ratio,
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
        # Few steps are done sooner than a graph of one is traced; on several devices each operation would be compiled.
        run_eagerly=steps < FEW_STEPS and keras.distribution.distribution() is None,
        weighted_metrics=[  # as those are weighted that only fill a batch up; see `distribution.even`
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
    )


def undecayed(model: keras.Model) -> list[keras.Variable]:
    """The weights that decay would only harm: vectors (biases, norms, scales), positions, class tokens and queries."""
    named = ("embedding", "token", "class_query")
    return [w for w in model.trainable_weights if len(w.shape) < 2 or w.name in named]


class Batches(keras.utils.PyDataset):
    """Augmented training batches `(images, targets)`: images 0 to 255, targets `(B, num_classes)`.

    A pure function of (recipe.seed, epoch, index); `epoch` is set by `Repeatable`.

    Args:
        x, y: uint8 `(N, H, W, 3)` and integer labels `(N,)`.
        num_classes: of the targets.
        recipe: its batch size, augmentation, mixing and seed.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, num_classes: int, recipe: Recipe) -> None:
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2), max_queue_size=16)
        self.x, self.y, self.num_classes, self.recipe = x, y, num_classes, recipe
        self.epoch = 0
        self._order = (-1, np.arange(0))  # the epoch it belongs to, and the order

    def __len__(self) -> int:
        return len(self.x) // self.recipe.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, recipe = self.epoch, self.recipe
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((recipe.seed, epoch)).permutation(len(self.x)))
        rows = self._order[1][index * recipe.batch_size : (index + 1) * recipe.batch_size]
        random = np.random.default_rng((recipe.seed, epoch, index))
        images = augment(self.x[rows], recipe.augmentation, random)
        targets = np.eye(self.num_classes, dtype="float32")[self.y[rows]]
        unmixed = epoch >= round((1 - recipe.unmixed_share) * recipe.epochs)
        if unmixed or (recipe.mix_share < 1 and random.random() >= recipe.mix_share):
            return images.astype("float32"), targets
        return mix(images, targets, random, recipe.mixup, recipe.cutmix)


def evaluate(model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int = 500) -> dict[str, float]:
    """How well `model` knows images `(N, H, W, 3)`, 0 to 255, by their labels `(N,)`.

    Returns `{"loss": nats, "top1": share, "top5": share}`, shares from 0 to 1. A class that scores as high as the right
    one counts as higher: who cannot tell them apart has not answered. Raises `TrainingError` for logits that are not
    finite, TypeError or ValueError for images and labels that are none (see `data.checks`).
    """
    x = check_images(x, getattr(model, "image_size", None))
    y = check_labels(y, len(x), getattr(model, "num_classes", None))
    logits = model.predict(x, batch_size=batch_size, verbose=0).astype("float64")
    odd = len(x) - int(np.isfinite(logits).all(axis=1).sum())
    if odd:
        raise TrainingError(f"the logits of {odd} of {len(x)} images are not finite: this model cannot be evaluated")
    own = logits[np.arange(len(y)), y]
    highest = logits.max(axis=1)
    loss = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - own
    rank = (logits >= own[:, None]).sum(axis=1) - 1
    return {"loss": float(loss.mean()), "top1": float((rank == 0).mean()), "top5": float((rank < 5).mean())}


def _whose(model: keras.Model, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What tells a run from all others."""
    run = {"recipe": dataclasses.asdict(recipe), "model": model.get_config(), "digest": dataset.digest}
    if model.non_trainable_weights:
        kept = b"".join(keras.ops.convert_to_numpy(w).tobytes() for w in model.non_trainable_weights)
        run["kept"] = hashlib.sha256(kept).hexdigest()
    return run
