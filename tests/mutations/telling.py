"""How lies are told: edits of chapters, pages and settings, each done to a copy of the project in a folder.

An edit looks for what it alters, as numbers change with every refresh, and raises MutationError if it finds nothing.
"""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from tests.mutations.runner import MutationError


@dataclass(frozen=True)
class Lie:
    """A lie: what is done to the copy of the project in a folder, what is wrong then, and the checks that must fail."""

    name: str
    change: Callable[[Path], None]
    wrong: str
    caught_by: tuple[str, ...]
    file: ClassVar[str] = "-"

    def plant(self, copy):
        self.change(copy)


def in_text(file, old, new):
    """A change that replaces what the pattern `old` finds first in a file."""

    def change(copy):
        path = copy / file
        text, count = re.subn(old, new, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
        if not count:
            raise MutationError(f"{file} holds nothing like {old!r}")
        path.write_text(text, encoding="utf-8")

    return change


def appended(file, text):
    def change(copy):
        with (copy / file).open("a", encoding="utf-8") as opened:
            opened.write(text)

    return change


def in_chapter(chapter, edit):
    """A change that lets `edit(notebook)` alter a chapter's JSON; it returns whether it found what to alter."""

    def change(copy):
        path = copy / "book" / f"{chapter}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if not edit(notebook):
            raise MutationError(f"{path.name} holds nothing to tell this lie with")
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    return change


def outputs(notebook, room=False):
    """Every output beside its cell; `room`: of cells that ask for more room."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [(c, output) for c in cells if not room or "verify" in c["metadata"] for output in c["outputs"]]


def move_number(notebook, number, by, room=True):
    """Move the first number that the pattern finds in what a cell says, in every form of it, by so much."""
    for _, output in outputs(notebook, room):
        said = {
            kind: "".join(text)
            for kind, text in output.get("data", {}).items()
            if kind in ("text/markdown", "text/plain")
        }
        found = re.search(number, said.get("text/markdown", ""))
        if found:
            digits = len(found[1].partition(".")[2])
            for kind, text in said.items():
                output["data"][kind] = text.replace(found[1], f"{float(found[1]) + by:.{digits}f}")
            return True
    return False


def figures(notebook, room=False):
    return [(cell, output) for cell, output in outputs(notebook, room) if "image/png" in output.get("data", {})]


def other_alt(notebook):
    output = figures(notebook)[0][1]
    output["metadata"]["image/png"]["alt"] = "Every map lies on the object."
    return True


def other_picture(notebook):
    figures(notebook)[0][1]["data"]["image/png"] = base64.b64encode(png()).decode()
    return True


def other_hero(copy):
    """Another picture on the front page, and the same in the chapter that draws it."""

    def edit(notebook):
        for cell, output in figures(notebook):
            if "picture-hero" in cell["metadata"].get("tags", []):
                output["data"]["image/png"] = base64.b64encode(png()).decode()
                return True
        return False

    in_chapter("own_pictures", edit)(copy)
    (copy / "book/_static/hero.png").write_bytes(png())


def png():
    """The file of a red pixel."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(file, "PNG")
    return file.getvalue()


def not_compared(notebook):
    """Tag what says the result `nbval-ignore-output`, with a reason that is allowed, and change it."""
    for cell, output in outputs(notebook):
        text = "".join(output.get("data", {}).get("text/markdown", ""))
        found = re.search(r"\d\d\.\d\d %", text)
        if found and "say(" in "".join(cell["source"]):
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "nbval-ignore-output"]
            cell["metadata"]["verify"] = {"reason": "time"}
            output["data"]["text/markdown"] = text.replace(found[0], "99.30 %")
            return True
    return False


def wide_figure(notebook):
    """Let a figure differ by nearly all of its size, and change what it says to have drawn."""
    for cell, output in figures(notebook):
        (kind,) = [kind for kind in output["data"] if kind.endswith(".figure+json")]
        cell["metadata"]["verify"] = {"rtol": 0.99, "reason": "rounding"}
        output["data"][kind]["axes"] = output["data"][kind].get("axes", [])[:-1]
        return True
    return False


def overwritten(notebook):
    """A claim in the output, before the carriage return behind which the true one stands."""
    for _, output in outputs(notebook):
        if output["output_type"] == "stream":
            output["text"] = "99.3 % right\r" + "".join(output["text"])
            return True
    return False


def device(notebook):
    notebook["metadata"]["executed"]["device"] = "Raspberry Pi"
    return True


def with_markdown(text):
    def edit(notebook):
        notebook["cells"].insert(2, {"cell_type": "markdown", "id": "a-lie", "metadata": {}, "source": text})
        return True

    return edit


def picture_file(copy):
    """A picture that no chapter drew, shown by a chapter."""
    (copy / "book/_static/result.png").write_bytes(png())
    in_chapter("vit", with_markdown("![A result](_static/result.png)"))(copy)


def with_code(source, output):
    """A new cell whose output is what its code gives."""

    def edit(notebook):
        cell = {"cell_type": "code", "id": "a-lie", "execution_count": 3, "metadata": {}, "outputs": [output]}
        notebook["cells"].insert(8, {**cell, "source": source})
        return True

    return edit


def said(text):
    data = {"text/markdown": text, "text/plain": text}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def measurement(copy):
    """Every time in cost.jsonl five per cent shorter."""
    path = copy / "benchmarks/results/cost.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["seconds"] = {mode: [0.95 * second for second in found] for mode, found in line["seconds"].items()}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def record(copy):
    """A record whose weights do not ship, and so can be evaluated by nobody."""
    for path in sorted((copy / "records").glob("*/record.json")):
        if not (path.parent / "model.safetensors").exists():
            values = json.loads(path.read_text())
            values["test"]["top1"] += 0.12
            values["seconds"] /= 20
            path.write_text(json.dumps(values, indent=1) + "\n")
            return
    raise MutationError("every record ships its weights")
