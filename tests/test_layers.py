import keras
import numpy as np
import pytest
from keras import ops

from vattn_utils.maps.gradients import gradient
from vattn_utils.models import inputs, layers, vit
from vattn_utils.models.eanet import ExternalAttention, double_normalise, softmax_over_tokens
from vattn_utils.models.patch_convnet import AttentionPooling, SqueezeExcite, TrunkBlock


def softmax(x, axis=-1):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def gelu(x):
    return np.array(keras.activations.gelu(x))


def randomise(layer, random):
    """Give every weight a value that is not its initial one: zero biases would hide a mistake."""
    for weight in layer.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))


def values(layer):
    return {weight.path.split("/", 1)[1]: np.array(weight.value, "float64") for weight in layer.weights}


@pytest.fixture
def tokens(random):
    return random.normal(size=(2, 9, 16)).astype("float32")


@pytest.mark.parametrize(("slots", "folded"), [(4, True), (64, False)])
@pytest.mark.parametrize("coefficient", [1, 4])
def test_external_attention_equals_its_numpy_reference_folded_or_not(tokens, random, slots, folded, coefficient):
    layer = ExternalAttention(heads=2, memory_slots=slots, coefficient=coefficient)
    layer(tokens)
    randomise(layer, random)
    assert layer.folded is folded
    found, slot_maps = layer(tokens, return_attention=True)

    w = values(layer)
    heads, width = 2 * coefficient, 8
    query = (tokens @ w["query_kernel"] + w["query_bias"]).reshape(2, 9, heads, width)
    logits = query @ w["memory_key"] + w["memory_key_bias"]
    expected_maps = softmax(logits, axis=1)
    attention = expected_maps / expected_maps.sum(axis=-1, keepdims=True)
    read = (attention @ w["memory_value"] + w["memory_value_bias"]).reshape(2, 9, -1)
    expected = read @ w["output_kernel"] + w["output_bias"]

    np.testing.assert_allclose(np.array(slot_maps), expected_maps, atol=1e-5)
    np.testing.assert_allclose(np.array(double_normalise(slot_maps)), attention, atol=1e-5)
    np.testing.assert_allclose(np.array(found), expected, atol=1e-5)


def test_without_mixing_external_attention_treats_each_token_by_itself(tokens, random):
    changed = np.concatenate([tokens[:, :1], random.normal(size=tokens[:, 1:].shape).astype("float32")], axis=1)
    first = {}
    for mixing in (True, False):
        attention = ExternalAttention(heads=2, memory_slots=3, mixing=mixing)
        before, weights = attention(tokens, return_attention=True)
        np.testing.assert_allclose(np.array(weights).sum(axis=1 if mixing else -1), 1, atol=1e-5)
        first[mixing] = np.abs(np.array(attention(changed))[:, 0] - np.array(before)[:, 0]).max()
    assert first[False] < 1e-6 < 1e-4 < first[True]


def test_biases_of_query_and_memory_key_cannot_change_external_attention(tokens, random):
    layer = ExternalAttention(heads=2, memory_slots=4)
    before = np.array(layer(tokens))
    layer.query_bias.assign(random.normal(size=layer.query_bias.shape))
    layer.memory_key_bias.assign(random.normal(size=layer.memory_key_bias.shape))
    np.testing.assert_allclose(np.array(layer(tokens)), before, atol=1e-5)


@pytest.fixture
def self_attention(tokens, random):
    layer = vit.SelfAttention(heads=2, head_dim=5)
    layer(tokens)
    randomise(layer, random)
    return layer


def test_self_attention_equals_its_numpy_reference(tokens, self_attention):
    found, weights = self_attention(tokens, return_attention=True)
    w = values(self_attention)
    projected = tokens @ w["query_key_value/kernel"] + w["query_key_value/bias"]
    query, key, value = np.moveaxis(projected.reshape(2, 9, 3, 2, 5), 2, 0)
    expected_weights = softmax(np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(5))
    mixed = np.einsum("bhqk,bkhd->bqhd", expected_weights, value).reshape(2, 9, 10)
    np.testing.assert_allclose(np.array(weights), expected_weights, atol=1e-5)
    expected = mixed @ w["output_projection/kernel"] + w["output_projection/bias"]
    np.testing.assert_allclose(np.array(found), expected, atol=1e-5)


def test_self_attention_equals_keras_multi_head_attention(tokens, self_attention):
    theirs = keras.layers.MultiHeadAttention(num_heads=2, key_dim=5)
    theirs(tokens, tokens)
    kernel, bias, out_kernel, out_bias = [np.array(w.value) for w in self_attention.weights]
    kernel, bias = kernel.reshape(16, 3, 2, 5), bias.reshape(3, 2, 5)
    ours = []
    for part in range(3):
        ours += [kernel[:, part], bias[part]]
    theirs.set_weights([*ours, out_kernel.reshape(2, 5, 16), out_bias])
    np.testing.assert_allclose(np.array(theirs(tokens, tokens)), np.array(self_attention(tokens)), atol=1e-5)


def test_self_attention_in_training_and_its_gradient_equal_those_of_indexed_query_key_and_value(
    tokens, random, self_attention
):
    kernel, bias, out_kernel, out_bias = [np.array(weight.value) for weight in self_attention.weights]
    pull = random.normal(size=tokens.shape).astype("float32")

    def indexed(x):
        x = ops.reshape(ops.matmul(x, kernel) + bias, (-1, 9, 3, 2, 5))
        query, key, value = x[:, :, 0], x[:, :, 1], x[:, :, 2]
        weights = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", query, key) * 5**-0.5)
        x = ops.reshape(ops.einsum("bhqk,bkhd->bqhd", weights, value), (-1, 9, 10))
        return ops.matmul(x, out_kernel) + out_bias

    np.testing.assert_allclose(np.array(self_attention(tokens, training=True)), np.array(indexed(tokens)), atol=1e-5)
    ours, theirs = (
        gradient(lambda x, f=function: ops.sum(f(x) * pull), [tokens])[0]
        for function in (lambda x: self_attention(x, training=True), indexed)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_softmax_over_tokens_and_its_gradient_equal_the_backends(random):
    logits = random.normal(0, 3, (2, 9, 2, 4)).astype("float32")
    pull = random.normal(size=logits.shape).astype("float32")
    np.testing.assert_allclose(np.array(softmax_over_tokens(logits)), softmax(logits, axis=1), atol=1e-6)
    ours, theirs = (
        gradient(lambda x, f=function: ops.sum(f(x) * pull), [logits])[0]
        for function in (softmax_over_tokens, lambda x: ops.softmax(x, axis=1))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.isfinite(np.array(softmax_over_tokens(1000 * logits))).all()


def test_fused_self_attention_equals_the_explicit_one(tokens, self_attention, monkeypatch):
    explicit, _ = self_attention(tokens, return_attention=True)
    monkeypatch.setattr(vit, "SEPARATELY", False)
    np.testing.assert_allclose(np.array(self_attention(tokens)), np.array(explicit), atol=1e-5)


def test_permuting_tokens_permutes_self_attention(tokens, random, self_attention):
    order = random.permutation(9)
    found, weights = self_attention(tokens, return_attention=True)
    permuted, permuted_weights = self_attention(tokens[:, order], return_attention=True)
    np.testing.assert_allclose(np.array(permuted), np.array(found)[:, order], atol=1e-5)
    expected = np.array(weights)[:, :, order][:, :, :, order]
    np.testing.assert_allclose(np.array(permuted_weights), expected, atol=1e-5)


def test_a_transformer_block_is_equations_2_and_3_of_the_paper(tokens, random):
    block = vit.TransformerBlock(vit.SelfAttention(heads=2), mlp_dim=12)
    block(tokens)
    randomise(block, random)
    attended = tokens + np.array(block.attention(block.norm_1(tokens)))
    expected = attended + np.array(block.mlp(block.norm_2(attended)))
    np.testing.assert_allclose(np.array(block(tokens)), expected, atol=1e-5)


def test_sequence_pooling_equals_its_numpy_reference(tokens, random):
    layer = layers.SequencePooling()
    layer(tokens)
    randomise(layer, random)
    found, weights = layer(tokens, return_attention=True)
    w = values(layer)
    expected = softmax(tokens @ w["score/kernel"] + w["score/bias"], axis=1)
    np.testing.assert_allclose(np.array(weights)[:, 0, 0], expected[..., 0], atol=1e-6)
    np.testing.assert_allclose(np.array(found), (expected * tokens).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("layer_scale", [None, 0.5])
def test_attention_pooling_equals_its_numpy_reference(tokens, random, queries, layer_scale):
    layer = AttentionPooling(queries, mlp_dim=12, layer_scale=layer_scale)
    layer(tokens)
    randomise(layer, random)
    found, weights = layer(tokens, return_attention=True)
    w = values(layer)

    def norm(x, name):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return scaled * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def dense(x, name):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    for image in range(2):
        for index in range(queries):
            token = w["class_query"][0, index]
            seen = norm(np.vstack([token, tokens[image]]), "norm_1")  # its own token and the patches
            attention = softmax(dense(seen[0], "query") @ dense(seen, "key").T / np.sqrt(16))
            np.testing.assert_allclose(np.array(weights)[image, 0, index], attention, atol=1e-5)
            attended = dense(attention @ dense(seen, "value"), "output_projection")
            x = token + attended * w.get("scale_1/gamma", 1)
            mlp = dense(gelu(dense(norm(x, "norm_2"), "mlp/expand")), "mlp/contract")
            x = norm(x + mlp * w.get("scale_2/gamma", 1), "norm_3")
            np.testing.assert_allclose(np.array(found)[image, index], x, atol=1e-4)


def test_squeeze_excite_equals_its_numpy_reference(random):
    x = random.normal(size=(2, 3, 3, 8)).astype("float32")
    layer = SqueezeExcite(4)
    layer(x)
    randomise(layer, random)
    w = values(layer)
    reduced = np.maximum(x.mean(axis=(1, 2)) @ w["reduce/kernel"] + w["reduce/bias"], 0)
    scale = 1 / (1 + np.exp(-(reduced @ w["excite/kernel"] + w["excite/bias"])))
    np.testing.assert_allclose(np.array(layer(x)), x * scale[:, None, None], atol=1e-5)


@pytest.mark.parametrize("kind", ["depthwise", "dense"])
def test_a_trunk_block_adds_its_scaled_branch(kind, random):
    x = random.normal(size=(2, 3, 3, 8)).astype("float32")
    block = TrunkBlock(kind, squeeze_ratio=4, layer_scale=0.5)
    block(x)
    randomise(block, random)
    branch = x
    for layer in block.branch[:-1]:
        branch = layer(branch)
    expected = x + np.array(branch) * np.array(block.branch[-1].gamma)
    np.testing.assert_allclose(np.array(block(x)), expected, atol=1e-5)


def test_patches_stand_in_reading_order():
    image = np.arange(4 * 6 * 1).reshape(1, 4, 6, 1)
    patches = np.array(inputs.extract_patches(image, 2))[0]
    assert patches.shape == (6, 4)
    assert patches[0].tolist() == [0, 1, 6, 7]
    assert patches[1].tolist() == [2, 3, 8, 9]
    assert patches[3].tolist() == [12, 13, 18, 19]


def test_preprocessing_normalises_each_channel():
    layer = inputs.Preprocessing(mean=(10, 20, 30), std=(1, 2, 4))
    image = np.full((1, 2, 2, 3), (11, 24, 22), "uint8")
    assert np.array(layer(image))[0, 0, 0].tolist() == [1, 2, -2]


def test_preprocessing_normalises_in_float32_under_mixed_precision():
    layer = inputs.Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize_to=4, dtype="mixed_bfloat16")
    image = np.full((1, 2, 2, 3), 201, "uint8")
    out = layer(image)
    assert str(keras.backend.standardize_dtype(out.dtype)) == "bfloat16"
    assert float(ops.cast(out, "float32")[0, 0, 0, 0]) == 201


def test_sincos_positions_differ_everywhere_and_do_not_train():
    layer = inputs.PositionEmbedding("sincos", (3, 4))
    added = np.array(layer(np.zeros((1, 12, 8), "float32")))[0]
    assert layer.trainable_weights == []
    assert len(np.unique(added.round(5), axis=0)) == 12


def test_class_token_stands_first(tokens):
    layer = inputs.ClassToken()
    out = np.array(layer(tokens))
    assert out.shape == (2, 10, 16)
    np.testing.assert_array_equal(out[:, 1:], tokens)


def test_drop_path_drops_whole_images_in_training_only():
    layer = layers.DropPath(0.5)
    x = np.ones((64, 3, 2), "float32")
    np.testing.assert_array_equal(np.array(layer(x, training=False)), x)
    per_image = np.array(layer(x, training=True)).reshape(64, -1)
    assert all(len(set(row)) == 1 for row in per_image)
    assert set(per_image[:, 0]) == {0.0, 2.0}


@pytest.mark.parametrize(("convolutions", "filters"), [(1, [8, 16]), (3, [4, 4, 8, 8, 8, 16])])
def test_the_convolutional_tokenizer_halves_the_image_once_a_stage(random, convolutions, filters):
    layer = inputs.ConvolutionalTokenizer(16, 2, convolutions)
    assert layer(random.normal(size=(2, 8, 12, 3))).shape == (2, 2 * 3, 16)
    assert [weight.shape[-1] for weight in layer.weights if weight.name == "kernel"] == filters


@pytest.mark.parametrize(
    "layer",
    [
        inputs.Preprocessing((1, 2, 3), (4, 5, 6), 8),
        inputs.PatchEmbedding(2, 16),
        inputs.ConvolutionalTokenizer(16, 2, 3),
        inputs.PositionEmbedding("learned", (3, 3), 1),
        vit.SelfAttention(2, 8, 0.1),
        layers.MLP(12, 0.1),
        layers.DropPath(0.2),
        vit.TransformerBlock(vit.SelfAttention(2), 12, 0.1, 0.2),
        layers.SequencePooling(),
        ExternalAttention(2, 4, 2, 0.1),
        SqueezeExcite(4, False),
        AttentionPooling(3, 12, 0.1, 0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_is_restored_from_its_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config, safe_mode=True)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_an_unknown_choice_names_the_choices():
    with pytest.raises(ValueError, match="position='fourier' is not known; use one of 'learned', 'sincos'"):
        inputs.PositionEmbedding("fourier", (2, 2))


@pytest.mark.parametrize(("pool_size", "offset"), [(3, 1.5), (4, 0.0)])
def test_a_token_of_four_pixels_looks_at_its_own_patch_if_the_pool_is_centred(pool_size, offset):
    tokens = inputs.ConvolutionalTokenizer(dim=4, pool_size=pool_size)
    tokens.build((None, 32, 32, 3))
    for weight in tokens.weights:  # every pixel counts alike
        weight.assign(np.ones(weight.shape) if len(weight.shape) > 1 else np.zeros(weight.shape))
    token = 3 * 8 + 4  # the patch of rows 12 to 15 and columns 16 to 19
    # A maximum looks at one pixel only: pictures that rise and fall along an axis find its window's far end.
    centre = []
    for axis in (0, 1):
        ends = []
        for way in (1, -1):
            ramp = np.arange(32, dtype="float32")[::way] + 1
            images = np.broadcast_to(np.moveaxis(ramp[:, None, None], 0, axis), (1, 32, 32, 3))
            (seen,) = gradient(lambda x: ops.sum(tokens(x)[0, token]), [images])
            weights = np.abs(seen[0]).sum(axis=(1 - axis, 2))
            ends.append((weights * np.arange(32)).sum() / weights.sum())
        centre.append(np.mean(ends))
    np.testing.assert_allclose(centre, [13.5 + offset, 17.5 + offset], atol=1e-3)


@pytest.mark.parametrize(
    "layer", [layers.MLP(8, gelu="tanh"), TrunkBlock("dense", 4, gelu="tanh")], ids=["mlp", "trunk"]
)
def test_gelu_by_its_tanh_formula_is_close_to_the_exact_one_and_another(layer, tokens):
    x = tokens.reshape(2, 3, 3, 16)
    found = np.array(layer(x))
    exact = type(layer).from_config({**layer.get_config(), "gelu": "erf"})
    exact(x)
    exact.set_weights(layer.get_weights())
    difference = np.abs(np.array(exact(x)) - found).max()
    assert 1e-6 < difference < 5e-3
    with pytest.raises(ValueError, match="gelu='relu' is not known"):
        type(layer)(**{**layer.get_config(), "gelu": "relu"})
