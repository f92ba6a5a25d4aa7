"""Doors of the maps: images, labels and models of every kind are understood, or refused by one sentence, in each."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from vattn_utils import models
from vattn_utils.maps import (
    attention,
    attnlrp,
    attribution,
    comparison,
    faithfulness,
    lens,
    localisation,
    tokens,
    value_norm,
)
from vattn_utils.models import eanet

SMALL = dict(num_classes=4, image_size=8, dim=16, depth=1, mlp_dim=16)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
LABELS = np.array([3, 0, 1, 2])
MAPS = np.random.default_rng(1).random((4, 2, 2))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.build("vit", **SMALL, patch_size=4, heads=2)


@pytest.fixture(scope="module")
def memory():
    return models.build("eanet", **SMALL, patch_size=4, heads=2, memory_slots=4, pooling="mean")


def removal(model, images, labels):
    return faithfulness.remove_by_rank(lambda x: attribution.probabilities(model, x), images, labels, MAPS)


def of(method):
    return lambda model, images, labels: method(model, images, labels)


# Every door that takes a model and images, and those of them that take labels too.
WITH_LABELS = {
    **{name: of(method) for name, method in attribution.METHODS.items()},
    "attention_gradients": of(attribution.attention_gradients),
    "input_gradients": of(attribution.input_gradients),
    "ledger": of(attnlrp.ledger),
    "integrated_gradients": of(attribution.integrated_gradients),
    "remove_by_rank": removal,
    "compare": of(comparison.compare),
    "mosaics": lambda model, images, labels: localisation.mosaics(images, labels, np.ones(len(LABELS)), 1),
}
DOORS = {
    **WITH_LABELS,
    "maps": lambda model, images, labels: attention.maps(model, images),
    "value_norms": lambda model, images, labels: value_norm.value_norms(model, images),
    "logit_lens": lambda model, images, labels: lens.logit_lens(model, images),
    "readership": lambda model, images, labels: tokens.readership(model, images),
    "batches": lambda model, images, labels: next(attention.batches(model, images)),
    "logits": lambda model, images, labels: attribution.logits(model, images),
    "probabilities": lambda model, images, labels: attribution.probabilities(model, images),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_are_no_images_is_refused_in_every_door(model, door):
    for images, words in [
        (None, "not NoneType"),
        ([IMAGES[0]], "not list; use np.stack"),
        (Image.fromarray(IMAGES[0]), "data.read_picture"),
        (IMAGES[:0], "hold no image; give one or more"),
        (IMAGES / 127.5 - 150, "values from -150"),
        (IMAGES[..., 0], "np.repeat"),
        (IMAGES[0], r"images\[None\]"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            DOORS[door](model, images, LABELS)


@pytest.mark.parametrize("door", WITH_LABELS)
def test_what_are_no_labels_is_refused_in_every_door(model, door):
    for labels, words in [
        (LABELS - 1, "labels go from -1 to 2"),
        (LABELS[:3], r"labels of shape \(3,\) do not fit 4 images; give one label an image"),
        (["cat"] * 4, "class_names"),
        (LABELS.astype(float), r"astype\(int\)"),
        (np.eye(4)[LABELS], "argmax"),
        (None, "not NoneType"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            WITH_LABELS[door](model, IMAGES, labels)
    if door not in ("mosaics",):  # which knows no model
        with pytest.raises(ValueError, match="labels go from 1 to 4; those of 4 classes are 0 to 3"):
            WITH_LABELS[door](model, IMAGES, LABELS + 1)


@pytest.mark.parametrize(
    "door", ["centre", "evidence", "occlusion", "input_gradients", "attention_gradients", "logits", "maps"]
)
def test_images_from_0_to_1_are_warned_of_in_the_doors_of_maps(model, door):
    with pytest.warns(UserWarning, match="images hold values from 0 to 1, nearly black.*divided by 255"):
        DOORS[door](model, (IMAGES / 255).astype("float32"), LABELS)


def test_a_column_of_labels_gives_what_a_row_gives(model):
    np.testing.assert_array_equal(
        attribution.evidence(model, IMAGES, LABELS[:, None]), attribution.evidence(model, IMAGES, LABELS)
    )
    column, row = (removal(model, IMAGES, labels) for labels in (LABELS[:, None], list(LABELS)))
    assert column.most_first.shape == (4, 9)
    for one, other in zip(column.areas(), row.areas(), strict=True):
        np.testing.assert_array_equal(one, other)
    layers_, gradients = attribution.attention_gradients(model, IMAGES, LABELS)
    np.testing.assert_array_equal(
        *(attribution.evidence_of(layers_, gradients, labels) for labels in (LABELS, LABELS[:, None]))
    )


def test_mirrored_images_have_the_maps_of_their_copy(model):
    mirrored = IMAGES[::-1, :, ::-1]
    np.testing.assert_array_equal(*(attention.maps(model, x)[0].weights for x in (mirrored, mirrored.copy())))


@pytest.mark.parametrize("batch_size", [0, -1, None, "64", 2.0, True])
def test_a_batch_size_is_a_whole_number_from_1_in_every_door(model, memory, batch_size):
    for door in (
        lambda: attention.maps(model, IMAGES, batch_size),
        lambda: next(attention.batches(model, IMAGES, batch_size)),
        lambda: attribution.logits(model, IMAGES, batch_size),
        lambda: attribution.probabilities(model, IMAGES, batch_size),
        lambda: attribution.attention_gradients(model, IMAGES, LABELS, batch_size),
        lambda: attribution.input_gradients(model, IMAGES, LABELS, batch_size),
        lambda: attribution.integrated_gradients(model, IMAGES, LABELS, batch_size=batch_size),
        lambda: attnlrp.ledger(model, IMAGES, LABELS, batch_size),
        lambda: value_norm.value_norms(model, IMAGES, batch_size),
        lambda: lens.logit_lens(model, IMAGES, batch_size=batch_size),
        lambda: tokens.readership(model, IMAGES, batch_size),
        lambda: eanet.freeze_denominators(memory, IMAGES, batch_size),
    ):
        with pytest.raises((TypeError, ValueError), match=r"batch_size=.*; use 1 or more"):
            door()


@pytest.mark.parametrize("steps", [0, -1, 2.5, None])
def test_steps_are_a_whole_number_from_1(model, steps):
    with pytest.raises((TypeError, ValueError), match=r"steps=.*; use 1 or more"):
        attribution.integrated_gradients(model, IMAGES, LABELS, steps=steps)
    with pytest.raises((TypeError, ValueError), match=r"steps=.*; use 1 or more"):
        faithfulness.remove_by_rank(lambda x: x, IMAGES, LABELS, MAPS, steps=steps)


@pytest.fixture(params=["functional", "sequential around ours"])
def foreign(request, model):
    if request.param == "sequential around ours":
        return keras.Sequential([model, layers.Softmax()])
    images = keras.Input((8, 8, 3))
    tokens = layers.Dense(16)(layers.Reshape((4, 48))(images))
    tokens = layers.MultiHeadAttention(2, 8)(tokens, tokens)
    return keras.Model(images, layers.Dense(4)(layers.GlobalAveragePooling1D()(tokens)))


def test_a_model_that_is_not_ours_is_refused_by_one_sentence_where_its_attention_is_needed(foreign):
    doors = {**DOORS, "methods": lambda model, *_: attribution.methods(model)}
    for name in ("remove_by_rank", "mosaics", "logits", "probabilities", "input_gradients", "integrated_gradients"):
        del doors[name]  # which take any model
    if not isinstance(foreign, keras.Sequential):
        del doors["maps"]  # which takes any with Keras' own attention
    for name, door in doors.items():
        with pytest.raises(TypeError, match=f"needs a Classifier of vattn_utils.models.*not {type(foreign).__name__}"):
            pytest.fail(f"{name} gave {door(foreign, IMAGES, LABELS)}")
    with pytest.raises(TypeError, match="this needs an EANet"):
        eanet.freeze_denominators(foreign, IMAGES)


def test_a_model_that_is_not_ours_has_gradients_probabilities_and_removals(foreign):
    assert attribution.input_gradients(foreign, IMAGES, LABELS).shape == IMAGES.shape
    assert removal(foreign, IMAGES, LABELS[:, None]).most_first.shape == (4, 9)
    assert attribution.integrated_gradients(foreign, IMAGES, LABELS, baseline=0, steps=2).shape == IMAGES.shape
    with pytest.raises(TypeError, match="has no mean colour to begin with; give a baseline"):
        attribution.integrated_gradients(foreign, IMAGES, LABELS)


def test_a_map_that_is_not_defined_for_a_model_is_refused_and_not_drawn(model, memory):
    averaging = models.build("vit", **SMALL, patch_size=4, heads=2, pooling="mean")
    for of_model, name in [
        (averaging, "pooling"),
        (memory, "raw attention"),
        (memory, "evidence"),
        (memory, "pooling"),
    ]:
        with pytest.raises(ValueError, match=r"has attention of kind .*, this map needs .*; see attribution.methods"):
            attribution.METHODS[name](of_model, IMAGES, LABELS)
    with pytest.raises(ValueError, match="method='pooling' is not known"):
        comparison.compare(averaging, IMAGES, LABELS, names=["pooling"])


def test_a_function_that_gives_no_probabilities_is_named():
    with pytest.raises(ValueError, match=r"predict gives \(4,\); it must give probabilities \(4, num_classes\)"):
        faithfulness.remove_by_rank(lambda x: np.ones(len(x)), IMAGES, LABELS, MAPS)


def test_without_a_token_mixing_frozen_denominators_look_at_their_images(memory):
    forward = eanet.freeze_denominators(memory, IMAGES)
    with pytest.warns(UserWarning, match="divided by 255"):
        forward(IMAGES / 255)
    with pytest.raises(TypeError, match="not list"):
        eanet.freeze_denominators(memory, [IMAGES[0]])
