"""Doors of the models: what constructors take, and what is said of images by each of Keras' ways into a model."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from vattn_utils import models
from vattn_utils.models.layers import DropPath
from vattn_utils.models.vit import SelfAttention
from vattn_utils.training import records

SMALL = dict(num_classes=4, image_size=8, dim=16, depth=1, mlp_dim=16)
KINDS = {
    "vit": dict(patch_size=4, heads=2),
    "eanet": dict(patch_size=4, heads=2, memory_slots=4),
    "patch_convnet": dict(strides=(2, 2)),
}


def small(kind="vit", **changes):
    return models.build(kind, **{**SMALL, **KINDS[kind], **changes})


@pytest.fixture(scope="module")
def model():
    found = small()
    found.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    return found


# Constructors

OF_ALL = [
    *itertools.product(("num_classes", "image_size", "dim", "depth", "mlp_dim"), (0, -1, 1.5, "4", True)),
    ("num_classes", None), ("image_size", (32, 48)), ("image_size", None), ("image_size", -32),
    ("resize_to", 0), ("resize_to", 8.0), ("depth", 500), ("num_classes", 10**9), ("depth", float("nan")),
    ("dropout", "0.1"), ("dropout", -0.1), ("dropout", 1), ("dropout", True), ("drop_path", float("nan")),
    ("std", (0, 0, 0)), ("std", (1, 1, float("nan"))), ("std", (-1, -1, -1)), ("std", 1), ("std", (1, 1)),
    ("std", "abc"), ("mean", (0, 0, float("inf"))), ("mean", None), ("gelu", "relu"), ("gelu", None), ("pooling", 1),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), OF_ALL, ids=str)
def test_every_model_refuses_at_construction_what_cannot_be(kind, name, value):
    with pytest.raises((TypeError, ValueError), match=rf"{name}.*; (use|there are)"):
        small(kind, **{name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("vit", "heads", 0), ("vit", "head_dim", 0), ("vit", "convolutions", 0), ("vit", "patch_size", 0),
        ("vit", "patch_size", 2.0), ("vit", "registers", -1), ("vit", "attention_dropout", "0"), ("vit", "heads", "2"),
        ("vit", "tokenizer", None), ("vit", "position", 3),
        ("eanet", "coefficient", 0), ("eanet", "memory_slots", 0), ("eanet", "mixing", "no"), ("eanet", "attention", 1),
        ("patch_convnet", "strides", (0, 2)), ("patch_convnet", "strides", 2), ("patch_convnet", "strides", "22"),
        ("patch_convnet", "squeeze_ratio", 0), ("patch_convnet", "layer_scale", "x"), ("patch_convnet", "queries", 2),
        ("patch_convnet", "layer_scale", float("nan")), ("patch_convnet", "share_trunk", 1),
        ("patch_convnet", "block", None),
    ],
)  # fmt: skip
def test_each_model_refuses_of_its_own_what_cannot_be(kind, name, value):
    with pytest.raises((TypeError, ValueError), match=rf"{name}.*; use"):
        small(kind, **{name: value})


@pytest.mark.parametrize("kind", ["vit", "eanet"])
@pytest.mark.parametrize("units", [5, "55", (0,), (2.5,), None])
def test_the_example_of_keras_refuses_hidden_layers_that_cannot_be(kind, units):
    if kind == "vit":
        with pytest.raises((TypeError, ValueError), match="head_units"):
            models.build("vit", "keras-io", num_classes=4, head_units=units)
    else:
        with pytest.raises(ValueError, match="head_units"):
            models.build("eanet", "keras-io", num_classes=4, head_units=units)


def test_a_limit_that_was_passed_is_said():
    with pytest.raises(ValueError, match="depth=500 is not possible; use 1 to 128"):
        small(depth=500)
    with pytest.raises(ValueError, match="num_classes=1000000000 is not possible; use 1 to 100,000"):
        small(num_classes=10**9)
    with pytest.raises(ValueError, match=r"std\[0\]=0 is not possible; use a finite number from 0.001"):
        small(std=(0, 0, 0))


def test_layers_by_themselves_refuse_the_same():
    with pytest.raises(ValueError, match="heads=0"):
        SelfAttention(0)
    with pytest.raises(ValueError, match=r"rate=1.5 is not possible"):
        DropPath(1.5)


def test_positions_by_sine_of_one_frequency_are_refused_and_not_nan():
    with pytest.raises(ValueError, match="dim, with position='sincos',=4 is not possible; use 8 or more"):
        small(dim=4, position="sincos")
    logits = small(dim=8, position="sincos")(np.full((1, 8, 8, 3), 200, "uint8"))
    assert np.isfinite(ops.convert_to_numpy(logits)).all()


def test_numbers_of_numpy_and_lists_are_taken_and_remembered_as_plain_ones():
    model = small(depth=np.int64(1), mean=np.float32([1, 2, 3]), std=[1, 2, 3])
    config = model.get_config()
    assert (type(config["depth"]), config["mean"], config["std"]) == (int, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0))


# Images

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
LABELS = np.arange(4)
WAYS = {
    "call": lambda model, x: model(x),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, LABELS, verbose=0),
    "fit": lambda model, x: model.fit(x, LABELS, verbose=0),
    "validation": lambda model, x: model.fit(PICTURES, LABELS, validation_data=(x, LABELS), verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x, LABELS),
    "test_on_batch": lambda model, x: model.test_on_batch(x, LABELS),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
}


@pytest.mark.parametrize("way", WAYS)
def test_images_from_0_to_1_are_warned_of_by_every_way_into_a_model(model, way):
    for images in ((PICTURES / 255).astype("float32"), (PICTURES > 127).astype("uint8")):
        with pytest.warns(UserWarning, match="divided by 255"):
            WAYS[way](model, images)


def test_tensors_from_0_to_1_are_warned_of_and_normalised_ones_refused(model):
    with pytest.warns(UserWarning, match="divided by 255"):
        model(ops.convert_to_tensor(PICTURES / 255))
    with pytest.raises(ValueError, match="from -1 to"):
        model(ops.convert_to_tensor(PICTURES / 127.5 - 1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("images", [None, [PICTURES[0]], Image.fromarray(PICTURES[0])], ids=["None", "list", "PIL"])
def test_what_is_no_array_is_refused_by_every_way_into_a_model(model, way, images):
    with pytest.raises(TypeError, match=r"images are an array .*use np.stack"):
        WAYS[way](model, images)


def test_mirrored_images_have_the_logits_of_their_copy(model):
    mirrored = PICTURES[::-1, :, ::-1]
    np.testing.assert_array_equal(*(ops.convert_to_numpy(model(x)) for x in (mirrored, mirrored.copy())))


@pytest.mark.parametrize("way", WAYS)
def test_no_images_are_refused_by_every_way_into_a_model(model, way):
    with pytest.raises(ValueError, match="hold no image; give one or more"):
        WAYS[way](model, PICTURES[:0])


@pytest.mark.parametrize("batch_size", [0, -1, "64", 2.0, True])
def test_a_batch_size_is_a_whole_number_from_1(model, batch_size):
    with pytest.raises((TypeError, ValueError), match=r"batch_size.*use 1 or more"):
        model.predict(PICTURES, batch_size=batch_size)


def test_batches_of_a_data_set_are_left_to_keras(model):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return PICTURES, LABELS

    assert model.predict(Batches(), verbose=0).shape == (8, 4)
    model.fit(Batches(), verbose=0)
    model.fit(((PICTURES, LABELS) for _ in range(2)), steps_per_epoch=1, verbose=0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModel is TensorFlow's format")
def test_a_model_is_exported_that_was_never_called(tmp_path):
    model = small("eanet")
    model.export(tmp_path / "saved", verbose=False)
    found = keras.layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")(PICTURES.astype("float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(model(PICTURES)), atol=1e-5)


def test_a_recorded_model_is_of_single_precision_whatever_policy_holds():
    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = records.load("vit-shapes10-book").model()
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}


def test_what_a_method_let_in_is_not_refused_batch_by_batch_where_nothing_is_compiled():
    eager = models.build(
        "vit",
        "keras-io",
        depth=1,
        image_size=8,
        resize_to=8,
        patch_size=4,
        dim=16,
        heads=2,
        head_units=(8,),
        num_classes=4,
    )
    eager.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    noisy = PICTURES.astype("float32") + 258 - PICTURES.max()  # as an imputation with noise makes them
    assert noisy.max() > 255
    assert np.isfinite(eager.predict_on_batch(noisy)).all()
    with pytest.raises(ValueError, match="hold values from"):
        eager(noisy)
