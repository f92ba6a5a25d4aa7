"""The full-size measurement of maps, on a tiny model: what a cell holds, that it goes on, and what is said to miss."""

import dataclasses

import numpy as np
import pytest

from benchmarks import faithfulness as bench
from tests.test_attribution import kept
from vattn_utils.maps import comparison, localisation, measured
from vattn_utils.training import records
from vattn_utils.training.measurements import MeasurementError

METHODS = ("random", "pooling")


class Tiny:
    """A record of the tiny PatchConvNet."""

    name, dataset, kind = "tiny", "tiny", "patch_convnet"

    def model(self):
        return kept("patch_convnet")


@pytest.fixture(scope="module")
def photographs():
    random = np.random.default_rng(4)
    masks = np.zeros((40, 8, 8), bool)
    masks[:, 2:5, 2:6] = True
    images, labels = random.integers(0, 256, (40, 8, 8, 3), dtype="uint8"), np.arange(40) % 5
    return type("Tiny", (), dict(x_test=images, y_test=labels, masks_test=masks, name="tiny"))()


@pytest.fixture
def file(photographs, monkeypatch, tmp_path):
    monkeypatch.setattr(bench.data, "load", lambda name: photographs)
    monkeypatch.setattr(bench.records, "load", lambda name: Tiny())
    monkeypatch.setattr(bench, "wanted", lambda: [("tiny", method) for method in METHODS])
    monkeypatch.setattr(bench, "unrecorded", lambda: [])
    monkeypatch.setattr(bench.Judged, "_large", lambda self, pool, mosaics: None)
    monkeypatch.setattr(comparison, "MOSAICS", 64)  # two, of sixteen images: so few are not sorted by confidence
    mosaics = localisation.mosaics
    monkeypatch.setattr(
        localisation, "mosaics", lambda x, y, own, *rest, **named: mosaics(x, y, np.ones(len(y)), *rest, **named)
    )
    return tmp_path / "lines.jsonl"


def test_a_cell_holds_the_value_of_every_image_and_the_measurement_goes_on_where_it_stopped(file, capsys):
    bench.measure_missing(file, 16)
    whole = bench.lines(file)
    assert [line["method"] for line in whole] == list(METHODS)
    for line in whole:
        assert line["images"] == len(line["values"]["difference"]) == len(line["smoothed"]["rank accuracy"]) == 16
        assert len(line["values"]["grid pointing"]) == len(line["values"]["confidence"]) == 2
        assert line["chance"]["roc auc"] == 0.5
        assert "commit" in line["provenance"]
    assert whole[0]["values"]["difference"] != whole[0]["smoothed"]["difference"]
    assert bench.listed(file) == "2 measured, 0 missing"

    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))
    assert bench.listed(file) == "1 measured, 1 missing\n  tiny: pooling"
    capsys.readouterr()
    bench.measure_missing(file, 16)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["tiny, pooling"]
    assert bench.lines(file)[1]["values"] == whole[1]["values"]


def test_an_images_numbers_do_not_depend_on_the_other_images(file):
    judged = [bench.Judged("tiny", images, 2).cell("pooling") for images in (16, 18)]
    for measure in ("difference", "blur", "linear", "rank accuracy"):
        few, more = (cell["values"][measure][:16] for cell in judged)
        np.testing.assert_allclose(few, more, atol=2e-4, err_msg=measure)


def read(monkeypatch, lines):
    """Let `measured` read these lines."""
    monkeypatch.setattr(measured, "_lines", lambda: lines)


def line(method, gain, smooth, record="tiny", images=40):
    """A measured line: what a map gains over noise as it is and in smooth form, every image about the same."""
    random = np.random.default_rng(len(method))
    values = {"difference": gain, "rank accuracy": 0.2 + gain, "other label": 1.0, "new weights": 0.1}
    forms = [
        {name: (of + random.normal(0, 0.01, images)).tolist() for name, of in {**values, "difference": level}.items()}
        for level in (gain, smooth)
    ]
    chance = {"difference": 0.0, "rank accuracy": 0.2}
    told = {"record": record, "dataset": "tiny", "method": method, "images": images, "seed": 0, "chance": chance}
    return {**told, "values": forms[0], "smoothed": forms[1]}


@pytest.fixture
def told(monkeypatch):
    """Measured lines: three rivals, a map that is best if smoothed, one as good, and a slow one of few images."""
    monkeypatch.setattr(measured.records, "load", lambda name: type("Record", (), dict(metrics={"top1": 0.5}))())
    lines = [
        line("random", 0, 0), line("smooth random", 0.1, 0.9), line("centre", 0.2, 0.9), line("rollout", 0.25, 0.3),
        line("evidence", 0.1, 0.4), line("gradient", 0.3, 0.1), line("pooling", 0.1, 0.4),
        line("RISE", 0.6, 0.7, images=8),
    ]  # fmt: skip
    read(monkeypatch, [*lines, line("rollout", 0.5, 0.5, "tiny-seed-2"), line("rollout", 0.4, 0.4, "tiny-seed-1")])
    return lines


def test_the_map_to_use_is_the_best_in_smooth_form_with_those_as_good_and_without_the_slow_ones(told):
    best, sure, equal = measured.choice("tiny")
    assert best.method in ("evidence", "pooling")
    assert equal == [{"evidence": "pooling", "pooling": "evidence"}[best.method]]
    assert sure
    assert best.against("centre").mean() == pytest.approx(0.2, abs=0.01)


def test_the_table_has_six_columns_the_best_first_bold_where_above_the_blob_and_rivals_in_italics(told):
    head, _, *rows = measured.table("tiny").splitlines()
    assert head == "| map | above a blob by | difference | rank accuracy | other label | new weights |"
    cells = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in rows}
    assert next(iter(cells)) == "RISE"
    assert set(cells) == {
        "RISE",
        "evidence",
        "pooling",
        "rollout",
        "gradient",
        "*centre*",
        "*smooth random*",
        "*random*",
    }
    assert {name for name, row in cells.items() if "**" in row[0]} == {"RISE", "evidence", "pooling", "rollout"}
    assert cells["RISE"][0].startswith('<span class="heat-4">**0.49')
    assert cells["*centre*"][0] == "0.000 ± 0.000"
    assert "alarm-4" in cells["rollout"][3]
    assert "alarm" not in cells["rollout"][4]


def test_a_passport_of_the_table_meets_its_rivals_on_the_images_that_it_has(told):
    found = {one.method: one for one in measured.passports("tiny")}
    assert set(found) == {"RISE", "evidence", "pooling", "rollout", "gradient"}
    assert found["RISE"].images == len(found["RISE"].against("centre")) == 8
    np.testing.assert_array_equal(found["gradient"].smoothed, told[5]["smoothed"]["difference"])
    assert found["gradient"].against("random").mean() == pytest.approx(0.3, abs=0.01)


def test_further_trainings_of_a_recipe_are_found_by_their_names(told):
    assert list(measured.trainings("tiny")) == ["tiny", "tiny-seed-1", "tiny-seed-2"]


def test_further_trainings_differ_from_the_first_in_their_seed_alone():
    further = [name for name in records.names() if bench.measured.SEED in name]
    assert further
    for name in further:
        first, _, seed = name.partition(bench.measured.SEED)
        first, other = records.load(first), records.load(name)
        assert other.recipe == dataclasses.replace(first.recipe, seed=int(seed))
        assert (other.kind, other.variant, other.dataset) == (first.kind, first.variant, first.dataset)
        assert bench._made(other).get_config() == bench._made(first).get_config()


@pytest.mark.parametrize("name", [name for name in records.names() if bench.measured.SEED in name])
def test_what_is_recorded_of_a_further_training_is_found_again(name):
    ((compared, apart),) = bench.measured.derived_again(name, ["pooling"], images=48).values()
    assert compared == 48 * len(bench.KEPT)
    assert apart <= compared / 100  # where two patches are nearly equal, another processor may rank them the other way


def test_of_a_further_training_stays_what_is_compared_over_trainings(file, monkeypatch):
    monkeypatch.setattr(bench, "SEEDS", ("tiny",))
    found = bench.Judged("tiny", 16, 0).cell("pooling")
    assert tuple(found["values"]) == tuple(found["smoothed"]) == bench.KEPT
    shipped = [line for line in bench.lines(bench.RESULTS) if bench.measured.SEED in line["record"]]
    assert {tuple(line["values"]) for line in shipped} == {bench.KEPT}


def test_of_a_record_without_a_table_the_passports_are_told(monkeypatch):
    read(monkeypatch, [])
    assert {one.method for one in measured.passports("eanet-cifar100-book")} == {"pooling", "evidence"}


def test_a_training_without_a_record_is_named_and_not_measured(monkeypatch, tmp_path):
    there = [name for name in records.names() if bench.measured.SEED not in name]
    monkeypatch.setattr(bench.records, "names", lambda: [*there, bench.SEEDS[2]])
    monkeypatch.setattr(bench.records, "load", lambda name, load=records.load: load(name.partition("-seed")[0]))
    found = bench.listed(tmp_path / "none.jsonl")
    assert f"  {bench.SEEDS[2]}: evidence\n" in found
    assert f"  {bench.SEEDS[2]}: RISE\n" not in found
    for record in (*bench.SEEDS[:2], *bench.SEEDS[3:]):
        assert f"  {record}: there is no record of this training" in found


def test_what_was_measured_is_read_as_a_table_and_found_again(file, monkeypatch):
    bench.measure_missing(file, 16)
    read(monkeypatch, bench.lines(file))
    found = measured.recorded("tiny", smoothed=True)
    assert list(found.values) == list(METHODS)
    assert found.values["pooling"]["difference"].shape == (16,)
    assert [line.split(" | ")[0] for line in found.lines()[2:]] == ["| random", "| pooling", "| *chance*"]
    measures = len(comparison.FILLS) + 2 + 5 + 2
    assert measured.derived_again("tiny", ["pooling"], 8) == {"pooling": (8 * measures, 0)}
    with pytest.raises(ValueError, match="nobody measured rollout of tiny; there are: random, pooling"):
        measured.derived_again("tiny", ["rollout"], 8)
    with pytest.raises(ValueError, match=r"nobody measured nothing; run benchmarks/faithfulness\.py"):
        measured.recorded("nothing")


def test_a_line_that_was_changed_is_refused(file, monkeypatch):
    monkeypatch.setattr(bench, "wanted", lambda: [("tiny", "random")])
    bench.measure_missing(file, 16)
    file.write_text(file.read_text().replace('"images": 16', '"images": 512'))
    with pytest.raises(MeasurementError, match="line 1 was changed"):
        bench.listed(file)
