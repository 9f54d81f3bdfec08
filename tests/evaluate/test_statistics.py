import numpy as np
import pytest
import scipy.stats

from ichjax.evaluate import statistics


def test_summary_by_hand():
    got = statistics.summary(np.array([0.0, np.nan, 1.0, 0.5]))
    assert got == {
        "mean": 0.5,
        "std": pytest.approx(np.sqrt(1 / 6)),  # divided by n
        "min": 0.0,
        "max": 1.0,
        "ci95": None,
        "n": 3,
        "unit": "subjects",
        "n_subjects": 3,
    }


def test_nothing_to_summarize():
    got = statistics.summary(np.full(9, np.nan))
    assert (got["mean"], got["std"], got["ci95"], got["n"]) == (None, None, None, 0)


@pytest.mark.parametrize(("subjects", "there"), [(7, False), (8, True)])
def test_no_interval_below_eight_subjects(subjects, there):
    values = np.linspace(0, 1, 10 * subjects)
    pooled = statistics.summary(values, np.arange(10 * subjects) % subjects)
    assert (pooled["ci95"] is not None) == there
    assert pooled["n_subjects"] == subjects
    assert (statistics.summary(values[:subjects])["ci95"] is not None) == there


def test_agrees_with_scipy():
    values = np.random.default_rng(3).beta(2, 4, 35)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    got = statistics.bootstrap_interval(values)
    assert got == pytest.approx((expected.low, expected.high), abs=0.004)


def test_pooled_values_of_a_subject_are_drawn_together():
    # 8 subjects of 50 equal values each: the interval is that of 8 values, not of 400.
    of_subject = np.linspace(0, 1, 8)
    pooled = statistics.summary(np.repeat(of_subject, 50), np.repeat(np.arange(8), 50))
    assert pooled["ci95"] == pytest.approx(statistics.summary(of_subject)["ci95"])
    apart = statistics.summary(np.repeat(of_subject, 50))
    assert np.ptp(apart["ci95"]) < 0.3 * np.ptp(pooled["ci95"])


def test_against_a_slow_bootstrap_with_unequal_subjects():
    rng = np.random.default_rng(5)
    groups = [rng.random(n) for n in (1, 2, 3, 9, 4, 1, 7, 12, 5, 2)]
    means = []
    for _ in range(4000):
        drawn = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(drawn).mean())
    expected = np.percentile(means, [2.5, 97.5])
    owners = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    assert statistics.summary(np.concatenate(groups), owners)["ci95"] == pytest.approx(expected, abs=0.015)


def test_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        low, high = statistics.bootstrap_interval(rng.beta(2, 4, 35), resamples=1000)
        covered += low <= 1 / 3 <= high
    assert 175 <= covered <= 198  # 95 % of 200 is 190; the percentile interval is a little short at n = 35


def test_the_seed_decides():
    values = np.random.default_rng(0).random(20)
    same = [statistics.bootstrap_interval(values, seed=seed) for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]
