"""ROC and precision-recall curves of slices and scans, and the free-response curve of lesions."""

from collections.abc import Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES

MOST_POINTS = 200  # of a curve that is stored
SUBTYPES_IN_WORDS = (
    "Detection of each sub-type by the method's own scores against the labels: area under the ROC curve and average "
    "precision, over slices, and over scans by their highest score; none where a class is missing."
)
FALSE_POSITIVES_A_SCAN = (0.5, 1, 2, 4)  # where the free-response curve is read off


def slice_scores(probability: np.ndarray, rule_px: int) -> np.ndarray:
    """The N-th largest probability of each slice: more than N - 1 pixels lie above t if and only if it does.

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      rule_px: N, at least 1: the fewest pixels that exceed the rule (`pixels_above`).

    Returns:
      float64 [D] in [0, 1]; 0 where a slice has fewer pixels.
    """
    levels = np.zeros(len(probability), np.int64)
    for d, pixels in enumerate(probability):
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):  # the highest level that at least N pixels reach, by bisection
            if np.count_nonzero(pixels >= np.uint8(levels[d] + bit)) >= rule_px:
                levels[d] += bit
    return levels / 255.0


def pixels_above(rule_mm2: float, pixel_mm2: float) -> int:
    """The fewest pixels whose area exceeds the rule, as `slice_detection.called_positive` decides it."""
    pixels = max(int(rule_mm2 / pixel_mm2) - 1, 0)
    while pixels * pixel_mm2 <= rule_mm2:  # at most twice more; the division may have been rounded
        pixels += 1
    return pixels


def detection_curves(scores: np.ndarray, positive: np.ndarray) -> dict | None:
    """ROC and precision-recall curve of scores, ties taken together (as in scikit-learn).

    Args:
      scores: float [N], high where the model sees a hemorrhage.
      positive: bool [N], where there is one.

    Returns:
      {'roc': [[false positive rate, sensitivity]], 'area', 'precision_recall': [[recall, precision]],
      'average_precision', 'positives', 'negatives'}, each curve of at most `MOST_POINTS` points from the strictest
      threshold to the loosest; area and average precision come from the whole curve. None where a class is missing.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = positive[order].cumsum()[last_of_tie]
    called = last_of_tie + 1
    recall = np.concatenate([[0.0], hits / positives])
    precision = np.concatenate([[1.0], hits / called])
    false_rate = np.concatenate([[0.0], (called - hits) / negatives])
    return {
        "roc": thin(false_rate, recall),
        "area": float(np.trapezoid(recall, false_rate)),
        "precision_recall": thin(recall, precision),
        "average_precision": float((np.diff(recall) * precision[1:]).sum()),
        "positives": positives,
        "negatives": negatives,
    }


def subtype_detection(scores: Sequence[Sequence], labels: Sequence[Sequence]) -> dict:
    """Detection of each sub-type, in slices and in scans.

    Args:
      scores: of each scan, float [D][5]: how likely each slice has each sub-type; a scan's score is its highest.
      labels: of each scan, bool [D][5].

    Returns:
      {sub-type: {'slices', 'scans': {'area', 'average_precision', 'positives', 'negatives'} as `detection_curves`, or
      None where a class is missing}}.
    """
    scans = [(np.asarray(s, np.float64), np.asarray(t, bool)) for s, t in zip(scores, labels, strict=True)]
    of_slices = [np.concatenate(arrays) for arrays in zip(*scans, strict=True)]
    of_scans = [np.stack([array.max(axis=0) for array in arrays]) for arrays in zip(*scans, strict=True)]
    units = {"slices": of_slices, "scans": of_scans}
    return {
        name: {unit: _summary(detection_curves(s[:, k], t[:, k])) for unit, (s, t) in units.items()}
        for k, name in enumerate(SUBTYPES)
    }


def _summary(curves: dict | None) -> dict | None:
    """Detection curves without the curves."""
    keys = ("area", "average_precision", "positives", "negatives")
    return None if curves is None else {key: curves[key] for key in keys}


def free_response(found_scores: Sequence[float | None], false_scores: Sequence[float], *, scans: int) -> dict:
    """The free-response (FROC) curve: how many lesions are found at how many false positives a scan.

    Every predicted component is held to a threshold: its score, the largest probability in it, must reach it. At
    each threshold a lesion is found when the components that are left cover at least 10 % of its voxels, and every
    component left that overlaps no true voxel is a false positive. The components are those of the mask at the
    reported threshold, so the curve ends there. False positives are counted over all scans, also those without a
    hemorrhage.

    Args:
      found_scores: of each lesion, the highest threshold at which it is still found; None where it never is.
      false_scores: of each false positive.
      scans: how many scans there are.

    Returns:
      {'curve': [[false positives a scan, sensitivity]] from the strictest threshold to the loosest, 'at': {'0.5',
      '1', '2', '4': the best sensitivity with at most that many false positives a scan}, 'lesions', 'found',
      'false_positives'}; the curve is empty and sensitivities are None where there is no lesion.
    """
    found = np.array([score for score in found_scores if score is not None])
    false = np.asarray(false_scores, dtype=np.float64)
    lesions = len(found_scores)
    summary = {"lesions": lesions, "found": len(found), "false_positives": len(false)}
    if not lesions or not scans:
        return {"curve": [], "at": {f"{x:g}": None for x in FALSE_POSITIVES_A_SCAN}, **summary}
    thresholds = np.unique(np.concatenate([found, false, [np.inf]]))[::-1]  # infinity: nothing is left, (0, 0)
    sensitivity = (found[None] >= thresholds[:, None]).sum(axis=1) / lesions
    false_a_scan = (false[None] >= thresholds[:, None]).sum(axis=1) / scans
    at = {f"{x:g}": float(sensitivity[false_a_scan <= x].max()) for x in FALSE_POSITIVES_A_SCAN}
    return {"curve": thin(false_a_scan, sensitivity), "at": at, **summary}


def thin(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """At most `MOST_POINTS` [x, y] of a curve (float [N] each), evenly along its length on the page, ends included."""
    keep = np.arange(len(x))
    if len(x) > MOST_POINTS:
        wide, high = max(np.ptp(x), 1e-12), max(np.ptp(y), 1e-12)
        length = np.concatenate([[0.0], (np.abs(np.diff(x)) / wide + np.abs(np.diff(y)) / high).cumsum()])
        keep = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], MOST_POINTS)).clip(max=len(x) - 1))
        keep[0], keep[-1] = 0, len(x) - 1
    return [[float(a), float(b)] for a, b in zip(x[keep], y[keep], strict=True)]
