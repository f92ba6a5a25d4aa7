"""Attention times the norm of its values, the logit lens and RISE: against sums that are written out."""

import numpy as np
import pytest
from keras import ops

from tests.test_attribution import LABELS, kept, made
from tests.test_models import tiny_model
from vattn_utils.maps import attention, attribution, lens, rise, value_norm
from vattn_utils.models import patch_convnet, vit


def array(tensor):
    return ops.convert_to_numpy(tensor)


def normed_tokens(model, pictures, block):
    return array(model.blocks[block].norm_1(model.encode(ops.convert_to_tensor(pictures), until=block)[0]))


def check(found, weights, vectors):
    """Against the sum over heads, written out: weights `(B, heads, q, k)`, vectors `(B, heads, k, dim)`."""
    np.testing.assert_allclose(found.values[:, :, 0], np.linalg.norm(vectors, axis=-1), rtol=1e-4, atol=1e-6)
    whole = np.einsum("bhqk,bhkd->bqkd", weights, vectors)  # every weighted vector, heads summed
    np.testing.assert_allclose(found.weighted, np.linalg.norm(whole, axis=-1), rtol=1e-3, atol=1e-6)


def test_norms_in_self_attention_are_those_of_the_weighted_vectors_that_make_its_output(pictures):
    model = kept("vit, pooling")
    layers, found = attention.maps(model, pictures), value_norm.value_norms(model, pictures, batch_size=3)
    assert len(found) == len(layers)
    for depth in range(model.depth):
        layer, x = model.blocks[depth].attention, normed_tokens(model, pictures, depth)
        value = array(layer.query_key_value(x)).reshape(4, 16, 3, layer.heads, layer.head_dim)[:, :, 2]
        kernel = array(layer.output_projection.kernel).reshape(layer.heads, layer.head_dim, -1)
        vectors = np.einsum("bnhd,hde->bhne", value, kernel)
        check(found[depth], layers[depth].weights, vectors)
        # And they do make the output, but for its own bias.
        output = np.einsum("bhqk,bhkd->bqd", layers[depth].weights, vectors) + array(layer.output_projection.bias)
        np.testing.assert_allclose(output, array(layer(x)), atol=1e-4)


def test_norms_in_external_attention_are_those_of_the_slots(pictures):
    model = kept("eanet")
    found, weights = value_norm.value_norms(model, pictures), attention.maps(model, pictures)[0].weights
    layer, x = model.blocks[0].attention, normed_tokens(model, pictures, 0)
    slots = array(layer.memory_value) + array(layer.memory_value_bias)
    kernel = array(layer.output_kernel).reshape(layer.inner_heads, layer.head_dim, -1)
    vectors = np.broadcast_to(np.einsum("sd,hde->hse", slots, kernel), (4, layer.inner_heads, len(slots), 16))
    check(found[0], weights, vectors)
    output = np.einsum("bhns,bhsd->bnd", weights, vectors) + array(layer.output_bias)
    np.testing.assert_allclose(output, array(layer(x)), atol=1e-4)


def test_norms_of_a_sequence_pooling_are_those_of_its_tokens(pictures):
    model = kept("eanet")
    tokens = array(model.norm(model.encode(ops.convert_to_tensor(pictures))[0]))
    weights = attention.maps(model, pictures)[-1].weights
    check(value_norm.value_norms(model, pictures)[-1], weights, tokens[:, None])
    expected = weights[:, 0, 0] * np.linalg.norm(tokens, axis=-1)
    np.testing.assert_allclose(
        attribution.pooling_value_norm(model, pictures, LABELS), expected.reshape(4, 4, 4), rtol=1e-4
    )


@pytest.mark.parametrize("overrides", [{}, dict(layer_scale=None)])
def test_norms_of_class_queries_count_each_one_s_own_token(overrides, pictures):
    model = tiny_model(patch_convnet, "book", queries="per-class", **overrides)
    layer = model.attention_pooling
    patches = array(model.encode(ops.convert_to_tensor(pictures))[0])
    gamma = 1 if layer.layer_scale is None else array(layer.scale_1.gamma)

    def f(x):
        return array(layer.value(layer.norm_1(x))) @ array(layer.output_projection.kernel) * gamma

    own = np.broadcast_to(np.linalg.norm(f(array(layer.class_query)), axis=-1), (4, layer.queries))
    others = np.broadcast_to(np.linalg.norm(f(patches), axis=-1)[:, None], (4, layer.queries, patches.shape[1]))
    (found,) = value_norm.value_norms(model, pictures)
    expected = np.concatenate([own[..., None], others], axis=-1)
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=1e-4, atol=1e-7)
    weights = attention.maps(model, pictures)[0].weights[:, 0]
    np.testing.assert_allclose(found.weighted, weights * expected, rtol=1e-4, atol=1e-8)


def test_a_token_of_no_length_is_not_seen_whatever_its_attention(pictures):
    model = made("vit, class token")
    layer = model.blocks[-1].attention
    layer.output_projection.kernel.assign(np.zeros(layer.output_projection.kernel.shape))
    assert (attribution.METHODS["raw attention"](model, pictures, LABELS) > 0).all()
    assert (attribution.METHODS["attention x value norm"](model, pictures, LABELS) == 0).all()


def test_the_lens_of_averaged_tokens_averages_to_the_logits(pictures):
    for model in (kept("vit, mean"), kept("eanet, mean"), tiny_model(vit, "book", pooling="mean", registers=2)):
        found = lens.logit_lens(model, pictures, batch_size=3)
        np.testing.assert_allclose(found.mean(axis=(1, 2)), array(model(pictures)), rtol=1e-3, atol=1e-5)


def test_the_lens_of_a_pooling_weighs_to_the_logits(pictures):
    model = kept("vit, pooling")
    weights = attention.maps(model, pictures)[-1].weights[:, 0, 0].reshape(4, 4, 4)
    found = np.einsum("brc,brck->bk", weights, lens.logit_lens(model, pictures))
    np.testing.assert_allclose(found, array(model(pictures)), rtol=1e-3, atol=1e-5)


def test_the_lens_of_class_queries_is_their_answer_to_one_patch(pictures):
    model = kept("patch_convnet, per class")
    tokens = array(model.encode(ops.convert_to_tensor(pictures))[0])
    alone, _ = model.classify(ops.convert_to_tensor(tokens[2:3, 5:6]))
    found = lens.logit_lens(model, pictures)
    np.testing.assert_allclose(found.reshape(4, -1, 5)[2, 5], array(alone)[0], rtol=1e-4, atol=1e-5)


def test_the_lens_of_each_depth_reads_the_tokens_there(pictures):
    model = kept("vit, class token")
    for until in (0, 1, None):
        tokens = model.encode(ops.convert_to_tensor(pictures), until=until)[0]
        expected = array(model.logits(model.norm(tokens)))[:, 1:].reshape(4, 4, 4, 5)
        np.testing.assert_allclose(lens.logit_lens(model, pictures, until), expected, rtol=1e-4, atol=1e-5)
    own = expected[np.arange(4), ..., LABELS] - expected.mean(axis=-1)
    np.testing.assert_allclose(lens.lens(model, pictures, LABELS), own, rtol=1e-4, atol=1e-5)


def test_a_head_that_reads_all_tokens_at_once_has_no_lens(pictures):
    with pytest.raises(ValueError, match="reads all tokens as one vector"):
        lens.logit_lens(kept("vit, flatten"), pictures)


def test_masks_of_rise_are_seeded_smooth_and_see_half():
    found = rise.masks(400, 32, seed=3)
    assert found.shape == (400, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert abs(found.mean() - rise.KEPT) < 0.02
    assert np.abs(found.mean(axis=0) - rise.KEPT).max() < 0.12  # no place is always hidden
    assert np.abs(np.diff(found, axis=1)).max() <= 1 / 5 + 1e-6  # a cell has five pixels
    np.testing.assert_array_equal(found, rise.masks(400, 32, seed=3))
    assert not np.array_equal(found, rise.masks(400, 32, seed=4))


def test_rise_finds_the_only_patch_that_the_answer_depends_on(pictures):
    """Its sum, by hand: the mean over masks of the probability times the mask, divided by how much is seen."""

    class Corner(vit.ViT):
        def classify(self, tokens, return_attention=False, perturbations=None):
            bright = ops.mean(self.corner, axis=(1, 2, 3)) / 64
            return ops.stack([bright, -bright], axis=1), []

        def encode(self, images, return_attention=False, perturbations=None, until=None):
            self.corner = ops.cast(images, "float32")[:, 4:6, 6:8] - 128.0
            return super().encode(images, return_attention, perturbations, until)

    model = Corner(2, image_size=8, patch_size=2, dim=8, depth=1, heads=1, mlp_dim=8, mean=(128, 128, 128))
    images = np.full((1, 8, 8, 3), 250, "uint8")
    found = attribution.METHODS["RISE"](model, images, [0])[0]
    assert np.unravel_index(found.argmax(), found.shape) == (2, 3)
    seen = rise.masks(rise.MASKS, 8)
    bright = (122 * seen[:, 4:6, 6:8]).mean(axis=(1, 2)) / 64
    expected = (seen / (1 + np.exp(-2 * bright))[:, None, None]).sum(axis=0) / (rise.KEPT * rise.MASKS)
    np.testing.assert_allclose(found, attention.to_grid(expected[None], (4, 4))[0], rtol=1e-4)
