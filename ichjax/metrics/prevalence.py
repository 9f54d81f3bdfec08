"""Detection of scans at a stated prevalence: predictive values and false alarms in a population that the user names."""

import math
from collections.abc import Mapping

import numpy as np
from scipy import special

from ichjax.errors import InputError
from ichjax.metrics.score_records import DetectionAtPrevalence, RateEstimate
from ichjax.metrics.statistics import NORMAL_95, wilson_interval

SCANS = 100  # the false alarms and missed hemorrhages are those of this many scans
PREVALENCE_IN_WORDS: Mapping[str, str] = {
    "sensitivity": (
        "The share of the scans with a hemorrhage that are flagged, that is, have any slice predicted positive. 95 % "
        "Wilson intervals here and for the specificity."
    ),
    "specificity": "The share of the scans without a hemorrhage that are not flagged.",
    "positive_predictive_value": (
        "The probability that a flagged scan has a hemorrhage, at the stated prevalence. 95 % logit intervals "
        "(Mercaldo, Lau and Zhou, 2007) here and for the negative predictive value, for a prevalence known exactly; "
        "where one of the four counts of scans is 0, their adjusted interval, extended to the estimate."
    ),
    "negative_predictive_value": (
        "The probability that a scan that is not flagged has no hemorrhage, at the stated prevalence."
    ),
    "false_alarms_per_100_scans": (
        "Flagged scans without a hemorrhage among 100 scans at the stated prevalence; the interval follows from that "
        "of the specificity."
    ),
    "missed_per_100_scans": (
        "Scans with a hemorrhage that are not flagged among 100 scans at the stated prevalence; the interval follows "
        "from that of the sensitivity."
    ),
}


def parse_prevalence(text: str | None) -> float | None:
    """The prevalence of a command line, strictly between 0 and 1; None for none.

    Raises:
      InputError: not such a number.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1.0:
        raise InputError(f"--prevalence is {text!r}; expected a number between 0 and 1, such as 0.06 for 6 % of scans")
    return value


def detection_at_prevalence(flagged: np.ndarray, truth: np.ndarray, *, prevalence: float) -> DetectionAtPrevalence:
    """Sensitivity and specificity over scans, and by Bayes' rule what they mean at another prevalence.

    Args:
      flagged: bool [N], scans that are predicted positive; at least one scan.
      truth: bool [N], scans with a hemorrhage.
      prevalence: share of scans with a hemorrhage in the population, in (0, 1), taken as known.

    Returns:
      Estimates that do not exist are None: without scans of a kind, their rate and what needs it; without flagged
      scans the positive predictive value, and where all are flagged the negative one.
    """
    flagged, truth = np.asarray(flagged, bool), np.asarray(truth, bool)
    hits, misses = int((flagged & truth).sum()), int((~flagged & truth).sum())
    alarms, clear = int((flagged & ~truth).sum()), int((~flagged & ~truth).sum())
    sensitivity, specificity = rate(hits, misses), rate(clear, alarms)
    prior_logit = math.log(prevalence) - math.log1p(-prevalence)
    adjusted = 0 in (hits, misses, alarms, clear)
    return {
        "prevalence": prevalence,
        "test_set_prevalence": float(truth.mean()),
        "true_positives": hits,
        "false_negatives": misses,
        "true_negatives": clear,
        "false_positives": alarms,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "positive_predictive_value": _predictive_value(
            (hits, hits + misses), (alarms, alarms + clear), prior_logit=prior_logit, adjusted=adjusted
        ),
        "negative_predictive_value": _predictive_value(
            (clear, alarms + clear), (misses, hits + misses), prior_logit=-prior_logit, adjusted=adjusted
        ),
        "false_alarms_per_100_scans": _errors(specificity, SCANS * (1.0 - prevalence)),
        "missed_per_100_scans": _errors(sensitivity, SCANS * prevalence),
        "in_words": dict(PREVALENCE_IN_WORDS),
    }


def rate(right: int, wrong: int) -> RateEstimate:
    """The share of right ones, with its 95 % Wilson interval."""
    n = right + wrong
    return {"value": right / n if n else None, "ci95": wilson_interval(right, n)}


def _errors(rate: RateEstimate, scans: float) -> RateEstimate:
    """How many of so many scans are classified wrongly, from the rate of right ones."""
    if rate["value"] is None or rate["ci95"] is None:
        return {"value": None, "ci95": None}
    low, high = rate["ci95"]
    return {"value": scans * (1.0 - rate["value"]), "ci95": [scans * (1.0 - high), scans * (1.0 - low)]}


def _predictive_value(
    right: tuple[int, int], wrong: tuple[int, int], *, prior_logit: float, adjusted: bool
) -> RateEstimate:
    """A predictive value with its logit interval (Mercaldo, Lau and Zhou, Statistics in Medicine 26, 2007).

    Its logit is that of the prevalence plus ln(rate among the right) - ln(rate among the wrong). By the delta method,
    the variances of the two binomial rates add up.

    Args:
      right, wrong: (scans with this result, all scans) of the group in which it is right, and of the other one.
      prior_logit: logit of the share of the first group in the population.
      adjusted: compute the interval after adding z² / 2 to each of the four counts, and extend it to the estimate.
    """
    if not right[1] or not wrong[1] or not right[0] + wrong[0]:
        return {"value": None, "ci95": None}
    added = NORMAL_95**2 / 2.0 if adjusted else 0.0
    (n_right, all_right), (n_wrong, all_wrong) = ((n + added, total + 2.0 * added) for n, total in (right, wrong))
    logit = prior_logit + math.log(n_right / all_right) - math.log(n_wrong / all_wrong)
    deviation = math.sqrt(1.0 / n_right - 1.0 / all_right + 1.0 / n_wrong - 1.0 / all_wrong)
    low, high = special.expit([logit - NORMAL_95 * deviation, logit + NORMAL_95 * deviation]).tolist()
    if not right[0] or not wrong[0]:
        value = 1.0 if right[0] else 0.0
    else:
        log_ratio = math.log(right[0] / right[1]) - math.log(wrong[0] / wrong[1])
        value = float(special.expit(prior_logit + log_ratio))
    return {"value": value, "ci95": [min(low, value), max(high, value)]}
