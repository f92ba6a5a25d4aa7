"""Each check has a model that it catches and one that it passes, all of them tiny."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from vattn_utils import models, training
from vattn_utils.__main__ import main
from vattn_utils.audit import AuditError, audit, upstream

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(32, 224, (24, 8, 8, 3)).astype("float32")
LABELS = np.arange(24) % 4
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(*middle, loss=LOGITS, optimizer="sgd", activation=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), *middle, layers.Flatten(), layers.Dense(4, activation=activation, name="last")]
    )
    model.compile(optimizer, loss)
    return model


def verdicts(model, dataset=(IMAGES, LABELS), **given):
    return {finding.check: finding for finding in audit(model, dataset, show=False, **given)}


def verdict(check, model, dataset=(IMAGES, LABELS), **given):
    finding = verdicts(model, dataset, **given)[check]
    return finding.verdict, finding.numbers


def normalised(*augmentation):
    return network(*augmentation, layers.Conv2D(2, 3))


NORMALISE = dict(mean=128, variance=64**2)


def test_contrast_that_clips_after_normalisation_is_caught():
    found, numbers = verdict("input range", normalised(layers.Normalization(**NORMALISE), layers.RandomContrast(0.1)))
    assert found == "defect"
    assert numbers["unseen"] > 0.4  # every value below zero
    assert numbers["at_extremes"][0] > 0.4 > 0.02 > numbers["at_extremes"][1]


def test_contrast_before_normalisation_passes():
    found, _ = verdict("input range", normalised(layers.RandomContrast(0.1), layers.Normalization(**NORMALISE)))
    assert found == "ok"


@pytest.mark.parametrize(("scale", "expected"), [(1, "ok"), (1 / 255, "defect")])
def test_test_images_on_another_scale_are_caught(scale, expected):
    assert verdict("input range", network(), test=(IMAGES * scale, LABELS))[0] == expected


class OtherSize(layers.Layer):
    """Training images are cut from larger ones."""

    def call(self, images, training=None):
        if not training:
            return images
        return ops.image.resize(images, (12, 12))[:, 2:10, 2:10]


def test_objects_larger_in_training_are_caught():
    found, numbers = verdict("resolution", network(OtherSize(), layers.Conv2D(2, 3)))
    assert found == "defect"
    assert numbers["magnification"] == pytest.approx(1.5, rel=0.05)


def test_random_zoom_both_ways_passes_as_one_size():
    found = [verdict("resolution", network(layers.RandomZoom(0.2, seed=s), layers.Conv2D(2, 3))) for s in range(4)]
    assert {which for which, _ in found} == {"ok"}
    assert all(abs(numbers["magnification"] - 1) < 0.1 for _, numbers in found)


def test_contrast_is_not_taken_for_size():
    images = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 3)).astype("float32")
    doubled = layers.RandomContrast((0.0, 0.9))
    found, numbers = verdict("resolution", network(doubled, layers.Conv2D(2, 3)), (images, LABELS[:16]))
    assert found == "ok"
    assert numbers["magnification"] == pytest.approx(1, abs=0.03)


def test_a_zoom_in_one_direction_only_is_caught():
    layer = layers.RandomZoom((-0.3, -0.1), (-0.3, -0.1), fill_mode="reflect")
    found, numbers = verdict("resolution", network(layer, layers.Conv2D(2, 3)))
    assert found == "defect"
    assert numbers["magnification"] == pytest.approx(1.25, abs=0.08)


def test_what_has_no_slope_has_no_resolution():
    blank = layers.Rescaling(0.0)
    assert verdict("resolution", network(blank, layers.Conv2D(2, 3)))[0] == "cannot tell"


def test_what_is_no_image_has_no_resolution():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4)])
    model.compile("sgd", LOGITS)
    assert verdict("resolution", model, (IMAGES[:, 0, :5, 0], LABELS))[0] == "cannot tell"


def blocks(shared):
    def made():
        return [layers.LayerNormalization(), layers.Conv2D(3, 1)]

    once = made()
    return [keras.Sequential(once if shared else made()) for _ in range(3)]


def test_one_list_of_layers_in_every_block_is_caught_with_its_parameters():
    separate = verdicts(network(*blocks(shared=False)))["shared weights"]
    shared = verdicts(network(*blocks(shared=True)))["shared weights"]
    assert (separate.verdict, shared.verdict) == ("ok", "defect")
    assert shared.numbers["separate"] == separate.numbers["held"] > shared.numbers["held"]


def test_a_layer_fed_with_its_own_output_is_caught():
    layer, inputs = layers.Dense(3), keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(layer(layer(inputs)))))
    model.compile("sgd", LOGITS)
    assert verdict("shared weights", model)[0] == "defect"


def test_a_layer_for_two_inputs_side_by_side_passes():
    layer, inputs = layers.Dense(3), keras.Input((8, 8, 3))
    both = layers.Concatenate()([layer(inputs), layer(inputs[:, ::-1])])
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(both)))
    model.compile("sgd", LOGITS)
    assert verdict("shared weights", model)[0] == "ok"


def test_a_recurrent_cell_passes():
    assert verdict("shared weights", network(layers.Reshape((8, 24)), layers.LSTM(4, return_sequences=True)))[0] == "ok"


class Positions(layers.Layer):
    """A table added to the image; `use` scales it, `kept` says how."""

    def __init__(self, kept="weight", use=1.0, trainable_weight=True):
        super().__init__(name="positions")
        self.kept, self.use, self.trainable_weight = kept, use, trainable_weight

    def build(self, shape):
        if self.kept == "weight":
            self.table = self.add_weight(
                shape=shape[1:], initializer="random_normal", trainable=self.trainable_weight, name="embedding"
            )
        else:
            self.table = keras.random.normal(shape[1:], seed=1)

    def call(self, x):
        return x + self.use * self.table


def test_a_weight_that_the_loss_does_not_see_is_caught():
    found, numbers = verdict("gradients", network(Positions(use=0.0)))
    assert found == "defect"
    assert [path.split("/")[-2] for path in numbers["dead"]] == ["positions"]
    assert verdict("gradients", network(Positions()))[0] == "ok"


class Gate(layers.Layer):
    """A branch behind a factor that starts at zero: its weights wait for the factor's first step."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="zeros", name="factor")
        self.dense.build(shape)

    def call(self, x):
        return x + self.factor * self.dense(x)


def test_a_gate_that_starts_at_zero_passes():
    assert verdict("gradients", network(Gate()))[0] == "ok"


def test_a_bias_that_a_softmax_cancels_passes():
    attention, inputs = layers.MultiHeadAttention(2, 4), keras.Input((8, 8, 3))
    tokens = layers.Dense(8)(layers.Reshape((64, 3))(inputs))
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(attention(tokens, tokens))))
    model.compile("sgd", LOGITS)
    found, numbers = verdict("gradients", model)
    assert found == "ok"
    assert [path for path in numbers["faint"] + numbers["dead"] if not path.endswith("key/bias")] == []


@pytest.mark.parametrize(
    "positions",
    [Positions(trainable_weight=False), Positions(kept="tensor")],
    ids=["trainable=False", "an array"],
)
def test_a_random_position_table_that_is_not_trained_is_caught(positions):
    found, numbers = verdict("frozen weights", network(positions))
    assert found == "defect"
    assert "positions" in numbers["random"][0]


def test_trained_tables_and_moving_statistics_pass():
    model = network(Positions(), layers.Normalization(**NORMALISE), layers.BatchNormalization())
    assert verdict("frozen weights", model)[0] == "ok"


def test_a_frozen_layer_is_caught_as_drawn_and_left_alone_once_trained():
    frozen = layers.Conv2D(8, 3, trainable=False)
    model = network(frozen)
    assert verdict("frozen weights", model)[0] == "defect"
    frozen.kernel.assign(frozen.kernel.value * 3)
    assert verdict("frozen weights", model)[0] == "cannot tell"


class Untold(keras.Model):
    """Its layers are called one by one, outside Keras' own call, so that none is told that it trains."""

    def __init__(self):
        super().__init__()
        self.steps = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(4)]

    def call(self, x, training=None):
        for step in self.steps:
            x = step(x)
        return x

    def __call__(self, x, training=None):
        return self.call(ops.convert_to_tensor(x), training)


def test_dropout_that_is_never_told_to_drop_is_caught():
    model = Untold()
    model(IMAGES)
    model.built = True
    model.compile("sgd", LOGITS)
    found, numbers = verdict("dropout", model)
    assert found == "defect"
    assert (numbers["layers"], len(numbers["silent"])) == (1, 1)


def test_dropout_in_fit_passes():
    assert verdict("dropout", network(layers.Dropout(0.5)))[0] == "ok"


class Always(layers.Dropout):
    def call(self, x, training=None):
        return super().call(x, training=True)


def test_dropout_that_goes_on_in_prediction_is_caught():
    found, numbers = verdict("dropout", network(Always(0.5)))
    assert found == "defect"
    assert len(numbers["in_prediction"]) == 1


def adamw(model, keep=lambda weight: len(weight.shape) > 1, **settings):
    optimizer = keras.optimizers.AdamW(**{"learning_rate": 1e-3, "weight_decay": 0.1, **settings})
    optimizer.exclude_from_weight_decay(var_list=[w for w in model.trainable_weights if not keep(w)])
    model.compile(optimizer, LOGITS)
    return model


def test_decay_of_everything_is_caught():
    model = network(Positions(), optimizer=keras.optimizers.AdamW())
    found, numbers = verdict("decay groups", model)
    assert found == "defect"
    assert len(numbers["wrongly_under"]) == 2  # the positions and the last layer's bias


def test_a_matrix_without_decay_is_caught():
    model = adamw(network(layers.Conv2D(2, 3)), keep=lambda weight: "last" in weight.path and len(weight.shape) > 1)
    found, numbers = verdict("decay groups", model)
    assert found == "defect"
    assert [path.split("/")[-1] for path in numbers["wrongly_excluded"]] == ["kernel"]


def test_decay_of_matrices_alone_passes():
    assert verdict("decay groups", adamw(network(layers.Conv2D(2, 3))))[0] == "ok"


def test_a_decay_ported_as_it_stood_is_caught():
    found, numbers = verdict("decay strength", adamw(network(), weight_decay=1e-4), epochs=50, steps_per_epoch=313)
    assert found == "defect"
    assert numbers["per_run"] == pytest.approx(1 - np.exp(-1e-3 * 1e-4 * 50 * 313), rel=1e-3)


def test_a_decay_by_keras_rule_passes():
    assert verdict("decay strength", adamw(network()), epochs=50, steps_per_epoch=313)[0] == "ok"


def test_a_decay_for_an_unknown_time_cannot_be_told():
    assert verdict("decay strength", adamw(network()))[0] == "cannot tell"


SCHEDULE = keras.optimizers.schedules.CosineDecay(0.1, 30)


def test_a_schedule_that_nobody_attached_is_caught():
    given = dict(schedule=SCHEDULE, epochs=3, steps_per_epoch=10)
    assert verdict("schedule", network(optimizer=keras.optimizers.SGD(0.1)), **given)[0] == "defect"
    assert verdict("schedule", network(optimizer=keras.optimizers.SGD(SCHEDULE)), **given)[0] == "ok"


def test_a_schedule_in_a_callback_passes_unless_the_optimizer_has_its_own():
    given = dict(callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)], epochs=3, steps_per_epoch=10)
    assert verdict("schedule", network(optimizer=keras.optimizers.SGD(0.1)), **given)[0] == "ok"
    assert verdict("schedule", network(optimizer=keras.optimizers.SGD(SCHEDULE)), **given)[0] == "defect"


def test_an_optimizer_that_is_not_the_recipes_is_caught(tiny):
    recipe = training.Recipe(epochs=2, batch_size=16, validation=16)
    found = verdicts(adamw(network()), tiny, recipe=recipe)
    assert (found["schedule"].verdict, found["decay strength"].verdict) == ("defect", "defect")


ROWS = np.eye(4, dtype="float32")[LABELS]


@pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")  # TensorFlow notices one of them itself
@pytest.mark.parametrize(
    ("activation", "loss", "labels", "expected"),
    [
        (None, LOGITS, LABELS, "ok"),
        ("softmax", "sparse_categorical_crossentropy", LABELS[:, None], "ok"),
        ("softmax", "categorical_crossentropy", ROWS, "ok"),
        ("softmax", LOGITS, LABELS, "defect"),
        (None, "sparse_categorical_crossentropy", LABELS, "defect"),
        ("softmax", "categorical_crossentropy", LABELS, "defect"),
        (None, LOGITS, ROWS, "defect"),
        (None, LOGITS, LABELS + 1, "defect"),
    ],
    ids=["logits", "probabilities", "rows", "softmax twice", "no softmax", "numbers for rows", "rows for numbers",
         "labels from 1"],
)  # fmt: skip
def test_labels_outputs_and_loss_must_fit(activation, loss, labels, expected):
    model = network(activation=activation, loss=loss)
    assert verdict("labels and loss", model, (IMAGES, labels))[0] == expected


def test_outputs_that_no_label_uses_are_caught():
    x, y = np.repeat(IMAGES, 4, axis=0), np.repeat(LABELS % 3, 4)
    assert verdict("labels and loss", network(), (x, y))[0] == "defect"


class Shows(keras.callbacks.Callback):
    def __init__(self, images):
        super().__init__()
        self.images = images


def refers(images):
    class Refers(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            return images

    return Refers()


HELD_OUT = IMAGES[12:]
OTHERS = RANDOM.integers(32, 224, (12, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dict(validation_data=(OTHERS, LABELS[:12]), callbacks=[Shows(IMAGES[:3])]), "ok"),
        (dict(validation_data=(HELD_OUT, LABELS[12:])), "defect"),
        (dict(callbacks=[Shows(HELD_OUT[:3] / 255)]), "defect"),
        (dict(callbacks=[refers(HELD_OUT[:3].astype("uint8"))]), "defect"),
    ],
    ids=["other images", "validation data", "an attribute", "a closure"],
)
def test_test_images_that_training_can_see_are_caught(given, expected):
    data = (IMAGES[:12], LABELS[:12])
    assert verdict("test images", network(), data, test=(HELD_OUT, LABELS[12:]), **given)[0] == expected


def attention(key_dim):
    inputs = keras.Input((8, 8, 3))
    tokens = layers.Dense(8)(layers.Reshape((64, 3))(inputs))
    tokens = layers.MultiHeadAttention(2, key_dim)(tokens, tokens)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(tokens)))
    model.compile("sgd", LOGITS)
    return model


def test_heads_wider_than_their_share_are_caught_with_the_fair_parameters():
    fair = attention(key_dim=4)
    found, numbers = verdict("head width", attention(key_dim=8))
    assert (found, numbers["fair"]) == ("defect", fair.count_params())
    assert verdict("head width", fair)[0] == "ok"


@pytest.mark.parametrize(("head_dim", "expected"), [(16, "defect"), (8, "ok")])
def test_our_own_attention_is_held_to_it_too(head_dim, expected):
    model = models.build("eanet", num_classes=4, attention="self", head_dim=head_dim, **SMALL)
    model.compile("sgd", LOGITS)
    x = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype="uint8")
    found = audit(model, (x, np.arange(16) % 4), show=False)
    assert next(finding.verdict for finding in found if finding.check == "head width") == expected


SMALL = dict(image_size=8, patch_size=2, dim=16, depth=2, heads=2, mlp_dim=16)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("vit", lambda: models.build("vit", "book", num_classes=4, **SMALL)),
        ("eanet", lambda: models.build("eanet", "book", num_classes=4, memory_slots=4, dropout=0.1, **SMALL)),
        ("patch_convnet", lambda: models.build("patch_convnet", "book", num_classes=4, image_size=8, dim=16, depth=2)),
    ],
    ids=["vit", "eanet", "patch_convnet"],
)
def test_the_books_models_and_recipes_pass_every_check(tiny, name, build):
    keras.utils.set_random_seed(0)
    findings = audit(build(), tiny, training.recipe(name, batch_size=16), show=False)
    assert {finding.check: finding.found for finding in findings if finding.verdict != "ok"} == {}


def test_nothing_of_the_model_changes():
    model = network(layers.Dropout(0.5), layers.BatchNormalization(), optimizer="adamw")
    model.fit(IMAGES, LABELS, verbose=0)
    optimizer, everything = model.optimizer, [*model.variables, *model.optimizer.variables]
    before = [np.array(ops.convert_to_numpy(v)) for v in everything]
    call = model.layers[0].call
    verdicts(model, epochs=2)
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value, err_msg=variable.path)
    assert model.optimizer is optimizer
    assert model.layers[0].call == call
    assert not model.run_eagerly


def test_a_model_trains_after_its_audit_as_without_one():
    def history(audited):
        model = network(layers.Dropout(0.5), optimizer=keras.optimizers.AdamW(1e-2))
        if audited:
            verdicts(model)
        return model.fit(IMAGES, LABELS, epochs=2, shuffle=False, verbose=0).history["loss"]

    assert history(True) == pytest.approx(history(False), rel=1e-5)


def test_a_model_that_was_not_compiled_needs_a_recipe_and_stays_so(tiny):
    model = models.build("eanet", "book", num_classes=4, memory_slots=4, **SMALL)
    with pytest.raises(ValueError, match="compile it or give a recipe"):
        audit(model, tiny)
    audit(model, tiny, training.recipe("eanet", batch_size=16), show=False)
    assert not model.compiled


class BatchesOfEight(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return IMAGES[rows], LABELS[rows]


def test_batches_serve_as_data():
    found = verdicts(network(layers.Dropout(0.5)), BatchesOfEight(workers=1), epochs=2)
    assert found["dropout"].verdict == "ok"
    assert found["labels and loss"].verdict == "ok"


def test_defects_raise_on_request_and_are_named():
    seen, held_out = (IMAGES[:12], LABELS[:12]), (HELD_OUT, LABELS[12:])
    with pytest.raises(AuditError, match="test images: validation_data holds 12 of 12") as error:
        audit(network(), seen, test=held_out, validation_data=held_out, show=False, raise_on_defect=True)
    assert [finding.check for finding in error.value.findings] == ["test images"]
    audit(network(), (IMAGES, LABELS), show=False, raise_on_defect=True)


@pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")
def test_the_table_names_verdict_measure_and_way_out(capsys):
    audit(network(activation="softmax"), (IMAGES, LABELS))
    lines = capsys.readouterr().out.splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith("labels and loss"))
    assert lines[row].split("  ")[1:2] == ["defect"]
    assert "the outputs are probabilities, the loss takes them for logits" in lines[row]
    assert lines[row + 1].strip().startswith("-> ")
    assert max(map(len, lines)) <= 120


# The published formulations, narrow and shallow, and what is wrong with each of them.
DECAY = {"decay groups", "decay strength"}
TINY = {
    "keras-io-eanet": (
        lambda: [upstream.eanet.build("external", 8, 16, 1, 2, 2), upstream.eanet.build("self", 8, 16, 1, 2, 2)],
        [DECAY | {"input range"}, DECAY | {"input range", "head width"}],
    ),
    "keras-io-vit": (lambda: [upstream.vit.build(24, 16, 1, 2, (8,))], [DECAY | {"head width"}]),
    "keras-io-vit-small-ds": (
        lambda: [upstream.vit.build(24, 16, 1, 2, (8,), schedule=SCHEDULE)],
        [DECAY | {"head width", "schedule"}],
    ),
    "keras-io-patch-convnet": (
        lambda: [upstream.patch_convnet.build(16, 2, 4)],
        [DECAY | {"resolution", "shared weights", "dropout", "test images"}],
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_the_command_finds_every_defect_of_a_published_example(name, monkeypatch, capsys):
    make, expected = TINY[name]
    monkeypatch.setitem(upstream.EXAMPLES, name, make)
    main(["audit", name])
    tables = capsys.readouterr().out.split(f"\n{name}: ")[1:]
    found = [{line[:15].strip() for line in part.splitlines() if line[17:23] == "defect"} for part in tables]
    assert found == expected


def test_all_published_examples_are_tested():
    assert set(TINY) == set(upstream.EXAMPLES)


def test_the_mends_of_an_example_mend_what_they_say():
    (published, _), (mended, _) = (
        (audit(example.model, example.data, show=False, **example.given), example)
        for example in (
            upstream.eanet.build("external", 8, 16, 1, 2, 2),
            upstream.eanet.build("external", 8, 16, 1, 2, 2, contrast_first=True, weight_decay=0.1),
        )
    )
    defects = [{f.check for f in findings if f.verdict == "defect"} for findings in (published, mended)]
    assert defects == [DECAY | {"input range"}, {"decay groups"}]


def test_the_decay_of_tensorflow_addons_does_not_ask_the_learning_rate():
    decayed = {}
    for rule in (keras.optimizers.AdamW, upstream.older.DecoupledAdamW):
        weight = keras.Variable([2.0])
        optimizer = rule(0.1, weight_decay=0.01)
        optimizer.apply([keras.ops.zeros(1)], [weight])
        decayed[rule] = float(weight.value[0])
    np.testing.assert_allclose([*decayed.values()], [2 * (1 - 0.1 * 0.01), 2 * (1 - 0.01)], rtol=1e-6)


def test_an_unknown_example_is_refused_with_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "keras-io-resnet"])
    assert "keras-io-patch-convnet" in capsys.readouterr().err
    with pytest.raises(ValueError, match="'resnet' is not known; there are keras-io-eanet"):
        upstream.build("resnet")
