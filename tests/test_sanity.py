"""Weights drawn anew layer by layer: what the maps make of it, and that the model is itself again afterwards."""

import keras
import numpy as np
import pytest
from keras import layers

from vattn_utils.maps import sanity

RANDOM = np.random.default_rng(0)


def test_the_cascade_goes_from_the_logits_down_and_gives_the_weights_back():
    model = keras.Sequential([layers.Dense(4, name="first"), layers.Dense(3, name="logits")])
    model.build((None, 6))
    x, before = RANDOM.normal(size=(8, 6)).astype("float32"), model.get_weights()
    found = sanity.cascade(model, lambda: np.array(model(x))[:, :, None])
    assert [name for name, _ in found] == ["none", "logits", "first"]
    assert found[0][1].tolist() == [1] * 8
    assert all(values.shape == (8,) and -1 <= values.mean() < 0.9 for _, values in found[1:])
    constant = sanity.cascade(model, lambda: x[:, :, None])
    np.testing.assert_allclose([values for _, values in constant], 1)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_cascade_gives_the_weights_back_when_the_maps_fail():
    model = keras.Sequential([layers.Dense(4)])
    model.build((None, 6))
    before, calls = model.get_weights(), []

    def fail_the_second_time():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no map")
        return np.eye(3)[None]

    with pytest.raises(RuntimeError, match="no map"):
        sanity.cascade(model, fail_the_second_time)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_weights_that_were_frozen_are_drawn_anew_as_others_are_but_statistics_stay():
    model = keras.Sequential([layers.Dense(4, name="first"), layers.BatchNormalization(), layers.Dense(3)])
    model.build((None, 6))
    x, statistics = RANDOM.normal(size=(8, 6)).astype("float32"), model.layers[1].non_trainable_weights

    def maps():
        np.testing.assert_array_equal([keras.ops.convert_to_numpy(value) for value in statistics], [[0] * 4, [1] * 4])
        return np.array(model(x))[:, :, None]

    expected = sanity.cascade(model, maps)
    model.layers[0].trainable = False
    for (name, values), (_, others) in zip(sanity.cascade(model, maps), expected, strict=True):
        np.testing.assert_array_equal(values, others, err_msg=name)


def test_maps_follow_the_class_or_the_image():
    drawn = {"i": RANDOM.random((6, 1, 3, 3)), "c": RANDOM.random((1, 4, 3, 3))}  # by image, by class
    looks = {name: sanity.class_likeness(np.broadcast_to(maps, (6, 4, 3, 3))) for name, maps in drawn.items()}
    np.testing.assert_allclose(looks["i"]["two classes, one image"], 1)
    np.testing.assert_allclose(looks["c"]["one class, two images"], 1)
    assert looks["i"]["one class, two images"].max() < 1
    assert looks["c"]["two classes, one image"].max() < 1
    np.testing.assert_allclose(looks["i"]["two classes, two images"], looks["i"]["one class, two images"])
    np.testing.assert_allclose(looks["c"]["two classes, two images"], looks["c"]["two classes, one image"])
    assert {values.shape for found in looks.values() for values in found.values()} == {(6,)}
