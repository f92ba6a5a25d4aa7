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


class Page:
    """An explorer in an open page: its parts by name, and the arrays that its HTML holds."""

    def __init__(self, visit, html, number=0):
        self.visit, self.root = visit, visit.page.locator(".vattn-explorer").nth(number)
        self.about, self.arrays = unpacked(html)
        self.root.locator(READY).wait_for()

    def part(self, name):
        return self.root.locator(f".vx-{name}")

    def patch(self, row, column):
        return self.part("patches").get_by_role("gridcell").nth(row * self.about["grid"][1] + column)

    def choose(self, **choices):
        for name, value in choices.items():
            self.root.locator(f"[data-of={name}]").select_option(str(value))

    def picture(self, number):
        self.part("pictures").locator("button").nth(number).click()

    @property
    def said(self):
        return self.part("said").inner_text()

    def shows(self, indices, canvas=None, table="attention"):
        """Whether the canvas is one opaque pixel a patch, coloured by these rows of the colour table."""
        width, height, data = (canvas or self.part("map")).evaluate(PIXELS)
        expected = np.full((len(indices), 4), 255)
        expected[:, :3] = self.arrays[table][indices]
        return (height, width) == tuple(self.about["grid"]) and (np.reshape(data, (-1, 4)) == expected).all()

    def expected(self, row, column):
        """The bytes of the map that is shown when the reader, before any choice, points at a patch."""
        deep = [layer for layer in self.about["layers"] if layer["name"] != "rollout"]
        mixing = [layer for layer in deep if layer["kind"] != "pooling"]
        layer = (mixing or deep)[-1 if mixing else 0]
        name, patch = layer["name"], row * self.about["grid"][1] + column
        if layer["kind"] == "external":
            slot = self.arrays[f"{name}.bytes"][0, 0, patch].argmax()
            return self.arrays[f"{name}.slot_bytes"][0, 0, slot]
        query = layer["prefix"] + patch if layer["kind"] == "self" else 0
        return self.arrays[f"{name}.bytes"][0, 0, query]
