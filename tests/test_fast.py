"""What is fast equals what is plain: outputs and gradients to 1e-5."""

import keras
import numpy as np
import pytest
from keras import ops

from vattn_utils.maps.gradients import gradient
from vattn_utils.models import fast


def gradients(function, arrays, pull):
    return gradient(lambda *given: ops.sum(function(*given) * pull), arrays)


@pytest.fixture
def tokens(random):
    return random.normal(0, 3, (4, 9, 16)).astype("float32")


@pytest.fixture
def pull(random):
    return random.normal(size=(4, 9, 16)).astype("float32")


def test_gelu_and_its_gradient_equal_the_backends(tokens, pull):
    plain = lambda x: ops.gelu(x, approximate=False)  # noqa: E731
    np.testing.assert_allclose(np.array(fast.gelu_by_hand(tokens)), np.array(plain(tokens)), atol=1e-6)
    (found,), (expected,) = (gradients(f, [tokens], pull) for f in (fast.gelu_by_hand, plain))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_layer_normalisation_and_its_gradients_equal_the_backends(tokens, pull, random):
    gamma, beta = random.normal(size=(2, 16)).astype("float32")
    arrays = [tokens + 5, gamma, beta]
    ours = lambda x, gamma, beta: fast.normalise(x, gamma, beta, 1e-3)  # noqa: E731
    plain = lambda x, gamma, beta: ops.layer_normalization(x, gamma, beta, epsilon=1e-3)  # noqa: E731
    np.testing.assert_allclose(np.array(ours(*arrays)), np.array(plain(*arrays)), atol=1e-5)
    for found, expected in zip(*(gradients(f, arrays, pull) for f in (ours, plain)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_layer_normalisation_in_half_precision_takes_its_statistics_in_single(random):
    x = ops.cast(1000 + random.normal(0, 8, (64, 16)), "bfloat16")
    found = fast.normalise(x, ops.ones(16), ops.zeros(16), 1e-6)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    wide = np.array(ops.cast(x, "float32"))
    expected = (wide - wide.mean(axis=1, keepdims=True)) / wide.std(axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(ops.cast(found, "float32")), expected, atol=0.02)


@pytest.mark.parametrize("layer", [fast.LayerNormalization(), fast.Dropout(0.3)], ids=["norm", "dropout"])
def test_at_inference_the_layers_are_keras_own(layer, tokens):
    own = type(layer).__mro__[1].from_config(layer.get_config())
    np.testing.assert_array_equal(np.array(layer(tokens)), np.array(own(tokens)))


@pytest.mark.parametrize("shape", [(300, 64), (20, 7, 33)])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate, shape):
    dropped = np.array(fast.Dropout(rate, seed=1)(np.ones(shape, "float32"), training=True))
    noise = 4 * np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs((dropped == 0).mean() - rate) < noise + 1 / 256
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - rate)], rtol=1e-6)


def test_over_many_steps_dropout_drops_a_rate_between_two_bytes_exactly():
    layer, ones = fast.Dropout(0.5 / 256, seed=1), np.ones((50, 400), "float32")
    shares = np.array([(np.array(layer(ones, training=True)) == 0).mean() for _ in range(60)])
    assert abs(shares.mean() - 0.5 / 256) < 4 * shares.std() / np.sqrt(60)


def test_dropout_draws_anew_at_each_step_and_for_each_element():
    layer, ones = fast.Dropout(0.5, seed=1), np.ones((64, 256), "float32")
    first, second = (np.array(layer(ones, training=True)) > 0 for _ in range(2))
    for one, other in ((first, second), (first[:, ::2], first[:, 1::2]), (first[:32], first[32:])):
        assert abs((one == other).mean() - 0.5) < 4 * 0.5 / np.sqrt(one.size)


def test_the_gradient_of_dropout_is_what_it_let_through():
    layer, pull = fast.Dropout(0.5, seed=1), np.arange(1.0, 65.0, dtype="float32")
    seen = []

    def dropped(x):
        seen.append(layer(x, training=True))
        return seen[-1] * pull

    (found,) = gradient(lambda x: ops.sum(dropped(x)), [np.ones(64, "float32")])
    np.testing.assert_allclose(found, ops.convert_to_numpy(seen[0]) * pull)


def test_a_model_of_them_trains_eagerly_as_it_does_compiled(tokens):
    trained = []
    for eagerly in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Dense(16, fast.gelu), fast.LayerNormalization(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=eagerly)
        for _ in range(2):
            model.train_on_batch(tokens, tokens[..., :1])
        trained.append(model.get_weights())
    for found, expected in zip(*trained, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
