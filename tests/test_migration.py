"""Old records are read by new code."""

import dataclasses
import json

import pytest

from vattn_utils import models
from vattn_utils.training import Recipe, migration, records

OLD = {"num_classes": 5, "dim": 16, "head_units": [], "head_dropout": 0.0, "epsilon": 1e-6, "final_norm": True}


@pytest.mark.parametrize(
    ("name", "variant", "old"),
    [
        ("vit", "book", OLD),
        ("vit", "keras-io", {**OLD, "pooling": "flatten", "head_units": [8], "head_dropout": 0.5}),
        ("eanet", "book", OLD),
        ("eanet", "keras-io", {**OLD, "epsilon": 1e-5, "final_norm": False}),
        ("patch_convnet", "book", {"num_classes": 5, "dim": 16}),
    ],
)
def test_the_config_of_an_old_record_builds_todays_model(name, variant, old):
    model = models.constructor(name, variant)[0](**migration.config(name, variant, old))
    assert model.get_config()["num_classes"] == 5
    again = migration.config(name, variant, model.get_config())
    assert again == model.get_config()


def test_what_is_no_longer_built_is_refused_by_name():
    with pytest.raises(ValueError, match="final_norm=False of a book eanet is no longer built"):
        migration.config("eanet", "book", {**OLD, "final_norm": False})
    with pytest.raises(ValueError, match=r"head_units=\(8,\)|head_units=\[8\]"):
        migration.config("vit", "book", {**OLD, "head_units": [8]})


def test_the_recipe_of_an_old_record_is_a_recipe_of_today():
    old = {"epochs": 3, "floor": 0.1, "augmentation": ["flip", "trivial"]}
    recipe = Recipe(**migration.recipe(old))
    assert recipe == Recipe(epochs=3, min_lr_ratio=0.1, augmentation=("flip", "trivial_augment"))
    assert Recipe(**migration.recipe(dataclasses.asdict(recipe))) == recipe
    assert old == {"epochs": 3, "floor": 0.1, "augmentation": ["flip", "trivial"]}


def test_a_record_written_by_an_older_commit_is_read(tmp_path):
    values = json.loads((records.folder() / "patch_convnet-shapes10-book" / "record.json").read_text())
    values["recipe"] = {"epochs": 7, "floor": 0.1, "augmentation": ["flip", "trivial"]}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "record.json").write_text(json.dumps({**values, "name": "old"}))
    record = records.load("old", tmp_path)
    assert record.recipe == Recipe(epochs=7, min_lr_ratio=0.1, augmentation=("flip", "trivial_augment"))
    assert (record.parameters, record.metrics, record.kind) == (values["parameters"], values["test"], "patch_convnet")


def test_a_run_with_tokens_of_its_own_kind_and_mixing_is_read(tmp_path):
    values = json.loads((records.folder() / "vit-shapes10-book" / "record.json").read_text())
    recipe = {
        "augmentation": ["flip", "crop", "trivial"], "batch_size": 128, "clip_norm": 1.0, "cutmix": 1.0, "ema": 0.999,
        "epochs": 20, "floor": 0.0, "label_smoothing": 0.1, "learning_rate": 0.005, "mix_share": 0.5, "mixup": 0.0,
        "optimizer": "muon", "precision": "mixed_bfloat16", "seed": 0, "select": "last", "unmixed_share": 0.1,
        "validation": 5000, "warmup": 0.1, "weight_decay": 0.05,
    }  # fmt: skip
    config = {
        "attention_dropout": 0.0, "convolutions": 2, "depth": 6, "dim": 128, "drop_path": 0.1, "dropout": 0.0,
        "epsilon": 1e-06, "final_norm": True, "gelu": "tanh", "head_dim": None, "head_dropout": 0.0, "head_units": [],
        "heads": 4, "image_size": 32, "mlp_dim": 256, "name": "vit", "num_classes": 100, "patch_size": 4,
        "pooling": "sequence", "position": "learned", "registers": 0, "resize_to": None,
        "tokenizer": "convolutional-centred",
    }  # fmt: skip
    (tmp_path / "long").mkdir()
    values |= {"name": "long", "recipe": recipe, "config": config}
    (tmp_path / "long" / "record.json").write_text(json.dumps(values))
    record = records.load("long", tmp_path)
    assert (record.recipe.min_lr_ratio, record.recipe.augmentation[-1]) == (0.0, "trivial_augment")
    model = models.constructor(record.kind, record.variant)[0](**record.config)
    assert {name: model.get_config()[name] for name in record.config} == record.config


@pytest.mark.parametrize(
    "change", [{"recipe": {"augmentation": [], "speed": 3}}, {"recipe": {"augmentation": [], "epochs": 0}}]
)
def test_a_record_with_a_recipe_that_cannot_be_is_named(tmp_path, change):
    values = json.loads((records.folder() / "eanet-shapes10-book" / "record.json").read_text())
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "record.json").write_text(json.dumps(values | {"name": "odd"} | change))
    with pytest.raises(
        records.RecordError, match=r"odd/record.json cannot be read by this version: .*(speed|epochs=0)"
    ):
        records.load("odd", tmp_path)
