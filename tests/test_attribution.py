"""Maps by gradients and by alteration: against differences, sums that must hold, and pictures whose answer is known."""

import functools
import gc
import weakref

import numpy as np
import pytest
from keras import ops

from tests.test_models import tiny_model
from vattn_utils.maps import attention, attribution
from vattn_utils.maps.gradients import gradient, sum_logits
from vattn_utils.models import eanet, patch_convnet, vit

MODELS = {
    "vit, pooling": (vit, "book", {}),
    "vit, class token": (vit, "paper", {}),
    "vit, flatten": (vit, "keras-io", {}),
    "vit, mean": (vit, "book", dict(pooling="mean")),
    "eanet": (eanet, "book", {}),
    "eanet, mean": (eanet, "keras-io", {}),
    "patch_convnet": (patch_convnet, "book", {}),
    "patch_convnet, per class": (patch_convnet, "book", dict(queries="per-class")),
}
LABELS = np.array([0, 3, 1, 4])


@functools.cache
def kept(name):
    """What `made` makes, the same for all tests that leave it as it is: what it compiles, it compiles once."""
    return made(name)


def made(name):
    """A tiny model with weights large enough for its answers to differ."""
    module, variant, overrides = MODELS[name]
    model = tiny_model(module, variant, **overrides)
    random = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    return model


def test_the_gradient_of_a_known_function_is_known():
    a, b = np.array([1.0, -2.0]), np.array([[3.0]])
    found = gradient(lambda x, y, z: ops.sum(x**3) + ops.sum(y) * 2, [a, b, np.ones(3)])
    assert [part.tolist() for part in found] == [[3, 12], [[2]], [0, 0, 0]]
    assert {part.dtype for part in found} == {np.dtype("float32")}


@pytest.mark.parametrize("name", ["vit, class token", "eanet", "patch_convnet, per class"])
def test_what_is_compiled_equals_what_is_computed_layer_by_layer(name, pictures):
    model = kept(name)
    logits, weights = model.look_on_batch(pictures)
    expected, plain = model(pictures, return_attention=True)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1.5e-6)
    for one, other in zip(weights, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1.5e-6)
    (slope,) = gradient(lambda x: sum_logits(model(x), LABELS), [pictures])
    found = attribution.input_gradients(model, pictures, LABELS)
    np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-6 * np.abs(slope).max())


def test_what_was_compiled_follows_the_weights_and_holds_no_model_back(pictures):
    model = made("eanet")
    before = model.look_on_batch(pictures)[0], attribution.input_gradients(model, pictures, LABELS)
    for weight in model.logits.weights:
        weight.assign(2 * weight)
    after = model.look_on_batch(pictures)[0], attribution.input_gradients(model, pictures, LABELS)
    np.testing.assert_allclose(after[0], 2 * before[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after[1], 2 * before[1], rtol=1e-3, atol=1e-6)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", MODELS)
def test_a_perturbation_of_nothing_changes_nothing(name, pictures):
    model = kept(name)
    plain, weights = model(pictures, return_attention=True)
    zeros = [np.zeros(array.shape, "float32") for array in weights]
    np.testing.assert_allclose(model(pictures, perturbations=zeros), plain, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_attention_are_what_small_changes_of_it_do(name, pictures, random):
    model = kept(name)
    layers, gradients = attribution.attention_gradients(model, pictures, LABELS, batch_size=3)
    for depth, (layer, slope) in enumerate(zip(layers, gradients, strict=True)):
        expected = layer.slot_maps if layer.kind == "external" else layer.weights
        assert slope.shape == expected.shape
        step = 2e-3 * random.normal(size=slope.shape).astype("float32")
        token_major = step.transpose(0, 3, 1, 2) if layer.kind == "external" else step
        shapes = [a.shape for a in model(pictures, return_attention=True)[1]]
        moved = []
        for sign in (1, -1):
            perturbations = [np.zeros(shape, "float32") for shape in shapes]
            perturbations[depth] = sign * token_major
            moved.append(np.array(model(pictures, perturbations=perturbations))[np.arange(4), LABELS])
        change = (slope * step).reshape(4, -1).sum(axis=1)
        np.testing.assert_allclose(change, (moved[0] - moved[1]) / 2, rtol=0.05, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_method_that_is_defined_gives_finite_maps_on_the_grid_and_repeats(name, pictures):
    model = kept(name)
    for method in attribution.methods(model):
        found = attribution.METHODS[method](model, pictures, LABELS)
        assert found.shape == (4, *model.grid), method
        assert np.isfinite(found).all(), method
        assert np.ptp(found) > 0, method
        np.testing.assert_array_equal(found, attribution.METHODS[method](model, pictures, LABELS), err_msg=method)


def test_methods_are_listed_only_for_models_that_they_are_defined_for():
    models = {name: made(name) for name in MODELS}
    of = {name: set(attribution.METHODS) - set(attribution.methods(model, slow=True)) for name, model in models.items()}
    token_to_token = {"raw attention", "attention x value norm", "rollout", "gradient rollout"}
    pools = {"pooling", "pooling x value norm"}
    assert of["vit, pooling"] == set()
    assert of["vit, class token"] == of["vit, mean"] == pools
    assert of["vit, flatten"] == {*pools, "logit lens"}
    assert of["eanet"] == of["patch_convnet"] == token_to_token
    assert of["eanet, mean"] == {*token_to_token, *pools, "evidence"}


def test_what_asks_the_model_a_thousand_times_is_listed_only_on_request():
    model = made("vit, pooling")
    assert set(attribution.methods(model, slow=True)) - set(attribution.methods(model)) == set(attribution.SLOW)


@pytest.mark.parametrize("name", ["vit, pooling", "vit, class token", "eanet", "patch_convnet, per class"])
def test_a_batch_gives_what_a_loop_gives(name, pictures):
    model = kept(name)
    for method in set(attribution.methods(model)) - {
        "random",
        "smooth random",
        "occlusion",
    }:  # these draw, or take the batch's colour
        together = attribution.METHODS[method](model, pictures, LABELS)
        for index in range(4):
            one = slice(index, index + 1)
            alone = attribution.METHODS[method](model, pictures[one], LABELS[one])
            np.testing.assert_allclose(alone[0], together[index], rtol=1e-3, atol=1e-6, err_msg=method)


def test_attention_alone_knows_no_class_and_evidence_does(pictures):
    model = kept("vit, pooling")
    for name in ("raw attention", "pooling", "rollout"):
        maps = [attribution.METHODS[name](model, pictures, labels) for labels in (LABELS, (LABELS + 1) % 5)]
        np.testing.assert_array_equal(*maps, err_msg=name)
    for name in ("gradient rollout", "evidence", "gradient", "integrated gradients", "Grad-CAM", "occlusion"):
        maps = [attribution.METHODS[name](model, pictures, labels) for labels in (LABELS, (LABELS + 1) % 5)]
        assert not np.allclose(*maps), name


def test_with_one_query_a_class_each_image_gets_its_own_class_s_map(pictures):
    model = kept("patch_convnet, per class")
    (layer,) = attention.maps(model, pictures)
    found = attribution.pooling(model, pictures, LABELS)
    for index, label in enumerate(LABELS):
        np.testing.assert_allclose(found[index], layer.patches()[index, 0, label])


def test_evidence_of_a_linear_head_over_pooled_tokens_is_each_token_s_share_of_the_logit(pictures):
    model = made("eanet")
    model.norm.gamma.assign(np.ones(16))
    tokens = np.array(model.norm(model.encode(ops.convert_to_tensor(pictures))[0]))
    weights = attention.maps(model, pictures)[-1].weights[:, 0, 0]
    shares = weights * np.einsum("bnd,db->bn", tokens, np.array(model.logits.kernel)[:, LABELS])
    expected = np.maximum(shares, 0).reshape(4, *model.grid)
    np.testing.assert_allclose(attribution.evidence(model, pictures, LABELS), expected, atol=1e-5)
    logits = np.array(model(pictures))[np.arange(4), LABELS]
    np.testing.assert_allclose(shares.sum(axis=1) + np.array(model.logits.bias)[LABELS], logits, atol=1e-4)


def test_integrated_gradients_sum_to_what_the_logit_gains_over_the_baseline(pictures):
    model = kept("vit, class token")  # smooth; a max-pool is not
    found = attribution.integrated_gradients(model, pictures, LABELS, steps=64).sum(axis=(1, 2, 3))
    baseline = np.broadcast_to(np.array(model.mean, "float32"), pictures.shape)
    gained = attribution.logits(model, pictures) - attribution.logits(model, baseline)
    np.testing.assert_allclose(found, gained[np.arange(4), LABELS], rtol=0.01, atol=1e-4)


def test_integrated_gradients_of_a_linear_model_are_its_weights_times_the_input(random):
    kernel = random.normal(size=(48, 5)).astype("float32")
    images = random.integers(0, 256, (3, 4, 4, 3)).astype("uint8")

    class Linear:
        mean = (10.0, 20.0, 30.0)

        def __call__(self, x):
            return ops.matmul(ops.reshape(x, (-1, 48)), kernel)

    found = attribution.integrated_gradients(Linear(), images, [4, 2, 0], steps=3)
    expected = kernel[:, [4, 2, 0]].T.reshape(3, 4, 4, 3) * (images - np.array(Linear.mean))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_occlusion_is_the_fall_of_the_logit_when_one_patch_is_covered(pictures):
    model = kept("eanet")
    found = attribution.occlusion(model, pictures, LABELS)
    covered = pictures.astype("float32")
    covered[:, 2:4, 6:8] = model.mean
    fall = (attribution.logits(model, pictures) - attribution.logits(model, covered))[np.arange(4), LABELS]
    np.testing.assert_allclose(found[:, 1, 3], fall, atol=1e-5)


def test_pixels_are_summed_over_what_a_token_covers_and_shared_at_its_border(random):
    values = random.random((2, 6, 6))
    np.testing.assert_allclose(
        attribution.to_grid(values, (3, 2))[:, 1, 1], values[:, 2:4, 3:].sum(axis=(1, 2)), rtol=1e-5
    )
    odd = attribution.to_grid(values, (4, 4))
    np.testing.assert_allclose(odd.sum(axis=(1, 2)), values.sum(axis=(1, 2)), rtol=1e-5)
    corner = values[:, 0, 0] + (values[:, 0, 1] + values[:, 1, 0]) / 2 + values[:, 1, 1] / 4
    np.testing.assert_allclose(odd[:, 0, 0], corner, rtol=1e-5)


def test_edges_are_where_the_image_changes(pictures):
    model = kept("eanet")
    image = np.zeros((1, 8, 8, 3), "uint8")
    image[:, :, 4:] = 255
    found = attribution.edges(model, image, [0])[0]
    assert (found[:, [0, 3]] == 0).all()
    assert (found[:, 1:3] > 0).all()


def test_the_centre_is_highest_in_the_middle():
    found = attribution.centre(kept("eanet"), np.zeros((2, 8, 8, 3)), [0, 1])
    assert found.shape == (2, 4, 4)
    assert found[0, 1:3, 1:3].min() > np.delete(found[0].ravel(), [5, 6, 9, 10]).max()


def test_a_label_for_every_image_is_asked_for(pictures):
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) do not fit 4 images; give one label an image"):
        attribution.input_gradient(kept("eanet"), pictures, LABELS[:2])
