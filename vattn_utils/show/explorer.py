"""The explorer: one piece of HTML in which a reader points at a patch and sees what it attends to.

Here is what an explorer is made of and what may be given to it; how it becomes a page stands in `explorer_page.py`, and
what the page does in the files `explorer.*` and `explorer_*.js`, the same for every explorer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from vattn_utils.data.checks import (
    check_choice,
    check_class_names,
    check_images,
    check_labels,
    check_text,
    check_whole,
)  # fmt: skip
from vattn_utils.maps import attention, attribution
from vattn_utils.maps.attention import AttentionMap
from vattn_utils.models.classifier import Classifier, check_classifier
from vattn_utils.show import explorer_page
from vattn_utils.show.explorer_page import Arrays

MAX_BYTES = 500_000  # of the HTML: a chapter may have 2 MB
MAX_IMAGES = 64  # to choose from, whatever their maps weigh


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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def explorer(
    model: Classifier,
    images: np.ndarray,
    labels: ArrayLike | None = None,
    class_names: Sequence[str | int] | None = None,
    title: str = "What the model attends to",
    presets: Mapping[str, Mapping[str, int | str]] | None = None,
) -> Explorer:
    """An interactive page of everything `model` attends to in `images`, without a kernel and without a network.

    The map lies over the picture. The reader chooses an image, and a layer and head among small maps of all, and points
    at a patch or a memory slot; a click holds it. Where the model has them, there are also its rollout, and the
    evidence for a class (`attribution.evidence`, as a share of the picture's). It opens on the patch that is attended
    to most, the maximum of the pooling's map, or of the last layer's maps taken together; and on the head of the last
    layer before the pooling whose maps are spread widest.

    Args:
        model: a `Classifier` with attention.
        images: `(B, H, W, 3)`, 0 to 255, at most 64, and as many as fit into 500 kB.
        labels: integers `(B,)`, the classes whose evidence is shown; None means those that the model predicts.
        class_names: one name for each of the model's classes; None counts them.
        title: plain text above the page.
        presets: what there is to try, {text: where}; `where` has any of image, row and column, counted from 1, and
            layer (a number from 0, "pooling", "rollout" or "evidence"), head and slot, from 0: as the page names them.

    Returns an `Explorer`; the same input gives the same HTML. Each map in it is within half a level of the array, of
    255, 127, 63, 31 or 15 levels of its maximum, as many as fit; what a token reads from a slot is within half a level
    of 1. Evidence is exact in float32. Raises ValueError or TypeError for input that does not fit the model or this
    page, ValueError for a model without attention or with NaN in it, and for more images than fit, with the number
    that do.
    """
    check_classifier(model, "an explorer")
    if not model.attention_layers:
        raise ValueError(f"{model.name} has no layer of attention; there is nothing to explore")
    images = check_images(images, model.image_size)
    if len(images) > MAX_IMAGES:
        raise ValueError(f"{len(images)} images cannot be chosen from; give 1 to {MAX_IMAGES}")
    names, title = check_class_names(class_names, model.num_classes), check_text("title", title)
    probabilities = _probabilities(model, images)
    predicted = probabilities.argmax(axis=-1)
    classes = predicted if labels is None else check_labels(labels, len(images), model.num_classes)
    layers, rollout, evidence = _seen(model, images, classes)

    shown = {layer.kind if layer.kind == "pooling" else str(depth): layer for depth, layer in enumerate(layers)}
    described = [_described(name, layer) for name, layer in shown.items()]
    mixing = [layer for layer in layers if layer.kind != "pooling"]
    exact = {
        "images": np.clip(np.rint(images), 0, 255).astype("uint8"),
        "attention": explorer_page.colours(),
        "focus": _focus(layers).astype("uint16"),
    }
    if rollout is not None:
        shown["rollout"] = AttentionMap("self", rollout[:, None], model.grid, mixing[0].prefix_tokens)
        described.append({**_described("rollout", shown["rollout"]), "kind": "rollout"})
    if evidence is not None:
        exact["evidence"] = evidence.reshape(len(images), -1)
        described.append(dict(name="evidence", label="evidence", kind="evidence", prefix=0, heads=1, slots=0))

    captions = []
    for label, found, share in zip(classes, predicted, probabilities.max(axis=-1), strict=True):
        given = "" if labels is None else f"{names[label]}; "
        captions.append({"caption": f"{given}predicted: {names[found]}, {100 * share:.1f} %", "evidence": names[label]})
    about = {
        "title": title,
        "grid": model.grid,
        "size": images.shape[1:3],
        "shift": attention.receptive_field(model).shift,
        "images": captions,
        "classes": names if any(layer.kind == "pooling" and layer.weights.shape[2] > 1 for layer in layers) else None,
        "layers": described,
        "opens": {"layer": max(0, len(mixing) - 1), "head": _widest_head((mixing or layers)[-1])},
        "presets": _checked_presets(presets or {}, described, len(images), model.grid),
    }
    drawn = {
        "images": images,
        "layers": [layer.weights for layer in layers],
        "slot_maps": [layer.slot_maps for layer in layers if layer.slot_maps is not None],
        "rollout": rollout,
        "evidence": exact.get("evidence"),
        "focus": exact["focus"],
    }
    html = _fitting(about, exact, shown, getattr(model, "mixing", True))
    text = f"Interactive: {title} (images: {len(images)}, layers of attention: {len(layers)})."
    return Explorer(html, text, drawn)


def _probabilities(model: Classifier, images: np.ndarray) -> np.ndarray:
    logits = ops.convert_to_numpy(ops.cast(model(images, training=False), "float32"))
    if not np.isfinite(logits).all():
        raise ValueError("the logits hold NaN or infinity; look at the model's weights")
    return ops.convert_to_numpy(ops.softmax(logits))


def _seen(
    model: Classifier, images: np.ndarray, classes: np.ndarray
) -> tuple[list[AttentionMap], np.ndarray | None, np.ndarray | None]:
    """The model's attention, its rollout, and the evidence for the classes; None for what it has not."""
    if "evidence" in attribution.methods(model):
        layers, gradients = attribution.attention_gradients(model, images, classes)
        evidence = attribution.evidence_of(layers, gradients, classes).astype("float32")
    else:
        layers, evidence = attention.maps(model, images), None
    mixing = [layer for layer in layers if layer.kind == "self"]
    return layers, attention.rollout(mixing) if mixing else None, evidence


def _fitting(about: dict[str, Any], exact: Arrays, shown: Mapping[str, AttentionMap], mixing: bool) -> str:
    """The page with as many levels as fit into `MAX_BYTES`."""
    for levels in explorer_page.LEVELS:
        arrays = dict(exact)
        for name, layer in shown.items():
            arrays |= explorer_page.in_levels(name, layer, levels, mixing)
        html = explorer_page.filled({**about, "levels": levels}, arrays)
        size = len(html.encode())
        if size <= MAX_BYTES:
            return html
    empty, count = len(explorer_page.filled(about, {}).encode()), len(about["images"])
    fit = int((MAX_BYTES - empty) / (size - empty) * count)
    way = f"give at most {fit} images" if fit > 0 else "not even one fits; use a model of fewer layers or tokens"
    raise ValueError(f"{count} images make {size:,} bytes of HTML, the limit is {MAX_BYTES:,}; {way}")


def _described(name: str, layer: AttentionMap) -> dict[str, Any]:
    """What the page must know of a layer, for JSON."""
    return {
        "name": name,
        "label": f"layer {name}" if name.isdigit() else name,
        "kind": layer.kind,
        "prefix": layer.prefix_tokens,
        "class_token": layer.prefix_tokens > layer.registers,
        "heads": layer.weights.shape[1],
        "slots": layer.weights.shape[3] if layer.kind == "external" else 0,
    }


def _focus(layers: Sequence[AttentionMap]) -> np.ndarray:
    """The patch of each image that is attended to most, `(B,)`: by the pooling, or by the last layer in all."""
    last = layers[-1]
    if last.slot_maps is not None:
        places = last.slot_maps[..., -last.grid[0] * last.grid[1] :]
    else:
        places = last.weights[..., last.prefix_tokens :]
    return places.mean(axis=(1, 2)).argmax(axis=-1)


def _widest_head(layer: AttentionMap) -> int:
    """The head of a layer whose maps are spread over the most places, on average."""
    maps = layer.weights if layer.slot_maps is None else layer.slot_maps
    return int(attention.spread(maps).mean(axis=(0, 2)).argmax())


def _checked_presets(
    presets: Mapping[str, Mapping[str, int | str]], layers: Sequence[dict[str, Any]], count: int, grid: tuple[int, int]
) -> dict[str, dict[str, Any]]:
    """The presets as the page takes them: every one leads somewhere."""
    if not isinstance(presets, Mapping):
        raise TypeError(f"presets is {type(presets).__name__}; give a dict, {{text: dict(layer=3, head=2)}}")
    found = {}
    for text, where in presets.items():
        if not isinstance(where, Mapping):
            raise TypeError(
                f"presets[{text!r}] is {type(where).__name__}; give a dict of image, layer, head, row, column"
            )
        named = {layer["name"]: layer for layer in layers}
        layer = named[layers[0]["name"]]
        told = {}
        if "layer" in where:
            check_choice(f"presets[{text!r}]: layer", str(where["layer"]), tuple(named))
            layer = named[str(where["layer"])]
            told["layer"] = layer["name"]
        most = {
            "image": (1, count), "row": (1, grid[0]), "column": (1, grid[1]), "head": (0, layer["heads"] - 1),
            "slot": (0, layer["slots"] - 1),
        }  # fmt: skip
        for name, value in where.items():
            check_choice(f"presets[{text!r}]: a name", name, ("layer", *most))
            if name != "layer":
                told[name] = check_whole(f"presets[{text!r}]: {name}", value, *most[name])
        found[check_text("a preset", text)] = told
    return found
