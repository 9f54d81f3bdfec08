"""Lesion-wise scores of a data set: F1 with one-to-one matching, recall under 1 mL, HD95 with a penalty for misses."""

from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.metrics.lesions import MIN_COVERED, MIN_LESION_ML
from ichjax.metrics.score_records import LesionWise, PenalizedHd95
from ichjax.metrics.secondary_records import ScanDetails
from ichjax.metrics.statistics import or_none, share, summary

SMALL_ML = 1.0
LESION_WISE_IN_WORDS: Mapping[str, str] = {
    "f1": (
        f"A lesion is a component of voxels that share at least a corner (26-neighborhood), of {MIN_LESION_ML:g} mL or "
        f"more; smaller ones are ignored in truth and prediction. A predicted lesion can be paired with a true one of "
        f"which it covers at least {100 * MIN_COVERED:g} % of the voxels, and each lesion has at most one partner "
        "(most pairs, then largest overlap). F1 is 2 pairs / (true + predicted lesions), over all scans at once."
    ),
    "f1_per_scan": "F1 of each scan that has a true or a predicted lesion, mean over these scans.",
    "recall": "The share of the true lesions that have a partner, over all scans at once.",
    "precision": "The share of the predicted lesions that have a partner, over all scans at once.",
    "recall_under_1_ml": "Recall of the true lesions of less than 1 mL.",
    "hd95_mm": (
        "95th percentile Hausdorff distance of each scan. Where exactly one of the masks is empty, the scan counts "
        "with a penalty, the diagonal of its image; where both are, with 0."
    ),
}


def lesion_wise(details: Sequence[ScanDetails], subjects: Sequence[int], *, seed: int = 0) -> LesionWise | None:
    """Lesion-wise scores of a data set, from the matched lesions and the surface distances of its scans.

    Args:
      details: of `per_scan.measure_scan`.
      subjects: the number of each scan's subject.
      seed: of the bootstrap.

    Returns:
      None if the details of a scan are of an older version, without matched lesions.
    """
    if any("diagonal_mm" not in scan for scan in details):
        return None
    hits, misses, alarms, small, small_hits = np.array([_counts(scan) for scan in details], np.int64).T
    hd95_mm = np.array([_penalized_hd95(scan) for scan in details])
    lesions = 2 * hits + misses + alarms
    f1 = np.where(lesions > 0, 2 * hits / np.maximum(lesions, 1), np.nan)
    return {
        "f1": share(2 * hits, lesions, seed=seed),
        "f1_per_scan": summary(f1, seed=seed),
        "recall": share(hits, hits + misses, seed=seed),
        "precision": share(hits, hits + alarms, seed=seed),
        "recall_under_1_ml": share(small_hits, small, seed=seed),
        "true_positives": int(hits.sum()),
        "false_negatives": int(misses.sum()),
        "false_positives": int(alarms.sum()),
        "hd95_mm": _summarize_hd95(details, hd95_mm, seed),
        "subjects": [
            {
                "subject": subject,
                "true_positives": int(hits[n]),
                "false_negatives": int(misses[n]),
                "false_positives": int(alarms[n]),
                "f1": or_none(f1[n]),
                "hd95_mm": float(hd95_mm[n]),
            }
            for n, subject in enumerate(subjects)
        ],
        "in_words": dict(LESION_WISE_IN_WORDS),
    }


def _counts(scan: ScanDetails) -> tuple[int, int, int, int, int]:
    """(pairs, true and predicted lesions without a partner, true lesions below `SMALL_ML`, those with a partner)."""
    truth, predicted = scan["lesions"]["truth"], scan["lesions"]["predicted"]
    hits = sum(lesion["matched"] for lesion in truth)
    small = [lesion["matched"] for lesion in truth if lesion["ml"] < SMALL_ML]
    return hits, len(truth) - hits, sum(not lesion["matched"] for lesion in predicted), len(small), sum(small)


def _penalized_hd95(scan: ScanDetails) -> float:
    surface = scan["surface"]
    if surface["hd95_mm"] is not None:
        return surface["hd95_mm"]
    return scan["diagonal_mm"] if surface["infinite"] else 0.0


def _summarize_hd95(details: Sequence[ScanDetails], hd95_mm: np.ndarray, seed: int) -> PenalizedHd95:
    bleeds = np.array([scan["volume"]["truth_ml"] > 0 for scan in details])
    one_empty = np.array([scan["surface"]["infinite"] for scan in details])
    diagonals_mm = [scan["diagonal_mm"] for scan in details]
    return {
        "hemorrhage": summary(hd95_mm[bleeds], seed=seed),
        "all_scans": summary(hd95_mm, seed=seed),
        "misses": int((one_empty & bleeds).sum()),
        "false_alarms": int((one_empty & ~bleeds).sum()),
        "both_empty": sum(scan["surface"]["dice"] is None for scan in details),
        "penalty_mm": [min(diagonals_mm), max(diagonals_mm)],
    }
