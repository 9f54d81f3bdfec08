"""Prediction intervals for a scan's hemorrhage volume, by split-conformal prediction with a normalized score.

A quantile of the scores of validation subjects, whose network was not trained on them, gives an interval that holds the
true volume of another scan with the stated probability, if all of them are exchangeable (Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World, 2005; Lei et al., JASA 113, 2018). The score is divided by the network's own
uncertainty, so that the interval is short where the network is sure (Lei et al., section 5.2), with a scale for each
side, as the two quantiles of Romano, Patterson and Candes (NeurIPS 2019) are. Scans with and without a predicted
hemorrhage are calibrated apart (Mondrian categories, Vovk et al., section 4.5): the errors of the latter are the missed
hemorrhages.
Nothing follows for scans unlike those of the calibration.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ichjax.metrics.secondary_records import VolumeCoverage, VolumeInterval
from ichjax.metrics.statistics import wilson_interval

COVERAGE = 0.9
MIN_CALIBRATION_SUBJECTS = 20  # the quantile of fewer depends on the one or two largest scores
VOLUME_LEVELS = (0.5, 0.9)  # probabilities: the volumes above them, next to that of the mask, give the two scales
FLOOR = 1.0  # sqrt(mL), of both scales: the error of a network whose probabilities are all near 0 or 1


class Calibration(NamedTuple):
    """The calibration subjects of a run, a subject once for each fold that validates on it.

    Attributes:
      subjects: int [n], their numbers.
      predicted_positive: bool [n], whether anything was predicted.
      scores: float64 [n], see `scores`.
    """

    subjects: np.ndarray
    predicted_positive: np.ndarray
    scores: np.ndarray

    def without(self, subject: int) -> "Calibration":
        """All but a subject."""
        return Calibration(*(values[self.subjects != subject] for values in self))

    def like(self, predicted_ml: float) -> np.ndarray:
        """The scores of the subjects with a predicted hemorrhage, or of those without, as a predicted volume is."""
        return self.scores[self.predicted_positive == (predicted_ml > 0)]


def calibrate(
    subjects: Sequence[int], truth_ml: np.ndarray, predicted_ml: np.ndarray, level_ml: np.ndarray
) -> Calibration:
    """The calibration by n subjects; arguments as for `scores`."""
    of_subjects = scores(truth_ml, predicted_ml, level_ml)
    return Calibration(np.array(subjects, int), np.asarray(predicted_ml) > 0, of_subjects)


def scales(predicted_ml: np.ndarray, level_ml: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The uncertainty below and above a predicted volume, in sqrt(mL).

    Args:
      predicted_ml: float [...], volume of the mask.
      level_ml: float [..., 2], volume above each probability of `VOLUME_LEVELS`, before gates, closing and opening.

    Returns:
      (below, above), float64 [...], at least `FLOOR`: how far the volumes at probabilities of 0.9 and 0.5 are away.
    """
    predicted_ml, level_ml = np.asarray(predicted_ml, np.float64), np.asarray(level_ml, np.float64)
    middle = np.sqrt(predicted_ml)
    low = np.sqrt(np.minimum(level_ml[..., 1], predicted_ml))
    high = np.sqrt(np.maximum(level_ml[..., 0], predicted_ml))
    return FLOOR + middle - low, FLOOR + high - middle


def scores(truth_ml: np.ndarray, predicted_ml: np.ndarray, level_ml: np.ndarray) -> np.ndarray:
    """Non-conformity scores float64 [...], 0 or more: the error of the volume's square root over the scale of its side.

    Args:
      truth_ml: float [...].
      predicted_ml, level_ml: as for `scales`.
    """
    below, above = scales(predicted_ml, level_ml)
    error = np.sqrt(truth_ml) - np.sqrt(predicted_ml)
    return np.maximum(-error / below, error / above)


def quantile(of_scores: np.ndarray, coverage: float = COVERAGE) -> float:
    """The ceil((n + 1) coverage)-th smallest of n scores; infinite where n is too small for it (Lei et al., 2018)."""
    rank = math.ceil(round((len(of_scores) + 1) * coverage, 9))  # rounded, as 10 x 0.9 may exceed 9
    return float(np.sort(of_scores)[rank - 1]) if rank <= len(of_scores) else math.inf


def interval(predicted_ml: float, level_ml: Sequence[float], calibration: Calibration) -> VolumeInterval | None:
    """The interval of one scan, which holds its predicted volume and is never negative.

    Args:
      predicted_ml, level_ml: of the scan, as for `scales`.
      calibration: its subjects like the scan count (`Calibration.like`), n of them.

    Returns:
      None where n is below `MIN_CALIBRATION_SUBJECTS`.
    """
    if why_none(predicted_ml, calibration):
        return None
    of_subjects = calibration.like(predicted_ml)
    q, (below, above) = quantile(of_subjects), scales(np.array(predicted_ml), np.array(level_ml))
    middle = math.sqrt(predicted_ml)
    return {
        "low": max(middle - q * float(below), 0.0) ** 2,
        "high": (middle + q * float(above)) ** 2,
        "coverage": COVERAGE,
        "calibrated_on": len(of_subjects),
    }


def why_none(predicted_ml: float, calibration: Calibration) -> str:
    """Why a scan has no interval, '' where it has one; arguments as for `interval`."""
    n, kind = len(calibration.like(predicted_ml)), "with" if predicted_ml > 0 else "without"
    if n >= MIN_CALIBRATION_SUBJECTS:
        return ""
    return f"{n} calibration subjects {kind} a predicted hemorrhage; expected at least {MIN_CALIBRATION_SUBJECTS}"


def observed_coverage(truth_ml: Sequence[float], intervals: Sequence[VolumeInterval]) -> VolumeCoverage:
    """How many intervals hold the true volume, and how wide they are.

    Args:
      truth_ml: [n], of the scans of the intervals.
      intervals: [n], of `interval`.

    Returns:
      Observed coverage, its 95 % Wilson interval and widths are None without a scan.
    """
    n = len(intervals)
    inside = sum(one["low"] <= truth <= one["high"] for truth, one in zip(truth_ml, intervals, strict=True))
    widths = [one["high"] - one["low"] for one in intervals]
    return {
        "coverage": COVERAGE,
        "observed": inside / n if n else None,
        "observed_ci95": wilson_interval(inside, n),
        "n": n,
        "inside": inside,
        "mean_width_ml": float(np.mean(widths)) if n else None,
        "median_width_ml": float(np.median(widths)) if n else None,
    }
