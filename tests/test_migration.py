"""Old records are read by new code."""

import pytest

from vattn_utils import models
from vattn_utils.training import migration

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
