"""The logit lens: what the model would answer if each token stood alone before its last norm and its head.

(nostalgebraist 2020; for vision transformers Vilas et al. 2023, *Analyzing Vision Transformers for Image
Classification in Class Embedding Space*, section 3.) Tokens on the way are read as if they were the last ones.
"""

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_images, check_whole
from vattn_utils.maps.given import method
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.vit import ViT


def reads_all_at_once(model: Classifier) -> bool:
    """Whether the head takes all tokens as one vector, so that there is no answer to one of them."""
    return getattr(model, "pooling", None) == "flatten"


def logit_lens(model: Classifier, images: np.ndarray, until: int | None = None, batch_size: int = 64) -> np.ndarray:
    """The logits that each patch alone would give, float32 `(B, rows, columns, num_classes)`.

    A head that averages or weighs tokens, or reads a class token, is given one token in their place; one whose class
    queries attend to the patches (PatchConvNet) is given this one patch to attend to.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255.
        until: the block to stop before, as in a slice: 0 means the first tokens, None those that the last block gives.
        batch_size: images in the model at once.

    Raises TypeError for a model that is no `Classifier`, ValueError for one whose head reads all tokens at once.
    """
    check_classifier(model, "a logit lens")
    if reads_all_at_once(model):
        raise ValueError(f"the head of {model.name} reads all tokens as one vector, and has no answer to one of them")
    images = check_images(images, model.image_size)
    found = []
    for start in range(0, len(images), check_whole("batch_size", batch_size)):
        tokens, _ = model.encode(ops.convert_to_tensor(images[start : start + batch_size]), until=until)
        if isinstance(model, ViT):
            logits = model.logits(model.norm(tokens[:, model.prefix_tokens :]))
        else:
            logits, _ = model.classify(ops.reshape(tokens, (-1, 1, tokens.shape[-1])))  # (B * N, num_classes)
        found.append(ops.convert_to_numpy(logits).reshape(-1, *model.grid, logits.shape[-1]))
    return np.concatenate(found)


@method
def lens(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The last tokens' logit for the class, above the mean of all (which no softmax sees); see `logit_lens`."""
    logits = logit_lens(model, images)
    return logits[np.arange(len(logits)), ..., np.asarray(labels)] - logits.mean(axis=-1)
