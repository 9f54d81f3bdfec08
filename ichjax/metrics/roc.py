"""ROC and precision-recall curves of slices and scans, and the free-response (FROC) curve of lesions."""

from collections.abc import Sequence

import numpy as np

from ichjax.metrics.secondary_records import Curve, DetectionCurves, Froc

MAX_POINTS = 200  # of a stored curve
SUBTYPES_IN_WORDS = (
    "Detection of each sub-type by the method's own scores against the labels: area under the ROC curve and average "
    "precision, over slices, and over scans by the method's score of the scan, or else by that of its highest slice; "
    "none where a class is missing."
)
FALSE_POSITIVES_PER_SCAN = (0.5, 1, 2, 4)  # at which the free-response curve is read off


def slice_scores(probability: np.ndarray, rule_px: int) -> np.ndarray:
    """The N-th largest probability of each slice, which exceeds a threshold exactly when at least N pixels do.

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      rule_px: N, at least 1: the fewest pixels that exceed the slice rule (`min_pixels_above`).

    Returns:
      float64 [D] in [0, 1]; 0 where a slice has fewer pixels.
    """
    levels = np.zeros(len(probability), np.int64)
    for d, pixels in enumerate(probability):
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):  # bisects the highest level that at least N pixels reach
            if np.count_nonzero(pixels >= np.uint8(levels[d] + bit)) >= rule_px:
                levels[d] += bit
    return levels / 255.0


def min_pixels_above(rule_mm2: float, pixel_mm2: float) -> int:
    """The fewest pixels whose area exceeds the rule, as in `slice_detection.exceeds_rule`."""
    pixels = max(int(rule_mm2 / pixel_mm2) - 1, 0)
    while pixels * pixel_mm2 <= rule_mm2:  # at most two steps, since the division may have rounded
        pixels += 1
    return pixels


def detection_curves(scores: np.ndarray, positive: np.ndarray) -> DetectionCurves | None:
    """ROC and precision-recall curve of scores, one point per distinct score (as in scikit-learn).

    Args:
      scores: float [N], high where a hemorrhage is likely.
      positive: bool [N], whether there is one.

    Returns:
      Curves of at most `MAX_POINTS` points from the strictest threshold to the loosest; area and average precision
      come from all points. None where a class is missing.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true_positives = positive[order].cumsum()[last_of_tie]
    predicted_positive = last_of_tie + 1
    recall = np.concatenate([[0.0], true_positives / positives])
    precision = np.concatenate([[1.0], true_positives / predicted_positive])
    false_rate = np.concatenate([[0.0], (predicted_positive - true_positives) / negatives])
    return {
        "roc": _thin_curve(false_rate, recall),
        "area": float(np.trapezoid(recall, false_rate)),
        "precision_recall": _thin_curve(recall, precision),
        "average_precision": float((np.diff(recall) * precision[1:]).sum()),
        "positives": positives,
        "negatives": negatives,
    }


def free_response(found_scores: Sequence[float | None], false_scores: Sequence[float], *, scans: int) -> Froc:
    """The free-response (FROC) curve: sensitivity for lesions against false positives per scan.

    A predicted component is kept at a threshold if its score, its largest probability, reaches it. A lesion is detected
    if the components kept cover at least 10 % of its voxels; a component kept that overlaps no true voxel is a false
    positive. The components are those of the mask at the reported threshold, so the curve ends there. False positives
    count in all scans, also in those without a hemorrhage.

    Args:
      found_scores: per lesion, the highest threshold at which it is still detected; None where it never is.
      false_scores: score of each false positive.
      scans: number of scans.

    Returns:
      The curve from the strictest threshold to the loosest, and the best sensitivity with at most 0.5, 1, 2 and 4
      false positives per scan; the curve is empty and sensitivities are None where there is no lesion.
    """
    detected = np.array([score for score in found_scores if score is not None])
    false = np.asarray(false_scores, dtype=np.float64)
    lesions = len(found_scores)
    curve: Curve = []
    at: dict[str, float | None] = dict.fromkeys(f"{x:g}" for x in FALSE_POSITIVES_PER_SCAN)
    if lesions and scans:
        thresholds = np.unique(np.concatenate([detected, false, [np.inf]]))[::-1]  # at infinity none is kept: (0, 0)
        sensitivity = (detected[None] >= thresholds[:, None]).sum(axis=1) / lesions
        false_per_scan = (false[None] >= thresholds[:, None]).sum(axis=1) / scans
        at = {f"{x:g}": float(sensitivity[false_per_scan <= x].max()) for x in FALSE_POSITIVES_PER_SCAN}
        curve = _thin_curve(false_per_scan, sensitivity)
    return {"curve": curve, "at": at, "lesions": lesions, "found": len(detected), "false_positives": len(false)}


def _thin_curve(x: np.ndarray, y: np.ndarray) -> Curve:
    """At most `MAX_POINTS` [x, y] of a curve (float [N] each), evenly spaced along its drawn length, ends included."""
    keep = np.arange(len(x))
    if len(x) > MAX_POINTS:
        width, height = max(np.ptp(x), 1e-12), max(np.ptp(y), 1e-12)
        length = np.concatenate([[0.0], (np.abs(np.diff(x)) / width + np.abs(np.diff(y)) / height).cumsum()])
        keep = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], MAX_POINTS)).clip(max=len(x) - 1))
        keep[0], keep[-1] = 0, len(x) - 1
    return [[float(a), float(b)] for a, b in zip(x[keep], y[keep], strict=True)]
