import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from vattn_utils.show import plots
from vattn_utils.show.marks import name_marks


@pytest.fixture(autouse=True)
def no_warning_and_no_open_figure():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def drawn(figure):
    """The arrays of all images in a figure, axes by axes."""
    return [[image.get_array() for image in axes.images] for axes in figure.axes]


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_images_are_drawn_as_they_are(pictures):
    figure = plots.images(pictures, titles=list("abcd"), columns=3)
    for shown, picture in zip(drawn(figure), pictures, strict=False):
        np.testing.assert_array_equal(shown[0], picture)
    assert titles(figure)[:4] == list("abcd")


@pytest.mark.parametrize(("count", "rows", "columns"), [(16, 4, 4), (10, 2, 5), (3, 1, 3)])
def test_a_grid_is_no_wider_than_the_text_and_its_rows_are_even(count, rows, columns):
    figure = plots.images(np.zeros((count, 4, 4, 3)), columns=8)
    assert figure.axes[0].get_gridspec().get_geometry() == (rows, columns)
    assert figure.get_figwidth() <= plots.WIDTH


def test_a_picture_and_its_map_stay_in_one_row():
    figure = plots.overlay(np.zeros((10, 4, 4, 3)), np.ones((10, 2, 2)), columns=10, size=1.1)
    assert figure.axes[0].get_gridspec().get_geometry() == (4, 6)
    assert sum(axis.get_visible() for axis in figure.axes) == 20 + 1, "and the scale"


def test_pairs_stand_under_each_other(pictures):
    figure = plots.pairs(pictures, 255 - pictures, ("as it is", "negative"))
    assert [figure.axes[place].get_ylabel() for place in (0, 4)] == ["as it is", "negative"]
    shown = drawn(figure)
    np.testing.assert_array_equal(shown[1][0], pictures[1])
    np.testing.assert_array_equal(shown[5][0], 255 - pictures[1])


def test_patches_stand_in_their_places(random):
    flat = random.integers(0, 256, (6, 2 * 2 * 3))
    shown = drawn(plots.patches(flat, (2, 3), 2))
    np.testing.assert_array_equal(shown[4][0], flat[4].reshape(2, 2, 3))


def test_curves_draw_training_validation_and_chance():
    history = dict(loss=[3.0, 2.0], val_loss=[3.5, 2.5], accuracy=[0.1, 0.2], val_accuracy=[0.1, 0.15])
    figure = plots.curves(history, chance={"loss": 4.6})
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["training"], [3.0, 2.0])
    np.testing.assert_array_equal(lines["validation"], [3.5, 2.5])
    assert set(lines["chance"]) == {4.6}
    assert len(figure.axes[1].lines) == 2


def test_names_keep_clear_of_each_other_of_the_marks_and_of_the_rim(random):
    figure, axis = plt.subplots(figsize=(plots.WIDTH, 5.4))
    marks = [(f"mark {i}", *random.random(2), "black") for i in range(20)]
    marks += [("on the rim", 1.0, 0.5, "black"), ("beside it", 1.0, 0.5, "black")]
    axis.set(xlim=(0, 1), ylim=(0, 1))
    name_marks(axis, marks)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text).shrunk(0.98, 0.98) for text in axis.texts]  # without the lines
    assert [text.get_text() for text in axis.texts] == [name for name, *_ in marks]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(axis.bbox.containsx(box.x0) and axis.bbox.containsx(box.x1) for box in boxes)
    middles = axis.transData.transform([mark[1:3] for mark in marks])
    assert not any(box.contains(*middle) for box in boxes for middle in middles)


def test_a_name_with_room_stands_right_beside_its_mark_without_a_line():
    figure, axis = plt.subplots()
    name_marks(axis, [])
    axis.plot(1.0, 1.0, "o")
    name_marks(axis, [("alone", 1.0, 1.0, "red")])
    (text,) = axis.texts
    assert (text.get_color(), text.arrow_patch) == ("red", None)
    beside = text.get_window_extent().x0 - axis.transData.transform((1.0, 1.0))[0]
    assert 0 < beside < 10 * figure.dpi / 72


def test_compared_histories_keep_their_names():
    figure = plots.compare({"one": dict(val_accuracy=[0.1, 0.2]), "two": dict(val_accuracy=[0.3])})
    assert [(line.get_label(), list(line.get_ydata())) for line in figure.axes[0].lines] == [
        ("one", [0.1, 0.2]),
        ("two", [0.3]),
    ]


def test_all_maps_of_a_figure_have_one_scale(pictures, random):
    figure = plots.overlay(pictures, random.random((4, 2, 2)))
    covers = [axes.images[1] for axes in figure.axes if len(axes.images) == 2]
    assert len(covers) == 4
    assert len({cover.get_clim() for cover in covers}) == 1
    assert covers[0].get_clim()[0] == 0


def test_a_map_lies_on_the_pixels_that_its_tokens_cover(pictures):
    values = np.zeros((1, 1, 16, 4, 4))
    values[0, 0, 6, 1, 2] = 1  # the token in row 1, column 2 looks at itself only
    figure = plots.heads_by_layers(pictures[0], list(values), query=(1, 2))
    cover = figure.axes[0].images[1].get_array()
    assert np.argwhere(cover == 1).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    (marker,) = figure.axes[0].lines
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (4.5, 2.5)


def test_heads_by_layers_lie_where_the_tokens_look(pictures):
    maps = np.zeros((1, 1, 16, 4, 4))
    maps[0, 0, 6, 1, 2] = 1
    figure = plots.heads_by_layers(pictures[0], list(maps), query=(1, 2), shift=(1, -1))
    assert np.argwhere(figure.axes[0].images[1].get_array() == 1).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    (marker,) = figure.axes[0].lines
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (3.5, 3.5)


def test_heads_by_layers_skips_the_class_token(pictures):
    maps = np.zeros((1, 1, 17, 4, 4))
    maps[0, 0, 1 + 6, 0, 0] = 1
    figure = plots.heads_by_layers(pictures[0], list(maps), query=(1, 2))
    assert figure.axes[0].images[1].get_array()[0, 0] == 1


def test_slots_stand_in_order_of_use(pictures, random):
    figure = plots.slots(pictures[0], random.random((3, 2, 2)), usage=np.array([0.2, 0.5, 0.3]))
    assert [title.split()[1] for title in titles(figure)[:3]] == ["1", "2", "0"]
    assert "50.0%" in titles(figure)[0]


def test_a_segmentation_counts_its_slots(pictures):
    winners = np.array([[[0, 1], [1, 1]]] * 4)
    figure = plots.segmentation(pictures, winners)
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), [[1, 0], [0, 0]])  # most frequent first
    assert titles(figure)[4] == "2 slots"


def test_slots_without_a_colour_of_their_own_are_grey(pictures):
    winners = np.repeat(np.arange(36).reshape(1, 6, 6), 4, axis=0)
    winners[1:] = 7  # wins most often
    first, second = (plots.segmentation(pictures, winners).axes[place].images[0].get_array() for place in (4, 5))
    grey = plots.SLOTS.N - 1
    assert (second == 0).all()
    assert first[1, 1] == 0
    assert len(np.unique(first)) == plots.SLOTS.N
    assert (first[3:].ravel()[-18:] == grey).all()


def test_class_maps_carry_names_and_scores(pictures, random):
    figure = plots.class_maps(pictures[0], random.random((2, 4, 4)), ["cat", "dog"], scores=[0.25, 0.75])
    assert titles(figure)[:2] == ["cat  25%", "dog  75%"]


def test_a_name_with_dollar_signs_is_drawn_to_the_letter(pictures, random):
    names = ["$10 or $20", r"$\frac$"]  # the second would not even be drawn as mathematics
    maps = random.random((2, 4, 4))
    for figure in (
        plots.images(pictures[:2], names),
        plots.overlay(pictures[:2], maps, names),
        plots.class_maps(pictures[0], maps, names),
        plots.signed_maps(pictures[0], maps, names),
    ):
        assert set(names) <= set(titles(figure))
        figure.canvas.draw()
        plt.close(figure)


def test_forming_has_a_row_for_each_image_and_a_column_for_each_epoch(pictures, random):
    maps = random.random((3, 4, 2, 2))
    figure = plots.forming(pictures, [0, 1, 2], maps)
    assert titles(figure)[1:4] == ["epoch 0", "epoch 1", "epoch 2"]
    np.testing.assert_allclose(figure.axes[4 * 1 + 3].images[1].get_array()[0, 0], maps[2, 1, 0, 0], atol=1e-6)


def test_matrix_and_schedule_draw_their_arrays(random):
    values = random.random((3, 4))
    np.testing.assert_array_equal(plots.matrix(values, "key", "query").axes[0].images[0].get_array(), values)
    np.testing.assert_array_equal(plots.schedule([1.0, 2.0]).axes[0].lines[0].get_ydata(), [1, 2])
