"""The explorer: one piece of HTML in which a reader points at a patch and sees what it attends to.

What is shown and how stands in `explorer.html`, the same for every explorer; here the two blocks of data are made that
go into it. One of them says what there is (JSON), the other holds the arrays: attention as bytes, each map relative to
its own maximum, deflated, in base64.
"""

import base64
import json
import re
import zlib
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from keras import ops

from vattn_utils.data import check_images
from vattn_utils.maps import attention, attribution
from vattn_utils.show.plots import ATTENTION

TEMPLATE = Path(__file__).with_suffix(".html")
MAX_BYTES = 1_500_000  # of the HTML: a chapter may have 2 MB
MAX_IMAGES = 64  # to choose from, whatever their maps weigh
SIGNED = "RdBu_r"


@dataclass(frozen=True)
class Explorer:
    """What `explorer` returns: a notebook shows `html` where it is the last line of a cell, or given to `display`.

    html: self-contained, for a page of any kind.
    text: a sentence that stands for it where HTML is not shown.
    arrays: what is drawn in it, NumPy arrays by name; whoever verifies a page compares these, not their bytes in it.
    """

    html: str = field(repr=False)
    text: str
    arrays: dict = field(repr=False)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": self.text}


def explorer(model, images, labels=None, class_names=None, title="What the model attends to"):
    """An interactive page of everything `model` attends to in `images`, without a kernel and without a network.

    The reader chooses an image, a layer and a head or all of them, and points at a patch, at a memory slot, or names a
    class; where the model has them, the views are the attention, its rollout, and the evidence for a class.

    Args:
        model: a `Classifier`.
        images: `(B, H, W, 3)`, 0 to 255, at most 64 and as many as fit into 1.5 MB.
        labels: integers `(B,)`, the classes whose evidence is shown; None means those that the model predicts.
        class_names: one name for each of the model's classes; None counts them.
        title: plain text above the page.

    Returns an `Explorer`; the same input gives the same HTML. Each map in it is within 1/255 of its maximum of the
    array, evidence is exact in float32. Raises ValueError or TypeError for input that does not fit the model, and
    ValueError for more images than fit, with the number that do.
    """
    check_images(images, model.image_size)
    if not 1 <= len(images) <= MAX_IMAGES:
        raise ValueError(f"{len(images)} images cannot be chosen from; give 1 to {MAX_IMAGES}")
    names = _checked_names(class_names, model.num_classes)
    probabilities = ops.convert_to_numpy(ops.softmax(ops.cast(model(images, training=False), "float32")))
    predicted = probabilities.argmax(axis=-1)
    classes = predicted if labels is None else _checked_labels(labels, len(images), model.num_classes)
    if "evidence" in attribution.methods(model):
        layers, gradients = attribution.attention_gradients(model, images, classes)
        evidence = attribution.evidence_of(layers, gradients, classes).astype("float32")
    else:
        layers, evidence = attention.maps(model, images), None
    mixing = [layer for layer in layers if layer.kind == "self"]
    rollout = attention.rollout(mixing) if mixing else None

    captions = []
    for label, found, share in zip(classes, predicted, probabilities.max(axis=-1), strict=True):
        given = "" if labels is None else f"{names[label]}; "
        captions.append({"caption": f"{given}predicted: {names[found]}, {100 * share:.1f} %", "evidence": names[label]})
    about = {
        "title": title,
        "grid": model.grid,
        "size": images.shape[1:3],
        "images": captions,
        "classes": names if any(layer.kind == "pooling" and layer.weights.shape[2] > 1 for layer in layers) else None,
        "evidence": evidence is not None,
        "signed": evidence is not None and bool(evidence.min() < 0),
        "layers": [],
    }
    arrays = {
        "images": np.clip(np.rint(images), 0, 255).astype("uint8"),
        "attention": _colours(ATTENTION),
        "signed": _colours(SIGNED),
    }
    if evidence is not None:
        arrays["evidence"] = evidence.reshape(len(images), -1)
    for name, layer in enumerate(layers):
        about["layers"].append(_described(str(name), layer))
        arrays |= _quantised(str(name), layer)
    if rollout is not None:
        mixed = attention.AttentionMap("self", rollout[:, None], model.grid, mixing[0].prefix_tokens)
        about["layers"].append(_described("rollout", mixed))
        arrays |= _quantised("rollout", mixed)

    drawn = {
        "images": images,
        "layers": [layer.weights for layer in layers],
        "slot_maps": [layer.slot_maps for layer in layers if layer.slot_maps is not None],
        "rollout": rollout,
        "evidence": evidence,
    }
    html = _page(about, arrays)
    _check_size(len(html.encode()), len(_page(about, {}).encode()), len(images))
    return Explorer(html, f"Interactive: {title} (images: {len(images)}, layers of attention: {len(layers)}).", drawn)


def _described(name, layer):
    """What the page must know of a layer, for JSON."""
    heads, slots = layer.weights.shape[1], layer.weights.shape[3] if layer.kind == "external" else 0
    class_token = layer.prefix_tokens > layer.registers
    told = {"kind": layer.kind, "prefix": layer.prefix_tokens, "class_token": class_token}
    return {"name": name, **told, "heads": heads, "slots": slots}


def _quantised(name, layer):
    """A layer's arrays under their names; what goes to class tokens is kept apart, exact, so that no patch pales."""
    weights = layer.weights[..., layer.prefix_tokens :]
    arrays = _bytes_and_top(weights, f"{name}.")
    if layer.prefix_tokens:
        arrays[f"{name}.own"] = layer.own_share().astype("float32")  # (B, heads, queries)
    if layer.kind == "external":
        arrays |= _bytes_and_top(layer.slot_maps[..., -prod(layer.grid) :], f"{name}.slot_")
    return arrays


def _bytes_and_top(maps, name):
    """Maps `(..., places)`, not negative, as bytes and the maximum of each: a value is about byte / 255 * top."""
    top = maps.max(axis=-1).astype("float32")
    if not np.isfinite(top).all():
        raise ValueError("the attention holds NaN or infinity; look at the model's weights")
    scale = np.where(top > 0, top, 1)[..., None]
    return {f"{name}bytes": np.rint(maps / scale * 255).astype("uint8"), f"{name}top": top}


def _colours(name):
    """The colour map's table, uint8 `(256, 3)`."""
    return plt.get_cmap(name)(np.arange(256), bytes=True)[:, :3]


def _page(about, arrays):
    """The template with its two blocks of data filled in."""
    # The floats first: the page reads them in place, at multiples of four bytes.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    listed = [[name, array.dtype.str[1:], array.shape] for name, array in arrays.items()]
    packed = zlib.compress(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values()), 9)
    # No "<", so that a name in it cannot end the block.
    blocks = {
        "about": json.dumps({**about, "arrays": listed}, ensure_ascii=False).replace("<", "\\u003c"),
        "payload": base64.b64encode(packed).decode(),
    }
    return re.sub(r"{{(\w+)}}", lambda hole: blocks[hole[1]], TEMPLATE.read_text(encoding="utf-8"))


def _check_size(size, empty, count):
    if size > MAX_BYTES:
        fit = int((MAX_BYTES - empty) / (size - empty) * count)
        way = f"give at most {fit} images" if fit > 0 else "not even one fits; use a model of fewer layers or tokens"
        raise ValueError(f"{count} images make {size:,} bytes of HTML, the limit is {MAX_BYTES:,}; {way}")


def _checked_names(names, count):
    if names is None:
        return [f"class {index}" for index in range(count)]
    if len(names) != count:
        raise ValueError(f"{len(names)} class_names do not fit a model of {count} classes; give one for each")
    return [str(name) for name in names]


def _checked_labels(labels, count, classes):
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of shape {labels.shape} and dtype {labels.dtype} do not fit {count} images; "
            "give one integer for each"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}; those of this model are 0 to {classes - 1}")
    return labels
