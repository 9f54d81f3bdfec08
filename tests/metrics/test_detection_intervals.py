"""Figures of detection curves and their intervals, by hand, by direct sums, and against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ichjax.metrics import detection_intervals, statistics


def test_delong_by_hand():
    """Positives score 3 and 2, negatives 1 and 2: pairs 1, 1, 1, 1/2; both sets of components are 1 and 3/4."""
    area, variance = detection_intervals.delong(np.array([3.0, 2.0, 1.0, 2.0]), np.array([True, True, False, False]))
    assert area == 0.875
    assert variance == pytest.approx(2 * np.var([1.0, 0.75], ddof=1) / 2)


def test_delong_agrees_with_direct_sums_over_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(100):
        positive = rng.random(int(rng.integers(6, 60))) < 0.4
        positive[:4] = True, True, False, False
        scores = np.round(rng.normal(positive * 1.0), int(rng.integers(0, 4)))  # most with ties
        high, low = scores[positive], scores[~positive]
        wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
        expected = wins.mean(axis=1).var(ddof=1) / len(high) + wins.mean(axis=0).var(ddof=1) / len(low)
        area, variance = detection_intervals.delong(scores, positive)
        assert area == pytest.approx(stats.mannwhitneyu(high, low).statistic / (len(high) * len(low)))
        assert variance == pytest.approx(expected, abs=1e-12)


def test_delongs_interval_holds_the_true_area_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    positive, truth = np.arange(40) < 15, stats.norm.cdf(1.5 / np.sqrt(2))
    intervals = [detection_intervals.delong_interval(rng.normal(positive * 1.5), positive) for _ in range(600)]
    inside = [low <= truth <= high for low, high in filter(None, intervals)]
    assert len(inside) > 590
    assert 0.92 < np.mean(inside) < 0.985
    assert all(0 < low < high < 1 for low, high in filter(None, intervals))


def brute_force(scores, positive):
    """(area, average precision, sensitivity at 90 % specificity, the reverse) from all thresholds."""
    cuts = [np.inf, *np.unique(scores)]
    sensitivity = np.array([(scores[positive] >= cut).mean() for cut in cuts])
    specificity = np.array([(scores[~positive] < cut).mean() for cut in cuts])
    return (
        metrics.roc_auc_score(positive, scores),
        metrics.average_precision_score(positive, scores),
        sensitivity[specificity >= 0.9 - 1e-9].max(),
        specificity[sensitivity >= 0.9 - 1e-9].max(),
    )


def test_figures_agree_with_scikit_learn_and_with_trying_all_thresholds():
    """Also with weights, against slices that are there as often as their scan is drawn."""
    rng = np.random.default_rng(2)
    for k in range(24):
        owner = np.sort(rng.integers(0, 9, 120))
        positive = rng.random(120) < rng.uniform(0.1, 0.9)
        scores = np.round(rng.normal(positive * 1.0), k % 4)
        weights = np.concatenate([np.ones((1, 9)), rng.integers(0, 4, (1, 9)) + np.eye(9)[:1]]).astype(np.float32)
        got = np.stack(detection_intervals.curve_figures(scores, positive, owner, weights))
        for figures, weight in zip(got.T, weights, strict=True):
            drawn = np.repeat(np.arange(120), weight[owner].astype(int))
            if len(np.unique(positive[drawn])) == 2:
                assert figures == pytest.approx(brute_force(scores[drawn], positive[drawn]), abs=1e-12)


def test_a_specificity_of_exactly_90_percent_counts():
    positive = np.arange(20) < 10
    scores = np.where(positive, 5.0, np.arange(20) == 19) * 1.0
    scores[0], scores[19] = 4.0, 4.5  # one of ten negatives lies above one of ten positives
    ones = np.ones((1, 20), np.float32)
    got = detection_intervals.curve_figures(scores, positive, np.arange(20), ones)
    assert (float(got.sensitivity[0]), float(got.specificity[0])) == (1.0, 1.0)


def test_a_resample_without_a_class_has_no_figures():
    positive, scores = np.array([True, False, False]), np.array([0.9, 0.1, 0.5])
    weights = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 0]], np.float32)
    got = np.stack(detection_intervals.curve_figures(scores, positive, np.arange(3), weights))
    assert np.isnan(got[:, :2]).all()
    assert got[:, 2].tolist() == [1.0, 1.0, 1.0, 1.0]


def test_intervals_agree_with_a_slow_bootstrap_over_scans(monkeypatch):
    monkeypatch.setattr(detection_intervals, "CURVE_RESAMPLES", 40)
    monkeypatch.setattr(detection_intervals, "CHUNK_ELEMENTS", 1000)  # several chunks
    rng = np.random.default_rng(3)
    owner = np.repeat(np.arange(14), rng.integers(3, 9, 14))
    positive = (owner < 8) & (rng.random(len(owner)) < 0.6)
    scores = np.round(rng.normal(positive * 1.0), 1)
    got = detection_intervals.resampled_intervals(scores, positive, owner, seed=7)
    figures = []
    for counts in statistics.multiplicities(14, 40, 7):
        drawn = np.repeat(np.arange(len(owner)), counts[owner].astype(int))
        figures.append(brute_force(scores[drawn], positive[drawn]))
    expected = np.percentile(figures, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(list(got.values()), expected, atol=1e-12)
    assert got == detection_intervals.resampled_intervals(scores, positive, owner, seed=7)
    assert got != detection_intervals.resampled_intervals(scores, positive, owner, seed=8)


@pytest.mark.parametrize(("with_it", "without_it"), [(4, 10), (10, 4), (5, 2)])
def test_no_interval_with_few_scans(with_it, without_it):
    positive = np.arange(with_it + without_it) < with_it
    scores = np.random.default_rng(0).normal(positive * 0.5)
    assert detection_intervals.delong_interval(scores, positive) is None
    intervals = detection_intervals.resampled_intervals(scores, positive, np.arange(len(positive)))
    assert set(intervals.values()) == {None}


def test_no_interval_without_width():
    """Where all positives score higher than all negatives, every resample says the same."""
    positive = np.arange(20) < 10
    scores = positive + 0.01 * np.arange(20)
    assert detection_intervals.delong_interval(scores, positive) is None
    intervals = detection_intervals.resampled_intervals(scores, positive, np.arange(20))
    assert set(intervals.values()) == {None}
