"""Bland-Altman limits and Lin's concordance, by hand and against independent formulas."""

import statistics

import numpy as np
import pytest
import scipy.stats

from ichjax.metrics import volume_agreement


def test_by_hand():
    got = volume_agreement.volume_agreement(np.array([0.0, 10.0, 20.0]), np.array([1.0, 10.0, 22.0]))
    assert got["bias_ml"] == pytest.approx(1.0)
    assert got["sd_ml"] == pytest.approx(1.0)  # differences 1, 0, 2
    assert got["limits_ml"] == pytest.approx([-0.96, 2.96])
    # cov = 70, var = 66.667 and 74, means 10 and 11
    assert got["concordance"] == pytest.approx(2 * 70 / (200 / 3 + 74 + 1))
    assert got["n"] == 3
    assert got["points"] == [[0, 1], [10, 10], [20, 22]]


@pytest.mark.parametrize(
    ("truth", "predicted", "bias", "limits", "concordance"),
    [
        ([], [], None, None, None),
        ([3.0], [5.0], 2.0, None, None),
        ([0.0, 0.0], [0.0, 0.0], 0.0, [0, 0], None),  # nothing varies: perfect agreement and none look the same
        ([1.0, 5.0], [1.0, 5.0], 0.0, [0, 0], 1.0),
        ([1.0, 5.0], [5.0, 1.0], 0.0, [-11.087, 11.087], -1.0),
        ([1.0, 5.0], [0.0, 0.0], -3.0, [-8.544, 2.544], 0.0),  # nothing predicted
    ],
)
def test_edges(truth, predicted, bias, limits, concordance):
    got = volume_agreement.volume_agreement(np.array(truth), np.array(predicted))
    assert got["bias_ml"] == bias
    assert got["limits_ml"] == (None if limits is None else pytest.approx(limits, abs=1e-3))
    assert got["concordance"] == (None if concordance is None else pytest.approx(concordance))


def test_concordance_is_pearson_times_bias_correction():
    """Lin's own decomposition, on 200 random sets, with SciPy's correlation."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        a = rng.gamma(2.0, 10.0, int(rng.integers(3, 80)))
        b = rng.uniform(0.3, 2) * a + rng.normal(0, 5, len(a))
        ratio, shift = a.std() / b.std(), (a.mean() - b.mean()) / np.sqrt(a.std() * b.std())
        expected = scipy.stats.pearsonr(a, b).statistic * 2 / (ratio + 1 / ratio + shift**2)
        assert volume_agreement.concordance(a, b) == pytest.approx(expected)


def test_limits_agree_with_the_standard_library():
    """Bias, SD and limits of agreement on 200 random sets, with Python's own `statistics`."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        truth, predicted = rng.gamma(1.0, 20.0, (2, int(rng.integers(2, 80)))) * (rng.random() < 0.9)
        got = volume_agreement.volume_agreement(truth, predicted)
        differences = (predicted - truth).tolist()
        bias, sd = statistics.fmean(differences), statistics.stdev(differences)
        assert (got["bias_ml"], got["sd_ml"]) == (pytest.approx(bias), pytest.approx(sd))
        assert got["limits_ml"] == pytest.approx([bias - 1.96 * sd, bias + 1.96 * sd])
