"""A figure is a PNG of 256 colours on white, sharp, and its twin for the dark page differs from it in its ink alone."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from bookproof import picture

INK, GREEN = "#21272f", (40, 160, 90)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


@pytest.fixture
def drawn():
    """A green picture under a heading in ink, drawn twice as fine as the page shows it."""
    with plt.rc_context({"text.color": INK, "axes.facecolor": "none", "figure.dpi": 50}):
        figure, axis = plt.subplots(figsize=(3, 2))
        axis.imshow(np.full((4, 4, 3), GREEN, np.uint8))
        axis.set_title("HEADING", fontweight="bold")
        yield picture.png(figure)
        plt.close(figure)


def test_the_page_shows_it_at_half_its_pixels(drawn):
    data, width, height = drawn
    pixels = opened(data)
    assert abs(pixels.shape[1] - 2 * width) <= 1
    assert abs(pixels.shape[0] - 2 * height) <= 1


def test_it_stands_on_white_paper_so_that_any_reader_of_notebooks_can_show_it(drawn):
    pixels = opened(drawn[0])
    assert (pixels[..., 3] == 255).all()
    assert (pixels[0, 0, :3] == 255).all()


def test_its_twin_has_bright_ink_on_no_paper_and_the_same_picture(drawn):
    light, dark = opened(drawn[0]), opened(picture.dark(drawn[0]))
    assert dark[0, 0, 3] == 0
    ink = (light[..., :3] == np.array([0x21, 0x27, 0x2F])).all(axis=-1)
    assert ink.any()
    assert (dark[ink] == [*picture.BRIGHT, 255]).all()
    green = (np.abs(light[..., :3] - GREEN) <= 2).all(axis=-1)
    assert green.sum() > 100
    np.testing.assert_array_equal(dark[green][:, :3], light[green][:, :3])


def test_many_colours_become_few_and_stay_near():
    gradient = np.random.default_rng(0).integers(0, 256, (60, 60, 1), np.uint8).repeat(3, axis=2)
    with plt.rc_context({"text.color": INK, "figure.dpi": 60}):
        figure, axis = plt.subplots(figsize=(1, 1))
        axis.set_axis_off()
        axis.set_position((0, 0, 1, 1))
        axis.imshow(gradient, interpolation="nearest")
        pixels = opened(picture.png(figure)[0])
        plt.close(figure)
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) <= 256
    there, wanted = np.unique(pixels[..., 0]), np.unique(gradient)
    assert np.abs(wanted[:, None].astype(int) - there).min(axis=1).max() <= 6


def test_the_same_figure_is_the_same_file(drawn):
    with plt.rc_context({"text.color": INK, "axes.facecolor": "none", "figure.dpi": 50}):
        figure, axis = plt.subplots(figsize=(3, 2))
        axis.imshow(np.full((4, 4, 3), GREEN, np.uint8))
        axis.set_title("HEADING", fontweight="bold")
        assert picture.png(figure) == drawn
        plt.close(figure)


def test_a_picture_that_was_not_drawn_here_has_no_twin():
    written = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(written, format="png")
    assert picture.dark(written.getvalue()) is None


def test_no_text_is_too_small_for_a_phone():
    figure, axis = plt.subplots(figsize=(2, 2))
    axis.set_title("small", fontsize=6)
    axis.set_xlabel("large", fontsize=14)
    axis.tick_params(labelsize=5)
    picture.png(figure)
    sizes = [axis.title, axis.xaxis.label, *axis.get_xticklabels()]
    assert [text.get_fontsize() for text in sizes[:2]] == [picture.SMALLEST, 14]
    assert {text.get_fontsize() for text in sizes[2:]} == {picture.SMALLEST}
    plt.close(figure)
