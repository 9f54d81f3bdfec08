"""Agreement of hemorrhage volumes: Bland and Altman's limits, and Lin's concordance."""

import numpy as np

from ichjax.metrics.statistics import or_none

LIMITS_SD = 1.96  # the limits of agreement hold about 95 % of the differences, were they normal


def volume_agreement(truth_ml: np.ndarray, predicted_ml: np.ndarray) -> dict:
    """How predicted volumes agree with true ones, one pair a scan.

    Args:
      truth_ml, predicted_ml: float [N], mL.

    Returns:
      {'bias_ml': mean of predicted less true, 'sd_ml': SD of the differences (over n - 1), 'limits_ml': [bias less
      1.96 SD, bias plus 1.96 SD] (Bland and Altman, Lancet 1986), 'concordance': Lin's coefficient (Biometrics 1989,
      moments over n), 'n', 'points': [[true, predicted]]}. SD and limits are None below two scans, the bias below
      one; the concordance where neither volume varies and the means agree, or below two scans.
    """
    truth_ml, predicted_ml = (np.asarray(ml, dtype=np.float64) for ml in (truth_ml, predicted_ml))
    n = len(truth_ml)
    difference = predicted_ml - truth_ml
    bias = float(difference.mean()) if n else None
    sd = float(difference.std(ddof=1)) if n > 1 else None
    return {
        "bias_ml": bias,
        "sd_ml": sd,
        "limits_ml": None if sd is None else [bias - LIMITS_SD * sd, bias + LIMITS_SD * sd],
        "concordance": concordance(truth_ml, predicted_ml),
        "n": n,
        "points": np.stack([truth_ml, predicted_ml], axis=1).tolist(),
    }


def concordance(a: np.ndarray, b: np.ndarray) -> float | None:
    """Lin's concordance correlation coefficient: 2 cov / (var + var + (difference of means)^2), moments over n.

    Args:
      a, b: float [N].
    """
    if len(a) < 2:
        return None
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return or_none(2 * ((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else None
