"""Removal by rank and its fills, on maps whose answer is known."""

import numpy as np
import pytest

from vattn_utils.maps import faithfulness as f

RANDOM = np.random.default_rng(0)
SIDE = 8


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


def test_the_blur_is_a_gaussian_whose_border_goes_on():
    image = np.zeros((1, 9, 9, 3), "float32")
    image[0, 0, 4] = 255
    bell = np.exp(-0.5 * np.arange(-6, 7) ** 2 / 2.0**2)
    bell /= bell.sum()
    filled = f.fill_blur(image, np.ones((1, 9, 9), bool), sigma=2.0)
    # Above the border lies its row again and again: half of the bell, and the middle once.
    np.testing.assert_allclose(filled[0, 0, 4], 255 * bell[:7].sum() * bell[6], rtol=1e-5)
    np.testing.assert_allclose(filled[0, 3, 2], 255 * bell[:4].sum() * bell[4], rtol=1e-5)


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


def test_both_ends_are_the_same_for_every_map_and_need_not_be_asked_again():
    images, labels, asked = bright(), np.array([0, 1, 0, 1]), []

    def counted(altered):
        asked.append(1)
        return patch_sum(altered)

    one, other = RANDOM.random((2, 4, 4, 4))
    ends = f.remove_by_rank(patch_sum, images, labels, one, steps=4).ends
    np.testing.assert_allclose(ends[:, 0], [1, 0, 1, 0])
    plain = f.remove_by_rank(patch_sum, images, labels, other, steps=4)
    spared = f.remove_by_rank(counted, images, labels, other, steps=4, ends=ends)
    np.testing.assert_array_equal(spared.most_first, plain.most_first)
    np.testing.assert_array_equal(spared.least_first, plain.least_first)
    assert len(asked) == 2 * 3


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
        (dict(fill="black"), "fill='black' is not known; use one of 'mean', 'blur', 'linear'"),
        (dict(maps=np.zeros((2, 3, 3))), r"maps of shape \(2, 3, 3\) do not fit images"),
        (dict(maps=np.full((2, 4, 4), np.nan)), "use finite"),
        (dict(maps=np.zeros((1, 4, 4))), "do not fit"),
    ],
)
def test_wrong_input_to_removal_is_named(changes, complaint):
    arguments = dict(images=bright(2), labels=np.zeros(2, int), maps=np.zeros((2, 4, 4))) | changes
    with pytest.raises(ValueError, match=complaint):
        f.remove_by_rank(patch_sum, **arguments)
