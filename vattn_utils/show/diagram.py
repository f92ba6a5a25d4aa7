"""Diagrams of the three models, drawn from the models: one vocabulary of boxes and colours, shapes on the arrows.

`architecture` reads a model's parts and sizes, `wirings` says who looks at whom in the three attentions.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from vattn_utils.models.classifier import Classifier
from vattn_utils.models.patch_convnet import PatchConvNet
from vattn_utils.models.vit import ViT

# What a part does, and the colour of its box: in all diagrams the same.
COLOURS = {
    "data": "#e4e6ea",  # pixels and numbers
    "tokens": "#cfe3f7",  # makes tokens, or says where they are
    "attention": "#e3d0f0",  # tokens look at something
    "alone": "#d5ecd4",  # without attention: each token, its neighbourhood, or a factor a channel
    "norm": "#f5f0d8",
    "answer": "#fbdcc8",  # tokens to logits
}
POOLINGS = {"class": "class token", "mean": "mean of the tokens", "sequence": "sequence pooling"}
EDGE = "#4a4f57"
HALF, STEP = 0.95, 0.62  # half the width of a box, and from one to the next, in inches


@dataclass(frozen=True)
class Part:
    """A box: what stands in it, what it does (a key of `COLOURS`), and the shape of what leaves it."""

    name: str
    does: str
    shape: str = ""


@dataclass(frozen=True)
class Blocks:
    """What is repeated `times`: residual branches, each a list of parts that is added to what it began with."""

    times: int
    branches: tuple[tuple[Part, ...], ...]
    shape: str


def parts(model: Classifier) -> list[Part | Blocks]:
    """What a `ViT`, an `EANet` or a `PatchConvNet` consists of, in the order of its forward pass, with its sizes.

    Raises TypeError for another model.
    """
    if isinstance(model, PatchConvNet):
        return _of_patch_convnet(model)
    if isinstance(model, ViT) and model.pooling in POOLINGS:
        return _of_vit(model)
    raise TypeError(f"no diagram of {type(model).__name__}; give a ViT or an EANet that pools, or a PatchConvNet")


def _of_vit(model: ViT) -> list[Part | Blocks]:
    patches = model.grid[0] * model.grid[1]
    count = f"{patches}" if not model.prefix_tokens else f"{model.prefix_tokens} + {patches}"
    tokens = f"{count} tokens × {model.dim}"
    slots = f", {model.memory_slots} slots" if model.attention_kind == "external" else ""
    attention = {"self": "self-attention", "external": "external attention"}[model.attention_kind]
    block = (
        (Part("layer norm", "norm"), Part(f"{attention}\n{model.heads} heads{slots}", "attention")),
        (Part("layer norm", "norm"), Part(f"MLP, {model.mlp_dim} wide", "alone")),
    )
    made = "cut into patches" if model.tokenizer == "patch" else "small convolutions"
    return [
        *_image(model),
        Part(made, "tokens", f"{patches} tokens × {model.dim}"),
        Part(f"{model.position} positions", "tokens", tokens),
        Blocks(model.depth, block, tokens),
        Part("layer norm", "norm", tokens),
        Part(POOLINGS[model.pooling], "attention" if model.pooling == "sequence" else "answer", f"{model.dim}"),
        Part("dense", "answer", f"{model.num_classes} logits"),
    ]


def _of_patch_convnet(model: PatchConvNet) -> list[Part | Blocks]:
    rows, columns = model.grid
    patches = f"{rows} × {columns} patches × {model.dim}"
    names = ("layer norm", "1 × 1 convolution", "3 × 3 convolution", "squeeze and excite", "1 × 1 convolution")
    block = tuple(Part(name, "norm" if name == "layer norm" else "alone") for name in names)
    queries = model.num_classes if model.queries == "per-class" else 1
    pooled = f"{queries} × {model.dim}" if queries > 1 else f"{model.dim}"
    asked = f"attention pooling\n{queries} class {'query' if queries == 1 else 'queries'}"
    pooling = Part(asked, "attention", pooled) if model.pooling == "attention" else Part("mean", "answer", pooled)
    return [
        *_image(model),
        Part(f"stem\n{len(model.stem)} convolutions", "tokens", patches),
        Blocks(model.depth, (block,), patches),
        pooling,
        Part("dense", "answer", f"{model.num_classes} logits"),
    ]


def _image(model: Classifier) -> list[Part | Blocks]:
    size, resized = model.image_size, model.resize_to
    found: list[Part | Blocks] = [Part("image", "data", f"{size} × {size} × 3")]
    return [*found, Part("resize", "data", f"{resized} × {resized} × 3")] if resized else found


def architecture(model: Classifier) -> Figure:
    """The parts of a model from top to bottom, in `COLOURS`; on the arrows the shape of one image's values.

    A frame holds what is repeated, and says how often; a line beside a branch is the residual connection around it.
    """
    drawn = parts(model)
    height = STEP * sum(1 if isinstance(part, Part) else _height(part) for part in drawn)
    figure, axis = plt.subplots(figsize=(4.2, height + 0.1))
    axis.set(xlim=(-2.1, 2.1), ylim=(-height - 0.05, 0.05))
    axis.set_aspect("equal")
    axis.axis("off")
    y = 0.0
    for part in drawn:
        y = _draw_blocks(axis, part, y) if isinstance(part, Blocks) else _draw_part(axis, part, y)
        axis.text(0.12, y + 0.11, part.shape, fontsize=9, va="center", color=EDGE)
    return figure


def _height(blocks: Blocks) -> float:
    return sum(len(branch) + 0.5 for branch in blocks.branches) + 0.45


def _draw_part(axis: Axes, part: Part, top: float, gap: float = 0.2) -> float:
    """A box below `top`, and the arrow below it; returns where that ends."""
    bottom = top - (STEP - gap)
    middle = (top + bottom) / 2
    frame = FancyBboxPatch(
        (-HALF, bottom + 0.03), 2 * HALF, top - bottom - 0.06, "round,pad=0.02,rounding_size=0.06",
        facecolor=COLOURS[part.does], edgecolor=EDGE, linewidth=0.8,
    )  # fmt: skip
    axis.add_patch(frame)
    axis.text(0, middle, part.name, ha="center", va="center", fontsize=9, linespacing=1.0, color="#21272f")
    _arrow(axis, bottom + 0.02, bottom - gap + 0.02)
    return bottom - gap


def _draw_blocks(axis: Axes, blocks: Blocks, top: float) -> float:
    """The frame of what is repeated, with its branches; returns where the arrow below it ends."""
    height = STEP * _height(blocks)
    bottom = top - height + 0.26
    axis.add_patch(
        FancyBboxPatch(
            (-1.45, bottom), 2.9, top - bottom - 0.05, "round,pad=0.02,rounding_size=0.1",
            facecolor="none", edgecolor=EDGE, linewidth=1, linestyle="--",
        )
    )  # fmt: skip
    axis.text(1.56, (top + bottom) / 2, f"× {blocks.times}", fontsize=13, va="center", color=EDGE)
    y = top - 0.16
    _line(axis, [(0, top + 0.02), (0, y)])
    for branch in blocks.branches:
        start = y
        for part in branch:
            y = _draw_part(axis, part, y)
        added = y - 0.06
        axis.plot(0, added, "o", markersize=12, markerfacecolor="white", markeredgecolor=EDGE, markeredgewidth=0.8)
        axis.text(0, added - 0.005, "+", ha="center", va="center", fontsize=10, color=EDGE)
        _line(axis, [(0, start + 0.06), (-1.2, start + 0.06), (-1.2, added), (-0.1, added)])
        y = added - 0.25
        _line(axis, [(0, added - 0.08), (0, y)])
    end = top - height
    _arrow(axis, y, end + 0.02)
    return end


def _line(axis: Axes, points: Iterable[tuple[float, float]]) -> None:
    axis.plot(*zip(*points, strict=True), color=EDGE, linewidth=0.9, solid_capstyle="round")


def _arrow(axis: Axes, start: float, end: float) -> None:
    axis.add_patch(FancyArrowPatch((0, start), (0, end), arrowstyle="-|>", mutation_scale=8, color=EDGE, linewidth=0.9))


def wirings(tokens: int = 8, slots: int = 3) -> Figure:
    """Who looks at whom: `tokens` at one another, at `slots` of a memory, and one class query at all of them."""
    figure, panels = plt.subplots(1, 3, figsize=(4.4, 2.3))
    places = np.arange(tokens)
    memory = np.linspace(0, tokens - 1, slots + 2)[1:-1]
    middle = np.array([(tokens - 1) / 2])
    drawings = {
        "self-attention": (places, places, "o", "every token\nat every token"),
        "external": (places, memory, "s", "every token\nat every slot"),
        "pooling": (middle, places, "o", "one query\nat every token"),
    }
    for panel, (name, (askers, asked, mark, told)) in zip(panels, drawings.items(), strict=True):
        for start in askers:
            for end in asked:
                panel.plot([0, 1], [start, end], color="#7b4aa0", linewidth=0.5)
        ask = "D" if name == "pooling" else "o"
        panel.plot(np.zeros(len(askers)), askers, ask, color="#c1440e" if ask == "D" else EDGE, markersize=5)
        panel.plot(np.ones(len(asked)), asked, mark, color="#e08a1e" if mark == "s" else EDGE, markersize=5)
        panel.set(xticks=[], yticks=[], xlim=(-0.25, 1.25), ylim=(tokens - 0.4, -0.6))
        panel.set_title(name, fontsize=9.5)
        panel.set_xlabel(told, fontsize=9)
        for side in panel.spines.values():
            side.set_visible(False)
    return figure
