"""PatchConvNet's page, https://keras.io/examples/vision/patch_convnet/, which was never ported.

It needs TensorFlow Addons. This is it in Keras 3 word for word, but for the class token (see `AttentionPooling`) and
the optimiser: the Addons' AdamW takes `weight_decay` of a weight at each step, Keras' takes the learning rate times
that (`older.DecoupledAdamW` has the Addons' rule).
"""

import keras
import numpy as np
from keras import layers, ops

from vattn_utils.audit.upstream.example import Example, draw, warm_up_cosine
from vattn_utils.models.fast import Tensor


def build(dim: int = 256, depth: int = 2, squeeze_ratio: int = 8) -> Example:
    """PatchConvNet with its shared trunk, its silent dropout, its two sizes, and test images in a callback.

    Args:
        dim, depth, squeeze_ratio: of the page. Its data are a few shapes.
    """
    train, test = draw(10)
    model = PatchConvNet(dim, depth, squeeze_ratio)
    model(train[0][:1])  # makes the weights
    model.built = True  # Keras cannot notice: its own __call__ was not entered
    steps = int(40_000 / 128 * 50)  # 15,625: the page forgets that each epoch ends with a smaller batch
    schedule = warm_up_cosine(1e-3, steps, 0.15)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    test_images = test[0][:16]  # a batch

    class TrainMonitor(keras.callbacks.Callback):
        """Every few epochs, look at the attention over test images."""

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            if epoch % 5 == 4:
                self.model.predict_on_batch(test_images)

    given = dict(test=test, epochs=50, steps_per_epoch=313, callbacks=[TrainMonitor()], schedule=schedule)
    return Example("PatchConvNet", model, train, given)


class SqueezeExcite(layers.Layer):
    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def build(self, shape: tuple) -> None:
        self.reduce = layers.Dense(shape[-1] // self.ratio, "relu", use_bias=False)
        self.excite = layers.Dense(shape[-1], "sigmoid", use_bias=False)
        self.reduce.build((None, shape[-1]))
        self.excite.build((None, shape[-1] // self.ratio))

    def call(self, x: Tensor) -> Tensor:
        return x * self.excite(self.reduce(ops.mean(x, axis=(1, 2), keepdims=True)))


class Trunk(layers.Layer):
    def __init__(self, depth: int, dim: int, ratio: int) -> None:
        super().__init__()
        block = [
            layers.LayerNormalization(epsilon=1e-6),
            layers.Conv2D(dim, 1, padding="same", activation="gelu"),
            layers.Conv2D(dim, 3, padding="same", activation="gelu"),
            SqueezeExcite(ratio),
            layers.Conv2D(dim, 1, padding="same"),
        ]
        self.blocks = [keras.Sequential(block) for _ in range(depth)]  # the same layers in each of them

    def call(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class AttentionPooling(layers.Layer):
    """One class token attends to itself and all patches, and is classified: `(B, N, dim)` to `(B, 10)`.

    The page's class token is a bare TensorFlow variable. Keras 2 trained it; Keras 3 would not know of it. So that
    what is found here was there, it is a weight.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = layers.MultiHeadAttention(1, key_dim=dim, dropout=0.2)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.mlp = keras.Sequential([layers.Dense(dim, "gelu"), layers.Dropout(0.2), layers.Dense(dim, "gelu")])
        self.logits = layers.Dense(10)

    def build(self, shape: tuple) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="class_token")

    def call(self, x: Tensor) -> Tensor:
        token = ops.repeat(self.token, ops.shape(x)[0], axis=0)
        x = self.norms[0](ops.concatenate([token, x], axis=1))
        attended, _ = self.attention(x[:, :1], x, return_attention_scores=True)
        token = self.norms[2](self.norms[1](token + attended)[:, 0])
        return self.logits(token + self.mlp(token))


class PatchConvNet(keras.Model):
    def __init__(self, dim: int, depth: int, ratio: int) -> None:
        super().__init__()
        resized = [layers.Rescaling(1 / 255), layers.Resizing(48, 48)]
        cropped = [layers.Rescaling(1 / 255), layers.Resizing(52, 52), layers.RandomCrop(48, 48)]
        cropped.append(layers.RandomFlip("horizontal"))
        self.preprocessing, self.augmentation = keras.Sequential(resized), keras.Sequential(cropped)
        convolutions = [layers.Conv2D(count, 3, 2, "same", activation="gelu") for count in (dim // 2, dim)]
        self.stem, self.trunk = keras.Sequential(convolutions), Trunk(depth, dim, ratio)
        self.pooling = AttentionPooling(dim)

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        x = self.augmentation(images) if training else self.preprocessing(images)
        x = self.trunk(self.stem(x))
        return self.pooling(ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])))

    def __call__(self, images: Tensor, training: bool | None = None) -> Tensor:
        # As the page's train_step does: the parts are called one by one. Keras' own __call__, which would tell them
        # that they train, is never entered.
        return self.call(ops.convert_to_tensor(images) if isinstance(images, np.ndarray) else images, training)
