"""Summaries over subjects, with intervals from a bootstrap whose unit is the subject."""

import functools
import math

import numpy as np

LEAST_SUBJECTS = 8  # no interval below this many subjects: it would promise more than they can tell
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


def bootstrap_interval(
    sums: np.ndarray,
    counts: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a mean, resampling subjects.

    Args:
      sums: float [N], per subject the sum of its values.
      counts: int [N], per subject how many values it has, at least 1; None for one value each. The statistic is
        sum(sums) / sum(counts), so the values of one subject are drawn together.
      resamples: how many resamples.
      seed: of the resamples.
      level: of the interval.

    Returns:
      (low, high), or None below `LEAST_SUBJECTS` subjects.
    """
    sums = np.asarray(sums, dtype=np.float64)
    if len(sums) < LEAST_SUBJECTS:
        return None
    counts = np.ones_like(sums) if counts is None else np.asarray(counts, dtype=np.float64)
    drawn = _multiplicities(len(sums), resamples, seed)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), [tail, 100.0 - tail])
    return float(low), float(high)


def summary(values: np.ndarray, owners: np.ndarray | None = None, *, seed: int = 0) -> dict:
    """Mean, SD, range and interval of scores, ready for JSON.

    Args:
      values: float [N]; NaN means that the score does not exist, and is left out.
      owners: int [N], the subject each value belongs to (pooled slices); None where each value is one subject's.
      seed: of the bootstrap.

    Returns:
      {'mean', 'std', 'min', 'max', 'ci95', 'n', 'unit', 'n_subjects'}. `std` divides by n, as the authors' code
      does. `ci95` is [low, high] from a bootstrap over subjects, or None below `LEAST_SUBJECTS` subjects; the
      other figures are None where there is no value.
    """
    values = np.asarray(values, dtype=np.float64)
    unit = "subjects" if owners is None else "slices"
    owners = np.arange(len(values)) if owners is None else np.asarray(owners)
    exists = ~np.isnan(values)
    values, owners = values[exists], owners[exists]
    if not len(values):
        figures = dict.fromkeys(("mean", "std", "min", "max", "ci95"))
        return {**figures, "n": 0, "unit": unit, "n_subjects": 0}
    _, owner = np.unique(owners, return_inverse=True)
    counts = np.bincount(owner)
    interval = bootstrap_interval(np.bincount(owner, weights=values), counts, seed=seed)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "ci95": None if interval is None else list(interval),
        "n": len(values),
        "unit": unit,
        "n_subjects": len(counts),
    }


def or_none(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
