"""AttnLRP: each rule against the paper's own formula in NumPy, what it conserves, and where all of a logit has gone."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.test_attribution import LABELS, MODELS, kept, made
from tests.test_models import tiny_model
from vattn_utils.maps import attention, attnlrp, attribution, rules
from vattn_utils.maps.gradients import gradient
from vattn_utils.models import eanet, patch_convnet, vit
from vattn_utils.models.layers import SequencePooling

ONE = np.ones(1, "float32")


def relevance(function, arrays, passed):
    """What the arrays get of the relevance `passed` to the outputs of a rule: each times its gradient."""
    outputs = ops.convert_to_numpy(function(*map(ops.convert_to_tensor, arrays)))
    # A logit of which each output has `passed` of the relevance, by equation 8: sum over outputs of z * (R / z).
    slopes = gradient(lambda *tensors: ops.sum(function(*tensors) * (passed / outputs)), arrays)
    return [array * slope for array, slope in zip(arrays, slopes, strict=True)]


def drawn(random, *shape):
    return random.normal(size=shape).astype("float32")


# The paper's formulas, in NumPy: relevance of the inputs from that of the outputs.


def lrp_linear(x, kernel, bias, passed):
    """Equation 8 with epsilon = 0: `(..., n)` from `(..., m)`."""
    return x * ((passed / (x @ kernel + bias)) @ kernel.T)


def lrp_softmax(x, passed, axis=-1):
    """Proposition 3.1."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return x * (passed - powers / powers.sum(axis=axis, keepdims=True) * passed.sum(axis=axis, keepdims=True))


def lrp_product(left, right, passed):
    """Proposition 3.3, for matrices."""
    ratio = passed / (2 * left @ right)
    return left * (ratio @ right.swapaxes(-1, -2)), right * (left.swapaxes(-1, -2) @ ratio)


def test_a_linear_layer_shares_relevance_by_parts_of_its_sum_and_the_bias_keeps_its_own(random):
    x, kernel, bias, passed = drawn(random, 1, 3, 4), drawn(random, 4, 5), drawn(random, 5), drawn(random, 1, 3, 5)
    found, kept = relevance(lambda x, share: rules.linear(x, kernel, bias, share), [x, ONE], passed)
    np.testing.assert_allclose(found, lrp_linear(x, kernel, bias, passed), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.sum() + kept.sum(), passed.sum(), rtol=1e-4)
    np.testing.assert_allclose(kept, (bias / (x @ kernel + bias) * passed).sum(), rtol=1e-3)


def test_a_convolution_loses_to_its_bias_only(random):
    x, passed = drawn(random, 1, 4, 4, 3), drawn(random, 1, 4, 4, 2)
    layer = keras.layers.Conv2D(2, 3, padding="same", bias_initializer="random_normal")
    layer.build(x.shape)
    found, kept = relevance(lambda x, share: rules.convolution(x, layer, share), [x, ONE], passed)
    np.testing.assert_allclose(found.sum() + kept.sum(), passed.sum(), rtol=1e-3)


@pytest.mark.parametrize("function", [keras.activations.gelu, keras.activations.relu])
def test_an_activation_passes_all_relevance_to_its_own_input(function, random):
    x, passed = np.abs(drawn(random, 1, 3, 4)), drawn(random, 1, 3, 4)
    (found,) = relevance(lambda x: rules.activation(x, function), [x], passed)
    np.testing.assert_allclose(found, passed, rtol=1e-4)
    there = np.array([[0.0, 1e-8, -3.0]], "float32")
    np.testing.assert_allclose(rules.activation(ops.convert_to_tensor(there), function), function(there), atol=1e-6)


def test_a_softmax_has_proposition_3_1_for_its_plain_gradient_and_loses_relevance(random):
    x, passed = drawn(random, 2, 5), drawn(random, 2, 5)
    (found,) = relevance(ops.softmax, [x], passed)
    np.testing.assert_allclose(found, lrp_softmax(x, passed), rtol=1e-3, atol=1e-5)
    assert abs(found.sum() - passed.sum()) > 0.1


def test_both_factors_of_a_product_get_half(random):
    left, right, passed = drawn(random, 2, 3, 4), drawn(random, 2, 4, 5), drawn(random, 2, 3, 5)
    found = relevance(lambda a, b: rules.product("bij,bjk->bik", a, b), [left, right], passed)
    for one, expected in zip(found, lrp_product(left, right, passed), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(one.sum(), passed.sum() / 2, rtol=1e-3)


def test_a_gate_passes_all_relevance_to_what_it_scales(random):
    x, factors, passed = drawn(random, 1, 6), drawn(random, 1, 6), drawn(random, 1, 6)
    found, gates = relevance(rules.gate, [x, factors], passed)
    np.testing.assert_allclose(found, passed, rtol=1e-4)
    assert not gates.any()


def test_a_layer_norm_conserves_but_for_its_beta(random):
    x, passed = drawn(random, 1, 3, 8), drawn(random, 1, 3, 8)
    layer = keras.layers.LayerNormalization(beta_initializer="random_normal", gamma_initializer="random_normal")
    layer.build(x.shape)
    np.testing.assert_allclose(rules.layer_norm(ops.convert_to_tensor(x), layer, ONE), layer(x), atol=1e-5)
    found, kept = relevance(lambda x, share: rules.layer_norm(x, layer, share), [x, ONE], passed)
    np.testing.assert_allclose(found.sum() + kept.sum(), passed.sum(), rtol=1e-3)
    # With the deviation held, it is the linear map of centring and scaling.
    matrix = (np.eye(8) - 1 / 8) / np.sqrt(x.var(axis=-1, keepdims=True) + layer.epsilon)[0, :, :, None]
    kernel = matrix * np.array(layer.gamma)  # (3, 8, 8): for each token its own
    bias = np.array(layer.beta)
    expected = [lrp_linear(x[0, i], kernel[i], bias, passed[0, i]) for i in range(3)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-2, atol=1e-4)


def test_dividing_by_the_sum_passes_all_relevance(random):
    x, passed = np.abs(drawn(random, 2, 4)) + 0.1, drawn(random, 2, 4)
    (found,) = relevance(rules.normalise, [x], passed)
    np.testing.assert_allclose(found, passed, rtol=1e-4)


def layer_relevance(layer, x, passed):
    """What a whole attention layer passes to its tokens, and what its biases keep."""
    ones = np.ones(len(x), "float32")
    return relevance(
        lambda x, b: attnlrp.walked(layer, x, attnlrp.Shares(b, ops.convert_to_tensor(ones))), [x, ones], passed
    )


def test_self_attention_is_the_papers_formulas_one_after_another(random):
    layer = vit.SelfAttention(1, 4)
    x, passed = drawn(random, 1, 3, 6), drawn(random, 1, 3, 6)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(drawn(random, *weight.shape))
    (kernel, bias), (out, out_bias) = (
        [np.array(w) for w in part.weights] for part in (layer.query_key_value, layer.output_projection)
    )
    query, key, value = np.split(x @ kernel + bias, 3, axis=-1)
    scores = query * 0.5 @ key.swapaxes(1, 2)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    mixed = lrp_linear(weights @ value, out, out_bias, passed)
    of_weights, of_value = lrp_product(weights, value, mixed)
    of_query, of_key = lrp_product(query * 0.5, key.swapaxes(1, 2), lrp_softmax(scores, of_weights))
    expected = lrp_linear(x, kernel, bias, np.concatenate([of_query, of_key.swapaxes(1, 2), of_value], axis=-1))
    found, _ = layer_relevance(layer, x, passed)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)
    lost = of_weights.sum() - lrp_softmax(scores, of_weights).sum()
    kept = sum(
        passed_on.sum() - share.sum()
        for passed_on, share in (
            (passed, mixed),
            (np.concatenate([of_query, of_key.swapaxes(1, 2), of_value], -1), expected),
        )
    )
    np.testing.assert_allclose(found.sum() + lost + kept, passed.sum(), rtol=1e-3)


def test_external_attention_passes_all_of_a_memorys_relevance_to_what_reads_it(random):
    layer = eanet.ExternalAttention(1, 3)
    x, passed = drawn(random, 1, 5, 4), drawn(random, 1, 5, 4)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(drawn(random, *weight.shape))
    query = x @ np.array(layer.query_kernel) + np.array(layer.query_bias)
    logits = query @ np.array(layer.memory_key) + np.array(layer.memory_key_bias)  # (1, N, S)
    slots = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weights = slots / slots.sum(axis=-1, keepdims=True)
    read = weights @ np.array(layer.memory_value) + np.array(layer.memory_value_bias)
    of_read = lrp_linear(read, np.array(layer.output_kernel), np.array(layer.output_bias), passed)
    of_weights = lrp_linear(weights, np.array(layer.memory_value), np.array(layer.memory_value_bias), of_read)
    of_logits = lrp_softmax(logits, of_weights, axis=1)  # the second division passes all on
    of_query = lrp_linear(query, np.array(layer.memory_key), np.array(layer.memory_key_bias), of_logits)
    expected = lrp_linear(x, np.array(layer.query_kernel), np.array(layer.query_bias), of_query)
    found, _ = layer_relevance(layer, x, passed)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)


def test_a_sequence_pooling_gives_tokens_what_they_say_and_what_their_weight_says(random):
    layer = SequencePooling()
    x, passed = drawn(random, 1, 5, 4), drawn(random, 1, 4)
    layer.build(x.shape)
    kernel = np.array(layer.score.kernel)
    scores = (x @ kernel).swapaxes(1, 2)  # (1, 1, N); the bias moves no softmax
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    of_weights, of_tokens = lrp_product(weights, x, passed[:, None])
    expected = of_tokens + lrp_linear(x, kernel, 0, lrp_softmax(scores, of_weights).swapaxes(1, 2))
    found, _ = layer_relevance(layer, x, passed)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_attention_pooling_gives_patches_relevance_through_keys_and_values(random):
    """One query of fixed weights: its scores are linear in the patches, its output a product of weights and values."""
    layer = patch_convnet.AttentionPooling(1, 4)
    x, passed = drawn(random, 1, 5, 4), drawn(random, 1, 1, 4)
    layer.build(x.shape)
    for norm in ("norm_1", "norm_2", "norm_3"):
        vars(layer)[norm] = keras.layers.Identity()  # their rule has a test of its own
    for part in (layer.query, layer.key, layer.value):
        part.set_weights([drawn(random, *weight.shape) for weight in part.weights])
    layer.class_query.assign(drawn(random, 1, 1, 4))
    layer.output_projection.kernel.assign(np.eye(4))
    layer.mlp.contract.kernel.assign(np.zeros((4, 4)))

    def dense(part, x):
        return x @ np.array(part.kernel) + np.array(part.bias)

    token = np.array(layer.class_query)[0]  # (1, 4)
    query, keys, values = dense(layer.query, token)[0] / 2, dense(layer.key, x[0]), dense(layer.value, x[0])
    scores = np.concatenate([dense(layer.key, token) @ query, keys @ query])
    weights = np.exp(scores) / np.exp(scores).sum()
    output = token[0] + weights @ np.concatenate([dense(layer.value, token), values])
    np.testing.assert_allclose(layer(x)[0, 0], output, atol=1e-5)
    each = passed[0, 0] / output  # relevance for each unit of what is summed
    of_values = weights[1:, None] * values * each / 2
    of_weights = np.concatenate([weights[:1] * (dense(layer.value, token) @ each), of_values.sum(axis=1)])
    of_keys = keys * query * (lrp_softmax(scores, of_weights) / scores)[1:, None]
    expected = sum(
        lrp_linear(x[0], np.array(part.kernel), np.array(part.bias), share)
        for part, share in ((layer.key, of_keys), (layer.value, of_values))
    )
    found, _ = layer_relevance(layer, x, passed)
    np.testing.assert_allclose(found[0], expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_walk_computes_what_the_model_computes(name, pictures):
    model = kept(name)
    shares = attnlrp.Shares(*np.ones((2, 4), "float32"))
    found = attnlrp.walked(model, model.preprocessing(pictures), shares)
    np.testing.assert_allclose(found, model(pictures), rtol=1e-3, atol=1e-5)


def test_a_ledger_is_of_each_image_by_itself(pictures):
    model = kept("eanet")
    together, alone = (attnlrp.ledger(model, pictures, LABELS, batch_size)[1] for batch_size in (4, 3))
    np.testing.assert_allclose(together["logit"], np.array(model(pictures))[np.arange(4), LABELS], rtol=1e-3, atol=1e-5)
    for name, values in together.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-3, atol=1e-5)


def test_without_a_softmax_all_of_the_logit_is_found_again(pictures):
    """Convolutions, GELUs, norms, gates, residuals and a mean: only constants keep anything."""
    for overrides in (dict(block="depthwise"), dict(layer_scale=None)):
        model = tiny_model(patch_convnet, "book", pooling="mean", **overrides)
        random = np.random.default_rng(3)
        for weight in model.trainable_weights:
            weight.assign(random.normal(0, 0.3, weight.shape))
        relevance, found = attnlrp.ledger(model, pictures, LABELS)
        np.testing.assert_allclose(relevance.sum(axis=(1, 2, 3)), found["pixels"], rtol=1e-5)
        assert np.abs(found["softmax"]).max() < 1e-4 * np.abs(found["logit"]).max()
        assert np.abs(found["biases"]).max() > 1e-3
        assert not found["constants"].any()


def test_without_biases_the_softmax_alone_leaks(pictures):
    model = made("vit, pooling")
    for weight in model.trainable_weights:
        if weight.name in ("bias", "beta", "embedding"):
            weight.assign(np.zeros(weight.shape))
    _, found = attnlrp.ledger(model, pictures, LABELS)
    assert not found["biases"].any()
    assert not found["constants"].any()
    assert np.abs(found["softmax"]).max() > 1e-3 * np.abs(found["logit"]).max()
    # A softmax of scores that are all 0 has nothing to pass on, whatever comes to it.
    for block in model.blocks:
        kernel = np.array(block.attention.query_key_value.kernel)
        kernel[:, : kernel.shape[1] // 3] = 0
        block.attention.query_key_value.kernel.assign(kernel)
    model.sequence_pooling.score.kernel.assign(np.zeros(model.sequence_pooling.score.kernel.shape))
    _, found = attnlrp.ledger(model, pictures, LABELS)
    # Half of what a product gets goes to its weights, and there it ends: once in each block, once in the pooling.
    assert (np.abs(found["pixels"]) > 0).all()
    np.testing.assert_allclose(found["pixels"] + found["softmax"], found["logit"], rtol=1e-4)


def test_the_map_is_the_relevance_of_each_patch_and_changes_with_the_class(pictures):
    model = kept("patch_convnet")
    found = attribution.METHODS["AttnLRP"](model, pictures, LABELS)
    relevance, _ = attnlrp.ledger(model, pictures, LABELS)
    np.testing.assert_allclose(found, attention.to_grid(relevance, model.grid), rtol=1e-5)
    assert not np.allclose(found, attribution.METHODS["AttnLRP"](model, pictures, (LABELS + 1) % 5))


def test_a_layer_without_a_rule_is_named():
    with pytest.raises(TypeError, match="no rule of AttnLRP for a layer of Softmax"):
        attnlrp.walked(keras.layers.Softmax(), ops.ones((1, 2)), attnlrp.Shares(ops.ones(1), ops.ones(1)))
