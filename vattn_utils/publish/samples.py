"""The ten pictures that may be shown everywhere: seven that come with scikit-image, and three drawn shapes.

`python -m vattn_utils.publish.samples DIR` writes them, and `samples.json`, which says what and whose they are.
"""

import importlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vattn_utils.data import shapes
from vattn_utils.data.files import write_atomically

EDGE = 256  # of a photograph, in pixels
CC0 = "CC0 1.0"
PUBLIC = "public domain"
SOURCE = "https://scikit-image.org/docs/stable/api/skimage.data.html"
# id, its name in skimage.data, title, alt text, licence, credit.
PHOTOGRAPHS: list[tuple[str, str, str, str, str, str]] = [
    ("cat", "chelsea", "Cat", "The face of a tabby cat", CC0, "Stefan van der Walt"),
    ("rocket", "rocket", "Rocket", "A rocket on its launch pad at dusk", PUBLIC, "SpaceX"),
    ("coffee", "coffee", "Cup", "A cup of coffee on a red saucer", CC0, "Rachel Michetti"),
    ("astronaut", "astronaut", "Astronaut", "An astronaut in an orange suit, smiling", PUBLIC, "NASA"),
    ("camera", "camera", "Cameraman", "A man at a camera on a tripod, grey", CC0, "Lav Varshney"),
    ("retina", "retina", "Retina", "The back of a human eye, an orange disc", CC0, "Mikael Häggström"),
    ("horse", "horse", "Horse", "The black silhouette of a horse on white", CC0, "Andreas Preuss"),
]
DRAWN = (shapes.TEST[0], shapes.TEST[1], shapes.TEST[2])  # which images of `shapes`
FILES = [*(f"{name}.jpg" for name, *_ in PHOTOGRAPHS), *(f"shapes-{number}.png" for number in range(1, len(DRAWN) + 1))]


def pictures() -> dict[str, bytes]:
    """The files by name: photographs as JPEG, their central square in 256 pixels; shapes as PNG; `samples.json`.

    Raises ModuleNotFoundError where scikit-image is not installed.
    """
    found: dict[str, bytes] = {}
    listed: list[dict[str, Any]] = []
    photographs = importlib.import_module("skimage.data")  # here alone: the package does without scikit-image
    for name, loaded, title, alt, licence, credit in PHOTOGRAPHS:
        whole = Image.fromarray(_square(getattr(photographs, loaded)()))
        image = whole.convert("RGB").resize((EDGE, EDGE), Image.Resampling.LANCZOS)
        found[f"{name}.jpg"] = _file(image, "JPEG", quality=85)
        words = dict(title=title, alt=alt, licence=licence, credit=credit, source=SOURCE)
        listed.append(dict(id=name, file=f"{name}.jpg", **words, width=EDGE, height=EDGE))
    images, labels, _ = shapes.draw(DRAWN)
    for number, (image, label) in enumerate(zip(images, labels, strict=True), 1):
        name, kind = f"shapes-{number}", shapes.CLASS_NAMES[10][label]
        found[f"{name}.png"] = _file(Image.fromarray(image), "PNG")
        alt = f"A {kind} among hollow shapes on a textured ground, drawn"
        words = dict(title=f"Drawn: {kind}", alt=alt, licence="Apache-2.0", credit="this book", source="")
        listed.append(dict(id=name, file=f"{name}.png", **words, width=image.shape[1], height=image.shape[0]))
    return {**found, "samples.json": (json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode()}


def _square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return image[top : top + edge, left : left + edge]


def _file(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Write the pictures into the folder that is the only argument."""
    (folder,) = arguments
    for name, content in pictures().items():
        write_atomically(Path(folder) / name, content)


if __name__ == "__main__":
    main(sys.argv[1:])
