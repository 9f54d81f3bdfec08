"""Predictive values and false alarms at a stated prevalence: by hand, and the coverage of the intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ichjax.errors import InputError
from ichjax.metrics import prevalence


def score(hits, misses, clear, alarms, share):
    flagged = np.repeat([True, False, False, True], [hits, misses, clear, alarms])
    truth = np.repeat([True, True, False, False], [hits, misses, clear, alarms])
    return prevalence.detection_at_prevalence(flagged, truth, prevalence=share)


def test_by_hand():
    """Sensitivity 0.9 of 20, specificity 0.8 of 30, at 6 %: of 1000 scans 60 bleed, 54 flagged; 188 of 940 too."""
    got = score(18, 2, 24, 6, 0.06)
    assert (got["prevalence"], got["test_set_prevalence"]) == (0.06, 0.4)
    counts = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    assert [got[name] for name in counts] == [18, 2, 24, 6]
    assert got["sensitivity"]["value"] == pytest.approx(0.9)
    assert got["specificity"]["value"] == pytest.approx(0.8)
    assert got["positive_predictive_value"]["value"] == pytest.approx(54 / 242)
    assert got["negative_predictive_value"]["value"] == pytest.approx(752 / 758)
    assert got["false_alarms_per_100_scans"]["value"] == pytest.approx(18.8)
    assert got["missed_per_100_scans"]["value"] == pytest.approx(0.6)


def test_intervals_by_hand():
    got = score(18, 2, 24, 6, 0.06)
    ends = {}
    for name, share, n in (("sensitivity", 0.9, 20), ("specificity", 0.8, 30)):
        z2 = 1.959964**2
        middle, half = share + z2 / 2 / n, math.sqrt(z2 * (share * (1 - share) / n + z2 / 4 / n**2))
        ends[name] = [(middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)]
        assert got[name]["ci95"] == pytest.approx(ends[name], abs=1e-6)
    assert got["false_alarms_per_100_scans"]["ci95"] == pytest.approx([94 * (1 - e) for e in ends["specificity"][::-1]])
    assert got["missed_per_100_scans"]["ci95"] == pytest.approx([6 * (1 - e) for e in ends["sensitivity"][::-1]])
    # logit PPV = ln(54/188), variance 0.1/(0.9 20) + 0.8/(0.2 30); logit NPV = ln(752/6), 0.9/(0.1 20) + 0.2/(0.8 30)
    for name, ratio, variance in (
        ("positive_predictive_value", 54 / 188, 0.1 / 18 + 0.8 / 6),
        ("negative_predictive_value", 752 / 6, 0.9 / 2 + 0.2 / 24),
    ):
        logits = [math.log(ratio) + sign * 1.959964 * math.sqrt(variance) for sign in (-1, 1)]
        assert got[name]["ci95"] == pytest.approx([1 / (1 + math.exp(-logit)) for logit in logits], abs=1e-6)


def test_where_a_count_is_zero_the_adjusted_interval_reaches_the_estimate():
    got = score(20, 0, 30, 0, 0.06)
    k = 1.959964**2 / 2
    for name, right, wrong, odds in (
        ("positive_predictive_value", 20, 30, 0.06 / 0.94),
        ("negative_predictive_value", 30, 20, 0.94 / 0.06),
    ):
        rates = (right + k) / (right + 2 * k), k / (wrong + 2 * k)
        variance = (1 - rates[0]) / rates[0] / (right + 2 * k) + (1 - rates[1]) / rates[1] / (wrong + 2 * k)
        low = math.log(odds * rates[0] / rates[1]) - 1.959964 * math.sqrt(variance)
        assert got[name]["value"] == 1.0
        assert got[name]["ci95"] == pytest.approx([1 / (1 + math.exp(-low)), 1.0], abs=1e-6)
    assert got["false_alarms_per_100_scans"]["value"] == 0.0


PPV, NPV = "positive_predictive_value", "negative_predictive_value"


@pytest.mark.parametrize(
    ("counts", "missing"),
    [
        ((0, 5, 7, 0), {PPV}),  # none is flagged
        ((5, 0, 0, 7), {NPV}),  # all are
        ((4, 1, 0, 0), {"specificity", PPV, NPV, "false_alarms_per_100_scans"}),
        ((0, 0, 4, 1), {"sensitivity", PPV, NPV, "missed_per_100_scans"}),
    ],
)
def test_estimates_that_do_not_exist_are_none(counts, missing):
    got = score(*counts, 0.06)
    estimates = {name: value for name, value in got.items() if isinstance(value, dict) and name != "in_words"}
    assert set(estimates) == set(prevalence.PREVALENCE_IN_WORDS) == set(got["in_words"])
    assert {name for name, value in estimates.items() if value["value"] is None} == missing
    assert {name for name, value in estimates.items() if value["ci95"] is None} == missing


@given(st.lists(st.integers(0, 40), min_size=4, max_size=4).filter(any), st.floats(1e-12, 1 - 1e-12))
def test_every_interval_holds_its_estimate(counts, share):
    got = score(*counts, share)
    for name in prevalence.PREVALENCE_IN_WORDS:
        if got[name]["value"] is not None:
            low, high = got[name]["ci95"]
            assert low <= got[name]["value"] <= high
            assert low >= 0
            assert high <= (100 if "per_100" in name else 1)


@given(st.lists(st.integers(1, 40), min_size=4, max_size=4))
def test_at_the_prevalence_of_the_test_set_the_predictive_values_are_those_of_the_test_set(counts):
    hits, misses, clear, alarms = counts
    got = score(*counts, (hits + misses) / sum(counts))
    assert got["positive_predictive_value"]["value"] == pytest.approx(hits / (hits + alarms))
    assert got["negative_predictive_value"]["value"] == pytest.approx(clear / (clear + misses))


def test_the_intervals_hold_the_true_predictive_values_about_as_often_as_they_say():
    """Exactly, over all outcomes of 25 scans with a hemorrhage and 30 without."""
    sensitivity, specificity, share, n = 0.85, 0.9, 0.1, (25, 30)
    hit, false = share * sensitivity, (1 - share) * (1 - specificity)
    clear, miss = (1 - share) * specificity, share * (1 - sensitivity)
    truth = {"positive_predictive_value": hit / (hit + false), "negative_predictive_value": clear / (clear + miss)}
    covered = dict.fromkeys(truth, 0.0)
    for hits in range(n[0] + 1):
        for alarms in range(n[1] + 1):
            weight = stats.binom.pmf(hits, n[0], sensitivity) * stats.binom.pmf(alarms, n[1], 1 - specificity)
            if weight < 1e-7:
                continue
            got = score(hits, n[0] - hits, n[1] - alarms, alarms, share)
            for name, value in truth.items():
                low, high = got[name]["ci95"]
                covered[name] += weight * (low <= value <= high)
    for name, share_covered in covered.items():
        assert 0.93 < share_covered < 0.995, name


@pytest.mark.parametrize("text", ["0", "1", "-1", "6", "6%", "nan", "inf", "-0.0", "six", "", "0,06", "1e400"])
def test_a_prevalence_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"--prevalence is '.*'; expected a number between 0 and 1"):
        prevalence.parse_prevalence(text)


def test_a_prevalence_is_read():
    assert prevalence.parse_prevalence("0.06") == 0.06
    assert prevalence.parse_prevalence("6e-2") == 0.06
    assert prevalence.parse_prevalence(None) is None
