"""What libraries computed when the pages were written, and no longer do."""

from collections.abc import Iterable

import keras
from keras import layers, ops

from vattn_utils.models.fast import Tensor


class DecoupledAdamW(keras.optimizers.AdamW):
    """AdamW with the decay of TensorFlow Addons: w -= weight_decay * w at every step, whatever the learning rate."""

    def _apply_weight_decay(self, variables: Iterable[keras.Variable]) -> None:
        for variable in variables:
            variable.assign(variable * (1 - self.weight_decay))


class EarlyLayerNormalization(layers.LayerNormalization):
    """Layer normalisation over the last axis, forward as ever, with the gradient of Keras 3.0.0 to 3.0.2.

    There the variance was computed as mean(x^2) - stop_gradient(mean(x))^2. Without the stop, that is the variance;
    with it, its gradient has 2 x where 2 (x - mean) belongs (in torch until 3.0.4: Keras' pull request 19102).
    """

    def call(self, x: Tensor) -> Tensor:
        mean = ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True) - ops.square(ops.stop_gradient(mean))
        return (x - mean) * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
