"""All methods against all measures on one tiny model: the table, its chance levels, and the model afterwards."""

import numpy as np
import pytest

from tests.test_attribution import LABELS, made
from vattn_utils.maps import attribution, comparison
from vattn_utils.statistics import bootstrap


@pytest.fixture(scope="module")
def compared():
    random = np.random.default_rng(2)
    pictures = random.integers(0, 256, (24, 8, 8, 3), dtype="uint8")
    masks = np.zeros((24, 8, 8), bool)
    masks[:, 2:5, 2:6] = True
    model = made("vit, pooling")
    # No class is liked best, so that the mosaics find confident images of four classes.
    model.logits.bias.assign(model.logits.bias - attribution.logits(model, pictures).mean(axis=0))
    before = model.get_weights()
    found = comparison.compare(model, pictures, np.arange(24) % 5, masks, mosaics=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return found


def test_the_table_has_every_method_every_measure_and_its_chance(compared):
    lines = compared.lines()
    methods = [name for name in attribution.METHODS if name not in attribution.SLOW]
    assert list(compared.values) == methods
    measures = ["deletion", "insertion", "difference", "blur", "linear", "pointing", "mass", "rank accuracy", "roc auc"]
    measures += ["iou", "grid pointing", "other label", "new weights"]
    assert lines[0] == f"| method | {' | '.join(measures)} |"
    assert len(lines) == 2 + len(methods) + 1
    levels = dict(zip(measures, lines[-1].split("|")[2:-1], strict=True))
    assert {name: text.strip() for name, text in levels.items()} == {
        "deletion": "", "insertion": "", "difference": "0.000", "blur": "0.000", "linear": "0.000",
        "pointing": "0.188", "mass": "0.188", "rank accuracy": "0.188", "roc auc": "0.500", "iou": "in brackets",
        "grid pointing": "0.250", "other label": "", "new weights": "",
    }  # fmt: skip


def test_a_pointing_game_that_is_always_won_is_not_called_certain():
    lines = comparison.Comparison({"oracle": {"pointing": np.ones(24)}}, {"oracle": {}}).lines()
    assert lines[2] == "| oracle | 1.000 [0.862, 1.000] |"  # Wilson's, which is not the same above and below


def test_a_chance_level_stands_once_and_in_brackets_where_a_method_has_its_own():
    values = {name: {"mass": np.ones(2), "iou": np.ones(2)} for name in "abc"}
    chance = {name: {"mass": 0.2 if name == "c" else 0.1, "iou": place / 4} for place, name in enumerate("abc")}
    first, second, third, common = (line.split(" | ") for line in comparison.Comparison(values, chance).lines()[2:])
    assert (first[1], second[1], third[1]) == ("1.000 ± 0.000", "1.000 ± 0.000", "1.000 ± 0.000 (0.200)")
    assert second[2] == "1.000 ± 0.000 (0.250) |"
    assert common == ["| *chance*", "0.100", "in brackets |"]


def test_only_gains_that_hold_together_are_called_above():
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, 40)
    values = {
        name: {"difference": noise + gain + random.normal(0, 0.1, 40)} for name, gain in dict(a=0, b=1, c=-1).items()
    }
    found = comparison.Comparison(values | {"rival": {"difference": noise[:30]}}, {})
    assert found.above("rival", ("difference",), ["a", "b", "c"]) == ["b"]
    assert found.above(-5.0, ("difference",), ["a", "b", "c"]) == ["a", "b", "c"]


def test_measures_agree_where_they_order_the_methods_alike():
    orders = dict(one=[1, 2, 3, 4], alike=[10, 20, 30, 90], reversed=[4, 3, 2, 1], halfway=[2, 1, 4, 3])
    values = {
        name: {measure: np.array([order[place] + 0.5, order[place] - 0.5]) for measure, order in orders.items()}
        for place, name in enumerate("abcd")
    }
    found = comparison.Comparison(values, {})
    assert found.agreement("one", "alike", "abcd") == pytest.approx(1)
    assert found.agreement("one", "reversed", "abcd") == pytest.approx(-1)
    assert found.agreement("one", "halfway", "abcd") == pytest.approx(0.6)
    assert found.agreement("one", "halfway", "acd") == pytest.approx(0.5)


def test_maps_that_ignore_the_model_or_the_class_are_found_out(compared):
    for name in ("random", "centre", "edges"):
        np.testing.assert_allclose(compared.values[name]["new weights"], 1, err_msg=name)
    for name in ("random", "centre", "edges", "raw attention", "pooling", "rollout"):
        np.testing.assert_allclose(compared.values[name]["other label"], 1, err_msg=name)
    assert compared.values["evidence"]["other label"].mean() < 0.99
    assert compared.values["rollout"]["new weights"].mean() < 0.99


def test_occlusion_beats_noise_where_patches_are_removed(compared):
    mean, low, _ = bootstrap(compared.gain("occlusion", "random", "difference"))
    assert mean > low > 0


def test_a_report_prints_the_table_of_a_record(capsys):
    comparison.report("vit-shapes10-book", images=2, methods=("centre", "pooling"))
    printed = capsys.readouterr().out
    assert "vit-shapes10-book: 2 test images of shapes10" in printed
    assert "| pooling |" in printed
    assert "| *chance* |" in printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(name="nobody"), "nobody"),
        (dict(name="vit-shapes10-book", images=0), "images=0 is not possible; use 1 to"),
        (dict(name="vit-shapes10-book", methods=("magic",)), "method='magic' is not known; use one of 'random'"),
    ],
)
def test_a_report_says_what_is_wrong(given, message):
    with pytest.raises(ValueError, match=message):
        comparison.report(**given)


def test_the_weights_come_back_when_a_method_fails(pictures, monkeypatch):
    model = made("eanet")
    before = model.get_weights()
    calls = []

    def failing(model, images, labels, seed=0):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no map")
        return attribution.centre(model, images, labels)

    monkeypatch.setitem(attribution.METHODS, "failing", failing)
    with pytest.raises(RuntimeError, match="no map"):
        comparison.compare(model, pictures, LABELS, names=["failing"])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
