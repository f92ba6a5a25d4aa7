"""The full-size measurement of maps, on a tiny model: what a cell holds, that it goes on, and what is said to miss."""

import numpy as np
import pytest

from benchmarks import faithfulness as bench
from tests.test_attribution import kept
from vattn_utils.maps import comparison, localisation, measured
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


def test_what_was_measured_is_read_as_a_table_and_found_again(file, monkeypatch):
    bench.measure_missing(file, 16)
    monkeypatch.setattr(measured.records, "measured", lambda name: bench.lines(file))
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
