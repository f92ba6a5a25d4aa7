"""The attention of models that are not ours: keras.io's own ViT, nested, repeated, fused and subclassed ones."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.test_models import tiny_model
from vattn_utils.maps import attention
from vattn_utils.models import vit

IMAGES = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
class Patches(layers.Layer):
    """As the page has it: patches in reading order."""

    def call(self, images):
        patches = ops.image.extract_patches(images, size=2)
        return ops.reshape(patches, (-1, patches.shape[1] * patches.shape[2], patches.shape[3]))


def page(depth=2, class_token=False, **attention):
    """The ViT of keras.io/examples/vision/image_classification_with_vision_transformer, small."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(8)(Patches()(layers.RandomFlip("horizontal")(inputs)))
    if class_token:
        x = layers.Concatenate(axis=1)([layers.GlobalAveragePooling1D(keepdims=True)(x), x])
    for _ in range(depth):
        x1 = layers.LayerNormalization(epsilon=1e-6)(x)
        x2 = layers.Add()([layers.MultiHeadAttention(num_heads=2, key_dim=4, **attention)(x1, x1), x])
        x3 = layers.Dense(8, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x2))
        x = layers.Add()([x3, x2])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(5)(x), name="page")


def of_page(model):
    """The page's maps by hand: what each attention layer is given, and its scores for it."""
    there = [layer for layer in model.layers if isinstance(layer, layers.MultiHeadAttention)]
    given = keras.Model(model.input, [layer.input[0] for layer in there])(IMAGES, training=False)
    return [layer(x, x, return_attention_scores=True)[1] for layer, x in zip(there, given, strict=True)]


def test_the_vit_of_keras_io_gives_its_maps_in_order_without_a_class_of_ours():
    model = page()
    found = attention.maps(model, IMAGES, batch_size=2)
    assert [layer.kind for layer in found] == ["self", "self"]
    assert {(layer.grid, layer.prefix_tokens) for layer in found} == {((4, 4), 0)}
    for layer, expected in zip(found, of_page(model), strict=True):
        assert layer.weights.dtype == "float32"
        np.testing.assert_allclose(layer.weights, expected, atol=1e-6)
        np.testing.assert_allclose(layer.weights.sum(axis=-1), 1, atol=1e-5)
    assert attention.read_out(attention.rollout(found), found).shape == (3, 4, 4)


def test_the_model_is_as_it_was_afterwards_even_if_it_failed():
    model = page(flash_attention=None)
    before = model(IMAGES, training=False)
    attention.maps(model, IMAGES)
    with pytest.raises(Exception, match=r"(?i)shape|dimension|size|input"):
        attention.maps(model, IMAGES[..., :2])
    for layer in model.layers:
        assert "call" not in vars(layer)
    np.testing.assert_array_equal(model(IMAGES, training=False), before)
    assert keras.Model.from_config(model.get_config()).count_params() == model.count_params()


def test_a_class_token_stands_in_front_of_the_grid():
    (layer, _) = attention.maps(page(class_token=True), IMAGES)
    assert (layer.grid, layer.prefix_tokens, layer.weights.shape) == ((4, 4), 1, (3, 2, 17, 17))
    assert layer.patches().shape == (3, 2, 17, 4, 4)


def test_a_fused_kernel_is_asked_for_its_scores_and_is_fused_again():
    model = page()
    for layer in model.layers:
        if isinstance(layer, layers.MultiHeadAttention):
            layer._flash_attention = True  # what enable_flash_attention does; the kernel itself needs a GPU
    assert len(attention.maps(model, IMAGES)) == 2
    assert all(x._flash_attention for x in model.layers if isinstance(x, layers.MultiHeadAttention))


def test_a_nested_model_and_a_layer_that_is_called_twice_give_a_map_for_each_call():
    shared = layers.MultiHeadAttention(2, 4)
    inner_in = keras.Input((16, 8))
    inner = keras.Model(inner_in, shared(inner_in, inner_in))
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(8)(Patches()(inputs))
    model = keras.Model(inputs, inner(inner(x)))
    first, second = attention.maps(model, IMAGES)
    tokens = keras.Model(inputs, x)(IMAGES)
    once, expected = shared(tokens, tokens, return_attention_scores=True)
    np.testing.assert_allclose(first.weights, expected, atol=1e-6)
    np.testing.assert_allclose(second.weights, shared(once, once, return_attention_scores=True)[1], atol=1e-6)


class Subclassed(keras.Model):
    """Attention of a class query to tokens, inside a model without a graph, that asks for its scores itself."""

    def __init__(self, tokens):
        super().__init__(name="subclassed")
        self.attend, self.tokens = layers.GroupQueryAttention(4, 4, 2), tokens

    def call(self, images):
        x = ops.reshape(images, (-1, self.tokens, 192 // self.tokens))
        x, scores = self.attend(x[:, :1], x, return_attention_scores=True)
        return x + ops.sum(scores)


def test_a_class_query_is_a_pooling_and_a_grid_that_is_no_square_is_given():
    model = Subclassed(tokens=8)
    with pytest.raises(ValueError, match=r"8 tokens are no square.*give grid=\(rows, columns\)"):
        attention.maps(model, IMAGES)
    (layer,) = attention.maps(model, IMAGES, grid=(2, 3))
    assert (layer.kind, layer.weights.shape, layer.prefix_tokens) == ("pooling", (3, 4, 1, 8), 2)
    with pytest.raises(ValueError, match=r"grid=\(3, 3\) has 9 places, but there are 8 tokens"):
        attention.maps(model, IMAGES, grid=(3, 3))


def test_attention_over_a_feature_map_knows_its_grid():
    inputs = keras.Input((2, 4, 3))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, attention_axes=(1, 2))(inputs, inputs))
    (layer,) = attention.maps(model, IMAGES[:, :2, :4])
    assert (layer.grid, layer.weights.shape) == ((2, 4), (3, 2, 8, 8))
    rows = keras.Model(inputs, layers.MultiHeadAttention(2, 4, attention_axes=(2,))(inputs, inputs))
    with pytest.raises(ValueError, match="has no one grid"):
        attention.maps(rows, IMAGES[:, :2, :4])


def test_a_model_that_has_nothing_to_show_is_told_what_it_needs():
    nothing = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(TypeError, match=r"that calls keras.layers.MultiHeadAttention.*none is called"):
        attention.maps(nothing, IMAGES)


@pytest.mark.parametrize("images", [None, [IMAGES[0]], IMAGES[:0]])
def test_what_are_no_images_is_refused(images):
    with pytest.raises(TypeError, match="images are an array of one or more, as 'page' takes them"):
        attention.maps(page(depth=1), images)


def test_a_model_of_the_book_knows_its_own_grid():
    model = tiny_model(vit, "book")
    (layer, *_) = attention.maps(model, IMAGES * 255, grid=model.grid)
    assert layer.grid == model.grid
    with pytest.raises(ValueError, match=r"grid=\(2, 8\) is not that of vit"):
        attention.maps(model, IMAGES * 255, grid=(2, 8))
