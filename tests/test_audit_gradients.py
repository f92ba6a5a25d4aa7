"""Finite differences inside layers: a wrong gradient is found where it is made, a right one is left alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from vattn_utils.audit import audit
from vattn_utils.audit.upstream.older import EarlyLayerNormalization

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(size=(16, 8, 8, 3)).astype("float32")
Y = np.arange(16) % 4


def finding(*middle, first=None):
    keras.utils.set_random_seed(0)
    parts = [keras.Input((8, 8, 3)), first or layers.Conv2D(6, 3), *middle, layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*parts, layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    findings = audit(model, (X, Y), show=False)
    return next(found for found in findings if found.check == "layer gradients")


class Wrong(layers.Layer):
    """The outputs of `function`, and a gradient that is `times` its own."""

    def __init__(self, function, times):
        super().__init__(name="wrong")
        self.function, self.times = function, times

    def call(self, x):
        y = self.function(x)
        return self.times * y - ops.stop_gradient((self.times - 1) * y)


class WrongWeight(layers.Dense):
    """Right for what lies before, and wrong for its own kernel."""

    def call(self, x):
        y = ops.matmul(x, ops.stop_gradient(self.kernel))
        own = 0.5 * ops.matmul(ops.stop_gradient(x), self.kernel)
        return y + own - ops.stop_gradient(own)


class Around(layers.Layer):
    def __init__(self, inner):
        super().__init__(name="around")
        self.inner = inner

    def call(self, x):
        return x + self.inner(x)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (EarlyLayerNormalization(), "early_layer_normalization"),
        (Wrong(ops.tanh, 1.2), "wrong"),
        (Wrong(ops.relu, -1), "wrong"),
        (WrongWeight(6, name="dense"), "dense"),
        (Around(Wrong(ops.sigmoid, 2)), "around/wrong"),
    ],
    ids=["early Keras 3", "a fifth too long", "reversed", "a weight's", "inside another layer"],
)
def test_a_wrong_gradient_is_caught_in_its_layer_alone(layer, name):
    found = finding(layer)
    assert found.verdict == "defect"
    assert [path.split("/", 1)[1].rstrip("_0123456789") for path in found.numbers["wrong"]] == [name]


def test_a_wrong_gradient_between_layers_is_caught_in_the_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="whole")
            self.before, self.after, self.wrong = layers.Dense(5), layers.Dense(4), Wrong(ops.tanh, 1.5).call

        def call(self, x):
            return self.after(self.wrong(self.before(ops.reshape(x, (-1, 192)))))

    keras.utils.set_random_seed(0)
    model = Model()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = next(f for f in audit(model, (X, Y), show=False) if f.check == "layer gradients")
    assert (found.verdict, list(found.numbers["wrong"])) == ("defect", ["whole"])


class Rounded(layers.Layer):
    """A straight-through estimate, which is meant to have another gradient than its steps."""

    def call(self, x):
        return x + ops.stop_gradient(ops.round(8 * x) / 8 - x)


class Noise(layers.Layer):
    def call(self, x):
        return x + float(RANDOM.normal())


class Stopped(layers.Layer):
    def call(self, x):
        return ops.stop_gradient(x)


def test_right_layers_pass_and_what_cannot_be_asked_is_named():
    several = [
        layers.BatchNormalization(), layers.GroupNormalization(2), layers.LayerNormalization(), layers.ReLU(),
        layers.Dropout(0.5), layers.SeparableConv2D(6, 3, padding="same"), layers.PReLU(), layers.UnitNormalization(),
        layers.MaxPooling2D(2), layers.GaussianNoise(0.1), layers.Activation("gelu"), layers.Softmax(),
    ]  # fmt: skip
    found = finding(*several, Rounded(), Noise())
    assert found.verdict == "ok"
    assert found.numbers["asked"] >= len(several)
    assert "too rough for differences: sequential" in found.not_looked_at
    assert "random: sequential" in found.not_looked_at


def test_attention_and_recurrence_pass():
    inputs = keras.Input((8, 8, 3))
    tokens = layers.Dense(8)(layers.Reshape((16, 12))(inputs))
    tokens = tokens + layers.MultiHeadAttention(2, 4, dropout=0.1)(tokens, tokens)
    model = keras.Model(inputs, layers.Dense(4)(layers.GRU(5)(tokens)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = next(f for f in audit(model, (X, Y), show=False) if f.check == "layer gradients")
    assert (found.verdict, found.numbers["skipped"]) == ("ok", {})


def test_a_gradient_that_ends_in_a_layer_is_told_and_not_judged():
    found = finding(Stopped())
    assert found.verdict == "cannot tell"
    assert found.numbers["stopped"][0].endswith("stopped")


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_half_precision_is_not_asked_and_named(policy):
    found = finding(first=layers.Conv2D(6, 3, dtype=policy))
    assert "float16 is too coarse: sequential" in found.not_looked_at
    assert found.verdict == "ok"  # the layers behind it are asked
    keras.config.set_dtype_policy(policy)
    try:
        assert finding().verdict == "cannot tell"
    finally:
        keras.config.set_dtype_policy("float32")
