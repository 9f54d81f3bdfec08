"""Volume intervals: the quantile and an interval by hand, coverage of exchangeable scans by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.metrics import statistics, volume_interval
from ichjax.metrics.volume_interval import FLOOR, Calibration

volumes_ml = st.floats(0, 300)
curves_ml = st.lists(volumes_ml, min_size=2, max_size=2).map(lambda ml: sorted(ml, reverse=True))


@pytest.mark.parametrize(
    ("n", "expected"),
    [(8, math.inf), (9, 9), (10, 10), (18, 18), (19, 18), (20, 19), (39, 36), (99, 90)],  # ceil(0.9 (n + 1))
)
def test_the_quantile_by_hand(n, expected):
    shuffled = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert volume_interval.quantile(shuffled, 0.9) == expected


def calibration(scores, *, positive=True):
    """Of subjects that all have a predicted hemorrhage, or all have none."""
    return Calibration(np.arange(len(scores)), np.full(len(scores), positive), np.array(scores, float))


def test_an_interval_by_hand():
    """9 mL, 16 mL above 0.5 and 4 mL above 0.9: the square roots are 3, 4 and 2. Of 20 scores the 19th is 0.75."""
    scores = [0.0] * 18 + [0.75, 9.0]
    got = volume_interval.interval(9.0, [16.0, 4.0], calibration(scores))
    reach = 0.75 * (FLOOR + 1)
    expected = {"low": (3 - reach) ** 2, "high": (3 + reach) ** 2}
    assert got == pytest.approx({**expected, "coverage": 0.9, "calibrated_on": 20})
    assert volume_interval.interval(9.0, [16.0, 9.0], calibration([9.0] * 20))["low"] == 0.0


def test_scans_without_a_predicted_hemorrhage_are_calibrated_apart():
    both = Calibration(
        *map(np.concatenate, zip(calibration([1.0] * 20), calibration([5.0] * 21, positive=False), strict=True))
    )
    for predicted_ml, q, n in ((4.0, 1.0, 20), (0.0, 5.0, 21)):
        got = volume_interval.interval(predicted_ml, [predicted_ml] * 2, both)
        assert (got["high"], got["calibrated_on"]) == ((predicted_ml**0.5 + q * FLOOR) ** 2, n)
    fewer = both.without(3)  # of both, as each has a subject 3
    assert (len(fewer.like(4.0)), len(fewer.like(0.0))) == (19, 20)
    assert volume_interval.interval(4.0, [4.0, 4.0], fewer) is None
    assert volume_interval.why_none(4.0, fewer) == (
        "19 calibration subjects with a predicted hemorrhage; expected at least 20"
    )
    assert volume_interval.why_none(0.0, fewer) == ""


def test_scores_by_hand():
    """The error of the square root over the scale of the side on which the truth lies."""
    got = volume_interval.scores(np.array([25.0, 9.0, 0.0]), np.full(3, 9.0), np.array([[16.0, 9.0]] * 3))
    np.testing.assert_allclose(got, [2 / (FLOOR + 1), 0.0, 3 / FLOOR])


@given(volumes_ml, curves_ml, st.lists(st.floats(0, 20), min_size=20, max_size=40), volumes_ml)
def test_an_interval_holds_exactly_the_volumes_whose_score_is_in_the_quantile(predicted_ml, level_ml, scores, truth_ml):
    got = volume_interval.interval(predicted_ml, level_ml, calibration(scores, positive=predicted_ml > 0))
    assert 0 <= got["low"] <= predicted_ml + 1e-9
    assert got["high"] >= predicted_ml - 1e-9
    score = volume_interval.scores(np.array(truth_ml), np.array(predicted_ml), np.array(level_ml))
    q = volume_interval.quantile(np.array(scores))
    if abs(score - q) > 1e-6:
        assert (got["low"] <= truth_ml + 1e-9 and truth_ml <= got["high"] + 1e-9) == (score < q)


@given(volumes_ml, curves_ml, st.floats(1, 3), st.floats(0, 50))
def test_a_less_certain_network_and_larger_scores_give_a_longer_interval(predicted_ml, level_ml, factor, more_ml):
    scores, positive = np.linspace(0.1, 3.0, 30), predicted_ml > 0
    short = volume_interval.interval(predicted_ml, level_ml, calibration(scores, positive=positive))
    unsure = [level_ml[0] + more_ml, level_ml[1] / factor]
    for longer in (
        volume_interval.interval(predicted_ml, level_ml, calibration(factor * scores, positive=positive)),
        volume_interval.interval(predicted_ml, unsure, calibration(scores, positive=positive)),
    ):
        assert longer["low"] <= short["low"] + 1e-9
        assert longer["high"] >= short["high"] - 1e-9


def simulated(rng, n):
    """Truth, prediction and volumes at both levels of n scans, a third without a hemorrhage, some with a missed one."""
    truth = np.where(rng.random(n) < 0.33, 0.0, rng.lognormal(2.0, 1.2, n))
    unsure = rng.gamma(2.0, 0.5, n)
    root = (np.sqrt(truth) + unsure * rng.normal(size=n)).clip(0) * (rng.random(n) > 0.2)
    return truth, root**2, (root[:, None] + unsure[:, None] * np.array([1, -1])).clip(0) ** 2


@pytest.mark.parametrize("n", [60, 150])
def test_exchangeable_scans_are_covered_as_stated(n):
    """10 scans for each of 1,000 calibrations: at least 0.9 with and without a predicted hemorrhage, up to chance (a
    standard error of at most 0.003), and at most 0.9 + 1 / 21, as at least 20 are like the scan (Lei et al.)."""
    rng, inside = np.random.default_rng(n), {True: [], False: []}
    for _ in range(1000):
        truth, predicted, levels = simulated(rng, n + 10)
        known = volume_interval.calibrate(range(n), truth[:n], predicted[:n], levels[:n])
        for k in range(n, n + 10):
            if got := volume_interval.interval(predicted[k], levels[k], known):
                inside[predicted[k] > 0].append(got["low"] <= truth[k] <= got["high"])
    for covered in inside.values():
        assert len(covered) > 1000
        assert 0.9 - 0.01 <= np.mean(covered) <= 0.9 + 1 / 21 + 0.01


def test_observed_coverage_by_hand():
    def one(low, high):
        return {"low": low, "high": high, "coverage": 0.9, "calibrated_on": 20}

    got = volume_interval.observed_coverage([0.0, 5.0, 9.0], [one(0.0, 1.0), one(1.0, 4.0), one(8.0, 10.0)])
    assert (got["inside"], got["n"], got["observed"]) == (2, 3, 2 / 3)
    assert (got["mean_width_ml"], got["median_width_ml"]) == (2.0, 2.0)
    nothing = volume_interval.observed_coverage([], [])
    assert (nothing["n"], nothing["observed"], nothing["observed_ci95"]) == (0, None, None)


def test_the_wilson_interval_by_its_formula():
    z, n, p = 1.959963984540054, 50, 0.9
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    np.testing.assert_allclose(statistics.wilson_interval(45, 50), expected, rtol=1e-9)
    assert statistics.wilson_interval(0, 0) is None
