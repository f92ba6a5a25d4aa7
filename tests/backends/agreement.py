"""What the recorded models compute, for other backends to agree with: `python -m tests.backends.agreement OUT.npz`.

Of every record that ships weights, on eight drawn pictures: the logits, and the gradient of the loss by each trainable
weight in a step of training, without dropout and stochastic depth.
"""

import sys

import keras
import numpy as np
from keras import ops

from vattn_utils import data
from vattn_utils.maps.gradients import gradient
from vattn_utils.training import records

IMAGES = 8


def main(out):
    found = {}
    for record in records.load_all():
        if record.ships_weights:
            for name, array in computed(record.model()).items():
                found[f"{record.name} {name}"] = array
    np.savez(out, **found)


def computed(recorded):
    """`{"logits": (8, classes), "gradient of <weight>": its shape}`, float32."""
    config = recorded.get_config()
    model = type(recorded).from_config(config | dict.fromkeys({"dropout", "drop_path"} & set(config), 0.0))
    model.build()
    model.set_weights(recorded.get_weights())
    pixels, _, _ = data.shapes.draw(range(IMAGES), 10)
    images = ops.convert_to_tensor(pixels, "float32")
    targets = np.eye(model.num_classes, dtype="float32")[np.arange(IMAGES) % model.num_classes]
    weights = model.trainable_variables

    def loss(*values):
        with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
            logits = model(images, training=True)
        return ops.mean(ops.categorical_crossentropy(targets, logits, from_logits=True))

    if keras.backend.backend() == "jax":  # which would compile each operation alone
        loss = sys.modules["jax"].jit(loss)
    slopes = gradient(loss, [ops.convert_to_numpy(weight) for weight in weights])
    names = [f"gradient of {records.weight_name(weight)}" for weight in weights]
    return {"logits": model.predict(pixels, verbose=0), **dict(zip(names, slopes, strict=True))}


if __name__ == "__main__":
    main(sys.argv[1])
