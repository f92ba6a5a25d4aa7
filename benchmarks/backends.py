"""Does one ViT compute the same on every backend and version of Keras? keras.io's, narrow, its defects included.

    KERAS_BACKEND=jax python benchmarks/backends.py        # the same for tensorflow and torch

Each call writes one line of `results/backends.jsonl`, in the place of an older one of the same backend and version:
logits and gradients from fixed weights, and what the random layers do inside `fit`. The chapter on ports compares the
lines. Weights are drawn by NumPy. CIFAR must be at hand (`$VATTN_DATA`).

The lines of Keras 3.0.2 come from an environment of their own: `pip install tensorflow-cpu==2.16.1 jax==0.4.23
jaxlib==0.4.23 "numpy<2" "scipy<1.13" safetensors pillow`, then `pip install keras==3.0.2`; Python 3.11.
"""

import argparse
import math
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from vattn_utils import data
from vattn_utils.audit import upstream
from vattn_utils.data.files import write_atomically
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "backends.jsonl"
NARROW = dict(patch_size=12, dim=32, depth=2, heads=2, head_units=(256, 128))
RANDOM = {
    "flip": lambda: layers.RandomFlip("horizontal"),
    "rotation": lambda: layers.RandomRotation(0.02),
    "zoom": lambda: layers.RandomZoom(0.2, 0.2),
    "dropout": lambda: layers.Dropout(0.25),
}


def build(dataset, normalization=layers.LayerNormalization):
    """The narrow ViT as the page makes it, with weights that NumPy draws as Keras would."""
    splits = ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    model = upstream.vit.build(**NARROW, normalization=normalization, data=splits).model
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.path.endswith("kernel"):
            *field, fan_in, fan_out = weight.shape
            limit = math.sqrt(6 / (math.prod(field) * (fan_in + fan_out)))
            weight.assign(random.uniform(-limit, limit, weight.shape))
        elif weight.path.endswith("embeddings"):
            weight.assign(random.uniform(-0.05, 0.05, weight.shape))
    return model


def logits(dataset):
    """`(8, 8)`: the first logits of the first test images, from the images as they are."""
    return build(dataset).predict(dataset.x_test[:8], verbose=0)[:, :8].astype(float).round(6).tolist()


def gradients(dataset, normalization=layers.LayerNormalization):
    """The length of each weight's gradient, in the model's order, without dropout and behind the augmentation."""
    model = build(dataset, normalization)
    for layer in model._flatten_layers():
        if hasattr(layer, "rate"):
            layer.rate = 0.0
    inner = keras.Model(model.layers[2].input, model.output)
    inner.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.pad(dataset.x_test[:8] / 127.5 - 1, ((0, 0), (20, 20), (20, 20), (0, 0))).astype("float32")
    before = [np.array(ops.convert_to_numpy(weight)) for weight in inner.trainable_weights]
    inner.fit(images, dataset.y_test[:8], batch_size=8, verbose=0)
    after = [ops.convert_to_numpy(weight) for weight in inner.trainable_weights]
    return [float(np.linalg.norm(a - b)) for a, b in zip(after, before, strict=True)]


def random_layers(dataset):
    """What each random layer does to 256 copies of one image inside `fit`, over 8 steps.

    distance: from the image, mean absolute. spread: standard deviation over the batch, mean over the pixels; zero if
    all images of a batch get the same. between: standard deviation of the steps' distances; zero if all steps do.
    """
    image = dataset.x_test[:1].astype("float32") / 255
    images, found = np.repeat(image, 256, axis=0), {}

    def distance(y_true, y_pred):
        return ops.mean(ops.abs(y_pred - image))

    def spread(y_true, y_pred):
        return ops.mean(ops.std(y_pred, axis=0))

    for name, make in RANDOM.items():
        keras.utils.set_random_seed(0)
        inputs = keras.Input(image.shape[1:])
        model = keras.Model(inputs, layers.Rescaling(1.0)(make()(inputs)))
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[distance, spread])
        steps = [model.fit(images, images, batch_size=256, verbose=0).history for _ in range(8)]
        found[name] = {key: float(np.mean([step[key] for step in steps])) for key in ("distance", "spread")}
        found[name]["between"] = float(np.std([step["distance"] for step in steps]))
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/backends.py", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    dataset = data.load("cifar100").take(1000)
    line = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "logits": logits(dataset),
        "gradients": gradients(dataset),
        "gradients with EarlyLayerNormalization": gradients(dataset, upstream.older.EarlyLayerNormalization),
        "random": random_layers(dataset),
        "provenance": provenance(),
    }
    key = (line["backend"], line["keras"])
    lines = from_lines(options.out.read_text(), options.out.name) if options.out.exists() else []
    lines = sorted(
        [*(old for old in lines if (old["backend"], old["keras"]) != key), line], key=lambda one: one["keras"]
    )
    write_atomically(options.out, "".join(map(to_line, lines)))


if __name__ == "__main__":
    main()
