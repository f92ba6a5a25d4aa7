"""The chapters at a glance say what the chapters say: their answers, and how long they take."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from bookproof import picture
from bookproof.sphinx import gallery


def notebook(text="**It can\nask.** And **more**.", tags=("excerpt-x",), stdout=""):
    outputs = [new_output("display_data", {"text/markdown": text}), new_output("stream", name="stdout", text=stdout)]
    return new_notebook(cells=[new_code_cell("say()", metadata={"tags": list(tags)}, outputs=outputs)])


def test_the_answer_is_what_stands_first_in_bold_in_the_chapters_excerpt():
    assert gallery.answer(notebook()) == "It can ask."
    assert gallery.answer(notebook(tags=())) == gallery.answer(notebook(text="nothing bold")) == ""


def test_minutes_are_counted_in_the_prose_and_read_where_the_chapter_printed_them():
    page = new_document("page")
    page += [nodes.paragraph("", "word " * 500), nodes.literal_block("", "code " * 5000)]
    said = notebook(stdout="It takes about 4 min published.\n")
    assert gallery.minutes(said, page, r"(\d+) min published") == "2 min to read · 4 min to run"
    assert gallery.minutes(notebook(), page, r"(\d+) min published") == "2 min to read"
    assert gallery.minutes(said, page, "") == "2 min to read"


@pytest.mark.parametrize(("size", "told"), [((40, 30), True), ((30, 30), True), ((30, 40), False)])
def test_a_picture_that_is_higher_than_wide_is_passed_over(tmp_path, size, told):
    Image.new("L", size).save(tmp_path / "x.png")
    assert gallery.lies(tmp_path / "x.png") is told


def test_a_picture_in_the_gallery_is_small():
    written = io.BytesIO()
    Image.fromarray(np.zeros((1200, 900, 3), np.uint8)).save(written, "png")
    picture = Image.open(io.BytesIO(gallery.small(written.getvalue())))
    assert picture.size == (216, 288)


def test_a_figure_has_a_small_twin_for_the_dark_page_and_another_picture_keeps_its_paper():
    figure, axis = plt.subplots(figsize=(2, 1))
    axis.set_facecolor("none")
    axis.plot([0, 1])
    png, _, _ = picture.png(figure)
    plt.close(figure)
    shades = gallery.shades(png)
    assert list(shades) == ["only-light", "only-dark"]
    light, dark = (
        np.asarray(Image.open(io.BytesIO(gallery.small(data))).convert("RGBA")).astype(int) for data in shades.values()
    )
    paper, ink = light[..., :3].min(axis=2) > 250, light[..., :3].max(axis=2) < 60
    assert dark[paper][:, 3].mean() < 10 < 150 < dark[ink][:, :3].mean()
    written = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(written, "png")
    assert list(gallery.shades(written.getvalue())) == ["on-paper"]
