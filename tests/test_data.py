"""One data set, whatever file it comes from; another one, never."""

import dataclasses
import hashlib
import time

import numpy as np
import pytest
from faulty_server import miniature

from vattn_utils import data
from vattn_utils.data import cifar
from vattn_utils.data.dataset import KEYS, split_digest


def save(folder, arrays):
    folder.mkdir(exist_ok=True)
    np.savez(folder / "cifar10.npz", **arrays)
    return folder


def of(dataset):
    return {key: getattr(dataset, key) for key in KEYS}


# Where it comes from


def test_any_order_of_images_gives_the_same_arrays(arrays, tmp_path, random):
    loaded = data.load("cifar10", root=save(tmp_path / "a", arrays))
    order = random.permutation(20)
    shuffled = arrays | {"x_train": arrays["x_train"][order], "y_train": arrays["y_train"][order]}
    again = data.load("cifar10", root=save(tmp_path / "b", shuffled))
    for key in KEYS:
        np.testing.assert_array_equal(getattr(loaded, key), getattr(again, key))
    assert loaded.digest == again.digest


def test_labels_may_be_a_column_and_of_any_integer_type(arrays, tmp_path):
    column = arrays | {key: arrays[key].astype("uint8")[:, None] for key in ("y_train", "y_test")}
    dataset = data.load("cifar10", root=save(tmp_path / "a", column))
    assert dataset.y_train.shape == (20,)
    assert dataset.y_train.dtype == np.int64


def test_root_comes_before_vattn_data_and_that_before_the_cache(arrays, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("root", "data", "cache")]
    monkeypatch.setenv("VATTN_DATA", str(folders[1]))
    for last in reversed(range(3)):
        # Only the folder that should be read has the right file: the ones behind it are wrong.
        for folder in folders[last + 1 :]:
            save(folder, {"x_train": np.zeros(1)})
        save(folders[last], arrays)
        assert len(data.load("cifar10", root=folders[0]).x_train) == 20


def test_a_missing_file_is_passed_over(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("VATTN_DATA", str(tmp_path / "nowhere"))
    save(tmp_path / "cache", arrays)
    assert len(data.load("cifar10", root=tmp_path / "neither").x_train) == 20


def test_a_wrong_file_in_vattn_data_is_an_error_though_the_cache_is_right(arrays, tmp_path, monkeypatch):
    save(tmp_path / "cache", arrays)
    wrong = save(tmp_path / "data", miniature(10, seed=1))
    monkeypatch.setenv("VATTN_DATA", str(wrong))
    with pytest.raises(data.DamagedData, match=str(wrong)):
        data.load("cifar10")


def test_at_hand_says_whether_a_network_is_needed(arrays, tmp_path, monkeypatch):
    assert not data.at_hand("cifar10")
    assert data.at_hand("shapes10")
    assert data.at_hand("cifar10", root=save(tmp_path / "root", arrays)) == tmp_path / "root" / "cifar10.npz"
    save(tmp_path / "cache", arrays)
    assert data.at_hand("cifar10") == tmp_path / "cache" / "cifar10.npz"
    monkeypatch.setenv("VATTN_DATA", str(save(tmp_path / "data", arrays)))
    assert data.at_hand("cifar10") == tmp_path / "data" / "cifar10.npz"
    with pytest.raises(data.UnknownDataset):
        data.at_hand("cifar")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_real_cifar_is_in_canonical_order_and_quickly_there(name):
    if not data.at_hand(name):
        pytest.skip(f"{name} is not at hand; set VATTN_DATA")
    start = time.process_time()
    dataset = data.load(name)
    assert time.process_time() - start < 10
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((50_000, 32, 32, 3), (10_000, 32, 32, 3))
    counts = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    assert (counts == 50_000 // dataset.num_classes).all()
    order, _ = split_digest(dataset.x_test, dataset.y_test)
    np.testing.assert_array_equal(order, np.arange(10_000))
    assert dataset.statistics()["mean"][0] > dataset.statistics()["mean"][2]  # red before blue


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_the_classes_of_cifar_stand_in_alphabetical_order_as_its_labels_do(name, classes):
    names = cifar.CLASS_NAMES[name]
    assert list(names) == sorted(set(names))
    assert len(names) == classes


def test_a_tilde_in_vattn_data_is_the_home(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VATTN_DATA", "~/data")
    save(tmp_path / "data", arrays)
    assert data.at_hand("cifar10") == tmp_path / "data" / "cifar10.npz"


def test_the_key_of_an_image_is_the_digest_of_its_pixels_label_and_mask(random):
    images, masks = random.integers(0, 256, (300, 4, 6, 3), dtype="uint8"), random.random((300, 4, 4)) < 0.2
    images, labels = images[:, :, 1:5], np.arange(300) % 10  # not in one piece
    parts = zip(images, labels.astype("uint8"), masks, strict=True)
    keys = [hashlib.sha256(x.tobytes() + y.tobytes() + mask.tobytes()).digest() for x, y, mask in parts]
    order, digest = split_digest(images, labels, masks)
    assert [keys[index] for index in order] == sorted(keys)
    assert digest == hashlib.sha256(b"".join(sorted(keys))).hexdigest()


def test_a_file_that_is_packed_gives_the_same_arrays(arrays, tmp_path):
    plain = data.load("cifar10", root=save(tmp_path / "a", arrays))
    (tmp_path / "b").mkdir()
    np.savez_compressed(tmp_path / "b" / "cifar10.npz", **arrays)
    packed = data.load("cifar10", root=tmp_path / "b")
    for key in KEYS:
        np.testing.assert_array_equal(getattr(plain, key), getattr(packed, key))


# What is refused


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(data.UnknownDataset, match="did you mean 'cifar100'"):
        data.load("cifra100")
    with pytest.raises(data.UnknownDataset, match=r"there are cifar10, cifar100, shapes10, shapes100"):
        data.load("imagenet")


@pytest.mark.parametrize("key", KEYS)
def test_one_changed_value_is_noticed(arrays, tmp_path, key):
    changed = arrays[key].copy()
    changed.flat[-1] = changed.flat[-1] ^ 1
    with pytest.raises(data.DamagedData, match=r"expected digest [0-9a-f]{64}, found [0-9a-f]{64}"):
        data.load("cifar10", root=save(tmp_path / "a", arrays | {key: changed}))


def test_a_file_cut_short_is_damaged(arrays, tmp_path):
    path = save(tmp_path / "a", arrays) / "cifar10.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(data.DamagedData, match="cannot be read"):
        data.load("cifar10", root=path.parent)


def test_a_flipped_bit_in_the_file_is_damage(arrays, tmp_path):
    path = save(tmp_path / "a", arrays) / "cifar10.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(data.DamagedData):
        data.load("cifar10", root=path.parent)


def test_a_pickled_array_is_not_opened(arrays, tmp_path):
    objects = np.array([{}] * 20, dtype=object)
    with pytest.raises(data.DamagedData, match="allow_pickle"):
        data.load("cifar10", root=save(tmp_path / "a", arrays | {"y_train": objects}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": None}, "has no x_train"),
        ({"x_train": np.zeros((20, 3, 32, 32), "uint8")}, r"x_train is uint8 \(20, 3, 32, 32\)"),
        ({"x_train": np.zeros((20, 32, 32, 3))}, "x_train is float64"),
        ({"x_test": np.zeros((10, 28, 28), "uint8")}, "x_test is uint8"),
        ({"y_train": np.zeros(19, int)}, r"y_train is int64 \(19,\)"),
        ({"y_test": np.zeros((10, 10), int)}, r"y_test is int64 \(10, 10\)"),
        ({"y_test": np.zeros(10)}, "y_test is float64"),
        ({"y_test": np.full(10, 10)}, "labels from 10 to 10; those of cifar10 are 0 to 9"),
    ],
)
def test_a_wrong_layout_says_what_is_there_and_what_should_be(arrays, tmp_path, change, words):
    wrong = {key: value for key, value in (arrays | change).items() if value is not None}
    with pytest.raises(data.WrongLayout, match=words):
        data.load("cifar10", root=save(tmp_path / "a", wrong))


# What a data set does


@pytest.fixture
def dataset(arrays, tmp_path):
    return data.load("cifar10", root=save(tmp_path / "a", arrays))


def test_a_split_is_a_partition_that_depends_on_the_seed_alone(dataset):
    (x, y), (x_val, y_val) = dataset.split(5, seed=1)
    assert (len(x), len(y), len(x_val), len(y_val)) == (15, 15, 5, 5)
    everything = np.concatenate([x, x_val]).reshape(20, -1).tolist()
    assert sorted(everything) == sorted(dataset.x_train.reshape(20, -1).tolist())
    np.testing.assert_array_equal(x_val, dataset.split(5, seed=1)[1][0])
    assert not np.array_equal(x_val, dataset.split(5, seed=2)[1][0])


def test_a_split_is_the_same_images_on_every_machine(dataset):
    (_, _), (x_val, _) = dataset.split(5, seed=0)
    held_out = [i for i, image in enumerate(dataset.x_train) if any(np.array_equal(image, other) for other in x_val)]
    assert held_out == [0, 3, 8, 9, 19]


def test_a_split_by_fraction_is_a_split_by_number(dataset):
    np.testing.assert_array_equal(dataset.split(0.25, seed=1)[1][1], dataset.split(5, seed=1)[1][1])


@pytest.mark.parametrize("validation", [0, 20, -1, 0.0, 1.0, 0.01])
def test_a_split_leaves_images_on_both_sides(dataset, validation):
    with pytest.raises(ValueError, match="use 1 to 19"):
        dataset.split(validation, seed=0)


def test_take_is_the_first_images_with_a_digest_of_their_own(dataset):
    taken = dataset.take(12)
    np.testing.assert_array_equal(taken.x_train, dataset.x_train[:12])
    np.testing.assert_array_equal(taken.y_test, dataset.y_test)
    assert taken.digest != dataset.digest
    assert taken.digest == dataset.take(12).digest
    assert dataset.take(20).digest == dataset.digest
    with pytest.raises(ValueError, match="n=21 is not possible; use 1 to 20"):
        dataset.take(21)


def test_statistics_are_those_of_the_training_images(dataset):
    pixels = dataset.x_train.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(dataset.statistics()["mean"], pixels.mean(0))
    np.testing.assert_allclose(dataset.statistics()["std"], pixels.std(0))


def test_a_data_set_cannot_be_altered(dataset):
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_train[0] = 0


def test_a_data_set_presents_itself_in_one_line(dataset):
    assert repr(dataset).startswith("cifar10: 20 training and 10 test images, 10 classes")


# What a model is given


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float16"])
def test_images_of_any_number_type_pass(dtype):
    data.check_images(np.full((2, 8, 8, 3), 255, dtype), image_size=8)
    data.check_images(np.zeros((2, 8, 4, 3), dtype))


def test_a_dark_float_image_passes_with_a_warning():
    with pytest.warns(UserWarning, match="nearly black"):
        data.check_images(np.full((1, 8, 8, 3), 0.5))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((2, 8, 8, 1), r"np.repeat\(images, 3, axis=-1\)"),
        ((2, 8, 8), r"np.repeat\(images\[..., None\]"),
        ((8, 8), "grey"),
        ((2, 8, 8, 4), r"images\[..., :3\]"),
        ((8, 8, 3), r"images\[None\]"),
        ((2, 3, 8, 8), "moveaxis"),
        ((2, 9, 8, 3), "not 8 x 8"),
        ((2, 2, 8, 8, 3), "not a batch"),
    ],
)
def test_images_of_a_wrong_shape_are_refused_with_a_hint(shape, hint):
    with pytest.raises(ValueError, match=hint):
        data.check_images(np.zeros(shape, "uint8"), image_size=8)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (-1, "-1 to 0"), (256, "0 to 256"), (np.inf, "inf")])
def test_values_that_are_not_pixels_are_refused(value, words):
    images = np.zeros((2, 8, 8, 3), "float32")
    images[1, 2, 3, 0] = value
    with pytest.raises(ValueError, match=words):
        data.check_images(images)


@pytest.mark.parametrize("images", [[[0]], None, np.zeros((2, 8, 8, 3), bool), np.zeros((2, 8, 8, 3), complex)])
def test_what_is_no_array_of_numbers_is_refused(images):
    with pytest.raises(TypeError, match="images"):
        data.check_images(images)


def test_images_that_stand_in_the_data_twice_are_counted(tiny):
    x_train, x_test = tiny.x_train.copy(), tiny.x_test.copy()
    assert tiny.repeated() == {"test in training": 0, "training": 0, "test": 0}
    x_train[1] = x_train[2] = x_train[0]
    x_test[3] = x_test[4] = x_train[5]
    doubled = dataclasses.replace(tiny, x_train=x_train, x_test=x_test)
    assert doubled.repeated() == {"test in training": 2, "training": 2, "test": 1}
