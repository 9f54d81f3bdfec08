"""Summaries over subjects and comparisons of them; the unit of every interval and test is the subject."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special, stats

# scipy.stats takes a second to import: the two tests that need it import it themselves.

LEAST_SUBJECTS = 8  # no interval and no test below this many subjects: it would promise more than they can tell
RESAMPLES = 10_000


@functools.lru_cache(maxsize=16)
def _multiplicities(subjects: int, resamples: int, seed: int) -> np.ndarray:
    """float64 [R, N]: how often each of N subjects is drawn in each of R resamples with replacement.

    Cached, so every statistic over the same number of subjects sees the same resamples.
    """
    draws = np.random.default_rng([seed, subjects]).multinomial(
        subjects, np.full(subjects, 1.0 / subjects), size=resamples
    )
    return draws.astype(np.float64)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """float [R]: the mean of each resample of the subjects."""
    drawn = _multiplicities(len(sums), resamples, seed)
    return (drawn @ sums) / (drawn @ counts)


def bootstrap_intervals(
    sums: np.ndarray, counts: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[list[float] | None, list[float] | None]:
    """Two 95 % bootstrap intervals of a mean, resampling subjects: percentile, and bias-corrected and accelerated.

    The second is that of Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 14.3: the percentiles
    are moved by the bias of the resamples and by the skewness of the jackknife, which leaves out one subject at a time
    with all its values. `scipy.stats.bootstrap` agrees; it takes several times as long and draws anew for every
    statistic.

    Args:
      sums: float [N], per subject the sum of its values.
      counts: int [N], per subject how many values it has, at least 1. The statistic is sum(sums) / sum(counts), so
        the values of one subject are drawn together.
      resamples: how many resamples.
      seed: of the resamples.

    Returns:
      ([low, high], [low, high]); both are None below `LEAST_SUBJECTS` subjects, and the second where it does not
      exist: all values are equal, or the resamples lie on one side of the mean.
    """
    if len(sums) < LEAST_SUBJECTS:
        return None, None
    means = _resampled_means(sums, counts, resamples, seed)
    return np.percentile(means, [2.5, 97.5]).tolist(), _bca_interval(sums, counts, means)


def _bca_interval(sums: np.ndarray, counts: np.ndarray, means: np.ndarray) -> list[float] | None:
    mean = sums.sum() / counts.sum()
    jackknife = (sums.sum() - sums) / (counts.sum() - counts)
    rounding = 1e-12 * np.abs(jackknife).max()  # equal means differ by it, depending on the order of the sum
    aside = jackknife.mean() - jackknife
    below = 0.5 * ((means < mean - rounding).mean() + (means <= mean + rounding).mean())
    if np.abs(aside).max() <= rounding or not 0.0 < below < 1.0:
        return None
    bias = special.ndtri(below)
    acceleration = (aside**3).sum() / (6.0 * (aside**2).sum() ** 1.5)
    normal = bias + special.ndtri([0.025, 0.975])
    if (1.0 - acceleration * normal <= 0.0).any():  # beyond the pole of the correction its ends change places
        return None
    return np.quantile(means, special.ndtr(bias + normal / (1.0 - acceleration * normal))).tolist()


def summary(values: np.ndarray, owners: np.ndarray | None = None, *, seed: int = 0) -> dict:
    """Mean, SD, range and intervals of scores, ready for JSON.

    Args:
      values: float [N]; NaN means that the score does not exist, and is left out.
      owners: int [N], the subject each value belongs to (pooled slices); None where each value is one subject's.
      seed: of the bootstrap.

    Returns:
      {'mean', 'std', 'min', 'max', 'ci95', 'ci95_bca', 'n', 'unit', 'n_subjects'}. `std` divides by n, as the
      authors' code does. `ci95` is [low, high], the percentiles of a bootstrap over subjects, and `ci95_bca` its
      bias-corrected and accelerated form; each is None where it does not exist, and below `LEAST_SUBJECTS`
      subjects. The other figures are None where there is no value.
    """
    values = np.asarray(values, dtype=np.float64)
    unit = "subjects" if owners is None else "slices"
    owners = np.arange(len(values)) if owners is None else np.asarray(owners)
    exists = ~np.isnan(values)
    values, owners = values[exists], owners[exists]
    if not len(values):
        figures = dict.fromkeys(("mean", "std", "min", "max", "ci95", "ci95_bca"))
        return {**figures, "n": 0, "unit": unit, "n_subjects": 0}
    _, owner = np.unique(owners, return_inverse=True)
    counts = np.bincount(owner)
    ci95, ci95_bca = bootstrap_intervals(np.bincount(owner, weights=values), counts, seed=seed)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "ci95": ci95,
        "ci95_bca": ci95_bca,
        "n": len(values),
        "unit": unit,
        "n_subjects": len(counts),
    }


def paired_difference(a: np.ndarray, b: np.ndarray) -> dict:
    """How much B differs from A on the same subjects: the mean of b - a, its intervals and a signed-rank test.

    Args:
      a, b: float [N], one value a subject in the same order; a pair with a NaN in it is left out.

    Returns:
      {'mean', 'ci95', 'ci95_bca', 'n', 'wilcoxon_p'}: `mean` and the intervals as in `summary`; `wilcoxon_p` is
      the two-sided p of Wilcoxon's signed-rank test, differences of zero dropped as Wilcoxon did, exact up to 50
      differences without ties; None below `LEAST_SUBJECTS` pairs and where all differences are zero.

    Raises:
      ValueError: a and b are not of one length.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"values of shapes {a.shape} and {b.shape}; expected pairs, one a subject")
    difference = b - a
    figures = summary(difference)
    kept = {key: figures[key] for key in ("mean", "ci95", "ci95_bca", "n")}
    return {**kept, "wilcoxon_p": _wilcoxon_p(difference[~np.isnan(difference)])}


def _wilcoxon_p(difference: np.ndarray) -> float | None:
    nonzero = difference[difference != 0.0]
    if len(difference) < LEAST_SUBJECTS or not len(nonzero):
        return None
    return float(stats.wilcoxon(nonzero).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of p-values for having tested several things at once.

    Holm, Scandinavian Journal of Statistics 6 (1979): the k-th smallest of m is multiplied by m - k + 1; none may
    fall below a smaller one's, nor exceed 1.

    Args:
      p_values: of the tests; None for a test that could not be made, which does not count among the m.

    Returns:
      The corrected values in the order given, None where there was none.

    Raises:
      ValueError: a value is not in [0, 1].
    """
    places = [n for n, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[n] for n in places], dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"p-values {p.tolist()}; expected each in [0, 1]")
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = dict(zip((places[n] for n in order), stepped.tolist(), strict=True))
    return [corrected.get(n) for n in range(len(p_values))]


def age_difference(dice: np.ndarray, ages: np.ndarray, *, limit_years: float = 18, seed: int = 0) -> dict:
    """Whether a score differs between the young and the adult, as the paper asks of Dice.

    Args:
      dice: float [N], a subject's score; NaN where it does not exist.
      ages: float [N], years; NaN where unknown. A subject with either NaN is left out.
      limit_years: the older group begins at this age.
      seed: of the bootstrap, which draws within each group.

    Returns:
      {'under_18', '18_and_over', 'difference', 'ci95', 'mann_whitney_p', 'n'}: each group's `summary`, the mean
      under the limit less the mean from it on, its percentile interval, the two-sided p of the Mann-Whitney U
      test, and the subjects of both groups together. The difference is None where a group is empty, its interval
      and p also where one has fewer than `LEAST_SUBJECTS` subjects.

    Raises:
      ValueError: dice and ages are not of one length.
    """
    dice, ages = np.asarray(dice, dtype=np.float64), np.asarray(ages, dtype=np.float64)
    if dice.shape != ages.shape or dice.ndim != 1:
        raise ValueError(f"scores of shape {dice.shape}, ages of shape {ages.shape}; expected one each a subject")
    exists = ~(np.isnan(dice) | np.isnan(ages))
    young, adult = dice[exists & (ages < limit_years)], dice[exists & (ages >= limit_years)]
    difference = float(young.mean() - adult.mean()) if len(young) and len(adult) else None
    interval = p = None
    if min(len(young), len(adult)) >= LEAST_SUBJECTS:
        p = float(stats.mannwhitneyu(young, adult).pvalue)
        # Another seed for the second group: groups of one size would share their draws, and not be independent.
        means = [_resampled_means(x, np.ones_like(x), RESAMPLES, seed + k) for k, x in enumerate((young, adult))]
        interval = np.percentile(means[0] - means[1], [2.5, 97.5]).tolist()
    return {
        f"under_{limit_years:g}": summary(young, seed=seed),
        f"{limit_years:g}_and_over": summary(adult, seed=seed),
        "difference": difference,
        "ci95": interval,
        "mann_whitney_p": p,
        "n": int(exists.sum()),
    }


def or_none(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
