"""The head of a model card: what the Hugging Face Hub reads of a record, as data, checked, and as YAML.

The fields are the Hub's (https://github.com/huggingface/hub-docs/blob/main/modelcard.md). YAML is written here, since
what is needed of it is little: PyYAML and the Hub's own parser read the same data again (tested).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import metadata as installed
from typing import Any

from vattn_utils.data import cifar, shapes
from vattn_utils.publish import PublishError, made
from vattn_utils.training.records import Record

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "shapes10": "10 drawn shapes",
    "shapes100": "100 drawn shapes",
}
ON_THE_HUB = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
TEST_IMAGES = {name: 10_000 if name in ON_THE_HUB else len(shapes.TEST) for name in TITLES}
# The metrics of a record as the Hub calls them: type and name.
METRICS = {
    "top1": ("accuracy", "Top-1 accuracy"),
    "top5": ("top_5_accuracy", "Top-5 accuracy"),
    "loss": ("cross_entropy", "Cross-entropy, in nats"),
}
PLAIN = re.compile(r"[A-Za-z][\w ./-]*(?<! )")  # text that YAML takes without quotes, unless it is one of:
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def home() -> str:
    """The address of the book's repository: from `_config.yml` of a checkout, or what an installed package says."""
    settings = made.ROOT / "_config.yml"
    if settings.is_file():
        found = re.search(r"^repository:\n(?:  .*\n)*?  url: (\S+)", settings.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    links = dict(link.split(", ", 1) for link in installed("vattn-utils").get_all("Project-URL") or [])
    return links["Repository"]


def class_names(record: Record) -> list[str]:
    """The names of the record's classes, in the order of its logits; "class 0" and on where nobody wrote them down."""
    if record.class_names:
        return record.class_names
    count = record.config["num_classes"]
    known = {**cifar.CLASS_NAMES, **{f"shapes{number}": names for number, names in shapes.CLASS_NAMES.items()}}
    return [name.replace("_", " ") for name in known.get(record.dataset, [f"class {index}" for index in range(count)])]


def of_record(record: Record) -> dict[str, Any]:
    """What the Hub reads of a record: every metric is a result."""
    dataset = record.dataset
    metrics = [
        {"type": kind, "name": name, "value": record.metrics[metric]} for metric, (kind, name) in METRICS.items()
    ]
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {
            "name": TITLES.get(dataset, dataset), "type": ON_THE_HUB.get(dataset, dataset), "split": "test",
        },
        "metrics": metrics,
    }  # fmt: skip
    return {
        "license": "apache-2.0",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": [record.kind.replace("_", "-"), "attention", "explainability", "tflite", "tensorboard"],
        **({"datasets": [ON_THE_HUB[dataset]]} if dataset in ON_THE_HUB else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": record.name, "results": [result]}],
    }


def check(metadata: Mapping[str, Any], record: Record) -> None:
    """Raise `PublishError`, which names all that is wrong, unless the metadata is whole and holds what was recorded."""
    faults = [f"{place} is {value!r}" for place, value in _leaves(metadata) if _is_nothing(value)]
    due = {"license": str, "library_name": str, "pipeline_tag": str, "tags": list, "metrics": list, "model-index": list}
    faults += [
        f"{name} is no {kind.__name__}" for name, kind in due.items() if not isinstance(metadata.get(name), kind)
    ]
    found: dict[str, Any] = {}
    for model in metadata.get("model-index") or []:
        for result in model.get("results") or []:
            lacking = [key for key in ("task", "dataset") if not (result.get(key) or {}).get("type")]
            faults += [f"a result in model-index has no type of {key}" for key in lacking]
            found |= {metric["type"]: metric.get("value") for metric in result.get("metrics") or []}
    for name, value in record.metrics.items():
        if found.get(METRICS[name][0]) != value:
            faults.append(f"model-index has {found.get(METRICS[name][0])} for {name}, the record {value}")
    if faults:
        raise PublishError(f"the card of {record.name} is not whole: {'; '.join(faults)}")


def to_yaml(value: Mapping[str, Any] | list[Any], indent: str = "") -> str:
    """Dicts, lists, texts and finite numbers, in one another, as block YAML; no dict or list in it is empty."""
    if isinstance(value, list):
        blocks = [_entry(f"{indent}-", item, f"{indent}  ", inline=True) for item in value]
    else:
        blocks = [_entry(f"{indent}{key}:", item, f"{indent}  ") for key, item in value.items()]
    return "".join(blocks)


def _entry(head: str, value: Any, indent: str, inline: bool = False) -> str:
    """`head` and its value: behind it, or below it; a dict in a list begins on the list's own line."""
    if not isinstance(value, dict | list):
        return f"{head} {_scalar(value)}\n"
    below = to_yaml(value, indent)
    return f"{head} {below.lstrip()}" if inline else f"{head}\n{below}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    text = json.dumps(value)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text)  # to YAML 1e-05 is a text


def _leaves(value: Any, place: str = "the card") -> Iterator[tuple[str, Any]]:
    """What stands in dicts and lists, with its place; the empty ones among these too."""
    inner = list(value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ())
    if not inner:
        yield place, value
    for key, item in inner:
        yield from _leaves(item, str(key) if place == "the card" else f"{place}: {key}")


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, float) and not math.isfinite(value))
