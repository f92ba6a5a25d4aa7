"""Small things that many tests need. TensorFlow keeps its log to itself."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND") == "torch":
    # The tests make arrays of tensors by np.array, which torch refuses for those that carry a gradient.
    import torch

    as_array = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda tensor, *given, **named: as_array(tensor.detach(), *given, **named)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def pictures(random):
    """Four uint8 images of 8 x 8 pixels."""
    return random.integers(0, 256, (4, 8, 8, 3), dtype="uint8")


@pytest.fixture(scope="session")
def tiny():
    return four_shades()


def four_shades():
    """A data set of 8 x 8 images in 4 classes that differ in brightness, so that something can be learned."""
    from vattn_utils.data import Dataset

    random = np.random.default_rng(1)

    def split(count):
        labels = random.integers(0, 4, count)
        images = random.integers(0, 64, (count, 8, 8, 3)) + 48 * labels[:, None, None, None]
        return images.astype("uint8"), labels

    (x_train, y_train), (x_test, y_test) = split(96), split(40)
    names = ("night", "dusk", "day", "noon")
    return Dataset("tiny", x_train, y_train, x_test, y_test, class_names=names, digest="tiny")


@pytest.fixture
def arrays(monkeypatch, tmp_path):
    """A miniature that passes for CIFAR-10; no `VATTN_DATA`, an empty cache and no mirrors."""
    from faulty_server import miniature

    from vattn_utils.data import cifar
    from vattn_utils.data.dataset import split_digest

    arrays = miniature(10)
    digests = {split: split_digest(arrays[f"x_{split}"], arrays[f"y_{split}"])[1] for split in ("train", "test")}
    monkeypatch.setitem(cifar.DIGESTS, "cifar10", digests)
    monkeypatch.setitem(cifar.SOURCES, "cifar10", ())
    monkeypatch.delenv("VATTN_DATA", raising=False)
    monkeypatch.setenv("VATTN_CACHE", str(tmp_path / "cache"))
    return arrays
