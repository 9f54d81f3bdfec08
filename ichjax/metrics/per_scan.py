"""Secondary metrics of one scan, ready for JSON; `aggregate` combines those of a data set."""

import numpy as np

from ichjax.errors import InputError
from ichjax.metrics import calibration, lesions, overlap, roc, slice_detection, statistics
from ichjax.metrics.secondary_records import ScanDetails, Seams, SliceDetails
from ichjax.metrics.surface import TOLERANCE_MM, bounding_box, surface
from ichjax.scan.volume import Volume


def measure_scan(
    truth: np.ndarray,
    prediction: np.ndarray,
    probability: np.ndarray | None,
    volume: Volume,
    *,
    rule_mm2: float,
    seams: tuple[int, int] | None = None,
    slice_scores: np.ndarray | None = None,
    scan_score: float | None = None,
) -> ScanDetails:
    """Computes all metrics of one scan that need its voxels.

    Args:
      truth, prediction: bool or uint8 of 0/1 [D, H, W].
      probability: uint8 [D, H, W], 255 is 1; None where there is none.
      volume: the scan, on the same grid.
      rule_mm2: a slice is predicted positive above this area.
      seams: (side, stride) of the patches in pixels of this grid, to measure the seams between them; None for none.
      slice_scores: float [D], how likely each slice has a hemorrhage, from a method with scores of its own. None scores
        a slice by its N-th largest probability, N the fewest pixels that exceed the rule.
      scan_score: how likely the scan has a hemorrhage, from a method with a score of its own. None takes the highest
        score of its slices.

    Returns:
      Scores, calibration and seams are None without probabilities; `own_scores` is True with `slice_scores`, and
      `own_scan_score` is there with `scan_score`.

    Raises:
      InputError: the arrays are not on the scan's grid, or a setting is out of range.
    """
    truth, prediction = _to_mask(truth, "the truth", volume), _to_mask(prediction, "the prediction", volume)
    if not np.isfinite(rule_mm2) or rule_mm2 < 0:
        raise InputError(f"the rule for positive slices is {rule_mm2} mm2; expected an area of at least 0")
    if probability is not None and (probability.shape != volume.shape or probability.dtype != np.uint8):
        raise InputError(
            f"{volume.name}: the probability is {probability.dtype} {probability.shape}; "
            f"expected uint8 {volume.shape}, 255 for 1"
        )
    matched, diameters_mm = lesions.match_lesions(
        truth, prediction, probability, pixel_ml=volume.pixel_ml, pixel_mm=volume.pixel_mm
    )
    pixel_mm2 = float(np.prod(volume.pixel_mm))
    scores = _slice_scores(slice_scores, probability, volume, roc.min_pixels_above(rule_mm2, pixel_mm2))
    slices = _slice_details(truth, prediction, scores, diameters_mm, pixel_mm2, rule_mm2)
    inside = calibration.intracranial(volume)
    details: ScanDetails = {
        "volume": {
            "truth_ml": float(volume.pixel_ml @ [row["truth_px"] for row in slices]),
            "predicted_ml": float(volume.pixel_ml @ [row["predicted_px"] for row in slices]),
        },
        "surface": {
            **surface(truth, prediction, volume.spacing_mm, tolerance_mm=TOLERANCE_MM),
            "tolerance_mm": TOLERANCE_MM,
        },
        "slices": slices,
        "scan_score": _scan_score(scan_score, scores, volume),
        "own_scores": slice_scores is not None,
        "lesions": matched,
        "calibration": None if probability is None else calibration.histogram(probability, truth, inside),
        "false_positives_to_bone": calibration.distance_to_bone(truth, prediction, inside, volume.pixel_mm),
        "seams": None if probability is None or seams is None else measure_seams(probability, *seams),
        "diagonal_mm": float(np.linalg.norm(np.multiply(volume.shape, volume.spacing_mm))),
    }
    if scan_score is not None:
        details["own_scan_score"] = True
    return details


def _to_mask(array: np.ndarray, what: str, volume: Volume) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != volume.shape:
        raise InputError(f"{volume.name}: {what} has the shape {array.shape}; expected the scan's, {volume.shape}")
    if array.dtype != bool and (array.dtype != np.uint8 or array.max(initial=0) > 1):
        raise InputError(f"{volume.name}: {what} is {array.dtype} up to {array.max()}; expected a mask of 0 and 1")
    return array.astype(bool, copy=False)


def _slice_scores(
    own_scores: np.ndarray | None, probability: np.ndarray | None, volume: Volume, rule_px: int
) -> list[float | None]:
    """How likely each slice has a hemorrhage; None without scores or probabilities."""
    if own_scores is not None:
        scores = np.asarray(own_scores, np.float64)
        if scores.shape != (len(volume.hu),) or not np.isfinite(scores).all():
            raise InputError(f"{volume.name}: slice scores of shape {scores.shape}; expected {len(volume.hu)} numbers")
        return scores.tolist()
    return [None] * len(volume.hu) if probability is None else roc.slice_scores(probability, rule_px).tolist()


def _scan_score(own_score: float | None, scores: list[float | None], volume: Volume) -> float | None:
    if own_score is None:
        return max((score for score in scores if score is not None), default=None)
    if not np.isfinite(own_score):
        raise InputError(f"{volume.name}: the scan's score is {own_score}; expected a number")
    return float(own_score)


def _slice_details(
    truth: np.ndarray,
    prediction: np.ndarray,
    scores: list[float | None],
    diameters_mm: np.ndarray,
    pixel_mm2: float,
    rule_mm2: float,
) -> list[SliceDetails]:
    truth_px, predicted_px, overlap_px = (
        np.array([np.count_nonzero(pixels) for pixels in mask]) for mask in (truth, prediction, truth & prediction)
    )
    dice = overlap.score_positive(overlap.dice, truth_px, predicted_px, overlap_px)
    predicted_positive = slice_detection.exceeds_rule(predicted_px, pixel_mm2, rule_mm2=rule_mm2)
    return [
        {
            "truth_px": int(truth_px[d]),
            "predicted_px": int(predicted_px[d]),
            "diameter_mm": float(diameters_mm[d]),
            "score": scores[d],
            "dice": statistics.or_none(dice[d]),
            "called": bool(predicted_positive[d]),
        }
        for d in range(len(truth))
    ]


def measure_seams(probability: np.ndarray, side: int, stride: int) -> Seams:
    """Mean absolute step of probability between neighboring pixels at patch edges and elsewhere (the paper: 'minimal').

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      side, stride: of the patches, in pixels; they begin at every multiple of the stride at which they fit.

    Returns:
      Steps in [0, 1] within slices, over pairs with p > 0.01 in at least one pixel; None where there is no pair.

    Raises:
      InputError: side or stride is not a positive number of pixels.
    """
    if side < 1 or stride < 1:
        raise InputError(f"patches of side {side} at stride {stride}; expected positive numbers of pixels")
    box = bounding_box(probability >= calibration.MIN_LEVEL)
    # One pixel wider, for the far side of the outermost pairs.
    box = (box[0], *(slice(max(edge.start - 1, 0), edge.stop + 1) for edge in box[1:]))
    crop = probability[box]
    total, n = np.zeros(2), np.zeros(2, np.int64)
    for axis in (1, 2):
        left, right = np.moveaxis(crop, axis, 0)[:-1], np.moveaxis(crop, axis, 0)[1:]
        counted = np.maximum(left, right) >= calibration.MIN_LEVEL
        steps = (np.maximum(left, right) - np.minimum(left, right)) * counted
        step = steps.sum(axis=(1, 2), dtype=np.int64) / 255.0
        pairs = counted.sum(axis=(1, 2))
        starts = np.arange(0, probability.shape[axis] - side + 1, stride)
        at_edge = np.isin(np.arange(len(step)) + box[axis].start + 1, np.concatenate([starts, starts + side]))
        for i, chosen in enumerate((at_edge, ~at_edge)):
            total[i] += step[chosen].sum()
            n[i] += pairs[chosen].sum()
    across, elsewhere = (float(t / k) if k else None for t, k in zip(total, n, strict=True))
    return {"across": across, "elsewhere": elsewhere, "n_across": int(n[0]), "n_elsewhere": int(n[1])}
