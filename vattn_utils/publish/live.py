"""The recorded models for the live page: one LiteRT graph a record, and `models.json`, which says what they are.

A graph has batch 1, float16 weights, and the inputs and outputs of `controls.forward`. It is made again only when its
record, the code or the converter changed (`made`), and always with the same bytes.
"""

import json
from pathlib import Path
from typing import Any

from vattn_utils.data import cifar, files
from vattn_utils.maps.passport import Passport
from vattn_utils.maps.pixels import receptive_field
from vattn_utils.models.classifier import Classifier
from vattn_utils.publish import controls, litert, made
from vattn_utils.statistics import bootstrap
from vattn_utils.training import records
from vattn_utils.training.records import Record, RecordError

TITLES = {
    "vit": "ViT",
    "eanet": "EANet",
    "patch_convnet": "PatchConvNet",
    "patch_convnet_per_class": "PatchConvNet, one query a class",
}
# The map, of those that need no gradient, that the book reads as where a model looked, by its name in `attribution`.
MAPS = {
    "vit": ("rollout", "attention rollout through all layers, read as the pooling weighs the tokens"),
    "eanet": ("pooling", "the weights with which the pooling averages the tokens"),
    "patch_convnet": ("pooling", "the attention of the class query to the patches"),
}


def export(folder: Path = made.FOLDER) -> None:
    """Write the models of `made.RECORDS` and their list into `folder`, those that are fresh excepted.

    Raises `RecordError` for a record that is missing or altered, and where the package is installed without its
    repository.
    """
    if not (made.ROOT / "records").is_dir():
        raise RecordError(f"{made.ROOT} has no records/; export from a checkout of the repository")
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / made.LIST
    before = {entry["record"]: entry for entry in json.loads(listed.read_text())["models"]} if listed.exists() else {}
    entries = []
    for name, record_name in made.RECORDS.items():
        record, key = records.load(record_name), made.digest(record_name)
        path, entry = folder / f"{record_name}.tflite", before.get(record_name, {})
        if entry.get("made_from") != key or not path.is_file() or files.sha256_of(path) != entry["sha256"]:
            model = record.model()
            files.write_atomically(path, graph(model))
            entry = {**description(record, model), "sha256": files.sha256_of(path), "made_from": key}
            print(f"{path}: {path.stat().st_size:,} bytes")
        method, label = MAPS[record.kind]
        shown = {"method": method, "label": label}
        page = {"name": name, "title": TITLES[name], "file": path.name, "bytes": path.stat().st_size, "map": shown}
        entries.append({**entry, **page, "passport": passport(record_name, method)})
    found = {"made_from": made.digest_of_all(), "models": entries}
    files.write_atomically(listed, json.dumps(found, indent=1) + "\n")
    print(f"{listed}: {len(entries)} models")


def graph(model: Classifier) -> bytes:
    """`model` under control as a LiteRT graph, the same bytes each time.

    Inputs: pixels `(1, H, W, 3)`, temperature `(1,)`, randomise `(units,)` and, where there is something to mute,
    head_mask; outputs: logits, and for layer i map_i and the steps to it, by name. See `controls.forward`. Needs
    TensorFlow as Keras' backend.
    """
    mask = controls.mask_shape(model)
    shapes = {
        "pixels": (1, model.image_size, model.image_size, 3),
        "temperature": (1,),
        "randomise": (len(controls.units(model)),),
        **({"head_mask": mask} if mask else {}),
    }

    def outputs(pixels: Any, temperature: Any, randomise: Any, head_mask: Any = None) -> dict[str, Any]:
        logits, maps, steps = controls.forward(model, pixels, temperature, randomise, head_mask)
        found = {f"map_{index}": weights for index, weights in enumerate(maps)}
        found |= {f"{name}_{index}": step for index, of in enumerate(steps) for name, step in of.items()}
        return {"logits": logits, **found}

    return litert.convert(model, outputs, shapes, half=True)


def description(record: Record, model: Classifier) -> dict[str, Any]:
    """What the page must know of a model, apart from its file and what its maps are worth."""
    return {
        "record": record.name,
        "chapter": record.kind,
        "dataset": record.dataset,
        "classes": list(cifar.CLASS_NAMES[record.dataset]),
        "image_size": model.image_size,
        "shift": list(receptive_field(model).shift),
        "mean": list(model.mean),
        "top1": record.metrics["top1"],
        "test_images": 10_000,
        "parameters": record.parameters,
        "licence": "Apache-2.0",
        "layers": [_layer(model, kind, prefix) for kind, prefix in model.attention_layers],
        "units": controls.units(model),
        "mask": controls.mask_shape(model),
    }


def _layer(model: Classifier, kind: str, prefix_tokens: int) -> dict[str, Any]:
    patches = model.grid[0] * model.grid[1]
    queries = prefix_tokens + patches if kind != "pooling" else 1
    keys = model.memory_slots if kind == "external" else prefix_tokens + patches
    if kind == "pooling" and getattr(model, "queries", "single") == "per-class":
        queries = model.num_classes
    heads = 1 if kind == "pooling" else model.heads
    return dict(kind=kind, heads=heads, queries=queries, keys=keys, grid=model.grid, prefix_tokens=prefix_tokens)


def passport(record: str, method: str) -> dict[str, Any] | None:
    """What `method`'s maps of a record are worth, as it was measured; None if nobody measured it."""
    try:
        lines = records.measured("passports")
    except RecordError:
        return None
    found = [Passport.of_line(line) for line in lines if (line["record"], line["method"]) == (record, method)]
    return _in_numbers(found[0]) if found else None


def _in_numbers(worth: Passport) -> dict[str, Any]:
    return {
        "method": worth.method,
        "images": worth.images,
        "steps": worth.steps,
        "fill": worth.fill,
        "chance": 0,
        "difference": _interval(bootstrap(worth.differences)),
        "gains": {rival: _interval(gain) for rival, gain in worth.gains().items()},
        "new_weights": float(worth.new_weights.mean()),
    }


def _interval(found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("mean", "low", "high"), found, strict=True))
