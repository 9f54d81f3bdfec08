"""Figures of ROC and precision-recall curves with 95 % intervals: DeLong's of the area, and a bootstrap over scans."""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ichjax.metrics.statistics import MIN_SUBJECTS, NORMAL_95, Interval, multiplicities

MIN_SCANS_OF_CLASS = 5  # with, and without what is detected, for an interval: with fewer it would promise too much
CURVE_RESAMPLES = 2_000  # each needs curves over all slices
CHUNK_ELEMENTS = 1 << 18  # of an array [resamples, slices] at a time, so that a few of them fit a CPU's cache
FIXED_RATE = 0.9  # the specificity at which a sensitivity is read off, and the reverse
ROUNDING_SHARE = 1e-9


class CurveFigures(NamedTuple):
    """Figures of curves, float64 [...] each; NaN where a class is missing.

    Attributes:
      auc: area under the ROC curve.
      average_precision: sum of precisions, each times the recall that its threshold adds, as in scikit-learn.
      sensitivity: the best with a specificity of at least `FIXED_RATE`; 0 if only the empty prediction has it.
      specificity: the best with a sensitivity of at least `FIXED_RATE`.
    """

    auc: np.ndarray
    average_precision: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def delong(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """(area under the ROC curve, its variance by DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).

    The structural components come from mid-ranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014).

    Args:
      scores: float [N], independent of each other: of scans, not of slices.
      positive: bool [N], at least two of each class.
    """
    high, low = scores[positive], scores[~positive]
    ranks = stats.rankdata(scores)
    # Of each positive, the share of the negatives below it; of each negative, the share of the positives above it.
    beaten = (ranks[positive] - stats.rankdata(high)) / len(low)
    beating = 1.0 - (ranks[~positive] - stats.rankdata(low)) / len(high)
    return float(beaten.mean()), float(beaten.var(ddof=1) / len(high) + beating.var(ddof=1) / len(low))


def delong_interval(scores: np.ndarray, positive: np.ndarray) -> Interval | None:
    """The 95 % interval of the area by its variance on the logit scale, which stays in [0, 1].

    Qin and Hotilovac, Statistical Methods in Medical Research 17 (2008), compare it with others.

    Args:
      scores, positive: see `delong`.

    Returns:
      None with fewer than `MIN_SUBJECTS` scores or `MIN_SCANS_OF_CLASS` of a class, and where the classes do not
      overlap, since the variance is then 0 whatever the number of scans.
    """
    if not _enough(int(positive.sum()), int((~positive).sum()), len(positive)):
        return None
    area, variance = delong(scores, positive)
    if variance <= 0.0 or not 0.0 < area < 1.0:
        return None
    half = NORMAL_95 * np.sqrt(variance) / (area * (1.0 - area))
    return special.expit(special.logit(area) + np.array([-half, half])).tolist()


def curve_figures(scores: np.ndarray, positive: np.ndarray, owner: np.ndarray, weights: np.ndarray) -> CurveFigures:
    """Figures of the curves in which the slices of each scan count as often as its weight says.

    They are summed over the thresholds at which the sensitivity grows, that is, over the scores of positives.

    Args:
      scores: float [N] of slices (or of scans), high where the class is likely.
      positive: bool [N], at least one of each class.
      owner: int [N], the scan of each slice, 0 to S - 1.
      weights: float32 [R, S], integers from 0 on; sums below 2^24 are exact.

    Returns:
      Arrays [R].
    """
    high, low = (
        order[np.argsort(-scores[order], kind="stable")] for order in map(np.flatnonzero, (positive, ~positive))
    )
    descending, below = -scores[high], -scores[low]
    thresholds = np.unique(descending)
    hits = _drawn_above(weights, owner[high], np.searchsorted(descending, thresholds, side="right"))
    alarms = _drawn_above(weights, owner[low], np.searchsorted(below, thresholds, side="right"))
    untied = _drawn_above(weights, owner[low], np.searchsorted(below, thresholds, side="left"))
    positives = weights @ np.bincount(owner[high], minlength=weights.shape[1])
    negatives = weights @ np.bincount(owner[low], minlength=weights.shape[1])
    exists = (positives > 0) & (negatives > 0)
    positives, negatives = (np.where(exists, n, np.nan)[:, None] for n in (positives, negatives))
    new_hits = np.diff(hits, axis=1, prepend=0.0)
    precision = hits / np.maximum(hits + alarms, 1.0)
    specific = alarms <= (1.0 - FIXED_RATE + ROUNDING_SHARE) * negatives
    sensitive = hits >= (FIXED_RATE - ROUNDING_SHARE) * positives
    losses = new_hits * (alarms + untied) / 2.0  # pairs whose negative scores higher; half of those with equal scores
    return CurveFigures(
        auc=1.0 - (losses / (positives * negatives)).sum(axis=1),
        average_precision=(new_hits * precision / positives).sum(axis=1),
        sensitivity=(np.where(specific, hits, 0.0) / positives).max(axis=1),
        specificity=1.0 - (np.where(sensitive, alarms, negatives) / negatives).min(axis=1),
    )


def _drawn_above(weights: np.ndarray, owner: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """float64 [R, K]: the weights of the first k slices of `owner`, int [N], for each k of `numbers`, int [K]."""
    total = np.zeros((len(weights), len(owner) + 1), np.float32)
    np.cumsum(weights[:, owner], axis=1, out=total[:, 1:])
    return total[:, numbers].astype(np.float64)


def resampled_intervals(
    scores: np.ndarray, positive: np.ndarray, owner: np.ndarray, *, seed: int = 0
) -> dict[str, Interval | None]:
    """95 % percentile intervals of `CurveFigures`, by name, from a bootstrap over scans.

    The slices of a scan are drawn together, since they are alike. Each resample has its own thresholds.

    Args:
      scores, positive: see `curve_figures`.
      owner: int [N], the scan of each slice, 0 to S - 1.
      seed: of the resamples.

    Returns:
      None with fewer than `MIN_SUBJECTS` scans, or fewer than `MIN_SCANS_OF_CLASS` with or without a positive, and
      where an interval would have no width. A resample without one of the classes does not count.
    """
    scans = int(owner.max()) + 1 if len(owner) else 0
    if not _enough(len(np.unique(owner[positive])), len(np.unique(owner[~positive])), scans):
        return dict.fromkeys(CurveFigures._fields)
    drawn = multiplicities(scans, CURVE_RESAMPLES, seed).astype(np.float32)
    rows = max(1, CHUNK_ELEMENTS // len(scores))
    parts = [
        curve_figures(scores, positive, owner, drawn[start : start + rows]) for start in range(0, len(drawn), rows)
    ]
    figures = CurveFigures(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return {name: _percentiles(values[~np.isnan(values)]) for name, values in figures._asdict().items()}


def _enough(with_it: int, without_it: int, scans: int) -> bool:
    return scans >= MIN_SUBJECTS and min(with_it, without_it) >= MIN_SCANS_OF_CLASS


def _percentiles(values: np.ndarray) -> Interval | None:
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return [low, high] if high - low > ROUNDING_SHARE else None
