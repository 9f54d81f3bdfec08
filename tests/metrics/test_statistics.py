"""Summaries, bootstrap intervals, paired tests and corrections, by hand and against SciPy."""

import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from ichjax.metrics import statistics


def test_summary_by_hand():
    got = statistics.summary(np.array([0.0, np.nan, 1.0, 0.5]))
    assert got == {
        "mean": 0.5,
        "std": pytest.approx(np.sqrt(1 / 6)),  # divided by n
        "min": 0.0,
        "max": 1.0,
        "ci95": None,
        "ci95_bca": None,
        "n": 3,
        "unit": "subjects",
        "n_subjects": 3,
    }


def test_summary_without_values():
    got = statistics.summary(np.full(9, np.nan))
    assert (got["mean"], got["std"], got["ci95"], got["ci95_bca"], got["n"]) == (None, None, None, None, 0)


@pytest.mark.parametrize(("subjects", "there"), [(7, False), (8, True)])
def test_no_interval_below_eight_subjects(subjects, there):
    values = np.linspace(0, 1, 10 * subjects)
    pooled = statistics.summary(values, np.arange(10 * subjects) % subjects)
    assert (pooled["ci95"] is not None) == (pooled["ci95_bca"] is not None) == there
    assert pooled["n_subjects"] == subjects
    single = statistics.summary(values[:subjects])
    assert (single["ci95"] is not None) == (single["ci95_bca"] is not None) == there


def intervals(values, **options):
    """(percentile, BCa) interval of one value per subject."""
    return statistics.bootstrap_intervals(values, np.ones(len(values)), **options)


def test_percentile_interval_agrees_with_scipy():
    values = np.random.default_rng(3).beta(2, 4, 35)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    got, _ = intervals(values)
    assert got == pytest.approx((expected.low, expected.high), abs=0.004)


def test_pooled_values_of_a_subject_are_drawn_together():
    # 8 subjects of 50 equal values each: the interval is that of 8 values, not of 400.
    of_subject = np.linspace(0, 1, 8)
    pooled = statistics.summary(np.repeat(of_subject, 50), np.repeat(np.arange(8), 50))
    assert pooled["ci95"] == pytest.approx(statistics.summary(of_subject)["ci95"])
    apart = statistics.summary(np.repeat(of_subject, 50))
    assert np.ptp(apart["ci95"]) < 0.3 * np.ptp(pooled["ci95"])


def test_agrees_with_a_slow_bootstrap_of_unequal_subjects():
    rng = np.random.default_rng(5)
    groups = [rng.random(n) for n in (1, 2, 3, 9, 4, 1, 7, 12, 5, 2)]
    means = []
    for _ in range(4000):
        drawn = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(drawn).mean())
    expected = np.percentile(means, [2.5, 97.5])
    owners = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    assert statistics.summary(np.concatenate(groups), owners)["ci95"] == pytest.approx(expected, abs=0.015)


def test_interval_covers_the_true_mean_about_95_percent_of_the_time():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        (low, high), _ = intervals(rng.beta(2, 4, 35), resamples=1000)
        covered += low <= 1 / 3 <= high
    assert 175 <= covered <= 198  # 95 % of 200 is 190; the percentile interval is a little short at n = 35


def test_intervals_depend_on_the_seed_only():
    values = np.random.default_rng(0).random(20)
    same = [intervals(values, seed=seed)[0] for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize(("draw", "n"), [("lognormal", 12), ("lognormal", 40), ("beta", 23), ("zeros", 35)])
def test_bca_agrees_with_scipy(draw, n):
    rng = np.random.default_rng(n)
    values = {
        "lognormal": rng.lognormal(0, 1, n),  # skewed: volumes
        "beta": rng.beta(2, 4, n),  # Dice
        "zeros": rng.beta(2, 4, n) * (rng.random(n) < 0.3),  # Dice of a poor method
    }[draw]
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1), batch=2000
    ).confidence_interval
    _, got = intervals(values, resamples=40_000)
    width = expected.high - expected.low
    assert got == pytest.approx((expected.low, expected.high), abs=0.025 * width)
    assert statistics.summary(values)["ci95_bca"] == pytest.approx(got, abs=0.05 * width)


def test_bca_shifts_toward_the_long_tail():
    values = np.random.default_rng(2).lognormal(0, 1, 25)
    percentile, bca = intervals(values)
    width = percentile[1] - percentile[0]
    assert bca[0] > percentile[0] + 0.02 * width  # a long tail to the right moves both ends to the right
    assert bca[1] > percentile[1] + 0.02 * width


def test_pooled_bca_agrees_with_scipy_over_subjects():
    rng = np.random.default_rng(8)
    owners = rng.integers(20, size=150)
    values = rng.random(150) ** 2 + 0.4 * (owners < 3)
    sums, counts = np.bincount(owners, weights=values), np.bincount(owners)
    expected = scipy.stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(1),
        batch=2000,
    ).confidence_interval
    _, got = statistics.bootstrap_intervals(sums, counts, resamples=40_000)
    width = expected.high - expected.low
    assert got == pytest.approx((expected.low, expected.high), abs=0.025 * width)
    assert statistics.summary(values, owners)["ci95_bca"] == pytest.approx(got, abs=0.05 * width)
    repeated = statistics.summary(np.repeat(values, 5), np.repeat(owners, 5))
    assert repeated["ci95_bca"] == pytest.approx(statistics.summary(values, owners)["ci95_bca"])


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])  # sums of 1/3 differ in their last bit by the order
def test_equal_values_have_no_bca(value):
    got = statistics.summary(np.full(9, value))
    assert got["ci95_bca"] is None
    assert got["ci95"] == pytest.approx([value, value])
    owners = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert statistics.summary(np.full(45, value), owners)["ci95_bca"] is None


@hypothesis.given(
    st.lists(st.floats(0, 1), min_size=8, max_size=40), st.floats(0.5, 3), st.floats(-5, 5).map(lambda x: round(x, 2))
)
def test_intervals_shift_and_scale_with_the_values(values, scale, shift):
    values = np.round(values, 3)
    before, after = statistics.summary(values), statistics.summary(scale * values + shift)
    for key in ("ci95", "ci95_bca"):
        assert (before[key] is None) == (after[key] is None)
        if before[key] is not None:
            low, high = before[key]
            assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
            assert after[key] == pytest.approx([scale * low + shift, scale * high + shift], abs=2e-3)


def test_ten_thousand_resamples_in_under_a_second():
    rng = np.random.default_rng(0)
    sums, counts = rng.random(82), rng.integers(1, 20, 82)
    statistics.multiplicities.cache_clear()
    start = time.perf_counter()
    assert all(statistics.bootstrap_intervals(sums, counts, resamples=10_000))
    assert time.perf_counter() - start < 1.0


def test_a_paired_difference_by_hand():
    a = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, np.nan])
    b = a + np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, np.nan, 0.1])
    got = statistics.paired_difference(a, b)
    assert got["n"] == 8
    assert got["mean"] == pytest.approx(0.045)  # B - A
    assert got["wilcoxon_p"] == pytest.approx(2 / 2**8)  # all 8 of one sign
    assert got["ci95"][0] > 0.01
    assert got["ci95"] == statistics.summary(b - a)["ci95"]
    turned = statistics.paired_difference(b, a)
    assert (turned["mean"], turned["wilcoxon_p"]) == (pytest.approx(-0.045), pytest.approx(got["wilcoxon_p"]))


@pytest.mark.parametrize("n", [8, 12, 35, 75])
def test_wilcoxon_agrees_with_scipy(n):
    rng = np.random.default_rng(n)
    a = rng.random(n)
    b = a + rng.normal(0.1, 0.2, n)
    expected = scipy.stats.wilcoxon(a, b).pvalue
    assert statistics.paired_difference(a, b)["wilcoxon_p"] == pytest.approx(expected, rel=1e-12)
    same = np.r_[0.2, 0.5, 0.0]  # equal in both: zero differences are dropped
    with_zeros = statistics.paired_difference(np.r_[a, same], np.r_[b, same])
    assert with_zeros["wilcoxon_p"] == pytest.approx(expected, rel=1e-12)
    assert with_zeros["n"] == n + 3


def test_no_p_value_without_differences_or_with_few_pairs():
    same = statistics.paired_difference(np.arange(9.0), np.arange(9.0))
    assert (same["mean"], same["wilcoxon_p"], same["ci95"], same["ci95_bca"], same["n"]) == (0, None, [0, 0], None, 9)
    few = statistics.paired_difference(np.arange(7.0), np.ones(7))
    assert (few["wilcoxon_p"], few["ci95"], few["n"]) == (None, None, 7)
    none = statistics.paired_difference(np.full(3, np.nan), np.ones(3))
    assert (none["mean"], none["wilcoxon_p"], none["n"]) == (None, None, 0)
    with pytest.raises(ValueError, match="expected pairs"):
        statistics.paired_difference(np.ones(3), np.ones(4))


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.04, 0.02, 0.5]) == pytest.approx([0.08, 0.06, 0.5])
    assert statistics.holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert statistics.holm([0.7, 0.8]) == [1.0, 1.0]
    assert statistics.holm([None, 0.02, None]) == [None, 0.02, None]
    assert statistics.holm([]) == []
    for wrong in (1.1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            statistics.holm([0.1, wrong])


@hypothesis.given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_as_the_step_down_procedure(p):
    corrected = statistics.holm(p)
    for level in (0.01, 0.05, 0.2):
        rejected = []  # step down: stop at the first that is not below level / (m - k + 1)
        for k, n in enumerate(np.argsort(p)):
            if p[n] * (len(p) - k) > level:
                break
            rejected.append(n)
        assert {n for n, value in enumerate(corrected) if value <= level} == set(rejected)
    assert all(c >= q for c, q in zip(corrected, p, strict=True))


def test_the_age_difference_agrees_with_scipy():
    rng = np.random.default_rng(4)
    ages = np.r_[rng.uniform(0, 17.9, 12), 18.0, rng.uniform(18, 70, 22), np.nan, 5.0]
    dice = np.r_[rng.beta(3, 4, 12), rng.beta(5, 3, 23), 0.9, np.nan]
    got = statistics.age_difference(dice, ages)
    young, adult = dice[:12], dice[12:35]  # 18 years is adult; unknown ages and scores are ignored
    assert (got["under_18"]["n"], got["18_and_over"]["n"], got["n"]) == (12, 23, 35)
    assert got["difference"] == pytest.approx(young.mean() - adult.mean())
    assert got["mann_whitney_p"] == pytest.approx(scipy.stats.mannwhitneyu(young, adult).pvalue)
    expected = scipy.stats.bootstrap(
        (young, adult),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
        batch=2000,
    ).confidence_interval
    assert got["ci95"] == pytest.approx([expected.low, expected.high], abs=0.006)


def test_age_groups_of_equal_size_are_resampled_independently():
    values = np.linspace(0, 1, 20)  # with shared draws the difference of equal groups would not vary at all
    got = statistics.age_difference(np.r_[values, values], np.r_[np.full(20, 5.0), np.full(20, 50.0)])
    assert got["difference"] == 0.0
    one = np.ptp(statistics.summary(values)["ci95"])
    assert np.ptp(got["ci95"]) == pytest.approx(np.sqrt(2) * one, rel=0.05)


def test_small_age_groups_have_no_interval():
    got = statistics.age_difference(np.linspace(0, 1, 16), np.r_[np.full(7, 5.0), np.full(9, 40.0)])
    assert (got["ci95"], got["mann_whitney_p"], got["n"]) == (None, None, 16)
    assert got["difference"] == pytest.approx(0.2 - 11 / 15)
    empty = statistics.age_difference(np.ones(9), np.full(9, 30.0))
    assert (empty["difference"], empty["under_18"]["n"], empty["18_and_over"]["n"]) == (None, 0, 9)
    few = statistics.age_difference(np.arange(4.0), np.array([1.0, 17.9, 18, 70]))
    assert (few["under_18"]["mean"], few["18_and_over"]["mean"], few["difference"]) == (0.5, 2.5, -2.0)
    with pytest.raises(ValueError, match="one of each per subject"):
        statistics.age_difference(np.ones(3), np.ones(2))
