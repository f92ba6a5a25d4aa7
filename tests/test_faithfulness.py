"""Measures of maps, on maps whose answer is known and against independent implementations."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from keras import layers

from vattn_utils.maps import faithfulness as f

RANDOM = np.random.default_rng(0)
SIDE = 8


@pytest.fixture(scope="module")
def scene():
    """Maps of noise and masks of different sizes, `(6, 8, 8)` each."""
    masks = np.zeros((6, SIDE, SIDE), bool)
    for index, mask in enumerate(masks):
        mask[index % 3 : 3 + index, 1:6] = True
    return RANDOM.random(masks.shape), masks


def test_the_order_is_from_high_to_low_and_ties_are_drawn_by_seed():
    maps = np.array([[[0.1, 0.9], [0.5, 0.3]]])
    assert f.order(maps).tolist() == [[1, 2, 3, 0]]
    flat = np.zeros((1, 4, 4))
    assert f.order(flat, seed=1).tolist() == f.order(flat, seed=1).tolist()
    assert f.order(flat, seed=1).tolist() != f.order(flat, seed=2).tolist()
    assert sorted(f.order(flat)[0].tolist()) == list(range(16))


@pytest.mark.parametrize("fill", f.FILLS.values(), ids=f.FILLS)
def test_a_fill_changes_removed_pixels_only(fill):
    images = RANDOM.integers(0, 256, (3, SIDE, SIDE, 3)).astype("uint8")
    removed = RANDOM.random((3, SIDE, SIDE)) < 0.4
    filled = fill(images, removed)
    assert filled.dtype == "float32"
    np.testing.assert_array_equal(filled[~removed], images[~removed])
    assert np.abs(filled[removed] - images[removed]).mean() > 10
    np.testing.assert_array_equal(fill(images, np.zeros_like(removed)), images)
    assert np.isfinite(fill(images, np.ones_like(removed))).all()


def test_the_mean_fill_is_the_mean_colour():
    images = RANDOM.integers(0, 256, (3, SIDE, SIDE, 3))
    filled = f.fill_mean(images, np.ones((3, SIDE, SIDE), bool))
    np.testing.assert_allclose(filled[0, 0, 0], images.mean(axis=(0, 1, 2)), rtol=1e-6)


def test_the_blur_is_scipys_gaussian():
    images = RANDOM.random((2, 20, 20, 3)).astype("float32")
    ours = f.blurred(images, 2.0)
    theirs = scipy.ndimage.gaussian_filter(images, (0, 2, 2, 0), mode="nearest", truncate=3.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_linear_fill_solves_roads_equations():
    """Every removed pixel is the weighted mean of its neighbours: direct ones count twice as much as diagonal ones."""
    image = RANDOM.uniform(0, 255, (1, SIDE, SIDE, 3)).astype("float32")
    hole = np.zeros((1, SIDE, SIDE), bool)
    hole[0, 2:6, 3:] = hole[0, 0, 0] = True
    filled = f.fill_linear(image, hole, noise=0)[0]
    padded = np.pad(filled, ((1, 1), (1, 1), (0, 0)))
    there = np.pad(np.ones((SIDE, SIDE, 1)), ((1, 1), (1, 1), (0, 0)))
    kernel = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    summed = sum(kernel[y, x] * padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3))
    weight = sum(kernel[y, x] * there[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3))
    np.testing.assert_allclose((summed / weight)[hole[0]], filled[hole[0]], atol=1e-3)


def test_the_linear_fill_of_a_plane_is_the_plane():
    y, x = np.mgrid[:16, :16]
    image = np.repeat((5.0 * y + 3.0 * x + 20)[None, :, :, None], 3, axis=-1).astype("float32")
    hole = np.zeros((1, 16, 16), bool)
    hole[0, 4:10, 5:12] = True
    np.testing.assert_allclose(f.fill_linear(image, hole, noise=0), image, atol=1e-2)


def patch_sum(images):
    """A transparent model of two classes: the first is as probable as the upper left quarter is bright."""
    light = np.clip(images[:, :4, :4].mean(axis=(1, 2, 3)) / 255, 0, 1)
    return np.stack([light, 1 - light], axis=1)


def bright(number=4):
    images = np.zeros((number, SIDE, SIDE, 3), "float32")
    images[:, :4, :4] = 255
    return images


def test_the_oracle_map_beats_random_and_its_reverse_is_worst():
    images, labels = bright(16), np.zeros(16, int)
    oracle = np.zeros((16, 4, 4))
    oracle[:, :2, :2] = 1 + RANDOM.random((16, 2, 2))
    oracle += 0.1 * RANDOM.random(oracle.shape)
    *_, right = f.remove_by_rank(patch_sum, images, labels, oracle).areas()
    *_, chance = f.remove_by_rank(patch_sum, images, labels, RANDOM.random(oracle.shape)).areas()
    *_, wrong = f.remove_by_rank(patch_sum, images, labels, -oracle).areas()
    assert right.min() > chance.max() > chance.min() > wrong.max()
    np.testing.assert_allclose(right, -wrong, atol=1e-6)
    assert abs(chance.mean()) < 0.15


def test_removal_begins_with_the_image_and_ends_with_nothing_of_it():
    images, labels = bright(), np.zeros(4, int)
    found = f.remove_by_rank(patch_sum, images, labels, RANDOM.random((4, 4, 4)), steps=4)
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(found.most_first[:, 0], 1)
    np.testing.assert_allclose(found.most_first[:, -1], images.mean() / 255, atol=1e-6)
    np.testing.assert_array_equal(found.most_first[:, [0, -1]], found.least_first[:, [0, -1]])


def test_a_batch_equals_a_loop_over_its_images():
    images, maps = RANDOM.uniform(0, 255, (3, SIDE, SIDE, 3)), RANDOM.random((3, 4, 4))
    labels = np.array([0, 1, 0])
    whole = f.remove_by_rank(patch_sum, images, labels, maps, fill="blur").areas()[2]
    parts = [f.remove_by_rank(patch_sum, images[i : i + 1], labels[i : i + 1], maps[i : i + 1], fill="blur").areas()[2]
             for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)


def test_only_the_order_of_a_map_counts_in_removal():
    images, maps = RANDOM.uniform(0, 255, (2, SIDE, SIDE, 3)), RANDOM.random((2, 4, 4))
    labels = np.array([0, 1])
    one, other = (f.remove_by_rank(patch_sum, images, labels, m).areas()[2] for m in (maps, maps**3))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (dict(fill="black"), "fill='black' is not known; use one of mean, blur, linear"),
        (dict(maps=np.zeros((2, 3, 3))), r"maps of shape \(2, 3, 3\) do not fit images"),
        (dict(maps=np.full((2, 4, 4), np.nan)), "use finite"),
        (dict(maps=np.zeros((1, 4, 4))), "do not fit"),
    ],
)
def test_wrong_input_to_removal_is_named(changes, complaint):
    arguments = dict(images=bright(2), labels=np.zeros(2, int), maps=np.zeros((2, 4, 4))) | changes
    with pytest.raises(ValueError, match=complaint):
        f.remove_by_rank(patch_sum, **arguments)


@pytest.mark.parametrize("measure", f.MEASURES.values(), ids=f.MEASURES)
def test_the_masks_own_map_is_perfect_and_its_negative_is_not(scene, measure):
    _, masks = scene
    np.testing.assert_allclose(measure(masks.astype(float), masks), 1)
    assert (measure(1.0 - masks, masks) < 0.5).all()


@pytest.mark.parametrize("measure", f.MEASURES.values(), ids=f.MEASURES)
def test_noise_is_at_chance(measure):
    masks = np.zeros((4000, SIDE, SIDE), bool)
    masks[:, 1:5, 2:7] = True
    maps = np.random.default_rng(1).random(masks.shape)
    expected = f.chance(measure, maps, masks)
    assert abs(measure(maps, masks).mean() - expected.mean()) < 0.02


def test_a_uniform_maps_mass_in_a_mask_is_its_area(scene):
    _, masks = scene
    flat = np.full(masks.shape, 0.3)
    area = masks.mean(axis=(1, 2))
    np.testing.assert_allclose(f.mass(flat, masks), area)
    np.testing.assert_allclose(f.mass(0 * flat, masks), area)
    np.testing.assert_allclose(f.iou(flat, masks), area)
    np.testing.assert_allclose(f.roc_auc(flat, masks), 0.5)


def test_roc_auc_counts_pairs(scene):
    maps, masks = scene
    maps = np.round(maps, 1)  # ties
    for value, one, mask in zip(f.roc_auc(maps, masks), maps, masks, strict=True):
        pairs = one[mask][:, None] - one[~mask][None]
        assert value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_rank_accuracy_is_the_overlap_of_the_highest_pixels(scene):
    maps, masks = scene
    for value, one, mask in zip(f.rank_accuracy(maps, masks), maps, masks, strict=True):
        highest = np.argsort(-one.ravel())[: mask.sum()]
        assert value == pytest.approx(mask.ravel()[highest].mean())


@pytest.mark.parametrize(
    ("maps", "masks", "complaint"),
    [
        (np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), "mask 0 is empty"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8)), "mask 0 is empty or covers the image"),
        (np.zeros((1, 4, 4)), np.eye(8)[None], "enlarge the maps first"),
        (np.zeros((8, 8)), np.eye(8), r"use finite \(B, H, W\)"),
    ],
)
def test_wrong_maps_and_masks_are_named(maps, masks, complaint):
    with pytest.raises(ValueError, match=complaint):
        f.mass(maps, masks)


def test_mosaics_hold_four_classes_in_their_cells():
    labels = np.arange(80) % 8
    images = np.broadcast_to(labels[:, None, None, None], (80, SIDE, SIDE, 3)).astype("float32")
    made, cells = f.mosaics(images, labels, RANDOM.random(80), number=5)
    assert made.shape == (5, SIDE, SIDE, 3)
    assert all(len(set(row)) == 4 for row in cells)
    corners = made[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_array_equal(corners, cells)
    with pytest.raises(ValueError, match="3 classes"):
        f.mosaics(images[:80], labels % 3, RANDOM.random(80), 1)


def test_mosaics_are_drawn_from_confident_images_only():
    labels = np.arange(40) % 4
    images = np.zeros((40, SIDE, SIDE, 3), "float32")
    images[20:] = 1
    made, _ = f.mosaics(images, labels, np.repeat([0.1, 0.9], 20), number=8)
    assert made.min() == 1


def test_grid_pointing_of_a_map_within_its_cell_is_one_and_flat_is_a_quarter():
    maps = np.zeros((4, 4, 4))
    for cell in range(4):
        maps[cell, 2 * (cell // 2), 2 * (cell % 2)] = 1
    np.testing.assert_allclose(f.grid_pointing(maps, range(4)), 1)
    np.testing.assert_allclose(f.grid_pointing(maps, [1, 0, 3, 2]), 0)
    np.testing.assert_allclose(f.grid_pointing(np.ones((4, 4, 4)), range(4)), 0.25)


def test_spearman_is_scipys():
    a, b = RANDOM.random((5, 4, 4)).round(1), RANDOM.random((5, 4, 4)).round(1)
    expected = [scipy.stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(f.spearman(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(f.spearman(a, a**3), 1)
    np.testing.assert_allclose(f.spearman(a, np.ones_like(a)), 0)


def test_midranks_are_scipys():
    values = RANDOM.integers(0, 5, (4, 12)).astype(float)
    np.testing.assert_array_equal(f.midranks(values), scipy.stats.rankdata(values, axis=1))


def test_the_cascade_goes_from_the_logits_down_and_gives_the_weights_back():
    model = keras.Sequential([layers.Dense(4, name="first"), layers.Dense(3, name="logits")])
    model.build((None, 6))
    x, before = RANDOM.normal(size=(8, 6)).astype("float32"), model.get_weights()
    found = f.cascade(model, lambda: np.array(model(x))[:, :, None])
    assert [name for name, _ in found] == ["none", "logits", "first"]
    assert found[0][1].tolist() == [1] * 8
    assert all(values.shape == (8,) and -1 <= values.mean() < 0.9 for _, values in found[1:])
    constant = f.cascade(model, lambda: x[:, :, None])
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
        f.cascade(model, fail_the_second_time)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_an_interval_holds_the_mean_as_often_as_it_says():
    random = np.random.default_rng(3)
    inside = 0
    for trial in range(200):
        mean, low, high = f.bootstrap(random.normal(1, 2, 60), seed=trial, draws=400)
        assert low < mean < high
        inside += low < 1 < high
    assert 0.88 < inside / 200 < 0.99


def test_a_paired_interval_is_narrower_than_two_separate_ones():
    common = RANDOM.normal(0, 5, 200)
    a, b = common + 0.5 + RANDOM.normal(0, 0.1, 200), common
    _, low, high = f.bootstrap(a - b)
    assert 0 < low < 0.5 < high
    assert f.bootstrap(a)[1] < f.bootstrap(b)[0]


def test_a_list_of_maps_has_no_interval():
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\) have no interval"):
        f.bootstrap(np.zeros((2, 3)))
