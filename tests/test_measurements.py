"""A line of a measurement is the one that was made, or it is refused."""

import json
from pathlib import Path

import pytest

from vattn_utils.training import measurements, records
from vattn_utils.training.measurements import MeasurementError, from_lines, to_line

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))
MADE = {"seconds": [0.125, 1e-9], "images": 8, "provenance": {"device": "abacus", "commit": "0123abc"}}


def test_what_was_measured_is_read_as_it_was_written():
    assert from_lines(to_line(MADE) + to_line({**MADE, "images": 9}), "x") == [MADE, {**MADE, "images": 9}]


def test_a_measurement_by_numbers_is_read_as_json_has_it():
    assert from_lines(to_line({**MADE, "seconds": {2: 0.1, 10: 0.2}}), "x") == [
        {**MADE, "seconds": {"2": 0.1, "10": 0.2}}
    ]


def test_a_line_that_was_sealed_keeps_its_seal():
    assert to_line(MADE) == json.dumps({**MADE, "seal": "be0d6310e219dbe1"}) + "\n"


def test_a_line_that_stands_there_twice_is_refused_and_both_are_named():
    other = to_line({**MADE, "images": 9})
    with pytest.raises(MeasurementError, match="cost, lines 1 and 3 are the same measurement; delete one of them"):
        from_lines(to_line(MADE) + other + to_line(MADE), "cost")


@pytest.mark.parametrize(
    ("old", "new"), [("0.125", "0.131"), ("abacus", "Raspberry Pi"), ("0123abc", "fedcba9"), ('"images": 8, ', "")]
)
def test_a_line_changed_by_hand_is_refused_and_named(old, new):
    line = to_line(MADE)
    assert old in line
    with pytest.raises(MeasurementError, match="cost, line 2 was changed after it was measured; restore it"):
        from_lines(line + line.replace(old, new), "cost")


@pytest.mark.parametrize(
    ("line", "said"), [(json.dumps(MADE), "carries no seal"), ("{", "not JSON"), ("[1]", "not JSON")]
)
def test_a_line_that_nobody_sealed_is_refused(line, said):
    with pytest.raises(MeasurementError, match=said):
        from_lines(line, "cost")


def test_a_measurement_without_the_commit_that_made_it_is_not_written():
    with pytest.raises(MeasurementError, match="names the commit"):
        to_line({"seconds": 1.0, "provenance": {"device": "abacus"}})


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_that_ships_is_as_it_was_measured(path):
    lines = records.measured(path.stem)
    assert lines
    assert all(line["provenance"]["commit"] for line in lines)
    assert not any(measurements.SEAL in line for line in lines)
