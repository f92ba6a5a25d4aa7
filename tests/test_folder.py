"""One's own pictures: a folder a class becomes a data set, or a sentence says which file is wrong."""

import os

import numpy as np
import pytest
from PIL import Image

from vattn_utils import data
from vattn_utils.__main__ import main
from vattn_utils.data import DamagedData, DataUnavailable, WrongLayout, folder
from vattn_utils.training import records, train


def draw(path, colour, size=(12, 8), mode="RGB", **how):
    """A picture of two colours, the left half black, and all of it different for each `colour`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, colour)
    picture.paste((0, 0, 0), (0, 0, size[0] // 2, size[1]))
    picture.convert(mode).save(path, **how)
    return path


@pytest.fixture
def pictures(tmp_path):
    """Two classes: ten red pictures, five green ones."""
    for index in range(10):
        draw(tmp_path / "pictures" / "red" / f"{index}.png", (100 + index, 0, 0))
    for index in range(5):
        draw(tmp_path / "pictures" / "green" / f"{index}.png", (0, 100 + index, 0))
    return tmp_path / "pictures"


def keys(images):
    return {image.tobytes() for image in images}


def test_each_folder_is_a_class_and_a_share_of_each_is_held_out(pictures):
    found = data.from_folder(pictures, size=8)
    assert found.class_names == ("green", "red")
    assert np.bincount(found.y_train).tolist() == [4, 8]
    assert np.bincount(found.y_test).tolist() == [1, 2]
    assert found.x_train.shape == (12, 8, 8, 3)
    assert found.x_train.dtype == np.uint8
    assert (found.x_train[found.y_train == 1, 4, 7, 0] >= 100).all()  # right of the middle, red
    assert not keys(found.x_train) & keys(found.x_test)
    assert data.load(found.name) is found
    assert data.at_hand(found.name) is None


def test_what_is_held_out_depends_on_pictures_and_seed_and_not_on_names(pictures):
    first = data.from_folder(pictures, size=8)
    for index, file in enumerate(sorted(pictures.glob("*/*.png"), reverse=True)):
        file.rename(file.with_name(f"again {index}.png"))
    again, other = data.from_folder(pictures, size=8), data.from_folder(pictures, size=8, seed=1)
    assert again.digest == first.digest
    assert again.name == first.name == f"pictures-{first.digest[:12]}"
    np.testing.assert_array_equal(again.x_test, first.x_test)
    assert other.digest != first.digest
    assert keys(other.x_train) | keys(other.x_test) == keys(first.x_train) | keys(first.x_test)
    assert len(data.from_folder(pictures, size=8, test=0.5).x_test) == 2 + 5


def test_a_share_leaves_one_picture_of_each_class_on_either_side(pictures):
    for test in (0.01, 0.99):
        found = data.from_folder(pictures, size=8, test=test)
        for labels in (found.y_train, found.y_test):
            assert np.bincount(labels, minlength=2).min() >= 1


def test_grey_transparent_turned_and_linked_pictures_of_any_size_are_colour_squares(pictures):
    draw(pictures / "blue" / "grey.png", (80, 80, 80), mode="L")
    draw(pictures / "blue" / "palette.gif", (0, 0, 250), mode="P")
    clear = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    clear.save(pictures / "blue" / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: what is left is above
    turned = Image.new("RGB", (16, 16), (0, 0, 250))
    turned.paste((0, 0, 0), (0, 0, 8, 16))
    turned.save(pictures / "blue" / "turned.JPG", exif=exif)
    os.symlink(draw(pictures.parent / "elsewhere.png", (0, 0, 99), size=(70, 90)), pictures / "blue" / "link.png")
    found = data.from_folder(pictures, size=16)
    images = np.concatenate([found.x_train, found.x_test])
    blue = images[np.concatenate([found.y_train, found.y_test]) == found.class_names.index("blue")]
    assert blue.shape == (5, 16, 16, 3)
    assert (blue == 255).all(axis=(1, 2, 3)).sum() == 1  # what is transparent is white
    above = blue[:, :6].mean(axis=(1, 2, 3)) < 10
    assert above.sum() == 1
    assert blue[above][0, 10:, :, 2].mean() > 200


def test_what_systems_leave_in_folders_is_passed_over(pictures):
    for litter in (".DS_Store", "red/.hidden.png", "red/Thumbs.db"):
        (pictures / litter).write_bytes(b"litter")
    (pictures / "__MACOSX").mkdir()
    assert len(data.from_folder(pictures, size=8).x_train) == 12


def test_a_picture_that_is_there_twice_is_taken_once_and_named(pictures):
    (pictures / "red" / "copy.png").write_bytes((pictures / "red" / "3.png").read_bytes())
    with pytest.warns(UserWarning, match=r"taken once, being there twice: red/copy.png \(as red/3.png\)"):
        found = data.from_folder(pictures, size=8)
    assert len(found.x_train) + len(found.x_test) == 15
    assert not keys(found.x_train) & keys(found.x_test)


def broken(path):
    whole = (path / "red" / "0.png").read_bytes()
    (path / "red" / "0.png").write_bytes(whole[: len(whole) // 2])


def no_picture(path):
    (path / "red" / "0.png").write_text("<html>not found</html>")


def one_of_two_classes(path):
    (path / "red" / "copy.png").write_bytes((path / "green" / "3.png").read_bytes())


def alone(path):
    draw(path / "blue" / "one.png", (0, 0, 200))


def alone_but_for_a_copy(path):
    draw(path / "blue" / "one.png", (0, 0, 200))
    draw(path / "blue" / "two.png", (0, 0, 200))


def one_class(path):
    for file in path.glob("green/*"):
        file.unlink()
    (path / "green").rmdir()


def half_a_character(path):
    os.rename(os.fsencode(path / "green"), os.fsencode(path) + b"/gr\xfcn")


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (broken, DamagedData, r"red/0.png is no picture one can read: .*; save it again or remove it"),
        (no_picture, DamagedData, r"red/0.png is no picture one can read"),
        (lambda path: (path / "red" / "notes.txt").write_text("x"), WrongLayout, r"red/notes.txt is no picture; a"),
        (lambda path: (path / "red" / "more").mkdir(), WrongLayout, r"red/more is no picture; a class is a folder"),
        (lambda path: (path / "red" / "0.png").rename(path / "0.png"), WrongLayout, r"0.png belongs to no class"),
        (lambda path: (path / "empty").mkdir(), WrongLayout, r"class 'empty' holds no picture; put two or more"),
        (lambda path: os.symlink("nowhere", path / "red" / "x.png"), DamagedData, r"red/x.png is no picture"),
        (one_of_two_classes, WrongLayout, r"green/3.png and red/copy.png are the same picture, of two classes"),
        (alone, WrongLayout, r"class 'blue' holds 1 different pictures; use two or more"),
        (one_class, WrongLayout, r"there are 1 classes; use 2 to 256"),
        (half_a_character, WrongLayout, r"cannot be named after their folders: .*half a character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(pictures, harm, error, message):
    harm(pictures)
    with pytest.raises(error, match=message) as raised:
        data.from_folder(pictures, size=8)
    str(raised.value).encode()
    assert str(pictures.parent) not in str(raised.value)


@pytest.mark.filterwarnings("ignore:taken once")
def test_copies_do_not_make_a_class(pictures):
    alone_but_for_a_copy(pictures)
    with pytest.raises(WrongLayout, match=r"class 'blue' holds 1 different pictures"):
        data.from_folder(pictures, size=8)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataUnavailable, match="cannot be read as a folder of pictures: No such file"):
        data.from_folder(tmp_path / "nowhere")
    with pytest.raises(WrongLayout, match="holds no classes"):
        data.from_folder(tmp_path)
    with pytest.raises(DataUnavailable, match="Not a directory"):
        data.from_folder(draw(tmp_path / "class" / "a.png", (1, 2, 3)))
    for wrong in (dict(size=0), dict(test=1.0), dict(test=-0.1), dict(seed=-1)):
        with pytest.raises(ValueError, match="; use"):
            data.from_folder(tmp_path, **wrong)


def test_arrays_are_split_as_a_folder_is(pictures, random):
    whole = data.from_folder(pictures, size=8)
    images, labels = (np.concatenate([getattr(whole, f"{k}_{s}") for s in ("train", "test")]) for k in "xy")
    order = random.permutation(len(images))
    found = data.from_arrays(images[order], labels[order], whole.class_names)
    assert found.digest == whole.digest
    assert data.from_arrays(images, labels).class_names == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(images=np.zeros((4, 8, 8, 3), "float32")), r"np.rint\(images\).astype\('uint8'\)"),
        (dict(images=np.zeros((4, 8, 6, 3), "uint8")), "are not square"),
        (dict(labels=[0, 1, 2]), "give one label an image"),
        (dict(class_names=["one"]), "labels go from 0 to 1; those of 1 classes are 0 to 0"),
        (dict(test="half"), "is no number"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(random, change, message):
    images = random.integers(0, 256, (4, 8, 8, 3), dtype="uint8")
    with pytest.raises((TypeError, ValueError), match=message):
        data.from_arrays(**({"images": images, "labels": [0, 0, 1, 1]} | change))


def test_pictures_that_are_not_at_hand_are_not_taken_for_a_misspelt_name():
    with pytest.raises(DataUnavailable, match=r"pictures-0123456789ab is not at hand.*--data FOLDER"):
        data.load("pictures-0123456789ab")


def test_a_model_is_trained_on_a_folder_and_its_maps_are_measured_there(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VATTN_RECORDS", str(tmp_path / "records"))
    monkeypatch.chdir(tmp_path)
    sizes = ["image_size=8", "patch_size=2", "dim=8", "depth=1", "heads=2", "mlp_dim=8", "tokenizer=patch"]
    how = ["--epochs", "1", "--batch-size", "4", "--name", "mine"]
    main(["train", "vit", "--data", str(pictures), *how, *(word for size in sizes for word in ("--set", size))])
    printed = capsys.readouterr().out
    assert "12 training and 3 test images, 2 classes" in printed
    assert "the central square, resized to 8 x 8 pixels" in printed
    record = records.load("mine")
    expected = data.from_folder(pictures, size=8)
    assert (record.dataset, record.digest) == (expected.name, expected.digest)
    assert str(tmp_path) not in (record.path / "record.json").read_text()
    assert record.class_names == list(expected.class_names) == ["green", "red"]
    assert f"train vit --data FOLDER --name {record.name}" in train.command(record)
    draw(pictures / "red" / "new.png", (250, 0, 0))  # another data set: the record is not of this
    folder._READ.clear()
    with pytest.raises(SystemExit):
        main(["faithfulness", "--record", "mine", "--data", str(pictures), "--images", "2", "--methods", "pooling"])
    assert f"{record.dataset} is not at hand" in capsys.readouterr().err
    (pictures / "red" / "new.png").unlink()
    main(["faithfulness", "--record", "mine", "--data", str(pictures), "--images", "2", "--methods", "pooling"])
    assert "| pooling |" in capsys.readouterr().out
