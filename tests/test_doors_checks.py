"""Doors, the one place: what images, labels, class names, counts and numbers are, and what is said of others."""

import warnings

import numpy as np
import pytest
from PIL import Image

from vattn_utils.data import checks

IMAGES = np.full((2, 8, 8, 3), 200, "uint8")


def test_images_come_back_as_they_were_and_lie_in_one_piece():
    mirrored = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), "uint8")[::-1, :, ::-1]
    found = checks.check_images(mirrored, 8)
    np.testing.assert_array_equal(found, mirrored)
    assert found.flags.c_contiguous
    assert all(stride > 0 for stride in found.strides)


@pytest.mark.parametrize("images", [None, [IMAGES[0]], Image.fromarray(IMAGES[0]), "images", 3])
def test_what_is_no_array_of_images_is_refused_by_a_sentence(images):
    with pytest.raises(TypeError, match=f"images are an array .* not {type(images).__name__}; use np.stack"):
        checks.check_images(images)


@pytest.mark.parametrize("images", [IMAGES / 255, np.minimum(IMAGES, 1), (IMAGES / 255).astype("float16")])
def test_images_from_0_to_1_are_warned_of(images):
    with pytest.warns(UserWarning, match="from 0.78.* to 0.78.*divided|from 1 to 1.*divided"):
        checks.check_images(images)


@pytest.mark.parametrize("images", [IMAGES, IMAGES // 100, np.zeros_like(IMAGES), np.full((1, 8, 8, 3), 1.5)])
def test_dark_and_black_images_are_not(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.check_images(images)


def test_altered_images_may_lie_a_little_outside_and_normalised_ones_are_still_warned_of():
    checks.check_images(IMAGES + 60.0, beyond=checks.NOISE)
    with pytest.warns(UserWarning, match="from -1.5 to 2"):
        checks.check_images(np.linspace(-1.5, 2, IMAGES.size).reshape(IMAGES.shape), beyond=checks.NOISE)
    with pytest.raises(ValueError, match="0 to 255"):
        checks.check_images(IMAGES + 60.0)


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES[:, :0]])
def test_no_images_and_images_without_a_pixel_are_refused(images):
    with pytest.raises(ValueError, match="hold no image; give one or more"):
        checks.check_images(images)


@pytest.mark.parametrize("labels", [[0, 9], (0, 9), np.array([0, 9], "uint8"), np.array([[0], [9]], "int32")])
def test_labels_are_understood_in_a_row_and_in_a_column(labels):
    found = checks.check_labels(labels, 2, 10)
    assert found.tolist() == [0, 9]
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([0, -1], ValueError, "labels go from -1 to 0; those of 10 classes are 0 to 9"),
        ([0, 10], ValueError, "from 0 to 10"),
        ([0], ValueError, r"\(1,\) do not fit 2 images"),
        (np.eye(10)[:2], ValueError, "argmax"),
        (["cat", "dog"], TypeError, "class_names"),
        ([0.0, 1.0], TypeError, r"astype\(int\)"),
        ([True, False], TypeError, "no integers"),
        ([None, 1], TypeError, "no integers"),
        ([[0], [1, 2]], TypeError, "labels are integers"),
        (None, TypeError, "not NoneType"),
        ("01", TypeError, "not str"),
    ],
)
def test_other_labels_are_refused_by_a_sentence(labels, error, words):
    with pytest.raises(error, match=words):
        checks.check_labels(labels, 2, 10)


def test_class_names_are_text_one_for_each_class():
    assert checks.check_class_names(None, 2) == ["class 0", "class 1"]
    assert checks.check_class_names(("cat", np.str_("dog")), 2) == ["cat", "dog"]
    assert checks.check_class_names(range(2), 2) == ["0", "1"]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["cat"], ValueError, "1 class_names do not fit a model of 2 classes"),
        (["cat", None], TypeError, r"class_names\[1\]=None is no name"),
        ({"cat": 0, "dog": 1}, TypeError, "dict"),
        ("ab", TypeError, "str"),
        (5, TypeError, "int"),
        (["cat", "\ud800"], ValueError, "half a character"),
        (["cat", "x" * 1_000_000], ValueError, "1000000 characters.* use 1 to 200"),
        (["cat", " "], ValueError, "0 characters"),
    ],
)
def test_other_class_names_are_refused_by_a_sentence(names, error, words):
    with pytest.raises(error, match=words):
        checks.check_class_names(names, 2)


def test_whole_numbers_are_integers_within_their_limits():
    assert checks.check_whole("depth", np.int32(4), 1, 9) == 4
    for value in (True, 2.0, "4", None, (1, 2), float("nan")):
        with pytest.raises(TypeError, match=r"depth=.* is no whole number but .*; use 1 to 9"):
            checks.check_whole("depth", value, 1, 9)
    for value in (0, -1, 10, 10**30):
        with pytest.raises(ValueError, match=f"depth={value} is not possible; use 1 to 9"):
            checks.check_whole("depth", value, 1, 9)


def test_numbers_are_finite_and_within_their_limits():
    assert checks.check_number("rate", np.float32(0.5), 0, below=1) == 0.5
    assert checks.check_number("rate", -3) == -3
    for value in (True, "0.1", None, (0.1,), 1j):
        with pytest.raises(TypeError, match=r"rate=.* is no number but .*; use a finite number from 0 below 1"):
            checks.check_number("rate", value, 0, below=1)
    for value in (float("nan"), float("inf"), -0.1, 1.0):
        with pytest.raises(ValueError, match=r"rate=.* is not possible"):
            checks.check_number("rate", value, 0, below=1)
    with pytest.raises(ValueError, match="use a finite number from 0 to 1"):
        checks.check_number("rate", 1.5, 0, 1)


def test_a_choice_is_one_of_the_words():
    checks.check_choice("kind", "a", ("a", "b"))
    for value in ("c", 1, None, ["a"], np.array(["a"])):
        with pytest.raises(ValueError, match=r"kind=.* is not known; use one of 'a', 'b'"):
            checks.check_choice("kind", value, ("a", "b"))
