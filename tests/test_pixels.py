"""Where tokens look, measured on tokenizers whose field is known by counting, and maps enlarged to it."""

import numpy as np
import pytest
from keras import ops

from vattn_utils.maps.pixels import on_image, receptive_field, to_grid, to_image_size
from vattn_utils.models import build

SMALL = dict(num_classes=3, dim=8, depth=1, mlp_dim=8)
VIT = dict(SMALL, heads=2, convolutions=1)


def tokenizer(name, **given):
    return build("vit", "book", **VIT, tokenizer=name, **given)


def padded_on_both_sides():
    """The max-pool as the authors of CCT have it."""
    model = tokenizer("convolutional")
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    model.tokens.pool = lambda x: ops.max_pool(ops.pad(x, around, constant_values=-1e9), 3, strides=2)
    return model


# A stage of the tokenizer: a convolution sees one pixel more on each side, a pool of three in steps of two, padded
# behind, pixels 2i to 2i + 2. The second stage counts twice.
FIELDS = {
    "patches see themselves": (lambda: tokenizer("patch"), 4, 0.0),
    "patches of a picture that is enlarged first": (lambda: tokenizer("patch", resize_to=64, patch_size=8), 6, 0.0),
    "padded behind": (lambda: tokenizer("convolutional"), 13, 1.5),
    "padded behind, one stage": (lambda: tokenizer("convolutional", patch_size=2), 5, 0.5),
    "padded on both sides": (padded_on_both_sides, 13, -1.5),
    "a pool that lies centred": (lambda: tokenizer("convolutional-centred"), 16, 0.0),
    "one convolution in steps of two": (lambda: build("patch_convnet", **SMALL, strides=(2,)), 3, 0.5),
    "the book's stem": (lambda: build("patch_convnet", **SMALL, strides=(1, 2, 2)), 9, 1.5),
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_of_a_token_is_what_its_tokenizer_leaves_it(name):
    made, extent, shift = FIELDS[name]
    found = receptive_field(made())
    assert found.extent == (extent, extent)
    assert found.shift == pytest.approx((shift, shift))


def test_class_tokens_and_registers_have_no_field_and_are_not_asked():
    model = tokenizer("patch", pooling="class", registers=2)
    assert receptive_field(model).shift == (0, 0)


def test_a_field_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"every token reaches the border of the image of 8 pixels"):
        receptive_field(tokenizer("convolutional", image_size=8))


def test_a_map_lies_where_its_tokens_look():
    model, spot = tokenizer("convolutional"), np.zeros((8, 8))
    spot[3, 5] = 1
    found = on_image(model, spot)
    (top, bottom), (left, right) = (np.flatnonzero(found.sum(axis=axis))[[0, -1]] for axis in (1, 0))
    assert ((top + bottom) / 2, (left + right) / 2) == (4 * 3 + 1.5 + 1.5, 4 * 5 + 1.5 + 1.5)
    np.testing.assert_array_equal(on_image(tokenizer("patch"), spot), to_image_size(spot, (32, 32)))


def test_a_shift_of_one_token_moves_the_map_by_one_token(random):
    values = random.random((2, 4, 4))
    for method in ("nearest", "bilinear"):
        moved, still = (to_image_size(values, (12, 12), method, shift) for shift in ((3, 0), (0, 0)))
        np.testing.assert_allclose(moved[:, 3:], still[:, :-3])
        np.testing.assert_allclose(moved[:, :3], still[:, :1].repeat(3, axis=1))


def test_a_pixel_between_two_tokens_always_takes_the_lower_or_right_one():
    found = to_image_size(np.array([[1, 2, 3]]), (1, 9), "nearest", (0, 0.5))
    assert found.tolist() == [[1, 1, 1, 2, 2, 2, 3, 3, 3]]


def test_enlarging_and_summing_keeps_what_each_token_has(random):
    values = random.random((2, 4, 4))
    found = to_grid(to_image_size(values, (8, 8), "nearest"), (4, 4))
    np.testing.assert_allclose(found, 4 * values, rtol=1e-6)
