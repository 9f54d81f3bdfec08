"""Which slices and scans are called positive, and how that compares with the truth."""

import numpy as np

from ichjax.metrics import statistics

DETECTION_RATES = ("sensitivity", "specificity", "accuracy")


def called_positive(
    predicted_px: np.ndarray, pixel_mm2: np.ndarray, *, rule_mm2: float, rule_px: int | None = None
) -> np.ndarray:
    """Slices whose predicted area exceeds the rule.

    Args:
      predicted_px: int [..., S], predicted pixels of each slice.
      pixel_mm2: float [S], the area of a pixel.
      rule_mm2: a slice is called positive above this area.
      rule_px: the rule as a literal number of pixels, which replaces `rule_mm2`; None for the area.

    Returns:
      bool [..., S].
    """
    if rule_px is not None:
        return predicted_px > rule_px
    return predicted_px * pixel_mm2 > rule_mm2


def detection(called: np.ndarray, truth: np.ndarray, owner: np.ndarray, *, seed: int = 0) -> dict:
    """Sensitivity, specificity and accuracy of the slices: per subject then averaged, and pooled.

    Args:
      called: bool [S].
      truth: bool [S], slices with at least one true pixel.
      owner: int [S], index of the subject, 0 to N - 1.
      seed: of the bootstrap.

    Returns:
      {'sensitivity', 'specificity', 'accuracy', 'per_subject', 'pooled'}: the first three are means over the
      subjects for which the rate exists (as in the paper's Table 6), `per_subject` holds their summaries.
    """
    right = called == truth
    rates = {
        "sensitivity": rate_per_subject(called, owner, among=truth),
        "specificity": rate_per_subject(~called, owner, among=~truth),
        "accuracy": rate_per_subject(right, owner, among=np.ones_like(truth)),
    }
    per_subject = {name: statistics.summary(rate, seed=seed) for name, rate in rates.items()}
    return {
        **{name: figures["mean"] for name, figures in per_subject.items()},
        "per_subject": per_subject,
        "pooled": _pooled(called, truth),
    }


def rate_per_subject(event: np.ndarray, owner: np.ndarray, *, among: np.ndarray) -> np.ndarray:
    """float [N]: the share of each subject's slices in `among` on which `event` holds; NaN where it has none.

    Args:
      event, among: bool [S].
      owner: int [S], index of the subject.
    """
    subjects = int(owner.max()) + 1 if len(owner) else 0
    n = np.bincount(owner[among], minlength=subjects)
    hits = np.bincount(owner[among & event], minlength=subjects)
    return np.where(n > 0, hits / np.maximum(n, 1), np.nan)


def _pooled(called: np.ndarray, truth: np.ndarray) -> dict:
    counts = {
        "true_positives": int((called & truth).sum()),
        "false_negatives": int((~called & truth).sum()),
        "true_negatives": int((~called & ~truth).sum()),
        "false_positives": int((called & ~truth).sum()),
    }
    positive, negative = int(truth.sum()), int((~truth).sum())
    return {
        "sensitivity": counts["true_positives"] / positive if positive else None,
        "specificity": counts["true_negatives"] / negative if negative else None,
        "accuracy": (counts["true_positives"] + counts["true_negatives"]) / len(truth) if len(truth) else None,
        **counts,
    }


def hemorrhage_free(called: np.ndarray, predicted_ml: np.ndarray, free: np.ndarray, owner: np.ndarray) -> dict:
    """What was predicted where there is nothing: scans whose truth is empty.

    Args:
      called: bool [S], slices called positive.
      predicted_ml: float [N], predicted volume of each subject.
      free: bool [N], subjects without a true pixel.
      owner: int [S], index of the subject.

    Returns:
      {'n', 'false_alarm_rate', 'false_positive_ml', 'false_positive_ml_ci95', 'false_positive_ml_median',
      'false_positive_ml_max'}; figures are None where no scan is hemorrhage-free.
    """
    n = int(free.sum())
    if not n:
        keys = ("false_alarm_rate", "false_positive_ml", "false_positive_ml_ci95")
        return {"n": 0, **dict.fromkeys((*keys, "false_positive_ml_median", "false_positive_ml_max"))}
    alarms = np.bincount(owner[called], minlength=len(free))[free] > 0
    volumes = predicted_ml[free]
    return {
        "n": n,
        "false_alarm_rate": float(alarms.mean()),
        "false_positive_ml": float(volumes.mean()),
        "false_positive_ml_ci95": statistics.summary(volumes)["ci95"],
        "false_positive_ml_median": float(np.median(volumes)),
        "false_positive_ml_max": float(volumes.max()),
    }
