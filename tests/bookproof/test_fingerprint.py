"""A fingerprint changes with what a figure draws, and with nothing else."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import ListedColormap

from bookproof import fingerprint
from bookproof.outputs import Tolerance, compare_values


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def a_map(tokens=8):
    """A row of an attention map near its start: almost uniform, which is where small changes hide."""
    logits = np.random.default_rng(1).normal(scale=0.05, size=(tokens, tokens))
    return np.exp(logits) / np.exp(logits).sum()


def draw(image=None, curve=(1.0, 2.0, 4.0), bars=(3.0, 5.0), title="Head 1", size=(6, 2)):
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=size)
    left.imshow(a_map() if image is None else image, cmap="magma")
    left.set_title(title)
    middle.plot(curve, label="training")
    middle.set_xlabel("epoch")
    middle.legend()
    right.bar(["a", "b"], bars)
    right.scatter([0, 1], [1, 2], c=[0.1, 0.9])
    return figure


def differences(one, other):
    texts = [json.dumps(fingerprint.of_figure(figure), allow_nan=False) for figure in (one, other)]
    return compare_values(*map(json.loads, texts), Tolerance(), "figure")


def test_the_same_drawing_has_the_same_fingerprint():
    assert differences(draw(), draw()) == []


def test_font_size_and_dpi_are_not_part_of_it():
    with plt.rc_context({"font.size": 17, "font.family": "serif", "figure.dpi": 200, "lines.linewidth": 5}):
        other = draw(size=(12, 9))
    assert differences(draw(), other) == []


def test_float32_rounding_is_not_a_change():
    noise = 1 + 1e-6 * np.random.default_rng(0).normal(size=(8, 8))
    assert differences(draw(), draw(image=a_map() * noise)) == []
    constant = np.full((8, 8), 100.0)
    assert differences(draw(image=constant), draw(image=constant * noise)) == []


def test_two_swapped_pixels_of_a_map_are_seen():
    swapped = a_map()
    swapped[2, 3], swapped[2, 4] = swapped[2, 4], swapped[2, 3]
    assert any("projections" in difference.where for difference in differences(draw(), draw(image=swapped)))


@pytest.mark.parametrize("change", [np.fliplr, np.flipud, np.transpose, lambda a: np.roll(a, 1), lambda a: a * 1.01])
def test_a_mirrored_shifted_or_scaled_map_is_seen(change):
    assert differences(draw(), draw(image=change(a_map())))


def test_a_changed_map_over_a_picture_is_seen():
    def covered(values):
        figure = draw()
        figure.axes[0].imshow(values, alpha=0.65)
        return figure

    assert differences(covered(a_map()), covered(a_map())) == []
    assert differences(covered(a_map()), covered(a_map().T))


def test_a_swap_in_a_large_photograph_is_seen():
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    other = photo.copy()
    other[10:14, 10:14], other[90:94, 90:94] = photo[90:94, 90:94], photo[10:14, 10:14]
    assert differences(draw(image=photo), draw(image=other))


@pytest.mark.parametrize(
    "changed", [{"curve": (1.0, 2.01, 4.0)}, {"bars": (5.0, 3.0)}, {"title": "Head 2"}, {"image": np.eye(9)}]
)
def test_a_changed_curve_bar_title_or_shape_is_seen(changed):
    assert differences(draw(), draw(**changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda figure: figure.axes[0].images[0].set_clim(0, 1),
        lambda figure: figure.axes[0].images[0].set_cmap("viridis"),
        lambda figure: figure.axes[1].set_xlabel("step"),
        lambda figure: figure.axes[1].set_yscale("log"),
        lambda figure: figure.axes[1].set_xticks([0, 2], labels=["start", "end"]),
        lambda figure: figure.axes[1].legend(["validation"]),
        lambda figure: figure.axes[2].collections[0].set_array([0.9, 0.1]),
        lambda figure: figure.axes[2].collections[0].set_offsets([[1, 2], [0, 1]]),
        lambda figure: figure.axes[2].text(0, 0, "note"),
        lambda figure: figure.suptitle("All heads"),
        lambda figure: figure.axes[1].remove(),
    ],
)
def test_scale_labels_legend_points_and_texts_are_part_of_it(change):
    other = draw()
    change(other)
    assert differences(draw(), other)


def own_colours(*colours, name):
    figure = draw()
    figure.axes[0].images[0].set_cmap(ListedColormap(colours, name))
    return figure


def test_a_colour_map_of_ones_own_is_its_colours_whatever_it_is_called():
    one = own_colours("red", "blue", "green", name="from_list")
    assert differences(one, own_colours("red", "blue", "green", name="unnamed")) == []
    assert differences(one, own_colours("red", "green", "blue", name="from_list"))
    assert differences(draw(), own_colours("red", "blue", name="magma"))  # a name that is another's


def test_what_is_not_finite_is_json_and_its_place_counts():
    image = a_map()
    image[0, 0] = np.nan
    other = a_map()
    other[0, 1] = np.nan
    assert differences(draw(image=image), draw(image=image)) == []
    assert differences(draw(image=image), draw(image=other))
    assert fingerprint.of_array(np.array([]))["shape"] == [0]


def test_it_is_small():
    figure, axes = plt.subplots(4, 8)
    for axis in axes.flat:
        axis.imshow(np.random.default_rng(0).random((64, 64)))
    assert len(json.dumps(fingerprint.of_figure(figure))) < 20_000


def test_a_tree_of_arrays_keeps_its_shape():
    array = np.arange(6.0).reshape(2, 3)
    found = fingerprint.of_tree({"images": array, "layers": [array, array], "rollout": None})
    one = fingerprint.of_array(array)
    assert found == {"images": one, "layers": [one, one], "rollout": None}
