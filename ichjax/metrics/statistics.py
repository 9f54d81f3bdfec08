"""Summaries over subjects, bootstrap intervals and paired tests; the unit of every interval and test is the subject."""

import functools
import math
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

import numpy as np
from scipy import special, stats

MIN_SUBJECTS = 8  # for an interval or a test: with fewer it would promise more than the data can support
ADULT_YEARS = 18.0
RESAMPLES = 10_000
NORMAL_95 = float(special.ndtri(0.975))  # half the width of a 95 % interval, in standard deviations

Interval = list[float]  # [low, high]


class Summary(TypedDict):
    """Scores over subjects, or over slices (`summary`).

    `std` divides by n, as the authors' code does. `ci95` holds the percentiles of a bootstrap over subjects and
    `ci95_bca` its bias-corrected and accelerated form; each is None below `MIN_SUBJECTS` subjects.
    """

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    ci95: Interval | None
    ci95_bca: NotRequired[Interval | None]
    n: int
    unit: Literal["subjects", "slices"]
    n_subjects: int


class PairedDifference(TypedDict):
    """Mean of B - A over the same subjects (`paired_difference`)."""

    mean: float | None
    ci95: Interval | None
    ci95_bca: Interval | None
    n: int
    wilcoxon_p: float | None


class Share(TypedDict):
    """A share of what was counted in all scans, its 95 % bootstrap interval over scans, and its denominator."""

    value: float | None
    ci95: Interval | None
    n: int


AgeTest = TypedDict(
    "AgeTest",
    {
        "under_18": Summary,
        "18_and_over": Summary,
        "difference": float | None,  # the mean under 18 less the mean from 18 on
        "ci95": Interval | None,
        "mann_whitney_p": float | None,  # two-sided
        "n": int,  # subjects of both groups
    },
)


@functools.lru_cache(maxsize=16)
def multiplicities(subjects: int, resamples: int, seed: int) -> np.ndarray:
    """float64 [R, N]: how often each of N subjects is drawn in each of R resamples with replacement.

    Cached, so that every statistic over the same number of subjects uses the same resamples.
    """
    draws = np.random.default_rng([seed, subjects]).multinomial(
        subjects, np.full(subjects, 1.0 / subjects), size=resamples
    )
    return draws.astype(np.float64)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """float [R]: the mean of each resample of the subjects."""
    drawn = multiplicities(len(sums), resamples, seed)
    return (drawn @ sums) / (drawn @ counts)


def bootstrap_intervals(
    sums: np.ndarray, counts: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval | None, Interval | None]:
    """Two 95 % bootstrap intervals of a mean, resampling subjects: percentile, and bias-corrected and accelerated.

    The second (BCa) follows Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 14.3: it shifts the
    percentiles by the bias of the resamples and by the skewness of the jackknife over subjects.
    `scipy.stats.bootstrap` agrees, but takes several times as long and draws new resamples for every statistic.

    Args:
      sums: float [N], sum of each subject's values.
      counts: int [N], number of each subject's values, at least 1. The statistic is sum(sums) / sum(counts), so the
        values of one subject are drawn together.
      resamples: number of resamples.
      seed: of the resamples.

    Returns:
      ([low, high], [low, high]); both are None below `MIN_SUBJECTS` subjects. The second is also None where all
      values are equal, or all resamples lie on one side of the mean.
    """
    if len(sums) < MIN_SUBJECTS:
        return None, None
    means = _resampled_means(sums, counts, resamples, seed)
    return np.percentile(means, [2.5, 97.5]).tolist(), _bca_interval(sums, counts, means)


def _bca_interval(sums: np.ndarray, counts: np.ndarray, means: np.ndarray) -> Interval | None:
    mean = sums.sum() / counts.sum()
    jackknife = (sums.sum() - sums) / (counts.sum() - counts)
    rounding = 1e-12 * np.abs(jackknife).max()  # equal means can differ by this much, by the order of summation
    deviation = jackknife.mean() - jackknife
    below = 0.5 * ((means < mean - rounding).mean() + (means <= mean + rounding).mean())
    if np.abs(deviation).max() <= rounding or not 0.0 < below < 1.0:
        return None
    bias = special.ndtri(below)
    acceleration = (deviation**3).sum() / (6.0 * (deviation**2).sum() ** 1.5)
    normal = bias + special.ndtri([0.025, 0.975])
    if (1.0 - acceleration * normal <= 0.0).any():  # past the pole of the correction the two ends swap
        return None
    return np.quantile(means, special.ndtr(bias + normal / (1.0 - acceleration * normal))).tolist()


def summary(values: np.ndarray, owners: np.ndarray | None = None, *, seed: int = 0) -> Summary:
    """Mean, SD, range and 95 % intervals of scores; None where there is no value.

    Args:
      values: float [N]; NaN means that the score does not exist, and is ignored.
      owners: int [N], the subject each value belongs to (pooled slices); None where each value is one subject's.
      seed: of the bootstrap.
    """
    values = np.asarray(values, dtype=np.float64)
    unit: Literal["subjects", "slices"] = "subjects" if owners is None else "slices"
    owners = np.arange(len(values)) if owners is None else np.asarray(owners)
    exists = ~np.isnan(values)
    values, owners = values[exists], owners[exists]
    _, owner = np.unique(owners, return_inverse=True)
    counts = np.bincount(owner)
    ci95, ci95_bca = bootstrap_intervals(np.bincount(owner, weights=values), counts, seed=seed)
    any_value = len(values) > 0
    return {
        "mean": float(values.mean()) if any_value else None,
        "std": float(values.std()) if any_value else None,
        "min": float(values.min()) if any_value else None,
        "max": float(values.max()) if any_value else None,
        "ci95": ci95,
        "ci95_bca": ci95_bca,
        "n": len(values),
        "unit": unit,
        "n_subjects": len(counts),
    }


def share(numerators: np.ndarray, denominators: np.ndarray, *, seed: int = 0) -> Share:
    """Sum of the numerators over the sum of the denominators; the interval is `bootstrap_intervals`'s first.

    Args:
      numerators, denominators: int [N], of each scan; a scan with a denominator of 0 has nothing that counts.
      seed: of the bootstrap.
    """
    has, total = denominators > 0, int(denominators.sum())
    return {
        "value": float(numerators.sum() / total) if total else None,
        "ci95": bootstrap_intervals(numerators[has], denominators[has], seed=seed)[0],
        "n": total,
    }


def paired_difference(a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """Paired difference B - A on the same subjects: its mean, intervals and Wilcoxon's signed-rank test.

    Args:
      a, b: float [N], one value per subject in the same order; pairs with a NaN are ignored.

    Returns:
      `mean` and intervals as in `summary`. `wilcoxon_p` is the two-sided p of the signed-rank test without zero
      differences, exact up to 50 differences without ties; None below `MIN_SUBJECTS` pairs and where all differences
      are zero.

    Raises:
      ValueError: a and b differ in length.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"values of shapes {a.shape} and {b.shape}; expected pairs, one per subject")
    difference = b - a
    figures = summary(difference)
    return {
        "mean": figures["mean"],
        "ci95": figures["ci95"],
        "ci95_bca": figures["ci95_bca"],
        "n": figures["n"],
        "wilcoxon_p": _wilcoxon_p(difference[~np.isnan(difference)]),
    }


def _wilcoxon_p(difference: np.ndarray) -> float | None:
    nonzero = difference[difference != 0.0]
    if len(difference) < MIN_SUBJECTS or not len(nonzero):
        return None
    return float(stats.wilcoxon(nonzero).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of p-values for multiple testing.

    Holm, Scandinavian Journal of Statistics 6 (1979): the k-th smallest of m is multiplied by m - k + 1; the results
    never decrease from one to the next, nor exceed 1.

    Args:
      p_values: None for a test that could not be made, which does not count among the m.

    Returns:
      The corrected values in the given order, None where there was none.

    Raises:
      ValueError: a value is not in [0, 1].
    """
    tested = [n for n, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[n] for n in tested], dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"p-values {p.tolist()}; expected each in [0, 1]")
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = dict(zip((tested[n] for n in order), stepped.tolist(), strict=True))
    return [corrected.get(n) for n in range(len(p_values))]


def age_difference(dice: np.ndarray, ages: np.ndarray, *, seed: int = 0) -> AgeTest:
    """Whether Dice differs between subjects under 18 years and adults (paper, section 4), by the Mann-Whitney U test.

    Args:
      dice: float [N], one score per subject; NaN where it does not exist.
      ages: float [N], years; NaN where unknown. A subject with either NaN is ignored.
      seed: of the bootstrap, which resamples within each group.

    Returns:
      Summaries of both groups, their difference and its percentile interval. The difference is None where a group is
      empty, its interval and p also where one has fewer than `MIN_SUBJECTS` subjects.

    Raises:
      ValueError: dice and ages differ in length.
    """
    dice, ages = np.asarray(dice, dtype=np.float64), np.asarray(ages, dtype=np.float64)
    if dice.shape != ages.shape or dice.ndim != 1:
        raise ValueError(f"scores of shape {dice.shape}, ages of shape {ages.shape}; expected one of each per subject")
    exists = ~(np.isnan(dice) | np.isnan(ages))
    young, adult = dice[exists & (ages < ADULT_YEARS)], dice[exists & (ages >= ADULT_YEARS)]
    difference = float(young.mean() - adult.mean()) if len(young) and len(adult) else None
    interval = p = None
    if min(len(young), len(adult)) >= MIN_SUBJECTS:
        p = float(stats.mannwhitneyu(young, adult).pvalue)
        # Another seed for the second group: groups of equal size would share their resamples and be dependent.
        means = [_resampled_means(x, np.ones_like(x), RESAMPLES, seed + k) for k, x in enumerate((young, adult))]
        interval = np.percentile(means[0] - means[1], [2.5, 97.5]).tolist()
    return {
        "under_18": summary(young, seed=seed),
        "18_and_over": summary(adult, seed=seed),
        "difference": difference,
        "ci95": interval,
        "mann_whitney_p": p,
        "n": int(exists.sum()),
    }


def wilson_interval(successes: int, n: int) -> Interval | None:
    """The 95 % Wilson score interval of a proportion (Wilson, JASA 22, 1927); None where n is 0."""
    if not n:
        return None
    bounds = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return [float(bounds.low), float(bounds.high)]


def or_none(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
