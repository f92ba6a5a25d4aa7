"""The embedded images are honest ground truth: the target tells the class, and nothing else does."""

import time

import numpy as np
import pytest

from vattn_utils import data
from vattn_utils.data import shapes
from vattn_utils.data.shapes import TEST, TRAIN


@pytest.fixture(scope="module", params=shapes.NUM_CLASSES)
def dataset(request):
    return data.load(request.param)


def assert_chance(guesses, labels, num_classes):
    """Within three standard errors of guessing: 8 to 12 % of 2,000 images in ten classes."""
    chance = 1 / num_classes
    error = np.sqrt(chance * (1 - chance) / len(labels))
    assert abs(np.mean(guesses == labels) - chance) < 3 * error


# What is drawn


def test_an_image_is_a_pure_function_of_seed_and_index():
    images, labels, masks = shapes.draw(np.arange(1200), 100, seed=7)
    for index in (0, 499, 500, 1199):
        image, label, mask = shapes.draw([index], 100, seed=7)
        np.testing.assert_array_equal(image[0], images[index])
        np.testing.assert_array_equal(mask[0], masks[index])
        assert label == labels[index] == index % 100
    backwards, _, _ = shapes.draw(np.arange(1200)[::-1], 100, seed=7)
    np.testing.assert_array_equal(backwards[::-1], images)


def test_no_two_images_and_no_two_seeds_are_alike(dataset):
    everything = np.concatenate([dataset.x_train, dataset.x_test]).reshape(20_000, -1)
    assert len({image.tobytes() for image in everything}) == 20_000
    assert not np.array_equal(shapes.draw([0], seed=1)[0], shapes.draw([0], seed=2)[0])


def test_the_digest_is_that_of_the_package_and_another_one_is_refused(monkeypatch):
    monkeypatch.setattr(shapes, "TRAIN", np.arange(10))
    monkeypatch.setitem(shapes.DIGESTS, "shapes10", {"train": "0" * 64, "test": "0" * 64})
    with pytest.raises(data.DamagedData, match="expected digest 0000"):
        shapes.load.__wrapped__("shapes10")


def test_twenty_thousand_images_take_less_than_twenty_seconds_of_one_core():
    start = time.process_time()
    shapes.draw(np.arange(20_000))
    assert time.process_time() - start < 20


def test_a_data_set_has_as_many_images_of_each_class(dataset):
    for labels in (dataset.y_train, dataset.y_test):
        counts = np.bincount(labels, minlength=dataset.num_classes)
        assert (counts == len(labels) // dataset.num_classes).all()
    assert len(set(dataset.class_names)) == dataset.num_classes


def test_no_pixel_is_clipped():
    reach = shapes.TINT + shapes.CLOUDS + shapes.GRAIN
    assert 0 <= shapes.TONES.min() - reach < shapes.TONES.max() + reach <= 255


@pytest.mark.parametrize("wrong", [{"num_classes": 20}, {"show": "mask"}, {"seed": -1}, {"indices": [-1]}])
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        shapes.draw(**({"indices": [0]} | wrong))


# The mask


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_mask_is_where_the_target_is_pixel_for_pixel(num_classes):
    drawn, _, masks = shapes.draw(TEST, num_classes)
    erased, _, _ = shapes.draw(TEST, num_classes, show="scene")
    alone, _, _ = shapes.draw(TEST, num_classes, show="target")
    np.testing.assert_array_equal((drawn != erased).any(-1), masks)
    np.testing.assert_array_equal(alone[masks], drawn[masks])
    plain = np.ma.masked_array(alone, np.broadcast_to(masks[..., None], alone.shape)).reshape(len(TEST), -1, 3)
    assert (plain.max(1) == plain.min(1)).all()


def test_the_masks_of_a_data_set_are_those_of_its_images(dataset):
    np.testing.assert_array_equal(dataset.masks_test, shapes.draw(TEST, dataset.num_classes)[2])
    assert dataset.masks_train.shape == (18_000, 32, 32)
    assert dataset.masks_train.dtype == bool


def test_targets_are_whole_and_as_large_as_they_should_be(dataset):
    areas = dataset.masks_train.sum((1, 2))
    assert (areas.min(), areas.max()) == shapes.TARGET_AREAS
    for label in range(10):
        of_class = areas[dataset.y_train % 10 == label]
        assert abs(of_class.mean() - areas.mean()) < 4 * areas.std() / np.sqrt(len(of_class))


def test_no_mark_is_the_mirror_image_of_another():
    marks = {name: rows.split() for name, rows in shapes.MARKS.items()}
    mirrored = {name: [row[::-1] for row in rows] for name, rows in marks.items()}
    assert all(marks[a] != mirrored[b] for a in marks for b in marks if a != b)
    assert {sum(row.count("#") for row in rows) for rows in marks.values()} == {9}


# Nothing but the target tells the class


def test_scene_area_and_colours_are_drawn_without_a_look_at_the_class():
    """Image i is of another shape among 100 classes than among 10, and all else about it is the same."""
    for show in ("scene", "all"):
        ten, _, masks = shapes.draw(TEST, 10, show=show)
        hundred, _, other_masks = shapes.draw(TEST, 100, show=show)
        same = ~(masks | other_masks)
        np.testing.assert_array_equal(ten[same], hundred[same])
        np.testing.assert_array_equal(masks.sum((1, 2)), other_masks.sum((1, 2)))
        if show == "scene":
            np.testing.assert_array_equal(ten, hundred)


def pixels(images, masks):
    return images.reshape(len(images), -1)


def colour_histogram(images, masks):
    levels = images.reshape(len(images), -1, 3) // 32
    return np.concatenate([np.count_nonzero(levels == level, axis=1) for level in range(8)], axis=1)


def position_and_area(images, masks):
    area = masks.sum((1, 2))
    row, column = masks.sum(2) @ np.arange(32) / area, masks.sum(1) @ np.arange(32) / area
    return np.stack([area, row, column, row * row, row * column, column * column], axis=1)


@pytest.mark.parametrize("features", [pixels, colour_histogram, position_and_area])
def test_a_linear_probe_finds_nothing(dataset, features):
    train = features(dataset.x_train[:9000], dataset.masks_train[:9000]).astype(np.float32)
    test = features(dataset.x_test, dataset.masks_test).astype(np.float32)
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    targets = np.eye(dataset.num_classes, dtype=np.float32)[dataset.y_train[:9000]] - 1 / dataset.num_classes
    weights = np.linalg.solve(train.T @ train + 100 * np.eye(train.shape[1], dtype=np.float32), train.T @ targets)
    assert_chance((test @ weights).argmax(1), dataset.y_test, dataset.num_classes)


@pytest.fixture(scope="module")
def small_cnn():
    """Train a small convolutional network on what `show` shows; return it."""
    keras = pytest.importorskip("keras")

    def train(show):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        network = keras.Sequential(
            [
                layers.Input((32, 32, 3)),
                layers.Rescaling(1 / 64, -2),
                layers.Conv2D(12, 5, strides=2, activation="relu"),
                layers.BatchNormalization(momentum=0.9),
                layers.Conv2D(24, 3, activation="relu"),
                layers.BatchNormalization(momentum=0.9),
                layers.MaxPooling2D(2),
                layers.Conv2D(48, 3, activation="relu"),
                layers.GlobalMaxPooling2D(),
                layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(3e-3), loss)
        images, labels, _ = shapes.draw(TRAIN[:6000], show=show)
        network.fit(images, labels, epochs=3, batch_size=100, verbose=0)
        return lambda show: network.predict(shapes.draw(TEST, show=show)[0], batch_size=500, verbose=0).argmax(1)

    return train


def test_a_small_network_finds_nothing_where_the_target_is_erased(small_cnn):
    assert_chance(small_cnn("scene")("scene"), TEST % 10, 10)


def test_for_a_small_network_the_target_is_necessary_and_sufficient(small_cnn):
    guesses = small_cnn("all")
    accuracy = np.mean(guesses("all") == TEST % 10)
    assert accuracy > 0.8
    assert_chance(guesses("scene"), TEST % 10, 10)
    assert np.mean(guesses("target") == TEST % 10) > accuracy - 0.05
