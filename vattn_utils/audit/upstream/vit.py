"""ViT's pages: https://keras.io/examples/vision/image_classification_with_vision_transformer/ and, for its schedule,
https://keras.io/examples/vision/vit_small_ds/ (its plain ViT).

Tokens are as wide as one head; keras-io's pull request 2379 makes them as wide as all heads together.
"""

from collections.abc import Sequence

import keras
from keras import layers

from vattn_utils.audit.upstream.example import Example, PatchEmbedding, Split, draw


def build(
    patch_size: int = 6,
    dim: int = 64,
    depth: int = 8,
    heads: int = 4,
    head_units: Sequence[int] = (2048, 1024),
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
    epochs: int = 10,
    *,
    normalization: type[layers.Layer] = layers.LayerNormalization,
    data: tuple[Split, Split] | None = None,
) -> Example:
    """ViT, compiled as on its page.

    Args:
        patch_size, dim, depth, heads, head_units, epochs: of the page.
        schedule: what was made and is not used, as on the page on small data sets; None for the other page.
        normalization: with `older.EarlyLayerNormalization` the gradients are those of the Keras that printed the log.
        data: the training and the test split; None draws a few shapes.
    """
    train, test = data or draw(100)
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
    name, given = "ViT", dict(test=test, epochs=epochs, steps_per_epoch=176, schedule=schedule)
    if schedule:
        name = "ViT for small data sets"
    else:  # the other page keeps no weights
        given["callbacks"] = [
            keras.callbacks.ModelCheckpoint(
                "/tmp/checkpoint.weights.h5", monitor="val_accuracy", save_best_only=True, save_weights_only=True
            )
        ]
    return Example(name, model, train, given)


def _mlp(x: keras.KerasTensor, units: Sequence[int], rate: float) -> keras.KerasTensor:
    for count in units:
        x = layers.Dropout(rate)(layers.Dense(count, "gelu")(x))
    return x
