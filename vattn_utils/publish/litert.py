"""Models as LiteRT graphs, which run on phones and in browsers. TensorFlow, as Keras' backend, makes and runs them."""

import tempfile
import warnings
from collections.abc import Callable, Mapping

import keras
import numpy as np

from vattn_utils.models.classifier import Classifier
from vattn_utils.models.fast import Tensor
from vattn_utils.training.records import RecordError

BOUND = 1e-4  # by how much a graph of `whole` may differ from Keras, in logits and in shares of attention


def whole(model: Classifier) -> bytes:
    """`model` as a graph for one picture, in single precision, the same bytes each time.

    Its input is `images` `(1, H, W, 3)`, float32, 0 to 255; its outputs are `logits` `(1, num_classes)` and, for each
    layer of `model.attention_layers`, `attention_0` and on, as `model(images, return_attention=True)` lays them out.
    """

    def outputs(images: Tensor) -> dict[str, Tensor]:
        logits, maps = model(images, training=False, return_attention=True)
        return {"logits": logits, **{f"attention_{index}": weights for index, weights in enumerate(maps)}}

    return convert(model, outputs, {"images": (1, model.image_size, model.image_size, 3)})


def convert(
    model: Classifier,
    outputs: Callable[..., dict[str, Tensor]],
    shapes: Mapping[str, tuple[int, ...]],
    half: bool = False,
) -> bytes:
    """What `outputs` computes with the weights of `model`, as a graph; the same bytes each time.

    Args:
        outputs: float32 tensors, under the names in `shapes`, in; tensors by name out.
        shapes: of the inputs.
        half: whether weights and constants are kept in half precision, in half the bytes.

    Raises `RecordError` where Keras runs on another backend.
    """
    check_backend()
    import tensorflow as tf  # here alone: every other command does without it

    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [keras.InputSpec(shape=shape, dtype="float32", name=name) for name, shape in shapes.items()]
    archive.add_endpoint("serve", outputs, specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def run(graph: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a graph, by name, for inputs by name: float32, in the shapes that it was made for."""
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")  # its heir is a package of its own
        return tf.lite.Interpreter(model_content=graph).get_signature_runner()(**inputs)


def check_backend() -> None:
    """Raise `RecordError`, with the way out, unless Keras runs on TensorFlow."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise RecordError(f"graphs are made by TensorFlow, and Keras runs on {backend}; set KERAS_BACKEND=tensorflow")
