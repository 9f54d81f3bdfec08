"""Prediction intervals for a scan's hemorrhage volume, by split-conformal prediction with a normalized score.

The quantile of scores of subjects that no network was trained on gives an interval that holds the true volume of
another scan with the stated probability, if all of them are exchangeable (Vovk, Gammerman and Shafer, Algorithmic
Learning in a Random World, 2005; Lei et al., JASA 113, 2018). The score is divided by the network's own uncertainty,
one scale for each side, so that the interval is short where the network is sure (Lei et al., section 5.2; a scale for
each side is in the spirit of Romano, Patterson and Candes, NeurIPS 2019). Nothing follows for scans unlike those of the
calibration.
"""

import math
from collections.abc import Sequence

import numpy as np

from ichjax.metrics.secondary_records import VolumeCoverage, VolumeInterval
from ichjax.metrics.statistics import wilson_interval

COVERAGE = 0.9
MIN_CALIBRATION_SUBJECTS = 20  # the quantile of fewer depends on the one or two largest scores
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # probabilities at which volumes are measured
LOW, HIGH = LEVELS.index(0.1), LEVELS.index(0.9)  # of the volumes that the two scales depend on
OFFSET_ML = 1.0  # log(v + 1 mL): errors count in mL far below it, in percent far above it
FLOOR = 0.1  # of both scales: the error that a network makes where all its probabilities are near 0 or 1


def scales(predicted_ml: np.ndarray, level_ml: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The uncertainty below and above a predicted volume, in units of log(v + 1 mL).

    Args:
      predicted_ml: float [...], volume of the mask.
      level_ml: float [..., L], volume above each probability of `LEVELS`, before gates, closing and opening.

    Returns:
      (below, above), float64 [...], at least `FLOOR`: how far the volumes at probabilities of 0.9 and 0.1 are away.
    """
    predicted_ml, level_ml = np.asarray(predicted_ml, np.float64), np.asarray(level_ml, np.float64)
    low, middle, high = (
        np.log(ml + OFFSET_ML)
        for ml in (
            np.minimum(level_ml[..., HIGH], predicted_ml),
            predicted_ml,
            np.maximum(level_ml[..., LOW], predicted_ml),
        )
    )
    return FLOOR + middle - low, FLOOR + high - middle


def scores(truth_ml: np.ndarray, predicted_ml: np.ndarray, level_ml: np.ndarray) -> np.ndarray:
    """Non-conformity scores float64 [...], 0 or more: the error of log(v + 1 mL) over the scale of its side.

    Args:
      truth_ml: float [...].
      predicted_ml, level_ml: as for `scales`.
    """
    below, above = scales(predicted_ml, level_ml)
    error = np.log(np.asarray(truth_ml, np.float64) + OFFSET_ML) - np.log(np.asarray(predicted_ml) + OFFSET_ML)
    return np.maximum(-error / below, error / above)


def quantile(of_scores: np.ndarray, coverage: float = COVERAGE) -> float:
    """The ceil((n + 1) coverage)-th smallest of n scores; infinite where n is too small for it (Lei et al., 2018)."""
    rank = math.ceil(round((len(of_scores) + 1) * coverage, 9))  # rounded, as 10 x 0.9 may exceed 9
    return float(np.sort(of_scores)[rank - 1]) if rank <= len(of_scores) else math.inf


def interval(
    predicted_ml: float, level_ml: Sequence[float], of_scores: np.ndarray, *, coverage: float = COVERAGE
) -> VolumeInterval | None:
    """The interval of one scan, which holds its predicted volume and is never negative.

    Args:
      predicted_ml, level_ml: of the scan, as for `scales`.
      of_scores: float [n], of the calibration subjects.

    Returns:
      None where n is below `MIN_CALIBRATION_SUBJECTS`.
    """
    if len(of_scores) < MIN_CALIBRATION_SUBJECTS:
        return None
    q, (below, above) = quantile(of_scores, coverage), scales(np.array(predicted_ml), np.array(level_ml))
    low, high = ((predicted_ml + OFFSET_ML) * np.exp(q * side) - OFFSET_ML for side in (-below, above))
    return {
        "low": max(float(low), 0.0),
        "high": float(high),
        "coverage": coverage,
        "calibrated_on": len(of_scores),
    }


def too_few(n: int) -> str:
    """Why n calibration subjects give no interval; '' where they do."""
    if n >= MIN_CALIBRATION_SUBJECTS:
        return ""
    return f"{n} calibration subjects; expected at least {MIN_CALIBRATION_SUBJECTS}"


def observed_coverage(
    truth_ml: Sequence[float], intervals: Sequence[VolumeInterval], *, coverage: float = COVERAGE
) -> VolumeCoverage:
    """How many intervals hold the true volume, and how wide they are.

    Args:
      truth_ml: [n], of the scans of the intervals.
      intervals: [n], of `interval`.
      coverage: that of the intervals.

    Returns:
      Observed coverage, its 95 % Wilson interval and widths are None without a scan.
    """
    n = len(intervals)
    inside = sum(one["low"] <= truth <= one["high"] for truth, one in zip(truth_ml, intervals, strict=True))
    widths = [one["high"] - one["low"] for one in intervals]
    return {
        "coverage": coverage,
        "observed": inside / n if n else None,
        "observed_ci95": wilson_interval(inside, n),
        "n": n,
        "inside": inside,
        "mean_width_ml": float(np.mean(widths)) if n else None,
        "median_width_ml": float(np.median(widths)) if n else None,
    }
