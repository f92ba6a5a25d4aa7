"""An explorer in an open page, and the arrays in its HTML, read as the page itself reads them."""

import base64
import json
import re
import zlib

import numpy as np

READY = ".vx-page:not([hidden])"
PIXELS = """canvas => {  // of a copy: Chromium warns of a canvas that is read more than once
  const {width, height} = canvas, copy = new OffscreenCanvas(width, height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  return [width, height, [...copy.getImageData(0, 0, width, height).data]];
}"""
EXPLORER = re.compile(r'<div class="vattn-explorer".*?</script>\s*</div>', re.DOTALL)


def unpacked(html):
    """What an explorer's page is told, and its arrays by name, as the page itself reads them."""
    about = json.loads(re.search(r'<script type="application/json" class="vx-about">(.*?)</script>', html)[1])
    packed = zlib.decompress(base64.b64decode(re.search(r"data-fingerprinted>(.*?)</script>", html)[1]))
    arrays, start = {}, 0
    for name, dtype, shape in about["arrays"]:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[name] = np.frombuffer(packed[start : start + size], dtype).reshape(shape)
        start += size
    assert start == len(packed)
    return about, arrays


def rooted(arrays, name):
    """Numbers that stand in two bytes, as the root of their part of the largest."""
    return arrays[f"{name}_most"] * (arrays[name] / 65535) ** 2


def maps(about, arrays, name):
    """The maps of the layer `name` as the page shows them, `(B, heads, queries or slots, N)`."""
    layer = next(layer for layer in about["layers"] if layer["name"] == name)
    unit = rooted(arrays, f"{name}.top")[..., None]
    if layer["kind"] != "external":
        return arrays[f"{name}.bytes"] * unit / about["levels"]
    unit = np.minimum(unit, rooted(arrays, f"{name}.sums")[:, :, None])
    return arrays[f"{name}.bytes"] * unit / about["levels"] / arrays[f"{name}.whole"][..., None]


def shares(about, arrays, name):
    """What each token reads from each memory slot, as the page shows it, `(B, heads, N, S)`."""
    sums = rooted(arrays, f"{name}.sums")[:, :, None]
    read = maps(about, arrays, name) * arrays[f"{name}.whole"][..., None] / sums
    return read.swapaxes(2, 3)


class Page:
    """An explorer in an open page: its parts by name, and the arrays that its HTML holds."""

    def __init__(self, visit, html, number=0):
        self.visit, self.root = visit, visit.page.locator(".vattn-explorer").nth(number)
        self.about, self.arrays = unpacked(html)
        self.root.locator(READY).wait_for()

    def part(self, name):
        return self.root.locator(f".vx-{name}")

    def patch(self, row, column):
        """The cell of the patch in this row and column, counted from 0."""
        return self.part("cells").get_by_role("gridcell").nth(row * self.about["grid"][1] + column)

    def tile(self, layer, head=0):
        """The small map of a head in the layer of this name."""
        told = next(one for one in self.about["layers"] if one["name"] == str(layer))
        name = told["label"] + (f", head {head}" if told["heads"] > 1 else "")
        return self.part("overview").locator(f'[role=radio][aria-label^="{name}:"]')

    def open(self, layer, head=0):
        self.tile(layer, head).click()

    def picture(self, number):
        self.part("pictures").locator("button").nth(number).click()

    @property
    def said(self):
        return self.part("said").inner_text().replace("\xa0", " ")

    @property
    def fragment(self):
        return self.visit.page.url.partition("#")[2]

    def shows(self, values, canvas=None, top=None):
        """Whether the canvas is one opaque pixel a patch, coloured by the value's part of `top` or of their maximum."""
        width, height, data = (canvas or self.part("map")).evaluate(PIXELS)
        indices = np.minimum(np.floor(255 * values / (top or values.max() or 1) + 0.5), 255).astype(int)
        shown = np.reshape(data, (-1, 4))
        # Where a value lies half-way between two colours, the last digit decides.
        near = [self.arrays["attention"][np.clip(indices + step, 0, 255)] for step in (-1, 0, 1)]
        right = np.any([(colours == shown[:, :3]).all(axis=1) for colours in near], axis=0)
        exact = (near[1] == shown[:, :3]).all(axis=1)
        tidy = (height, width) == tuple(self.about["grid"]) and (shown[:, 3] == 255).all()
        return bool(tidy and right.all() and exact.mean() > 0.9)

    def expected(self, row, column):
        """The map that is shown when the reader, before any choice, points at a patch; rows and columns from 0."""
        opens = self.about["opens"]
        layer, head = self.about["layers"][opens["layer"]], opens["head"]
        found, patch = maps(self.about, self.arrays, layer["name"])[0, head], row * self.about["grid"][1] + column
        if layer["kind"] == "external":
            return found[shares(self.about, self.arrays, layer["name"])[0, head, patch].argmax()]
        return found[layer["prefix"] + patch if layer["kind"] == "self" else 0]
