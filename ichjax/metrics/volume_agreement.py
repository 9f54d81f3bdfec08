"""Agreement of predicted and true hemorrhage volumes: Bland-Altman limits and Lin's concordance coefficient."""

import numpy as np

from ichjax.metrics.secondary_records import VolumeAgreement
from ichjax.metrics.statistics import or_none

LIMITS_SD = 1.96  # the limits of agreement hold about 95 % of normally distributed differences


def volume_agreement(truth_ml: np.ndarray, predicted_ml: np.ndarray) -> VolumeAgreement:
    """Agreement of predicted with true volumes, one pair per scan.

    Args:
      truth_ml, predicted_ml: float [N], mL.

    Returns:
      `bias_ml` is the mean of predicted - true, `sd_ml` the SD of the differences (over n - 1), `limits_ml` bias -/+
      1.96 SD (Bland and Altman, Lancet 1986), `concordance` as in `concordance`. The bias is None without a scan; SD
      and limits are None below two.
    """
    truth_ml, predicted_ml = (np.asarray(ml, dtype=np.float64) for ml in (truth_ml, predicted_ml))
    n = len(truth_ml)
    difference = predicted_ml - truth_ml
    bias = float(difference.mean()) if n else np.nan
    sd = float(difference.std(ddof=1)) if n > 1 else np.nan
    return {
        "bias_ml": bias if n else None,
        "sd_ml": sd if n > 1 else None,
        "limits_ml": [bias - LIMITS_SD * sd, bias + LIMITS_SD * sd] if n > 1 else None,
        "concordance": concordance(truth_ml, predicted_ml),
        "n": n,
        "points": np.stack([truth_ml, predicted_ml], axis=1).tolist(),
    }


def concordance(a: np.ndarray, b: np.ndarray) -> float | None:
    """Lin's concordance correlation coefficient, 2 cov / (var + var + (difference of means)^2), moments over n.

    Lin, Biometrics 45 (1989). None below two values, and where neither varies and the means agree.

    Args:
      a, b: float [N].
    """
    if len(a) < 2:
        return None
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return or_none(2 * ((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else None
