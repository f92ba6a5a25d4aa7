import http.server
import threading

import numpy as np
import pytest
from PIL import Image

from tests.test_models import tiny_model
from vattn_utils import attention, eanet, patch_convnet, vit
from vattn_utils.attention import AttentionMap, AttentionRecorder, read_picture, to_image_size

MODELS = [
    (vit, "book"),
    (vit, "keras-io"),
    (vit, "paper"),
    (eanet, "book"),
    (eanet, "keras-io"),
    (patch_convnet, "book"),
]


@pytest.mark.parametrize(("module", "variant"), MODELS)
def test_rows_of_every_map_sum_to_one(module, variant, pictures):
    for layer in attention.maps(tiny_model(module, variant), pictures):
        np.testing.assert_allclose(layer.weights.sum(axis=-1), 1, atol=1e-5)
        assert layer.weights.min() >= 0
        assert layer.weights.dtype == np.float32


def test_maps_stand_in_order_of_depth_with_kind_and_grid(pictures):
    found = attention.maps(tiny_model(vit), pictures)
    assert [layer.kind for layer in found] == ["self", "self", "pooling"]
    assert {layer.grid for layer in found} == {(4, 4)}
    assert found[0].weights.shape == (4, 2, 16, 16)
    assert found[-1].weights.shape == (4, 1, 1, 16)


def test_a_class_token_stands_before_the_patches_and_is_left_out_of_the_picture(pictures):
    layer = attention.maps(tiny_model(vit, "paper"), pictures)[0]
    assert layer.prefix_tokens == 1
    assert layer.weights.shape == (4, 2, 17, 17)
    shown = layer.patches()
    assert shown.shape == (4, 2, 17, 4, 4)
    np.testing.assert_allclose(shown.sum(axis=(-2, -1)), 1, atol=1e-5)
    np.testing.assert_allclose(layer.own_share(), layer.weights[..., 0], atol=1e-7)
    left = (1 - layer.own_share())[..., None, None]
    np.testing.assert_allclose(shown * left, layer.weights[..., 1:].reshape(shown.shape), atol=1e-6)


def test_slot_maps_sum_to_one_over_the_tokens(pictures):
    layer = attention.maps(tiny_model(eanet), pictures)[0]
    assert layer.slot_maps.shape == (4, 2, 4, 16)
    np.testing.assert_allclose(layer.slot_maps.sum(axis=-1), 1, atol=1e-5)
    expected = np.swapaxes(layer.slot_maps, 2, 3)
    expected = expected / expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer.weights, expected, atol=1e-6)


def test_external_attention_has_no_picture_of_places(pictures):
    with pytest.raises(ValueError, match="memory slots, which have no place"):
        attention.maps(tiny_model(eanet), pictures)[0].patches()


def test_the_winning_slot_is_the_one_with_most_attention():
    weights = np.full((1, 2, 4, 3), 0.1)
    for token, slot in enumerate((2, 0, 1, 2)):
        weights[0, :, token, slot] = 0.8
    layer = AttentionMap("external", weights, (2, 2))
    assert attention.winning_slot(layer).tolist() == [[[2, 0], [1, 2]]]


@pytest.mark.parametrize("module", [vit, eanet, patch_convnet])
def test_a_batch_gives_what_a_loop_gives(module, pictures):
    model = tiny_model(module)
    together = attention.maps(model, pictures, batch_size=3)
    for index in range(len(pictures)):
        alone = attention.maps(model, pictures[index : index + 1])
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one.weights[0], many.weights[index], atol=1e-6)


def test_one_map_for_each_class_with_per_class_queries(pictures):
    (layer,) = attention.maps(tiny_model(patch_convnet, queries="per-class"), pictures)
    assert layer.patches().shape == (4, 1, 5, 4, 4)


def test_images_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="batch axis"):
        attention.maps(tiny_model(vit), pictures[0])


@pytest.mark.parametrize("grid", [(2, 2), (3, 5), (7, 1)])
def test_nearest_gives_each_pixel_the_value_of_the_token_that_covers_it(grid):
    values = np.arange(np.prod(grid)).reshape(grid)
    enlarged = to_image_size(values, (grid[0] * 4, grid[1] * 3), "nearest")
    np.testing.assert_array_equal(enlarged, np.kron(values, np.ones((4, 3), int)))


def test_nearest_is_right_where_the_size_is_no_multiple_of_the_grid():
    enlarged = to_image_size(np.array([[1, 2, 3]]), (1, 8), "nearest")
    # Pixel p covers the place (p + 0.5) / 8; the tokens end at 1/3 and 2/3.
    assert enlarged.tolist() == [[1, 1, 1, 2, 2, 3, 3, 3]]


def test_bilinear_meets_the_tokens_values_at_their_centres_and_is_linear_between():
    values = np.array([[0.0, 3.0, 6.0]])
    enlarged = to_image_size(values, (1, 9), "bilinear")
    np.testing.assert_allclose(enlarged, [[0, 0, 1, 2, 3, 4, 5, 6, 6]])


def test_bilinear_equals_an_independent_implementation(random):
    values = random.random((5, 7))
    theirs = Image.fromarray(values.astype("float32")).resize((28, 20), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(to_image_size(values, (20, 28)), np.asarray(theirs), atol=1e-5)


def test_enlarging_keeps_leading_axes(random):
    values = random.random((2, 3, 4, 4))
    np.testing.assert_allclose(to_image_size(values, (8, 8))[1, 2], to_image_size(values[1, 2], (8, 8)))


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='cubic'"):
        to_image_size(np.zeros((2, 2)), (4, 4), "cubic")


@pytest.fixture
def photograph(random):
    return random.integers(0, 256, (20, 30, 3), dtype="uint8")


def test_a_picture_is_its_central_square(photograph):
    picture = read_picture(photograph, 20)
    assert picture.shape == (1, 20, 20, 3)
    np.testing.assert_array_equal(picture[0], photograph[:, 5:25])


def test_a_path_an_image_an_array_and_an_address_give_the_same_picture(photograph, tmp_path, monkeypatch):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/photograph.png"
        sources = (tmp_path / "photograph.png", str(tmp_path / "photograph.png"), Image.fromarray(photograph), address)
        for source in sources:
            np.testing.assert_array_equal(read_picture(source, 16), read_picture(photograph, 16))
        server.shutdown()


def test_grey_floats_and_transparency_become_colour(photograph):
    grey = photograph[..., 0]
    np.testing.assert_array_equal(read_picture(grey, 20)[0, ..., 1], grey[:, 5:25])
    np.testing.assert_array_equal(read_picture(photograph / 255.0, 20), read_picture(photograph, 20))
    clear = np.dstack([photograph, np.zeros((20, 30), "uint8")])
    assert (read_picture(clear, 20) == 255).all()


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 2), "uint8"), np.full((4, 4, 3), 2.0), np.full((4, 4, 3), 256), np.full((4, 4), np.nan)]
)
def test_what_is_no_picture_is_refused(array):
    with pytest.raises(ValueError, match="is not known"):
        read_picture(array, 8)


def test_the_recorder_records_before_training_and_after_every_kth_epoch(pictures):
    model = tiny_model(eanet)
    recorder = AttentionRecorder(pictures, every=2)
    recorder.set_model(model)
    recorder.on_train_begin()
    for epoch in range(5):
        recorder.on_epoch_end(epoch)
    recorded = recorder.recorded()
    assert recorded["epoch"].tolist() == [0, 2, 4]
    mixing, pooling = attention.maps(model, pictures)[-2:]
    np.testing.assert_allclose(recorded["mixing"][0], mixing.weights.mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(recorded["pooling"][0, :, 0], pooling.weights[:, 0, 0], atol=1e-3)


def test_a_resumed_recorder_keeps_what_it_recorded(pictures, tmp_path):
    model = tiny_model(patch_convnet)
    for epochs in ([0], [1]):
        recorder = AttentionRecorder(pictures, path=tmp_path / "attention.npz")
        recorder.set_model(model)
        recorder.on_train_begin()
        for epoch in epochs:
            recorder.on_epoch_end(epoch)
    assert recorder.recorded()["epoch"].tolist() == [0, 1, 2]
    assert recorder.recorded().keys() == {"epoch", "pooling"}


def test_recording_every_zero_epochs_is_refused(pictures):
    with pytest.raises(ValueError, match="every=0 is not possible"):
        AttentionRecorder(pictures, every=0)
