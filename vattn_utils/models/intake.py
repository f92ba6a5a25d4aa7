"""What enters a model is looked at, by whichever of Keras' methods it enters.

As far as it can be seen: arrays and tensors that have values. What a graph is traced with has none, and the batches of
a data set (TensorFlow's, Keras', a generator) are Keras' own to read: nobody notices images from 0 to 1 in there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from vattn_utils.data.checks import NOISE, ROUNDING, check_images, check_whole


class Intake(keras.Model):
    """A model of square colour images, 0 to 255, of `image_size` pixels: each method refuses what is not that."""

    image_size: int
    _admitted = False  # what a method has let in, Keras hands on to `__call__`, batch by batch where it is not compiled

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._admitted:
            images = self.checked(images)
        elif hasattr(images, "shape"):
            self.check_shape(images.shape)
        return super().__call__(images, *args, **kwargs)

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(held_out := kwargs.get("validation_data"), tuple):
            kwargs["validation_data"] = (self._feed(held_out[0]), *held_out[1:])
        x = self._feed(x, batch_size)
        with self._letting_in():
            return super().fit(x, y, batch_size, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        x = self._feed(x, batch_size)
        with self._letting_in():
            return super().evaluate(x, y, batch_size, *args, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        x = self._feed(x, batch_size)
        with self._letting_in():
            return super().predict(x, batch_size, *args, **kwargs)

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        x = self.checked(x)
        with self._letting_in():
            return super().train_on_batch(x, *args, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        x = self.checked(x)
        with self._letting_in():
            return super().test_on_batch(x, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        x = self.checked(x, beyond=NOISE)
        with self._letting_in():
            return super().predict_on_batch(x)

    def export(self, filepath: str | Path, *args: Any, input_signature: list | None = None, **kwargs: Any) -> None:
        """Keras' own. What the model takes is known, so that it need not have been called before."""
        size = self.image_size
        signature = input_signature or [keras.InputSpec(shape=(None, size, size, 3), dtype="float32")]
        super().export(filepath, *args, input_signature=signature, **kwargs)

    @contextmanager
    def _letting_in(self) -> Iterator[None]:
        """For as long as it lasts, what comes to `__call__` has been looked at."""
        before, self._admitted = self._admitted, True
        try:
            yield
        finally:
            self._admitted = before

    def _feed(self, x: Any, batch_size: int | None = None) -> Any:
        """`x`, looked at if it is no data set but images."""
        if batch_size is not None:
            check_whole("batch_size", batch_size)
        batches = hasattr(x, "__iter__") or hasattr(x, "__getitem__")
        if batches and not hasattr(x, "shape") and not isinstance(x, list | tuple | str):
            return x
        return self.checked(x)

    def checked(self, images: Any, beyond: float = ROUNDING) -> Any:
        """`images`, looked at: an array in one piece, a tensor as it is."""
        if isinstance(images, np.ndarray) or not hasattr(images, "shape"):
            return check_images(images, self.image_size, beyond)
        self.check_shape(images.shape)
        try:
            values = ops.convert_to_numpy(images)
        except (RuntimeError, TypeError, ValueError):  # what each backend says of a tensor that has no values yet
            return images
        check_images(values, self.image_size, beyond)
        return images

    def check_shape(self, shape: tuple) -> None:
        """Raise ValueError unless images `(B, H, W, C)` of this shape fit the model."""
        size = self.image_size
        if tuple(shape[1:]) != (size, size, 3):
            raise ValueError(
                f"images of shape {tuple(shape)} do not fit this model, which takes (batch, {size}, {size}, 3): "
                "colour images, 0 to 255; resize them or build it with another image_size"
            )
