"""Intervals, gains and correlations, against SciPy and against values drawn from what is known."""

import numpy as np
import pytest
import scipy.stats

from vattn_utils import statistics

RANDOM = np.random.default_rng(0)


def test_an_interval_is_students():
    mean, half = statistics.interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / np.sqrt(3), rel=1e-4))
    with pytest.raises(ValueError, match="1 value gives no interval"):
        statistics.interval([1.0])


def test_a_bootstrap_holds_the_mean_as_often_as_it_says():
    random = np.random.default_rng(3)
    inside = 0
    for trial in range(200):
        mean, low, high = statistics.bootstrap(random.normal(1, 2, 60), seed=trial, draws=400)
        assert low < mean < high
        inside += low < 1 < high
    assert 0.88 < inside / 200 < 0.99


def test_a_paired_interval_is_narrower_than_two_separate_ones():
    common = RANDOM.normal(0, 5, 200)
    a, b = common + 0.5 + RANDOM.normal(0, 0.1, 200), common
    _, low, high = statistics.bootstrap(a - b)
    assert 0 < low < 0.5 < high
    assert statistics.bootstrap(a)[1] < statistics.bootstrap(b)[0]


def test_a_list_of_maps_has_no_interval():
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\) have no interval"):
        statistics.bootstrap(np.zeros((2, 3)))


def test_p_values_are_those_of_the_paired_t_test():
    values = RANDOM.normal(0.3, 1, 12)
    assert statistics.p_value(values) == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    assert statistics.p_value([0.0, 0.0]) == 1
    assert statistics.p_value([0.2, 0.2]) == 0
    with pytest.raises(ValueError, match="1 value has no p"):
        statistics.p_value([0.2])


def test_holm_corrects_as_r_does():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"), and the example in Holm's procedure where the order is kept.
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.6, 0.7]), [1, 1])
    assert statistics.holm([0.02]).tolist() == [0.02]
    assert statistics.holm([]).tolist() == []


def test_of_several_differences_those_are_told_that_hold_together():
    zero, wide = RANDOM.normal(0, 1, 40), RANDOM.normal(0, 1, 12)
    almost = wide - wide.mean() + 0.65 * wide.std(ddof=1)  # p = 0.046 alone
    assert statistics.not_zero([almost]) == [True]
    assert statistics.not_zero([almost, zero - zero.mean(), zero + 5]) == [False, False, True]


def test_a_share_has_wilsons_interval():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (hits, n), interval in known.items():
        share, *found = statistics.wilson(hits, n)
        assert share == hits / n
        assert found == pytest.approx(interval, abs=5e-5)


def test_several_seeds_are_told_with_their_deviation_and_one_without():
    assert statistics.mean_and_deviation([0.5, 0.51, 0.52]) == "51.00 ± 1.00"
    assert statistics.mean_and_deviation([0.5]) == "50.00"


def test_the_median_is_that_of_each_list():
    assert statistics.medians([[1, 9, 2], [4], [1, 2]]).tolist() == [2, 4, 1.5]


def test_correlation_is_pearsons():
    a, b = RANDOM.random((3, 2, 9)), RANDOM.random((3, 2, 9))
    expected = [[np.corrcoef(x, y)[0, 1] for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
    np.testing.assert_allclose(statistics.correlation(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(statistics.correlation(a, b[:1, :1] * 0 + a * 2 - 1), 1)


def test_spearman_is_scipys():
    a, b = RANDOM.random((5, 4, 4)).round(1), RANDOM.random((5, 4, 4)).round(1)
    expected = [scipy.stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(statistics.spearman(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(statistics.spearman(a, a**3), 1)
    np.testing.assert_allclose(statistics.spearman(a, np.ones_like(a)), 0)


def runs(arm, *found):
    return [{"arm": arm, "seed": seed, "test": {"accuracy": accuracy}} for seed, accuracy in found]


def test_runs_are_grouped_by_arm_and_ordered_by_seed():
    one, other = runs("one", (2, 0.5), (0, 0.3)), runs("other", (1, 0.0))
    mixed = [one[0], other[0], one[1]]
    assert statistics.by_arm(mixed) == {"one": one[::-1], "other": other}
    assert list(statistics.by_arm(mixed)) == ["one", "other"]
    assert statistics.by_arm(mixed, ("nobody", "other")) == {"nobody": [], "other": other}


def test_arms_are_compared_seed_by_seed():
    one, other = runs("one", (2, 0.5), (0, 0.3), (7, 0.9)), runs("other", (0, 0.2), (2, 0.1), (1, 0.0))
    assert statistics.gained(one, other) == pytest.approx([10, 40])
