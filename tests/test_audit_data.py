"""What is handed over to the audit: images on other scales, images held out that are not, data that are none."""

import keras
import numpy as np
import pytest
from keras import layers

from vattn_utils.audit import audit
from vattn_utils.audit.given import READ

RANDOM = np.random.default_rng(0)
X, OTHERS = (RANDOM.integers(0, 256, (40, 8, 8, 3), dtype="uint8") for _ in range(2))
Y = np.arange(40) % 4


@pytest.fixture(scope="module")
def model():
    """It rescales what it is given; an audit leaves it as it was, so that one serves all."""
    keras.utils.set_random_seed(0)
    parts = [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*parts, layers.Dense(4, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def findings(model, dataset, **given):
    return {finding.check: finding for finding in audit(model, dataset, show=False, **given)}


class Endless:
    """Batches without end or length, as of `tf.data` with `repeat()`."""

    def __init__(self, x, y):
        self.batch, self.read = (x, y), 0

    def __iter__(self):
        while True:
            self.read += len(self.batch[1])
            yield self.batch

    def __len__(self):
        raise TypeError("The dataset is infinite.")


def test_images_scaled_twice_are_named_as_that_alone(model):
    found = findings(model, (X / 255, Y))
    assert found["input range"].verdict == "defect"
    assert "scaled twice" in found["input range"].found
    assert found["labels and loss"].verdict == "ok"
    assert findings(model, (X, Y))["input range"].verdict == "ok"


@pytest.mark.parametrize("kind", ["validation_data", "test"])
@pytest.mark.parametrize(
    ("scaled", "expected"),
    [(OTHERS / 255, "defect"), (OTHERS / 127.5 - 1, "defect"), (OTHERS // 2, "ok"), (OTHERS.astype("float32"), "ok")],
    ids=["0 to 1", "-1 to 1", "dark", "float"],
)
def test_held_out_images_on_another_scale_are_caught(model, kind, scaled, expected):
    found = findings(model, (X, Y), **{kind: (scaled, Y)})["input range"]
    assert found.verdict == expected
    assert (f"{kind.split('_')[0]} images from" in found.found) == (expected == "defect")


def test_images_that_are_not_finite_are_caught(model):
    broken = X.astype("float32")
    broken[0, 0, 0, 0] = np.nan
    found = findings(model, (broken, Y))
    assert "not finite" in found["input range"].found
    assert (found["input range"].verdict, found["gradients"].verdict) == ("defect", "defect")
    assert found["dropout"].verdict == "ok"


@pytest.mark.parametrize("scale", [1, 1 / 255, 1 / 127.5])
def test_held_out_images_among_those_to_train_on_are_counted_on_any_scale(model, scale):
    leaking = np.concatenate([X[:10], OTHERS[:20]]) * scale - (scale == 1 / 127.5)
    found = findings(model, (X, Y), test=leaking, validation_data=(leaking[:15], Y[:15]))["test images"]
    assert found.verdict == "defect"
    assert "the training set holds 10 of 30 test images" in found.found
    assert "the training set holds 10 of 15 validation images" in found.found
    assert "validation_data holds 15 of 30 test images" in found.found


def test_a_few_images_that_a_data_set_holds_twice_are_told_and_no_defect(model):
    many = RANDOM.integers(0, 256, (500, 8, 8, 3), dtype="uint8")
    found = findings(model, (many, np.arange(500) % 4), test=np.concatenate([many[:1], OTHERS, many[:0]]))
    assert found["test images"].verdict == "defect"  # one of 41
    others = RANDOM.integers(0, 256, (400, 8, 8, 3), dtype="uint8")
    found = findings(model, (many, np.arange(500) % 4), test=np.concatenate([many[:1], others]))["test images"]
    assert found.verdict == "ok"
    assert "holds 1 of 401 test images: no more than public data sets hold twice" in found.found


def test_images_without_end_are_read_up_to_a_limit(model):
    train, test = Endless(X, Y), Endless(OTHERS, Y)
    found = findings(model, train, test=test, validation_data=Endless(X, Y), steps_per_epoch=3, epochs=2)
    assert found["test images"].numbers == {"the training set, validation": 40}
    assert READ <= test.read <= READ + 2 * len(X)
    assert found["schedule"].verdict == "ok"
    assert "16 of 40 images of the first batch of 40" in found["gradients"].looked_at


def test_what_can_be_read_only_once_loses_one_batch_and_is_named(model):
    def batches():
        yield from [(X[:8], Y[:8]), (X[8:16], Y[8:16])]

    train, validation = batches(), batches()
    found = findings(model, train, validation_data=validation, test=OTHERS)
    assert [len(list(rest)) for rest in (train, validation)] == [1, 2]
    for name in ("dataset", "validation_data"):
        assert f"{name}, which can be read only once" in found["test images"].not_looked_at


def test_a_run_of_unknown_length_cannot_be_judged_by_it(model):
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), "sparse_categorical_crossentropy")
    found = findings(model, Endless(X, Y), epochs=50)
    assert (found["decay strength"].verdict, found["decay strength"].advice) == ("cannot tell", "give steps_per_epoch=")
    found = findings(model, Endless(X, Y), epochs=50, steps_per_epoch=300)
    assert found["decay strength"].verdict == "defect"
    found = findings(model, Endless(X, Y), epochs=1, steps_per_epoch=7)
    assert found["decay strength"].verdict == "ok"  # too short for either rule
    model.compile("sgd", "sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (X, "the data hold ndarray, not"),
        (3, "the data are int"),
        ((X, None), "not .x, y."),
        ([{"image": X, "label": Y}], "the data hold 1 items"),
        (iter([{"image": X, "label": Y}]), "the data hold dict, not .x, y."),
        (iter(zip(X, Y, strict=True)), "no batch axis|without a batch axis"),
        (iter([]), "yield no batch"),
        ((X, Y[:8]), r"\[40, 8\] rows"),
        ((X[:0], Y[:0]), r"\[0, 0\] rows"),
        ((X[..., :2], Y), "the model does not take the data, a batch of .16, 8, 8, 2. uint8"),
        ((X, [Y, X]), "y is 2 items"),
    ],
)
def test_what_are_no_data_for_the_model_is_refused_with_a_sentence(model, dataset, message):
    with pytest.raises((TypeError, ValueError), match=message):
        audit(model, dataset, show=False)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
@pytest.mark.parametrize(
    ("activation", "loss", "labels", "words"),
    [
        ("softmax", "binary_crossentropy", Y % 2, "whatever the weights, as of a softmax over one"),
        (None, "binary_crossentropy", Y % 2, "the outputs are logits"),
        ("sigmoid", keras.losses.BinaryCrossentropy(from_logits=True), Y % 2, "the outputs are probabilities"),
        ("sigmoid", "binary_crossentropy", Y % 2 + 1, "labels from 1 to 2"),
        ("sigmoid", "binary_crossentropy", np.where(Y, 1.0, np.nan), "10 labels are not finite"),
        ("sigmoid", "mse", np.stack([Y, Y], axis=1), "rows of 2 labels for 1 outputs"),
    ],
    ids=["softmax", "no sigmoid", "sigmoid twice", "labels from 1", "no labels", "two labels"],
)
@pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")
def test_one_output_must_fit_its_labels_and_loss(activation, loss, labels, words):
    start = "zeros" if activation == "sigmoid" else "glorot_uniform"  # outputs that are all alike mislead nobody
    head = layers.Dense(1, activation=activation, kernel_initializer=start)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), head])
    model.compile("sgd", loss)
    found = findings(model, (X / np.float32(255), labels))["labels and loss"]
    assert found.verdict == "defect"
    assert words in found.found


def test_every_finding_says_what_it_looked_at_and_the_table_shows_it(model, capsys):
    found = audit(model, (X, Y), test=OTHERS)
    assert len(found) == 13
    assert all(finding.looked_at and finding.not_looked_at for finding in found if finding.check != "input range")
    text = " ".join(capsys.readouterr().out.split())
    assert "looked at: 40 images of the training set, 40 images of test not: altered images" in text
