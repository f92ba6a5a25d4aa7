"""The keras.io examples as they are published, defects included, so that `audit` has something to find.

Written anew from what the pages do; sizes and settings are theirs. They are trained only to show what a defect
costs: the mended forms are the variants "keras-io" of `vit`, `eanet` and `patch_convnet`.

- EANet: https://keras.io/examples/vision/eanet/ (the port to Keras 3 of 2023).
- ViT: https://keras.io/examples/vision/image_classification_with_vision_transformer/ with tokens as wide
  as one head; keras-io's pull request 2379 makes them as wide as all heads together.
- ViT for small data sets: https://keras.io/examples/vision/vit_small_ds/, its plain ViT, for the schedule.
- PatchConvNet: https://keras.io/examples/vision/patch_convnet/, which was never ported: it needs TensorFlow Addons.
  This is it in Keras 3 word for word, but for the class token (see `AttentionPooling`).
"""

import dataclasses

import keras
import numpy as np
from keras import layers, ops

from vattn_utils.data import shapes


@dataclasses.dataclass(frozen=True)
class Example:
    """What a script hands to Keras: `name`, a compiled `model`, `data` (images, labels), and `given`, the rest.

    `given` holds keyword arguments of `audit.audit`: the test images, the run's length, callbacks, a schedule.
    """

    name: str
    model: keras.Model
    data: tuple
    given: dict


def build(name):
    """The published formulations of the example `name`, a list of `Example`; EANet's has its self-attention twin too.

    They are built at full size; their data are the embedded shapes, a few hundred images instead of CIFAR. Raises
    ValueError for a name that is not in `EXAMPLES`.
    """
    if name not in EXAMPLES:
        raise ValueError(f"example {name!r} is not known; there are {', '.join(EXAMPLES)}")
    keras.utils.set_random_seed(0)
    return EXAMPLES[name]()


def eanet(
    attention="external", patch_size=2, dim=64, depth=8, heads=4, coefficient=4, rate=0.2, *,
    contrast_first=False, weight_decay=1e-4, data=None,
):  # fmt: skip
    """EANet, or with attention="self" the transformer that the page holds against it.

    Two of its defects can be mended: contrast_first=True changes the contrast before it normalises, and a
    weight_decay of 0.1 is, at this learning rate, what the page's number meant in TensorFlow Addons. `data` is the
    training and the test split, `((x, y), (x, y))`; None draws a few shapes.
    """
    train, test = data or _data(100)
    tokens = (32 // patch_size) ** 2
    inputs = keras.Input((32, 32, 3))
    augmentation = [
        layers.Normalization(),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomContrast(0.1),  # clips to 0 to 255, after normalisation
        layers.RandomZoom(0.2, 0.2),
    ]
    augmentation[0].adapt(train[0])
    if contrast_first:
        augmentation.insert(0, augmentation.pop(3))
    x = PatchEmbedding(patch_size, tokens, dim)(keras.Sequential(augmentation)(inputs))
    for _ in range(depth):
        normed = layers.LayerNormalization(epsilon=1e-5)(x)
        if attention == "external":
            attended = external_attention(normed, dim, heads * coefficient, coefficient, rate)
        else:
            attended = layers.MultiHeadAttention(heads, key_dim=dim, dropout=rate)(normed, normed)
        x = x + attended
        normed = layers.LayerNormalization(epsilon=1e-5)(x)
        hidden = layers.Dropout(rate)(layers.Dense(dim, "gelu")(normed))
        x = x + layers.Dropout(rate)(layers.Dense(dim)(hidden))
    outputs = layers.Dense(100, "softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=weight_decay),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    train, test = ((x, keras.utils.to_categorical(y, 100)) for x, y in (train, test))
    name = "EANet" if attention == "external" else "its self-attention twin"
    return Example(name, model, train, dict(test=test, epochs=50, steps_per_epoch=313))


def vit(
    patch_size=6, dim=64, depth=8, heads=4, head_units=(2048, 1024), schedule=None, epochs=10, *,
    normalization=layers.LayerNormalization, data=None,
):  # fmt: skip
    """ViT; `schedule` is made and not used, as in the page on small data sets. `data` as for `eanet`.

    With normalization=EarlyLayerNormalization its gradients are those of the Keras that printed the page's log.
    """
    train, test = data or _data(100)
    inputs = keras.Input((32, 32, 3))
    augmentation = [
        layers.Normalization(),
        layers.Resizing(72, 72),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.02),
        layers.RandomZoom(0.2, 0.2),
    ]
    augmentation[0].adapt(train[0])
    x = PatchEmbedding(patch_size, (72 // patch_size) ** 2, dim)(keras.Sequential(augmentation)(inputs))
    for _ in range(depth):
        normed = normalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(heads, key_dim=dim, dropout=0.1)(normed, normed)
        x = x + _mlp(normalization(epsilon=1e-6)(x), (2 * dim, dim), 0.1)
    x = layers.Dropout(0.5)(layers.Flatten()(normalization(epsilon=1e-6)(x)))
    model = keras.Model(inputs, layers.Dense(100)(_mlp(x, head_units, 0.5)))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    name = "ViT for small data sets" if schedule else "ViT"
    return Example(name, model, train, dict(test=test, epochs=epochs, steps_per_epoch=176, schedule=schedule))


def patch_convnet(dim=256, depth=2, squeeze_ratio=8):
    """PatchConvNet with its shared trunk, its silent dropout, its two sizes, and test images in a callback."""
    train, test = _data(10)
    model = PatchConvNet(dim, depth, squeeze_ratio)
    model(train[0][:1])  # makes the weights
    model.built = True  # Keras cannot notice: its own __call__ was not entered
    steps = 313 * 50
    schedule = _warm_up_cosine(1e-3, steps, 0.15)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    test_images = test[0][:16]  # a batch

    class TrainMonitor(keras.callbacks.Callback):
        """Every few epochs, look at the attention over test images."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch % 5 == 4:
                self.model.predict_on_batch(test_images)

    given = dict(test=test, epochs=50, steps_per_epoch=313, callbacks=[TrainMonitor()], schedule=schedule)
    return Example("PatchConvNet", model, train, given)


class DecoupledAdamW(keras.optimizers.AdamW):
    """AdamW with the decay of TensorFlow Addons: w -= weight_decay * w at every step, whatever the learning rate."""

    def _apply_weight_decay(self, variables):
        for variable in variables:
            variable.assign(variable * (1 - self.weight_decay))


EXAMPLES = {
    "keras-io-eanet": lambda: [eanet(), eanet("self")],
    "keras-io-vit": lambda: [vit()],
    "keras-io-vit-small-ds": lambda: [vit(schedule=_warm_up_cosine(1e-3, 176 * 50, 0.1), epochs=50)],
    "keras-io-patch-convnet": lambda: [patch_convnet()],
}


def _data(classes):
    """((x, y), (x, y)): 200 training and 40 test images, 0 to 255, and integer labels."""
    images, labels, _ = shapes.draw(np.arange(240), classes)
    return (images[:200], labels[:200]), (images[200:], labels[200:])


def _warm_up_cosine(peak, steps, warmup):
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - int(steps * warmup), warmup_target=peak, warmup_steps=int(steps * warmup)
    )


def _mlp(x, units, rate):
    for count in units:
        x = layers.Dropout(rate)(layers.Dense(count, "gelu")(x))
    return x


def external_attention(x, dim, heads, coefficient, rate):
    """`(B, N, dim)` to the same: the functional form of the page, with `dim` times `coefficient` channels inside."""
    inner, tokens = dim * coefficient, x.shape[1]
    x = layers.Reshape((tokens, heads, inner // heads))(layers.Dense(inner)(x))
    attention = layers.Softmax(axis=1)(layers.Dense(dim // coefficient)(x))  # (B, N, heads, S), over the tokens
    attention = attention / (1e-9 + ops.sum(attention, axis=-1, keepdims=True))
    x = layers.Dense(inner // heads)(layers.Dropout(rate)(attention))
    return layers.Dropout(rate)(layers.Dense(dim)(layers.Reshape((tokens, inner))(x)))


class PatchEmbedding(layers.Layer):
    """Cut into patches, project, add a learned position: `(B, H, W, 3)` to `(B, N, dim)`."""

    def __init__(self, patch_size, tokens, dim):
        super().__init__()
        self.patch_size, self.tokens = patch_size, tokens
        self.projection = layers.Dense(dim, name="projection")
        self.position = layers.Embedding(tokens, dim, name="position")

    def call(self, images):
        patches = ops.image.extract_patches(images, self.patch_size)
        patches = ops.reshape(patches, (-1, self.tokens, patches.shape[-1]))
        return self.projection(patches) + self.position(ops.arange(self.tokens))


class EarlyLayerNormalization(layers.LayerNormalization):
    """Layer normalisation over the last axis, forward as ever, with the gradient of Keras 3.0.0 to 3.0.2.

    There the variance was computed as mean(x^2) - stop_gradient(mean(x))^2. Without the stop, that is the variance;
    with it, its gradient has 2 x where 2 (x - mean) belongs (in torch until 3.0.4: Keras' pull request 19102).
    """

    def call(self, x):
        mean = ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True) - ops.square(ops.stop_gradient(mean))
        return (x - mean) * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class SqueezeExcite(layers.Layer):
    def __init__(self, ratio):
        super().__init__()
        self.ratio = ratio

    def build(self, shape):
        self.reduce = layers.Dense(shape[-1] // self.ratio, "relu", use_bias=False)
        self.excite = layers.Dense(shape[-1], "sigmoid", use_bias=False)
        self.reduce.build((None, shape[-1]))
        self.excite.build((None, shape[-1] // self.ratio))

    def call(self, x):
        return x * self.excite(self.reduce(ops.mean(x, axis=(1, 2), keepdims=True)))


class Trunk(layers.Layer):
    def __init__(self, depth, dim, ratio):
        super().__init__()
        block = [
            layers.LayerNormalization(epsilon=1e-6),
            layers.Conv2D(dim, 1, padding="same", activation="gelu"),
            layers.Conv2D(dim, 3, padding="same", activation="gelu"),
            SqueezeExcite(ratio),
            layers.Conv2D(dim, 1, padding="same"),
        ]
        self.blocks = [keras.Sequential(block) for _ in range(depth)]  # the same layers in each of them

    def call(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


class AttentionPooling(layers.Layer):
    """One class token attends to itself and all patches, and is classified: `(B, N, dim)` to `(B, 10)`.

    The page's class token is a bare TensorFlow variable. Keras 2 trained it; Keras 3 would not know of it. So that
    what is found here was there, it is a weight.
    """

    def __init__(self, dim):
        super().__init__()
        self.attention = layers.MultiHeadAttention(1, key_dim=dim, dropout=0.2)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.mlp = keras.Sequential([layers.Dense(dim, "gelu"), layers.Dropout(0.2), layers.Dense(dim, "gelu")])
        self.logits = layers.Dense(10)

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="class_token")

    def call(self, x):
        token = ops.repeat(self.token, ops.shape(x)[0], axis=0)
        x = self.norms[0](ops.concatenate([token, x], axis=1))
        attended, _ = self.attention(x[:, :1], x, return_attention_scores=True)
        token = self.norms[2](self.norms[1](token + attended)[:, 0])
        return self.logits(token + self.mlp(token))


class PatchConvNet(keras.Model):
    def __init__(self, dim, depth, ratio):
        super().__init__()
        resized = [layers.Rescaling(1 / 255), layers.Resizing(48, 48)]
        cropped = [layers.Rescaling(1 / 255), layers.Resizing(52, 52), layers.RandomCrop(48, 48)]
        cropped.append(layers.RandomFlip("horizontal"))
        self.preprocessing, self.augmentation = keras.Sequential(resized), keras.Sequential(cropped)
        convolutions = [layers.Conv2D(count, 3, 2, "same", activation="gelu") for count in (dim // 2, dim)]
        self.stem, self.trunk = keras.Sequential(convolutions), Trunk(depth, dim, ratio)
        self.pooling = AttentionPooling(dim)

    def call(self, images, training=None):
        x = self.augmentation(images) if training else self.preprocessing(images)
        x = self.trunk(self.stem(x))
        return self.pooling(ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])))

    def __call__(self, images, training=None):
        # As the page's train_step does: the parts are called one by one. Keras' own __call__, which would tell them
        # that they train, is never entered.
        return self.call(ops.convert_to_tensor(images) if isinstance(images, np.ndarray) else images, training)
