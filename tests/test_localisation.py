"""Maps against masks and mosaics, on maps whose answer is known and pair by pair."""

import numpy as np
import pytest

from vattn_utils.maps import localisation as l

RANDOM = np.random.default_rng(0)
SIDE = 8


@pytest.fixture(scope="module")
def scene():
    """Maps of noise and masks of different sizes, `(6, 8, 8)` each."""
    masks = np.zeros((6, SIDE, SIDE), bool)
    for index, mask in enumerate(masks):
        mask[index % 3 : 3 + index, 1:6] = True
    return RANDOM.random(masks.shape), masks


@pytest.mark.parametrize("measure", l.MEASURES.values(), ids=l.MEASURES)
def test_the_masks_own_map_is_perfect_and_its_negative_is_not(scene, measure):
    _, masks = scene
    np.testing.assert_allclose(measure(masks.astype(float), masks), 1)
    assert (measure(1.0 - masks, masks) < 0.5).all()


@pytest.mark.parametrize("measure", l.MEASURES.values(), ids=l.MEASURES)
def test_noise_is_at_chance(measure):
    masks = np.zeros((4000, SIDE, SIDE), bool)
    masks[:, 1:5, 2:7] = True
    maps = np.random.default_rng(1).random(masks.shape)
    expected = l.chance(measure, maps, masks)
    assert abs(measure(maps, masks).mean() - expected.mean()) < 0.02


def test_a_uniform_maps_mass_in_a_mask_is_its_area(scene):
    _, masks = scene
    flat = np.full(masks.shape, 0.3)
    area = masks.mean(axis=(1, 2))
    np.testing.assert_allclose(l.mass(flat, masks), area)
    np.testing.assert_allclose(l.mass(0 * flat, masks), area)
    np.testing.assert_allclose(l.iou(flat, masks), area)
    np.testing.assert_allclose(l.roc_auc(flat, masks), 0.5)


def test_roc_auc_counts_pairs(scene):
    maps, masks = scene
    maps = np.round(maps, 1)  # ties
    for value, one, mask in zip(l.roc_auc(maps, masks), maps, masks, strict=True):
        pairs = one[mask][:, None] - one[~mask][None]
        assert value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_rank_accuracy_is_the_overlap_of_the_highest_pixels(scene):
    maps, masks = scene
    for value, one, mask in zip(l.rank_accuracy(maps, masks), maps, masks, strict=True):
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
        l.mass(maps, masks)


def test_mosaics_hold_four_classes_in_their_cells():
    labels = np.arange(80) % 8
    images = np.broadcast_to(labels[:, None, None, None], (80, SIDE, SIDE, 3)).astype("float32")
    made, cells = l.mosaics(images, labels, RANDOM.random(80), number=9)
    assert made.shape == (9, SIDE, SIDE, 3)
    assert all(len(set(row)) == 4 for row in cells)
    corners = made[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_array_equal(corners, cells)
    with pytest.raises(ValueError, match="3 classes"):
        l.mosaics(images[:80], labels % 3, RANDOM.random(80), 1)


def test_mosaics_are_drawn_from_confident_images_only():
    labels = np.arange(40) % 4
    images = np.zeros((40, SIDE, SIDE, 3), "float32")
    images[20:] = 255
    made, _ = l.mosaics(images, labels, np.repeat([0.1, 0.9], 20), number=5)
    assert made.min() == 255


def test_no_image_stands_in_two_mosaics_and_one_too_many_is_refused():
    labels = np.arange(40) % 5
    images = np.broadcast_to(np.arange(40.0)[:, None, None, None], (40, SIDE, SIDE, 3))
    made, _ = l.mosaics(images, labels, np.ones(40), 5)
    corners = made[:, [0, 0, -1, -1], [0, -1, 0, -1], 0].ravel()
    assert sorted(corners) == list(range(20))
    with pytest.raises(ValueError, match="20 confident images in 5 classes make 5 mosaics without using one twice"):
        l.mosaics(images, labels, np.ones(40), 6)


def test_a_mosaic_of_whole_images_is_twice_as_large():
    images = np.arange(8.0)[:, None, None, None] * np.ones((1, SIDE, SIDE, 3))
    made, cells = l.mosaics(images, np.arange(8) % 4, np.ones(8), 1, halve=False)
    assert made.shape == (1, 2 * SIDE, 2 * SIDE, 3)
    np.testing.assert_array_equal(made[0, :SIDE, SIDE:], np.broadcast_to(cells[0, 1], (SIDE, SIDE, 3)))


def test_grid_pointing_of_a_map_within_its_cell_is_one_and_flat_is_a_quarter():
    maps = np.zeros((4, 4, 4))
    for cell in range(4):
        maps[cell, 2 * (cell // 2), 2 * (cell % 2)] = 1
    np.testing.assert_allclose(l.grid_pointing(maps, range(4)), 1)
    np.testing.assert_allclose(l.grid_pointing(maps, [1, 0, 3, 2]), 0)
    np.testing.assert_allclose(l.grid_pointing(np.ones((4, 4, 4)), range(4)), 0.25)
