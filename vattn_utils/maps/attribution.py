"""Maps of what a model's answer rests on: by its gradients, by altering its input, and maps that ignore the model.

Every method has one form: `method(model, images, labels, seed=0)` returns float32 `(B, rows, columns)` on the grid of
the model's tokens, higher where there is more for `labels`. `METHODS` names them all, and `methods` those that are
defined for a model. Whether such a map is right is `faithfulness`' question.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import NOISE, check_images, check_labels, check_whole
from vattn_utils.maps import attention
from vattn_utils.maps.attention import AttentionMap, cover, to_grid
from vattn_utils.maps.attnlrp import attnlrp
from vattn_utils.maps.given import check_kind, given_batches, method, own_query
from vattn_utils.maps.gradients import compiled_gradient, sum_logits
from vattn_utils.maps.lens import lens, reads_all_at_once
from vattn_utils.maps.rise import rise
from vattn_utils.maps.rivals import centre, edges, random, smooth_random
from vattn_utils.maps.value_norm import attention_value_norm, pooling_value_norm
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.models.fast import Tensor

BATCH = 128  # images in the model at once


def logits(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """The model's logits for images `(B, H, W, 3)`, 0 to 255: float32 `(B, num_classes)`.

    The images may be altered ones: what fills a removed patch may lie a little outside 0 to 255.
    """
    images = check_images(images, getattr(model, "image_size", None), NOISE)
    starts = range(0, len(images), check_whole("batch_size", batch_size))
    return np.concatenate([model.predict_on_batch(images[start : start + batch_size]) for start in starts])


def probabilities(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """The model's probabilities for images `(B, H, W, 3)`, 0 to 255: float32 `(B, num_classes)`."""
    return ops.convert_to_numpy(ops.softmax(logits(model, images, batch_size)))


def attention_gradients(
    model: Classifier, images: np.ndarray, labels: ArrayLike, batch_size: int = BATCH
) -> tuple[list[AttentionMap], list[np.ndarray]]:
    """The attention of every layer, and the gradient of each image's logit with respect to it.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255.
        labels: integers `(B,)`: whose logit.

    Returns what `attention.maps` returns, and a list of arrays in its layers' shapes: those of `weights`, and for
    external attention that of `slot_maps`.
    """
    check_classifier(model, "a gradient of attention")
    layers = attention.maps(model, images, batch_size)
    # As the model itself lays them out: slot maps token by token.
    shapes = [
        (layer.weights if layer.slot_maps is None else np.moveaxis(layer.slot_maps, 3, 1)).shape for layer in layers
    ]
    batches = []
    for part, classes in given_batches(model, images, labels, batch_size):
        zeros = [np.zeros((len(part), *shape[1:]), "float32") for shape in shapes]
        batches.append(compiled_gradient(model, _logits_perturbed, zeros, part.astype("float32"), classes))
    found = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return layers, [
        array.transpose(0, 2, 3, 1) if layer.kind == "external" else array
        for layer, array in zip(layers, found, strict=True)
    ]


def input_gradients(model: keras.Model, images: np.ndarray, labels: ArrayLike, batch_size: int = BATCH) -> np.ndarray:
    """Gradient of each image's logit with respect to its pixels, `(B, H, W, 3)`, per unit of 0 to 255.

    Args:
        images: `(B, H, W, 3)`, 0 to 255.
        labels: integers `(B,)`: whose logit.
        batch_size: images in the model at once.
    """
    return np.concatenate(
        [
            compiled_gradient(model, _logits_seen, [part], classes)[0]
            for part, classes in given_batches(model, images, labels, batch_size)
        ]
    )


def integrated_gradients(
    model: Classifier,
    images: np.ndarray,
    labels: ArrayLike,
    baseline: ArrayLike | None = None,
    steps: int = 32,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Gradients averaged on the way from a baseline to the image, times that way, `(B, H, W, 3)`.

    Sundararajan et al. 2017, equation 3, by the midpoint rule: with enough steps an image's values sum
    to what its logit gains over the baseline's.

    Args:
        images, labels, batch_size: of `input_gradients`.
        baseline: an image `(H, W, 3)` or a colour; None means the mean colour that the model subtracts.
        steps: points on the way.
    """
    if baseline is None and not hasattr(model, "mean"):
        raise TypeError(f"{type(model).__name__} has no mean colour to begin with; give a baseline")
    steps, found = check_whole("steps", steps), []
    baseline = np.asarray(model.mean if baseline is None else baseline, "float32")
    shares = ((np.arange(steps) + 0.5) / steps).astype("float32").reshape(-1, 1, 1, 1, 1)
    for part, classes in given_batches(model, images, labels, max(1, check_whole("batch_size", batch_size) // steps)):
        way = part.astype("float32") - baseline
        points = baseline + shares * way  # (steps, b, H, W, 3)
        slopes = input_gradients(model, points.reshape(-1, *part.shape[1:]), np.tile(classes, steps), batch_size)
        found.append(slopes.reshape(points.shape).mean(axis=0) * way)
    return np.concatenate(found)


# Maps of attention. They know no class, except where gradients weigh them.


@method
def raw_attention(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The last self-attention, heads averaged, read where the answer is read."""
    check_kind(model, "self")
    layers = attention.maps(model, images, BATCH)
    deepest = [layer for layer in layers if layer.kind == "self"][-1]
    return attention.read_out(attention.fuse(deepest.weights), layers)


@method
def pooling(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The weights of the pooling, each image's own class's where it has one query a class."""
    check_kind(model, "pooling")
    last = attention.maps(model, images, BATCH)[-1]
    return own_query(last.patches().mean(axis=1), labels)


@method
def rollout(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Attention rollout, read where the answer is read. See `attention.rollout`."""
    layers = attention.maps(model, images, BATCH)
    return attention.read_out(attention.rollout(layers), layers)


@method
def gradient_rollout(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Rollout of attention weighted by its positive gradients; this combination is ours. See `attention.rollout`.

    Chefer et al. 2021a (equation 13) multiply the gradient by a *relevance* that was propagated through the whole
    network, and do not divide rows. Here it is multiplied by the attention, and each row is divided by its sum.
    """
    layers, gradients = attention_gradients(model, images, labels)
    return attention.read_out(attention.rollout(layers, gradients=gradients), layers)


@method
def evidence(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """The class's evidence: Chefer's rule through all self-attention, and (gradient * attention)+ at the pooling.

    The rule is `attention.relevance` (Chefer et al. 2021b); to read it by the pooling's own part is ours.
    Where nothing leads from token to token (EANet, PatchConvNet), the pooling's part is all of it.
    """
    check_kind(model, "self", "pooling")
    return evidence_of(*attention_gradients(model, images, labels), labels)


def evidence_of(layers: list[AttentionMap], gradients: list[np.ndarray], labels: ArrayLike) -> np.ndarray:
    """`evidence` from what `attention_gradients` returned for the same labels."""
    last, read = layers[-1], None
    labels = check_labels(labels, len(last.weights))
    if last.kind == "pooling":
        weights = np.maximum(gradients[-1] * last.weights, 0)[..., last.prefix_tokens :].mean(axis=1)
        read = own_query(weights, labels)
    if read is None or any(layer.kind == "self" for layer in layers):
        return attention.read_out(attention.relevance(layers, gradients), layers, pooling=read)
    return read.reshape(-1, *last.grid)


# Maps of any model's gradients, and of what it answers when a patch is gone.


@method
def input_gradient(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Size of the gradient at each patch's pixels (Simonyan et al. 2014, section 3)."""
    return to_grid(np.abs(input_gradients(model, images, labels)), model.grid)


@method
def gradient_times_input(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Gradient times what the pixel is above the model's mean, summed over each patch."""
    above = np.asarray(images, "float32") - np.asarray(model.mean, "float32")
    return to_grid(input_gradients(model, images, labels) * above, model.grid)


@method
def path_gradient(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Integrated gradients, summed over each patch. See `integrated_gradients`."""
    return to_grid(integrated_gradients(model, images, labels), model.grid)


@method
def grad_cam(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """Grad-CAM on the last block's tokens (Selvaraju et al. 2017, equations 1 and 2), class tokens left out.

    Where a class token answers, nobody reads the patches that the last block gives: there those that it takes are used.
    """
    found, until = [], -1 if model.pooling == "class" else None
    for part, classes in given_batches(model, images, labels, BATCH):
        tokens = ops.convert_to_numpy(model.encode(ops.convert_to_tensor(part), until=until)[0])
        (slope,) = compiled_gradient(model, _logits_read, [tokens], classes)
        tokens, slope = (array[:, -model.grid[0] * model.grid[1] :] for array in (tokens, slope))
        found.append(np.maximum((slope.mean(axis=1, keepdims=True) * tokens).sum(axis=-1), 0))
    return np.concatenate(found).reshape(-1, *model.grid)


@method
def occlusion(model: Classifier, images: np.ndarray, labels: ArrayLike, seed: int = 0) -> np.ndarray:
    """What the class's logit loses when a patch has the model's mean colour (Zeiler and Fergus 2014, section 4.2)."""
    images, found, colour = images.astype("float32"), [], np.asarray(model.mean, "float32")
    down, across = (cover(tokens, length) for tokens, length in zip(model.grid, images.shape[1:3], strict=True))
    holes = np.einsum("ry,cx->rcyx", down, across).reshape(-1, *images.shape[1:3])[:, None, :, :, None]
    before = logits(model, images)[np.arange(len(images)), np.asarray(labels)]
    for part, classes in given_batches(model, images, labels, max(1, BATCH // len(holes))):
        hidden = part + holes * (colour - part)  # (N, b, H, W, 3): each patch of each image covered
        after = logits(model, hidden.reshape(-1, *part.shape[1:])).reshape(len(holes), len(part), -1)
        found.append(after[:, np.arange(len(part)), classes].T)
    return (before[:, None] - np.concatenate(found)).reshape(-1, *model.grid)


# What the gradients above are of: the sum of the images' logits for their labels.


def _logits_seen(model: keras.Model, tensors: Sequence[Tensor], labels: Tensor) -> Tensor:
    return sum_logits(model(*tensors), labels)


def _logits_perturbed(model: Classifier, perturbations: Sequence[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    return sum_logits(model(images, perturbations=perturbations), labels)


def _logits_read(model: Classifier, tensors: Sequence[Tensor], labels: Tensor) -> Tensor:
    """From the last block's tokens, or, where a class token answers, from those that it takes."""
    (tokens,) = tensors
    for block in model.blocks[-1:] if model.pooling == "class" else []:
        tokens = block(tokens)
    return sum_logits(model.classify(tokens)[0], labels)


METHODS = {
    "random": random,
    "smooth random": smooth_random,
    "centre": centre,
    "edges": edges,
    "raw attention": raw_attention,
    "attention x value norm": attention_value_norm,
    "pooling": pooling,
    "pooling x value norm": pooling_value_norm,
    "rollout": rollout,
    "gradient rollout": gradient_rollout,
    "evidence": evidence,
    "logit lens": lens,
    "AttnLRP": attnlrp,
    "gradient": input_gradient,
    "gradient x input": gradient_times_input,
    "integrated gradients": path_gradient,
    "Grad-CAM": grad_cam,
    "occlusion": occlusion,
    "RISE": rise,
}
IGNORANT = ("random", "smooth random", "centre", "edges")  # of the model: rivals, of which a map must be better
SLOW = ("RISE",)  # asks the model a thousand times for each image


def methods(model: Classifier, slow: bool = False) -> list[str]:
    """The names in `METHODS` that are defined for `model`, in order; those in `SLOW` only where `slow` says so."""
    check_classifier(model, "a map")
    kinds = [kind for kind, _ in model.attention_layers]
    missing = set() if slow else set(SLOW)
    if "self" not in kinds:
        missing |= {"raw attention", "attention x value norm", "rollout", "gradient rollout"}
    if "pooling" not in kinds:
        missing |= {"pooling", "pooling x value norm", *([] if "self" in kinds else ["evidence"])}
    if reads_all_at_once(model):
        missing |= {"logit lens"}
    return [name for name in METHODS if name not in missing]
