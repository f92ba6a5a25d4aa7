"""A passport says what a method's maps are worth, with all that it takes to measure it again."""

import dataclasses
import functools

import numpy as np
import pytest

from vattn_utils import data
from vattn_utils.maps import attribution
from vattn_utils.maps.passport import RIVALS, SANITY, STEPS, Passport, beaten, measure, passport, recorded, table
from vattn_utils.statistics import p_value
from vattn_utils.training import records

MEASURED = records.measured("passports")
FEW = SANITY  # images that are measured again here


@pytest.fixture(scope="module")
def found():
    return passport("patch_convnet-shapes10-book", "pooling", FEW)


def test_it_carries_what_is_needed_to_measure_it_again(found):
    assert (found.record, found.dataset, found.method) == ("patch_convnet-shapes10-book", "shapes10", "pooling")
    assert (found.images, found.steps, found.fill) == (FEW, STEPS, "in the mean colour")
    assert found.rivals.keys() == RIVALS.keys()
    assert found.new_weights.shape == (SANITY,)
    assert found.localisation is not None
    assert found.localisation.shape == (FEW,)


def test_an_images_number_does_not_depend_on_the_other_images(found):
    more = passport("patch_convnet-shapes10-book", "pooling", FEW + 8)
    np.testing.assert_allclose(more.differences[:FEW], found.differences, atol=1e-5)
    np.testing.assert_allclose(more.rivals["centre"][:FEW], found.rivals["centre"], atol=1e-5)


def test_a_line_of_json_gives_the_same_passport(found):
    again = Passport.of_line({**found.line(), "provenance": {"commit": "somewhere"}})
    for field in dataclasses.fields(Passport):
        one, other = getattr(found, field.name), getattr(again, field.name)
        for a, b in zip(one.values(), other.values(), strict=True) if field.name == "rivals" else [(one, other)]:
            assert np.allclose(a, b, atol=1e-4) if isinstance(a, np.ndarray) else a == b


def test_the_sentence_names_n_interval_chance_steps_fill_and_rivals(found):
    said = found.sentence()
    for part in (
        "pooling",
        f"{FEW} test images",
        "95 % interval",
        "chance 0",
        f"{STEPS} steps",
        "mean colour",
        *RIVALS,
    ):
        assert part in said


def test_a_note_is_the_sentence_folded(found):
    first, empty, sentence, *_ = found.note().splitlines()
    assert first.startswith("<details><summary>")
    assert (empty, sentence) == ("", found.sentence())


def test_a_map_as_good_as_its_rivals_is_called_no_better(found):
    same = dataclasses.replace(found, differences=found.rivals["centre"], smoothed=found.rivals["centre"])
    assert "not better than" in same.sentence()
    assert "centre" in same.sentence().split("not better than")[1]


def test_unknown_methods_and_numbers_are_refused_by_name():
    with pytest.raises(ValueError, match=r"method='rollout'.*pooling"):
        passport("patch_convnet-shapes10-book", "rollout", FEW)
    with pytest.raises(ValueError, match="images=0"):
        passport("patch_convnet-shapes10-book", "pooling", 0)


def test_a_smooth_rival_is_met_in_smooth_form_and_a_rough_one_as_it_is(found):
    rivals = {name: np.zeros(FEW) for name in RIVALS}
    rough, smooth = np.full(FEW, 0.1), np.full(FEW, -0.1)
    one = dataclasses.replace(found, differences=rough, smoothed=smooth, rivals=rivals)
    assert [name for name in RIVALS if one.beats(name)] == ["random"]
    assert one.gains()["centre"] == pytest.approx((-0.1, -0.1, -0.1))


def test_the_more_verdicts_the_surer_each_must_be(found):
    # A gain whose p is 0.03: enough for one comparison, not for two of its kind.
    gain = np.random.default_rng(0).normal(size=FEW)
    gain = gain - gain.mean() + 0.6 * gain.std(ddof=1)
    assert 0.025 < p_value(gain) < 0.05
    one = dataclasses.replace(found, differences=gain, smoothed=None, rivals={"random": np.zeros(FEW)})
    assert beaten([one]) == [["random"]]
    assert beaten([one, one]) == [[], []]


@functools.cache
def measured_again(record):
    """What is recorded of a record's methods, measured on the first images, its model and its rivals asked once."""
    methods = tuple(line["method"] for line in MEASURED if line["record"] == record)
    return {found.method: found for found in measure(records.load(record), methods, FEW, 0)}


@pytest.mark.parametrize("line", MEASURED, ids=lambda line: f"{line['record']}: {line['method']}")
def test_what_is_recorded_is_found_again_on_the_first_images(line):
    kept = Passport.of_line(line)
    if data.at_hand(kept.dataset) is None:
        pytest.skip(f"{kept.dataset} is not on this machine")
    assert kept.method in attribution.METHODS
    assert kept.images == 512
    found = measured_again(kept.record)[kept.method]
    assert found.top1 == kept.top1
    for field in ("differences", "smoothed", "localisation"):
        one, other = getattr(found, field), getattr(kept, field)
        assert (one is None) == (other is None), field
        if one is not None:
            np.testing.assert_allclose(one, other[:FEW], atol=2e-3, err_msg=field)
    np.testing.assert_allclose(found.new_weights, kept.new_weights, atol=2e-3)
    for name, values in found.rivals.items():
        np.testing.assert_allclose(values, kept.rivals[name][:FEW], atol=2e-3)


def test_a_passport_that_was_not_measured_is_not_made_up():
    assert recorded("eanet-cifar100-book", "pooling").images == 512
    with pytest.raises(ValueError, match="no passport of eanet-cifar100-book by rollout; there are: "):
        recorded("eanet-cifar100-book", "rollout")


def test_the_table_says_yes_only_where_the_interval_of_the_gain_lies_above_zero(found):
    rivals = {name: np.zeros(FEW) for name in RIVALS}
    sure, unsure = np.full(FEW, 0.2), np.linspace(-1, 1, FEW)
    lines = table(
        dataclasses.replace(found, differences=values, smoothed=values, rivals=rivals) for values in (sure, unsure)
    ).splitlines()
    assert [line.split(" | ")[3:5] for line in lines[2:]] == [["yes", "yes"], ["no", "no"]]
    assert lines[2].startswith("| patch_convnet: pooling | 0.200 ± 0.000 |")
