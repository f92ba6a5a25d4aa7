"""A picture from anywhere becomes one square image of the right size."""

import contextlib
import http.server
import threading

import numpy as np
import pytest
from PIL import Image

from vattn_utils.data.fetch import FetchError
from vattn_utils.data.pictures import read_picture


@contextlib.contextmanager
def served(folder):
    """The address at which a server shows the files in `folder`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def photograph(random):
    return random.integers(0, 256, (20, 30, 3), dtype="uint8")


def test_a_picture_is_its_central_square(photograph):
    picture = read_picture(photograph, 20)
    assert picture.shape == (1, 20, 20, 3)
    np.testing.assert_array_equal(picture[0], photograph[:, 5:25])


def test_a_path_an_image_an_array_and_an_address_give_the_same_picture(photograph, tmp_path, monkeypatch):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))

    with served(tmp_path) as address:
        path = tmp_path / "photograph.png"
        for source in (path, str(path), Image.fromarray(photograph), f"{address}/photograph.png"):
            np.testing.assert_array_equal(read_picture(source, 16), read_picture(photograph, 16))


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


def test_an_address_that_gives_no_picture_is_refused_and_asked_again_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.png").write_text("<html>Too many requests</html>")
    with served(tmp_path) as address:
        with pytest.raises(FetchError, match="gives no picture"):
            read_picture(f"{address}/a.png", 8)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
        assert (read_picture(f"{address}/a.png", 8) == (255, 0, 0)).all()
