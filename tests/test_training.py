import dataclasses
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from vattn_utils import models, training
from vattn_utils.training import Batches, Recipe, Repeatable, loop
from vattn_utils.training.run_folder import TrainingError

SHORT = Recipe(epochs=3, batch_size=16, learning_rate=3e-3, validation=16, augmentation=("flip",))


def model_of(dataset, **overrides):
    keras.utils.set_random_seed(3)
    sizes = dict(image_size=8, patch_size=2, dim=16, depth=2, heads=2, mlp_dim=16, memory_slots=4, dropout=0.1)
    return models.build("eanet", "book", num_classes=dataset.num_classes, **{**sizes, **overrides})


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Stop the process in the middle of an epoch, as far as a test can."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise Killed


# TensorFlow and JAX repeat themselves to the bit; PyTorch does not.
EXACT = dict(rtol=1e-4, atol=1e-6) if keras.backend.backend() == "torch" else dict(rtol=0, atol=0)


def same_history(one, other):
    assert one.keys() == other.keys()
    for name in one.keys() - {"seconds"}:
        np.testing.assert_allclose(one[name], other[name], err_msg=name, **EXACT)


@pytest.mark.parametrize(
    "changes", [{}, dict(ema=0.9, select="best"), dict(cutmix=1.0, mixup=0.2)], ids=["plain", "ema and best", "mixing"]
)
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(tiny, tmp_path, changes):
    recipe = dataclasses.replace(SHORT, **changes)
    whole = model_of(tiny, depth=1)
    expected = training.fit(whole, tiny, recipe, verbose=False)

    for place in ((0, 1), (1, 2), (2, 4)):
        with pytest.raises(Killed):
            training.fit(
                model_of(tiny, depth=1), tiny, recipe, tmp_path / "run", callbacks=[KillAt(*place)], verbose=False
            )
    resumed = model_of(tiny, depth=1)
    resumed.set_weights([np.zeros_like(w) for w in resumed.get_weights()])  # everything must come from the folder
    run = training.fit(resumed, tiny, recipe, tmp_path / "run", verbose=False)

    same_history(run.history, expected.history)
    assert run.epoch == expected.epoch
    for found, weight in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(found, weight, **EXACT)


def test_a_finished_run_is_found_finished(tiny, tmp_path):
    first = training.fit(model_of(tiny), tiny, SHORT, tmp_path / "run", verbose=False)
    again = model_of(tiny)
    run = training.fit(again, tiny, SHORT, tmp_path / "run", callbacks=[KillAt(0, 0)], verbose=False)
    assert run.history == first.history


def test_the_directory_of_another_run_is_refused(tiny, tmp_path):
    training.fit(model_of(tiny), tiny, dataclasses.replace(SHORT, epochs=1), tmp_path / "run", verbose=False)
    with pytest.raises(ValueError, match="holds another run"):
        training.fit(model_of(tiny), tiny, SHORT, tmp_path / "run", verbose=False)


def test_training_learns(tiny):
    model = model_of(tiny)
    recipe = dataclasses.replace(SHORT, epochs=12, learning_rate=1e-2)
    training.fit(model, tiny, recipe, verbose=False)
    assert training.evaluate(model, tiny.x_test, tiny.y_test)["top1"] > 0.6  # chance is 0.25


def test_the_model_ends_with_the_best_epochs_weights(tiny):
    recipe = dataclasses.replace(SHORT, epochs=6, learning_rate=0.05, select="best")
    model = model_of(tiny)
    run = training.fit(model, tiny, recipe, verbose=False)
    _, (x_val, y_val) = tiny.split(recipe.validation, recipe.seed)
    assert run.epoch == 1 + int(np.argmax(run.history["val_accuracy"]))
    found = training.evaluate(model, x_val, y_val)["top1"]
    assert found == pytest.approx(max(run.history["val_accuracy"]), abs=1e-6)


def test_one_line_is_printed_for_each_epoch(tiny, capsys):
    training.fit(model_of(tiny), tiny, dataclasses.replace(SHORT, epochs=2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert re.search(r"loss \d\.\d{3}  accuracy \d+\.\d%  validation loss \d\.\d{3}  accuracy \d+\.\d%", lines[0])


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(tiny):
    model = model_of(tiny)
    training.compile_model(
        model, Recipe(epochs=10, learning_rate=0.01, warmup=0.2, min_lr_ratio=0.1), steps_per_epoch=10
    )
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 10, 20, 60, 100)]
    np.testing.assert_allclose(rates, [0, 0.005, 0.01, 0.0055, 0.001], rtol=1e-4)


def test_a_least_rate_of_one_keeps_the_learning_rate(tiny):
    model = model_of(tiny)
    training.compile_model(model, Recipe(learning_rate=0.01, warmup=0, min_lr_ratio=1), steps_per_epoch=10)
    assert {round(float(model.optimizer._learning_rate(step)), 6) for step in (0, 100, 499)} == {0.01}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_decay_shrinks_matrices_by_keras_rule_and_nothing_else(tiny, optimizer):
    model = model_of(tiny)
    recipe = Recipe(optimizer=optimizer, learning_rate=0.1, warmup=0, min_lr_ratio=1, weight_decay=0.5)
    training.compile_model(model, recipe, steps_per_epoch=10)
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    zero = [np.zeros(weight.shape, "float32") for weight in model.trainable_weights]
    model.optimizer.apply(zero, model.trainable_weights)
    after = {weight.path: float(np.asarray(weight.value).ravel()[0]) for weight in model.trainable_weights}
    kept = {path for path, value in after.items() if value == 1}
    decayed = [value for path, value in after.items() if path not in kept]
    np.testing.assert_allclose(decayed, 1 - 0.1 * 0.5, rtol=1e-6)
    assert kept == {weight.path for weight in training.undecayed(model)}
    assert "eanet/positions/embedding" in kept
    assert "eanet/block_0/norm_1/gamma" in kept
    assert "eanet/block_0/attention/memory_key" not in kept
    assert "eanet/logits/bias" in kept


def test_batches_are_a_function_of_seed_epoch_and_index(tiny):
    (x, y), _ = tiny.split(16, 0)

    def batch(seed, epoch, index):
        batches = Batches(x, y, 4, dataclasses.replace(SHORT, seed=seed))
        batches.epoch = epoch
        return batches[index][0]

    np.testing.assert_array_equal(batch(0, 1, 2), batch(0, 1, 2))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert (batch(*other) != batch(0, 1, 2)).any()


def test_an_epoch_shows_each_image_at_most_once_and_with_its_own_label(tiny):
    (x, y), _ = tiny.split(16, 0)
    batches = Batches(x, y, 4, dataclasses.replace(SHORT, augmentation=()))
    seen, targets = (np.concatenate(parts) for parts in zip(*(batches[i] for i in range(len(batches))), strict=True))
    assert len(np.unique(seen.reshape(len(seen), -1), axis=0)) == len(seen) == 80
    label = {image.tobytes(): own for image, own in zip(x, y, strict=True)}
    assert targets.argmax(axis=1).tolist() == [label[image.astype("uint8").tobytes()] for image in seen]


def test_every_epoch_is_told_its_number(tiny):
    (x, y), _ = tiny.split(16, 0)
    batches = Batches(x, y, 4, SHORT)
    repeatable = Repeatable(batches, seed=0)
    repeatable.set_model(model_of(tiny))
    for epoch in (0, 1, 7):
        repeatable.on_epoch_begin(epoch)
        assert batches.epoch == epoch


def test_evaluation_equals_keras_metrics(tiny):
    model = model_of(tiny)
    found = training.evaluate(model, tiny.x_test, tiny.y_test)
    logits = model.predict(tiny.x_test, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(tiny.y_test, logits)
    assert found["loss"] == pytest.approx(float(loss), abs=1e-5)
    assert found["top1"] == pytest.approx((logits.argmax(axis=1) == tiny.y_test).mean())
    assert found["top5"] == 1.0  # of four classes


def scored(logits):
    """The metrics of a model with these logits, whose right answers are class 0, 1, 2 and so on."""
    model = SimpleNamespace(predict=lambda *_, **__: logits)
    return training.evaluate(model, np.zeros((len(logits), 8, 8, 3), "uint8"), np.arange(len(logits)))


def test_top_5_counts_the_fifth_and_not_the_sixth():
    found = scored(np.tile(np.arange(10.0), (10, 1)))
    assert (found["top1"], found["top5"]) == (0.1, 0.5)


def test_a_model_that_cannot_tell_classes_apart_scores_nothing():
    found = scored(np.zeros((4, 10)))
    assert (found["top1"], found["top5"]) == (0.0, 0.0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error_and_no_score(odd):
    logits = np.eye(10)
    logits[3, 7] = odd
    with pytest.raises(TrainingError, match="the logits of 1 of 10 images are not finite"):
        scored(logits)


def test_a_run_that_diverges_ends_in_a_sentence_and_keeps_what_came_before(tiny, tmp_path):
    model = model_of(tiny)
    model.logits.bias.assign(np.full(4, np.nan))
    with pytest.raises(TrainingError, match="loss is nan after epoch 1: the run diverged"):
        training.fit(model, tiny, SHORT, tmp_path / "run", verbose=False)
    assert [path.name for path in (tmp_path / "run").glob("epoch-*")] == ["epoch-0000"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(learning_rate=float("nan")), "learning_rate=nan is not possible; use a finite number from 1e-09 to 100"),
        (dict(learning_rate=-1), "learning_rate=-1 is not possible"),
        (dict(learning_rate=0), "learning_rate=0 is not possible"),
        (dict(learning_rate=float("inf")), "learning_rate=inf is not possible"),
        (dict(learning_rate=(1e-3,)), "learning_rate=(0.001,) is no number but tuple"),
        (dict(clip_norm=-1), "clip_norm=-1 is not possible; use a finite number from 0"),
        (dict(weight_decay=float("nan")), "weight_decay=nan is not possible"),
        (dict(mixup=-1), "mixup=-1 is not possible"),
        (dict(cutmix=float("inf")), "cutmix=inf is not possible"),
        (dict(ema=1), "ema=1 is not possible; use a finite number from 0 below 1"),
        (dict(label_smoothing=True), "label_smoothing=True is no number but bool"),
        (dict(epochs=2.5), "epochs=2.5 is no whole number but float"),
        (dict(batch_size="16"), "batch_size='16' is no whole number but str"),
        (dict(seed=-1), "seed=-1 is not possible"),
        (dict(precision="float8"), "precision='float8' is not known; use one of 'float32', 'mixed_bfloat16'"),
        (dict(optimizer=None), "optimizer=None is not known"),
        (dict(augmentation="flip"), "augmentation='flip' is one text; use a tuple, such as ('flip',)"),
        (dict(augmentation=("flop",)), "augmentation 'flop' is not known; did you mean 'flip'?"),
        (dict(epochs=0), "epochs=0 is not possible"),
        (dict(warmup=2), "warmup=2 is not possible; use a finite number from 0 to 1"),
        (dict(select="first"), "select='first' is not known"),
        (dict(optimizer="sgd"), "optimizer='sgd' is not known"),
    ],
)
def test_a_recipe_refuses_what_cannot_be(changes, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        Recipe(**changes)


def test_an_unknown_field_or_model_is_refused():
    with pytest.raises(ValueError, match="a recipe has no epoch; did you mean 'epochs'"):
        training.recipe("vit", epoch=3)
    with pytest.raises(ValueError, match="no recipe for 'vti'; did you mean 'vit'"):
        training.recipe("vti")


def test_a_model_of_another_precision_or_class_count_is_refused(tiny):
    with pytest.raises(ValueError, match="the model was built as float32, but"):
        training.fit(model_of(tiny), tiny, dataclasses.replace(SHORT, precision="mixed_bfloat16"))
    model = models.build(
        "eanet", "book", num_classes=7, image_size=8, patch_size=2, dim=16, depth=1, heads=2, mlp_dim=16
    )
    with pytest.raises(ValueError, match="the model has 7 classes, tiny has 4"):
        training.fit(model, tiny, SHORT)


def test_too_few_images_for_one_batch_are_refused(tiny):
    with pytest.raises(ValueError, match="80 training images do not fill one batch of batch_size=128"):
        training.fit(model_of(tiny), tiny, dataclasses.replace(SHORT, batch_size=128))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow traces, and is asked here")
def test_a_training_step_is_traced_once(tiny):
    model, batches = model_of(tiny), Batches(tiny.x_train[:64], tiny.y_train[:64], tiny.num_classes, SHORT)
    training.compile_model(model, SHORT, 100)
    traces, compute_loss = [], model.compute_loss
    model.compute_loss = lambda *args, **kwargs: traces.append(1) or compute_loss(*args, **kwargs)
    for index in range(3):
        model.train_on_batch(*batches[index])
    assert len(traces) == 1


def test_a_run_of_few_steps_learns_the_same_without_a_graph(tiny, monkeypatch):
    histories = []
    for few in (0, 1000):
        monkeypatch.setattr(loop, "FEW_STEPS", few)
        keras.utils.set_random_seed(0)
        model = model_of(tiny)
        histories.append(training.fit(model, tiny, SHORT).history)
        assert model.run_eagerly == bool(few)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-4)


def test_batches_are_mixed_as_often_and_as_long_as_the_recipe_says():
    x = np.random.default_rng(0).integers(0, 256, (640, 8, 8, 3), dtype="uint8")
    recipe = Recipe(epochs=10, batch_size=16, augmentation=(), cutmix=1.0, mix_share=0.5, unmixed_share=0.2)
    batches = Batches(x, np.arange(640) % 4, 4, recipe)

    def mixed(epoch):
        batches.epoch = epoch
        return [bool((targets.max(axis=1) < 1).any()) for _, targets in map(batches.__getitem__, range(len(batches)))]

    assert 10 <= sum(mixed(0)) <= 30
    assert any(mixed(7))
    assert not any(mixed(8) + mixed(9))
    with pytest.raises(ValueError, match=r"mix_share=1\.5 is not possible"):
        Recipe(mix_share=1.5)


def test_a_recipe_tells_every_field_and_what_it_means_but_not_how_much_of_nothing_is_mixed():
    plain, mixed = Recipe().table(), Recipe(cutmix=1.0).table()
    assert [name for name, _, _ in mixed] == [field.name for field in dataclasses.fields(Recipe)]
    assert {name for name, _, _ in mixed} - {name for name, _, _ in plain} == {"mix_share", "unmixed_share"}
    values = {name: value for name, value, _ in plain}
    assert (values["learning_rate"], values["augmentation"]) == ("0.002", "flip, crop")
    assert all(len(meaning) > 10 for _, _, meaning in mixed)
