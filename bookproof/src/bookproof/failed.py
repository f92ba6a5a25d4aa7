"""Where a figure fails in verification: the committed picture, the one that was found, and their difference, as PNG."""

import base64
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from bookproof.notebooks import Node
from bookproof.outputs import FINGERPRINT_SUFFIX, Tolerance, compare

PNG = "image/png"
FOLDER = "failed"  # below _build


def keep(expected: list[Node], found: list[Node], tolerance: Tolerance, folder: Path, name: str) -> list[Path]:
    """Write the pictures of the figures that differ between two lists of outputs into `folder`; return the files.

    They are called `<name>-<number of the figure>-committed.png`, `-found.png` and `-difference.png`; in the last, what
    is the same is white.
    """
    written = []
    for number, (left, right) in enumerate(zip(figures(expected), figures(found), strict=False), 1):
        if compare([left], [right], tolerance):
            before, now = picture(left), picture(right)
            pictures = {"committed": before, "found": now, "difference": difference(before, now)}
            folder.mkdir(parents=True, exist_ok=True)
            for kind, image in pictures.items():
                written.append(folder / f"{name}-{number}-{kind}.png")
                image.save(written[-1])
    return written


def forget(folder: Path) -> None:
    """Remove the pictures of an earlier run, so that those that lie there are of this one."""
    shutil.rmtree(folder, ignore_errors=True)


def figures(outputs: list[Node]) -> list[Node]:
    """The outputs that hold a picture and the fingerprint of what it draws."""
    shown = [output for output in outputs if output.get("data", {}).get(PNG)]
    return [output for output in shown if any(kind.endswith(FINGERPRINT_SUFFIX) for kind in output["data"])]


def picture(output: Node) -> Image.Image:
    content: Any = output["data"][PNG]
    image = Image.open(io.BytesIO(base64.b64decode("".join(content)))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def difference(before: Image.Image, now: Image.Image) -> Image.Image:
    """Two pictures' difference, white where they are the same, on a canvas that holds both."""
    size = max(before.width, now.width), max(before.height, now.height)
    canvases = []
    for image in (before, now):
        canvas = Image.new("RGB", size, "white")
        canvas.paste(image)
        canvases.append(canvas)
    return ImageChops.invert(ImageChops.difference(*canvases))
