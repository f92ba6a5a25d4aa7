"""Right scripts of many makes: the audit finds no defect in any of them, and looks at each."""

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from vattn_utils.audit import audit

tf = pytest.importorskip("tensorflow")
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (64, 8, 8, 3), dtype="uint8")
OTHERS = RANDOM.integers(0, 256, (32, 8, 8, 3), dtype="uint8")
Y = np.arange(64) % 4
ROWS = np.eye(4, dtype="float32")[Y]
LOGITS = losses.SparseCategoricalCrossentropy(from_logits=True)
SPARSE, BINARY = "sparse_categorical_crossentropy", losses.BinaryCrossentropy


def network(units=4, activation="softmax", loss=SPARSE, start="glorot_uniform", middle=(), optimizer="adam", **rest):
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for layer in (*middle, layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()):
        x = layer(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(units, activation, kernel_initializer=start)(x))
    model.compile(optimizer, loss, **rest)
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution, self.dropout, self.head = layers.Conv2D(4, 3), layers.Dropout(0.5), layers.Dense(4)
        self.compile("adam", LOGITS)

    def call(self, x, training=None):
        x = ops.relu(self.convolution(ops.cast(x, "float32") / 255))
        return self.head(self.dropout(ops.mean(x, axis=(1, 2)), training=training))


class OwnStep(Subclassed):
    """As Keras' guide writes a training step: of images and labels alone."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[16 * index :][:16], Y[16 * index :][:16]


def in_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        parts = [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.LayerNormalization()]
        model = keras.Sequential([*parts, layers.Flatten(), layers.Dense(4, activation="softmax")])
        model.compile("adam", SPARSE)
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def on_a_frozen_base():
    """Trained for two steps only: no distribution tells these weights from drawn ones."""
    base = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(8, 3), layers.Dropout(0.2), layers.GlobalAveragePooling2D()]
    )
    before = keras.Sequential([base, layers.Dense(4)])
    before.compile(keras.optimizers.Adam(0.01), LOGITS, run_eagerly=True)
    before.fit(X / 255, Y, verbose=0)
    base.trainable = False
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(base(inputs, training=False)))
    model.compile("adam", SPARSE)
    return model


def two_inputs():
    image, vector = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="vector")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    outputs = layers.Dense(4, activation="softmax")(layers.Concatenate()([features, vector]))
    model = keras.Model({"image": image, "vector": vector}, outputs)
    model.compile("adam", SPARSE)
    return model


def generated():
    for start in range(0, 64, 16):
        yield X[start : start + 16], Y[start : start + 16]


def endless():
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64).repeat().batch(16)


def filtered():
    return tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: x[0, 0, 0] < 250).batch(16)


def from_generator():
    kinds = (tf.TensorSpec((None, 8, 8, 3), "uint8"), tf.TensorSpec((None,), "int64"))
    return tf.data.Dataset.from_generator(generated, output_signature=kinds)


def augmented():
    return network(middle=(layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.2, (0, 1)),
                           layers.RandomErasing(value_range=(0, 1))))  # fmt: skip


def decayed():
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.05)
    model = network(optimizer=optimizer)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_weights if len(v.shape) < 2])
    return model


def wave():
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 12))


MULTIPLE = (RANDOM.random((64, 4)) < 0.4).astype("float32")
PER_EPOCH = dict(steps_per_epoch=4)
TEST = tf.data.Dataset.from_tensor_slices(OTHERS[:8]).repeat().batch(4)
HELD_OUT = dict(validation_data=(OTHERS[8:], Y[:24]), test=TEST)
SCRIPTS = {
    "functional": lambda: (network(), (X, Y), HELD_OUT),
    "functional, logits": lambda: (network(activation=None, loss=LOGITS), (X, Y[:, None])),
    "subclassed": lambda: (Subclassed(), (X, Y)),
    "own training step": lambda: (OwnStep(), (X, Y)),
    "zero head, softmax": lambda: (network(start="zeros"), (X, Y)),
    "zero head, logits": lambda: (network(activation=None, loss=LOGITS, start="zeros"), (X, Y)),
    "zero head, sigmoid": lambda: (network(1, "sigmoid", BINARY(), start="zeros"), (X, Y % 2)),
    "smoothed rows": lambda: (network(loss=losses.CategoricalCrossentropy(label_smoothing=0.1)), (X, ROWS)),
    "one unit, sigmoid": lambda: (network(1, "sigmoid", "binary_crossentropy"), (X, (Y % 2).astype("float32"))),
    "one unit, logits": lambda: (network(1, None, BINARY(from_logits=True, label_smoothing=0.1)), (X, Y % 2)),
    "several labels": lambda: (network(4, "sigmoid", "binary_crossentropy"), (X, MULTIPLE)),
    "several labels, logits": lambda: (network(4, None, BINARY(from_logits=True)), (X, MULTIPLE)),
    "focal loss": lambda: (network(loss=losses.CategoricalFocalCrossentropy()), (X, ROWS)),
    "squares": lambda: (network(activation=None, loss="mse"), (X, ROWS)),
    "regression": lambda: (network(1, None, "mse"), (X, RANDOM.normal(100, 30, 64))),
    "counts": lambda: (network(1, "exponential", "poisson"), (X, RANDOM.poisson(5, 64).astype("float32"))),
    "margins": lambda: (network(1, None, "hinge"), (X, 2 * (Y % 2) - 1)),
    "float16": lambda: (in_precision("float16"), (X, Y)),
    "mixed float16": lambda: (in_precision("mixed_float16"), (X, Y)),
    "frozen base": lambda: (on_a_frozen_base(), ((X / 255).astype("float32"), Y)),
    "tf.data without end": lambda: (network(optimizer=wave()), endless(), PER_EPOCH),
    "tf.data, filtered": lambda: (network(), filtered()),
    "tf.data from a generator": lambda: (network(), from_generator(), PER_EPOCH),
    "generator": lambda: (network(), generated(), PER_EPOCH),
    "PyDataset": lambda: (network(), Batches()),
    "class weights": lambda: (network(), (X, Y), dict(class_weight={0: 1.0, 1: 3.0})),
    "sample weights": lambda: (network(), (X, Y, RANDOM.random(64).astype("float32"))),
    "two inputs": lambda: (two_inputs(), ({"image": X, "vector": RANDOM.normal(size=(64, 5))}, Y)),
    "augmentation in the model": lambda: (augmented(), (X, Y)),
    "decay, a short run": lambda: (decayed(), (X, Y)),
    "compiled just in time": lambda: (network(jit_compile=True, steps_per_execution=2), (X, Y)),
}
if keras.backend.backend() != "tensorflow":
    del SCRIPTS["own training step"]  # it is written for TensorFlow, as every such step is for one backend


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_right_script_has_no_defect(name):
    keras.utils.set_random_seed(0)
    model, dataset, *given = SCRIPTS[name]()
    findings = audit(model, dataset, epochs=3, show=False, **(given[0] if given else {}))
    assert {f.check: f.found for f in findings if f.verdict == "defect"} == {}
    assert not [f.found for f in findings if "itself failed" in f.found]
    assert all(f.looked_at for f in findings)
