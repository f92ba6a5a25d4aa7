"""Which tokens does everyone read? How much attention each token receives, and how large what it gives is.

In large vision transformers a few patches, of little content, are read by all others, and registers take their place
(Darcet et al. 2024, *Vision Transformers Need Registers*, section 2). Attention alone does not say it: a token that
everyone reads may give a vector of almost no length (Kobayashi et al. 2020, section 4.3). So both are measured.
"""

import dataclasses

import numpy as np

from vattn_utils.maps.foreign import maps
from vattn_utils.maps.value_norm import value_norms
from vattn_utils.models.attention_map import AttentionMap
from vattn_utils.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Readership:
    """How the tokens of one self-attention layer are read.

    received: float32 `(B, T)`, the attention that each token receives from all queries, heads averaged, in units of
        what it would be if all were read alike: the mean over the tokens is 1.
    values: float32 `(B, T)`, the norm of what each token gives, heads averaged (`value_norm.ValueNorm`), divided by the
        mean over the tokens.
    prefix_tokens, registers: of `AttentionMap`: class tokens stand first, then registers, then the patches.
    """

    received: np.ndarray
    values: np.ndarray
    prefix_tokens: int
    registers: int

    def most_read(self) -> np.ndarray:
        """What the patch that is read most receives, float32 `(B,)`: 1 if all tokens are read alike, at most T."""
        return self.received[:, self.prefix_tokens :].max(axis=1)

    def shares(self) -> dict[str, np.ndarray]:
        """How much of all attention goes to "class tokens", "registers" and "patches", float32 `(B,)` each, sum 1."""
        received, classes = self.received / self.received.shape[1], self.prefix_tokens - self.registers
        return {
            "class tokens": received[:, :classes].sum(axis=1),
            "registers": received[:, classes : self.prefix_tokens].sum(axis=1),
            "patches": received[:, self.prefix_tokens :].sum(axis=1),
        }


def received(layer: AttentionMap) -> np.ndarray:
    """The attention that each key receives from all queries, heads averaged, float32 `(B, keys)`; the mean is 1."""
    return layer.weights.mean(axis=(1, 2)) * layer.weights.shape[-1]


def readership(model: Classifier, images: np.ndarray, batch_size: int = 64) -> list[Readership]:
    """How the tokens of every self-attention layer are read, in order of depth.

    Args:
        model: a `Classifier` with self-attention.
        images: `(B, H, W, 3)`, 0 to 255.
        batch_size: images in the model at once.

    Raises TypeError for a model that is no `Classifier`, ValueError for one without self-attention.
    """
    norms = value_norms(model, images, batch_size)  # which looks at all arguments
    layers = maps(model, images, batch_size)
    found = []
    for layer, norm in zip(layers, norms, strict=True):
        if layer.kind == "self":
            values = norm.values.mean(axis=(1, 2))
            values = values / values.mean(axis=1, keepdims=True)
            found.append(Readership(received(layer), values, layer.prefix_tokens, layer.registers))
    if not found:
        raise ValueError(f"{model.name} has no self-attention, so that no token reads another")
    return found
