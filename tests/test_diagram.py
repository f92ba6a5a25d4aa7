"""The diagrams say of a model what it is: its parts in order, and the shapes that really pass between them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vattn_utils import models
from vattn_utils.show import diagram
from vattn_utils.show.diagram import Blocks, Part

SMALL = {
    "vit": dict(image_size=16, patch_size=4, dim=8, depth=2, heads=2, mlp_dim=12),
    "eanet": dict(image_size=16, patch_size=4, dim=8, depth=3, heads=2, mlp_dim=12, memory_slots=5),
    "patch_convnet": dict(image_size=16, dim=8, depth=3, mlp_dim=12),
}


@pytest.fixture(autouse=True)
def no_open_figure():
    yield
    plt.close("all")


def build(name, **changes):
    return models.build(name, num_classes=7, **{**SMALL[name], **changes})


def numbers(text):
    return [int(word) for word in text.replace("+", "").split() if word.isdigit()]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit", {}),
        ("vit", dict(pooling="class", registers=2)),
        ("vit", dict(pooling="mean", resize_to=24)),
        ("eanet", {}),
        ("patch_convnet", {}),
        ("patch_convnet", dict(queries="per-class")),
        ("patch_convnet", dict(pooling="mean")),
    ],
)
def test_shapes_are_those_that_pass_through_the_model(name, changes):
    model = build(name, **changes)
    drawn = diagram.parts(model)
    tokens, _ = model.encode(np.zeros((1, 16, 16, 3), "float32"))
    (blocks,) = [part for part in drawn if isinstance(part, Blocks)]
    count, width = int(np.prod(numbers(blocks.shape)[:-1])), numbers(blocks.shape)[-1]
    if "+" in blocks.shape:
        count = sum(numbers(blocks.shape)[:-1])
    assert (count, width) == tokens.shape[1:]
    assert blocks.times == model.depth
    assert numbers(drawn[-1].shape) == [model.classify(tokens)[0].shape[-1]]
    assert numbers(drawn[0].shape) == [16, 16, 3]


def test_diagram_names_the_attention_and_what_it_looks_at():
    def said(model):
        listed = [branch for part in diagram.parts(model) if isinstance(part, Blocks) for branch in part.branches]
        parts = [part for branch in listed for part in branch] + diagram.parts(model)
        return [part.name for part in parts if isinstance(part, Part) and part.does == "attention"]

    assert said(build("vit", pooling="mean")) == ["self-attention\n2 heads"]
    assert said(build("eanet")) == ["external attention\n2 heads, 5 slots", "sequence pooling"]
    assert said(build("eanet", attention="self", pooling="mean")) == ["self-attention\n2 heads"]
    assert said(build("patch_convnet")) == ["attention pooling\n1 class query"]
    assert said(build("patch_convnet", queries="per-class")) == ["attention pooling\n7 class queries"]


@pytest.mark.parametrize("name", SMALL)
def test_every_part_is_drawn_within_its_box(name):
    model = build(name)
    figure = diagram.architecture(model)
    figure.canvas.draw()
    (axis,) = figure.axes
    told = {text.get_text(): text.get_window_extent() for text in axis.texts}
    wide = np.ptp(axis.transData.transform([(-diagram.HALF, 0), (diagram.HALF, 0)])[:, 0])
    for part in diagram.parts(model):
        if isinstance(part, Part):
            assert told[part.name].width < wide
    assert f"× {model.depth}" in told


def test_wirings_draw_a_line_for_each_pair_that_meets():
    lines = [len(panel.lines) - 2 for panel in diagram.wirings(tokens=6, slots=2).axes]
    assert lines == [6 * 6, 6 * 2, 6]


def test_model_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="no diagram of dict"):
        diagram.parts({})
    with pytest.raises(TypeError, match="no diagram of KerasIOViT"):  # it flattens its tokens
        diagram.parts(models.build("vit", "keras-io", num_classes=7, depth=1, dim=8, heads=1))
