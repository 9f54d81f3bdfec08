"""Slice-level detection: sensitivity, specificity, accuracy, and false alarms on hemorrhage-free scans."""

import numpy as np

from ichjax.metrics import statistics
from ichjax.metrics.records import Detection, HemorrhageFree, PooledDetection, Rate

DETECTION_RATES: tuple[Rate, ...] = ("sensitivity", "specificity", "accuracy")


def exceeds_rule(
    predicted_px: np.ndarray, pixel_mm2: float, *, rule_mm2: float, rule_px: int | None = None
) -> np.ndarray:
    """bool [..., S]: slices whose predicted area exceeds the rule, and which are therefore predicted positive.

    Args:
      predicted_px: int [..., S], predicted pixels of each slice.
      pixel_mm2: area of a pixel.
      rule_mm2: a slice is predicted positive above this area.
      rule_px: the rule as a number of pixels, which replaces `rule_mm2`; None for the area.
    """
    if rule_px is not None:
        return predicted_px > rule_px
    return predicted_px * pixel_mm2 > rule_mm2


def detection(predicted_positive: np.ndarray, truth: np.ndarray, owner: np.ndarray, *, seed: int = 0) -> Detection:
    """Sensitivity, specificity and accuracy over slices: means over the subjects for which the rate exists, and pooled.

    Args:
      predicted_positive: bool [S].
      truth: bool [S], slices with at least one true pixel.
      owner: int [S], index of the subject, 0 to N - 1.
      seed: of the bootstrap.
    """
    rates: dict[Rate, np.ndarray] = {
        "sensitivity": _rate_per_subject(predicted_positive, owner, among=truth),
        "specificity": _rate_per_subject(~predicted_positive, owner, among=~truth),
        "accuracy": _rate_per_subject(predicted_positive == truth, owner, among=np.ones_like(truth)),
    }
    per_subject = {name: statistics.summary(rate, seed=seed) for name, rate in rates.items()}
    return {
        "sensitivity": per_subject["sensitivity"]["mean"],
        "specificity": per_subject["specificity"]["mean"],
        "accuracy": per_subject["accuracy"]["mean"],
        "per_subject": per_subject,
        "pooled": _pooled(predicted_positive, truth),
    }


def _rate_per_subject(event: np.ndarray, owner: np.ndarray, *, among: np.ndarray) -> np.ndarray:
    """float [N]: share of each subject's slices in `among` on which `event` is true; NaN where it has none.

    Args:
      event, among: bool [S].
      owner: int [S], index of the subject.
    """
    subjects = int(owner.max()) + 1 if len(owner) else 0
    n = np.bincount(owner[among], minlength=subjects)
    events = np.bincount(owner[among & event], minlength=subjects)
    return np.where(n > 0, events / np.maximum(n, 1), np.nan)


def _pooled(predicted_positive: np.ndarray, truth: np.ndarray) -> PooledDetection:
    true_positives = int((predicted_positive & truth).sum())
    true_negatives = int((~predicted_positive & ~truth).sum())
    positive, negative = int(truth.sum()), int((~truth).sum())
    return {
        "sensitivity": true_positives / positive if positive else None,
        "specificity": true_negatives / negative if negative else None,
        "accuracy": (true_positives + true_negatives) / len(truth) if len(truth) else None,
        "true_positives": true_positives,
        "false_negatives": positive - true_positives,
        "true_negatives": true_negatives,
        "false_positives": negative - true_negatives,
    }


def hemorrhage_free(
    predicted_positive: np.ndarray, predicted_ml: np.ndarray, free: np.ndarray, owner: np.ndarray
) -> HemorrhageFree:
    """False alarms and predicted volumes of the hemorrhage-free scans; figures are None where there is none.

    Args:
      predicted_positive: bool [S], per slice.
      predicted_ml: float [N], predicted volume of each subject.
      free: bool [N], subjects without a true pixel.
      owner: int [S], index of the subject.
    """
    false_alarm = np.bincount(owner[predicted_positive], minlength=len(free))[free] > 0
    volumes_ml = predicted_ml[free]
    figures = statistics.summary(volumes_ml)
    return {
        "n": figures["n"],
        "false_alarm_rate": float(false_alarm.mean()) if figures["n"] else None,
        "false_positive_ml": figures["mean"],
        "false_positive_ml_ci95": figures["ci95"],
        "false_positive_ml_median": float(np.median(volumes_ml)) if figures["n"] else None,
        "false_positive_ml_max": figures["max"],
    }
