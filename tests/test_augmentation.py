import numpy as np
import pytest
from PIL import Image, ImageOps

from vattn_utils.training import augmentation
from vattn_utils.training.augmentation import AUGMENTATIONS, OPERATIONS, augment, crop, flip, mix


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def photographs(random):
    return random.integers(0, 256, (40, 32, 32, 3), dtype="uint8")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_a_pure_function_from_pixels_to_pixels(name, photographs):
    before = photographs.copy()
    first, again = (augment(photographs, [name], generator()) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == photographs.shape
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(photographs, before)
    assert (augment(photographs, [name], generator(1)) != first).any()


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others(photographs):
    flipped = flip(photographs, generator())
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, photographs, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(flipped, photographs, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 8 < sum(mirrored) < 32


def test_flip_crop_and_cutmix_give_what_index_arrays_and_masks_do(photographs):
    random = generator()
    mirrored = random.random(40)[:, None, None, None] < 0.5
    np.testing.assert_array_equal(
        flip(photographs, generator()), np.where(mirrored, photographs[:, :, ::-1], photographs)
    )

    padded = np.pad(photographs, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    top, left = generator().integers(0, 9, (2, 40))
    rows, columns = top[:, None] + np.arange(32), left[:, None] + np.arange(32)
    expected = padded[np.arange(40)[:, None, None], rows[:, :, None], columns[:, None]]
    np.testing.assert_array_equal(crop(photographs, generator()), expected)

    random = generator()
    partner, _ = random.permutation(40), random.integers(1)
    share = random.beta(1.0, 1.0, 40)
    centres = random.integers(0, 32, 40), random.integers(0, 32, 40)
    half = (np.sqrt(1 - share) * 16)[:, None]
    down, across = (np.abs(np.arange(32) + 0.5 - centre[:, None]) < half for centre in centres)
    inside = down[:, :, None] & across[:, None]
    mixed, targets = mix(photographs, np.eye(40, dtype="float32"), generator(), cutmix=1.0)
    np.testing.assert_array_equal(mixed, np.where(inside[..., None], photographs[partner], photographs))
    kept = 1 - inside.mean(axis=(1, 2)).astype("float32")
    np.testing.assert_array_equal(targets, kept[:, None] * np.eye(40) + (1 - kept)[:, None] * np.eye(40)[partner])


def test_crop_moves_an_image_by_at_most_its_padding():
    image = np.zeros((200, 32, 32, 3), "uint8")
    image[:, 16, 16] = 255
    rows, columns = np.nonzero(crop(image, generator(), padding=4)[..., 0])[1:]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 20, 12, 20)


def test_crop_moves_down_and_to_the_right_independently():
    image = np.zeros((500, 8, 8, 3), "uint8")
    image[:, 4, 4] = 255
    _, rows, columns = np.nonzero(crop(image, generator(), padding=2)[..., 0])
    assert len(set(zip(rows, columns, strict=True))) == 5 * 5


def test_crop_fills_the_border_by_reflection():
    image = np.broadcast_to(np.arange(8, dtype="uint8")[None, None, :, None], (50, 8, 8, 3))
    expected = {tuple(np.pad(np.arange(8), 2, mode="reflect")[left : left + 8]) for left in range(5)}
    assert {tuple(row) for row in crop(image, generator(), padding=2)[:, 0, :, 0]} == expected


def test_no_strength_of_zero_changes_the_geometry_or_colour(photographs):
    unchanged = [np.abs(op(photographs[0], 0.0, 1).astype(int) - photographs[0]).max() <= 1 for op in OPERATIONS]
    # Autocontrast and equalize have no strength.
    assert sum(unchanged) >= len(OPERATIONS) - 2


@pytest.mark.parametrize("levels", [1, 2, 5, 256])
@pytest.mark.parametrize(
    ("operation", "pillows"),
    [
        ("_autocontrast", lambda image, strength: ImageOps.autocontrast(image)),
        ("_equalize", lambda image, strength: ImageOps.equalize(image)),
        ("_solarize", lambda image, strength: ImageOps.solarize(image, round(255 * (1 - strength)))),
        ("_posterize", lambda image, strength: ImageOps.posterize(image, 8 - round(6 * strength))),
    ],
)
def test_what_is_written_in_numpy_equals_pillow_to_the_last_bit(operation, pillows, levels, random):
    for strength in (0.0, 0.3, 0.7, 1.0):
        values = np.sort(random.integers(0, 256, (levels, 3)), axis=0)
        x = np.stack([random.choice(values[:, channel], (32, 32)) for channel in range(3)], axis=-1).astype("uint8")
        found = getattr(augmentation, operation)(x, strength, 1)
        np.testing.assert_array_equal(found, np.asarray(pillows(Image.fromarray(x), strength)))
        assert found.dtype == np.uint8


def test_contrast_never_leaves_the_range_and_is_small(photographs):
    stretched = augment(photographs, ["contrast"], generator())
    assert np.abs(stretched.astype(int) - photographs).max() <= 0.1 * 255 + 1


def test_mixing_nothing_returns_the_same_pixels(photographs):
    targets = np.eye(40, dtype="float32")
    images, same = mix(photographs, targets, generator())
    np.testing.assert_array_equal(images, photographs)
    np.testing.assert_array_equal(same, targets)


@pytest.mark.parametrize("alphas", [dict(mixup=0.8), dict(cutmix=1.0), dict(mixup=0.8, cutmix=1.0)])
def test_mixed_targets_still_sum_to_one(photographs, alphas):
    images, targets = mix(photographs, np.eye(40, dtype="float32"), generator(), **alphas)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert images.min() >= 0
    assert images.max() <= 255
    assert (targets.max(axis=1) < 1).any()


def test_the_share_of_a_cutmix_target_is_the_area_that_was_kept():
    # Each image is one constant: its pixels tell from which image they come.
    images = np.broadcast_to(np.arange(20, dtype="uint8")[:, None, None, None], (20, 16, 16, 3))
    mixed, targets = mix(images, np.eye(20, dtype="float32"), generator(), cutmix=1.0)
    for index in range(20):
        values, counts = np.unique(mixed[index, ..., 0], return_counts=True)
        found = np.zeros(20)
        found[values.astype(int)] = counts / 256
        np.testing.assert_allclose(targets[index], found, atol=1e-6)


def test_the_share_of_a_mixup_target_is_the_share_of_the_pixels():
    images = np.broadcast_to((10.0 * np.arange(20))[:, None, None, None], (20, 4, 4, 3))
    mixed, targets = mix(images, np.eye(20, dtype="float32"), generator(), mixup=1.0)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ (10.0 * np.arange(20)), rtol=1e-4)
