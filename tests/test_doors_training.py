"""Doors of training and records: evaluation, the recorder, names, and recipe values."""

import itertools

import keras
import numpy as np
import pytest

from vattn_utils import models
from vattn_utils.training import records
from vattn_utils.training.loop import evaluate
from vattn_utils.training.recipes import Recipe
from vattn_utils.training.recorder import AttentionRecorder

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype="uint8")
LABELS = np.arange(8) % 4


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.build("vit", num_classes=4, image_size=8, dim=16, depth=1, mlp_dim=16, patch_size=4, heads=2)


def test_an_evaluation_by_a_column_of_labels_is_that_by_a_row(model):
    assert evaluate(model, IMAGES, LABELS[:, None]) == evaluate(model, IMAGES, LABELS)


@pytest.mark.parametrize(
    ("labels", "words"),
    [(LABELS + 1, "those of 4 classes are 0 to 3"), (LABELS - 1, "from -1"), (LABELS[:2], "do not fit 8 images"),
     (["cat"] * 8, "class_names"), (None, "not NoneType")],
)  # fmt: skip
def test_an_evaluation_refuses_labels_that_are_none(model, labels, words):
    with pytest.raises((TypeError, ValueError), match=words):
        evaluate(model, IMAGES, labels)


def test_an_evaluation_looks_at_its_images(model):
    with pytest.warns(UserWarning, match="divided by 255"):
        evaluate(model, IMAGES / 255, LABELS)
    for images, words in [(None, "not NoneType"), (list(IMAGES), "np.stack"), (IMAGES[:0], "no image")]:
        with pytest.raises((TypeError, ValueError), match=words):
            evaluate(model, images, LABELS)
    with pytest.raises((TypeError, ValueError), match=r"batch_size=.* use 1 or more"):
        evaluate(model, IMAGES, LABELS, batch_size=0)


def test_a_recorder_looks_at_its_images_before_the_training():
    with pytest.raises(TypeError, match="not list"):
        AttentionRecorder([IMAGES[0]])
    with pytest.raises(ValueError, match="no image"):
        AttentionRecorder(IMAGES[:0])
    with pytest.raises(TypeError, match=r"every=1.5 is no whole number"):
        AttentionRecorder(IMAGES, every=1.5)


@pytest.mark.parametrize("name", [5, b"x", None, "..", "../vit", "me/vit", "", ".vit", ("vit",)])
def test_what_is_no_name_of_a_record_is_refused(name):
    with pytest.raises(records.RecordError, match="is no name of a record; use letters"):
        records.load(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(("epochs", "batch_size", "validation"), (0, -1, 1.5, "4", True, None)),
        *itertools.product(
            ("learning_rate", "weight_decay", "clip_norm", "mixup", "cutmix", "warmup", "ema"),
            (-1, float("nan"), float("inf"), "0.1", True, None),
        ),
        ("warmup", 1.5), ("label_smoothing", 2), ("mix_share", -0.1), ("seed", -1), ("seed", 0.5),
        ("precision", "float8"), ("precision", 16), ("optimizer", "sgd"), ("optimizer", ["adamw"]), ("select", None),
    ],
)  # fmt: skip
def test_a_recipe_refuses_what_cannot_be_trained(field, value):
    with pytest.raises((TypeError, ValueError), match=rf"{field}=.*; use"):
        Recipe(**{field: value})
