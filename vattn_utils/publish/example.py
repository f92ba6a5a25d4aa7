"""What a recorded model makes of two pictures, and where its map lies on them: the picture of a model card."""

import dataclasses
import io
import json
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from vattn_utils.data import read_picture
from vattn_utils.maps import attribution
from vattn_utils.maps.pixels import receptive_field, to_image_size
from vattn_utils.models.classifier import Classifier
from vattn_utils.publish import PublishError, samples
from vattn_utils.show import plots
from vattn_utils.training.records import Record

EDGE = 256  # pixels of a picture, as it is drawn
# Of `samples`, what the classes of the data have a name for.
CHOSEN = {
    "cifar10": ("cat", "horse"),
    "cifar100": ("rocket", "coffee"),
    **dict.fromkeys(("shapes10", "shapes100"), ("shapes-1", "shapes-2")),
}
# The map that is read as where a model looked: the first that is defined for it, by its name in `attribution`.
MAPS = {
    "rollout": "attention followed through all layers (rollout, Abnar and Zuidema 2020)",
    "pooling": "the weights with which the pooling reads the patches",
    "occlusion": "by how much the answer falls where a patch is covered; its attention has no such map",
}


@dataclasses.dataclass(frozen=True)
class Example:
    """Two pictures, what the model says they are, and its map of them.

    files: name -> content: the pictures, and `attention.png`, where each stands beside itself under its map.
    words: of each picture `file`, `alt`, `licence` and `credit` (see `samples`). images: as the model takes them, uint8
    `(2, size, size, 3)`. answers: the likeliest classes, integers `(2,)`.
    method: the map's name in `attribution.METHODS`.
    """

    files: dict[str, bytes]
    words: list[dict[str, Any]]
    images: np.ndarray
    answers: np.ndarray
    method: str


def example(record: Record, model: Classifier, names: list[str]) -> Example:
    """The example of a record, whose model is `model` and whose classes are called `names`.

    Raises `PublishError` where scikit-image, whose photographs these are, is not installed.
    """
    try:
        pictures = samples.pictures()
    except ModuleNotFoundError as error:
        raise PublishError("the example pictures are scikit-image's; pip install scikit-image") from error
    listed = {sample["id"]: sample for sample in json.loads(pictures["samples.json"])}
    words = [listed[name] for name in CHOSEN.get(record.dataset, ("cat", "coffee"))]
    files = {word["file"]: pictures[word["file"]] for word in words}
    large = np.concatenate([_read(content, EDGE) for content in files.values()])
    images = np.concatenate([_read(content, model.image_size) for content in files.values()])
    probabilities = attribution.probabilities(model, images)
    answers = probabilities.argmax(axis=1)
    shares = probabilities[np.arange(len(images)), answers]
    method = next(name for name in MAPS if name in attribution.methods(model))
    maps = attribution.METHODS[method](model, images, answers, 0)
    titles = [f"says {names[answer]}, {share:.0%}" for answer, share in zip(answers, shares, strict=True)]
    files["attention.png"] = _drawn(large, _over_the_picture(model, maps, method), titles, method)
    return Example(files, words, images, answers, method)


def _read(content: bytes, size: int) -> np.ndarray:
    return read_picture(Image.open(io.BytesIO(content)), size)


def _over_the_picture(model: Classifier, maps: np.ndarray, method: str) -> np.ndarray:
    """Maps of the size of the pictures: attention where its tokens look, what was covered where it was covered."""
    shift = (0.0, 0.0) if method == "occlusion" else receptive_field(model).shift
    down, right = (EDGE / model.image_size * pixels for pixels in shift)
    return to_image_size(maps, (EDGE, EDGE), shift=(down, right))


def _drawn(pictures: np.ndarray, maps: np.ndarray, titles: list[str], method: str) -> bytes:
    buffer = io.BytesIO()
    with plt.rc_context({"figure.constrained_layout.use": True, "savefig.facecolor": "white"}):
        figure = plots.overlay(pictures, maps, titles, columns=4, size=1.8, label=method)
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()
