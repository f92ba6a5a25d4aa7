"""EANet's page, https://keras.io/examples/vision/eanet/ (the port to Keras 3 of 2023)."""

import keras
from keras import layers, ops

from vattn_utils.audit.upstream.example import Example, PatchEmbedding, Split, draw


def build(
    attention: str = "external",
    patch_size: int = 2,
    dim: int = 64,
    depth: int = 8,
    heads: int = 4,
    coefficient: int = 4,
    rate: float = 0.2,
    *,
    contrast_first: bool = False,
    weight_decay: float = 1e-4,
    data: tuple[Split, Split] | None = None,
) -> Example:
    """EANet, or its self-attention twin, compiled as on its page.

    Args:
        attention: "external", or "self": the transformer that the page holds against it.
        patch_size, dim, depth, heads, coefficient, rate: of the page, `rate` that of all its dropout.
        contrast_first: True mends one defect: the contrast is changed before normalising.
        weight_decay: 0.1 mends another: at this learning rate, what the page's number meant in TensorFlow Addons.
        data: the training and the test split; None draws a few shapes.
    """
    train, test = data or draw(100)
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


def external_attention(x: keras.KerasTensor, dim: int, heads: int, coefficient: int, rate: float) -> keras.KerasTensor:
    """`(B, N, dim)` to the same: the functional form of the page, with `dim` times `coefficient` channels inside."""
    inner, tokens = dim * coefficient, x.shape[1]
    x = layers.Reshape((tokens, heads, inner // heads))(layers.Dense(inner)(x))
    attention = layers.Softmax(axis=1)(layers.Dense(dim // coefficient)(x))  # (B, N, heads, S), over the tokens
    attention = attention / (1e-9 + ops.sum(attention, axis=-1, keepdims=True))
    x = layers.Dense(inner // heads)(layers.Dropout(rate)(attention))
    return layers.Dropout(rate)(layers.Dense(dim)(layers.Reshape((tokens, inner))(x)))
