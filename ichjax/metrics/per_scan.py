"""Everything beyond overlap that one scan says, as one dictionary ready for JSON; `beyond` sums it over a data set."""

import numpy as np

from ichjax.errors import InputError
from ichjax.metrics import calibration, lesions, overlap, roc, slice_detection, statistics
from ichjax.metrics.surface import TOLERANCE_MM, bounding_box, surface
from ichjax.scan.volume import Volume


def scan_details(
    truth: np.ndarray,
    prediction: np.ndarray,
    probability: np.ndarray | None,
    volume: Volume,
    *,
    rule_mm2: float,
    seams: tuple[int, int] | None = None,
    slice_scores: np.ndarray | None = None,
) -> dict:
    """Scores one scan in every way that needs its voxels.

    Args:
      truth, prediction: bool or uint8 of 0/1 [D, H, W].
      probability: uint8 [D, H, W], 255 is 1; None where there is none.
      volume: the scan, of the same grid.
      rule_mm2: a slice is called positive above this predicted area.
      seams: (side, stride) of the patches in pixels of this grid, to look for seams between them; None for none.
      slice_scores: float [D], how likely each slice has a hemorrhage, from a method that says so itself; None to take
        them from the probability.

    Returns:
      'volume': {'truth_ml', 'predicted_ml'}
      'surface': {'dice', 'hd95_mm', 'infinite', 'tolerance_mm'} (`surface.surface`)
      'slices': [{'truth_px', 'predicted_px', 'diameter_mm', 'score', 'dice', 'called'}]: largest Feret diameter of
        the truth's components in the slice, 0 without; the method's own score, or else the N-th largest probability, N
        the fewest pixels that exceed the rule, or None without either; Dice, None where the truth is empty; whether
        the predicted area exceeds the rule
      'scan_score': the largest score of a slice, or None
      'own_scores': True where the scores are the method's own
      'lesions': {'truth': [...], 'predicted': [...]} (`lesions.find`)
      'calibration': {'n', 'probability_sum', 'positive'} (`calibration.histogram`), None without probabilities
      'false_positives_to_bone': {'edges_mm', 'predicted_px', 'intracranial_px'} (`calibration.to_bone`)
      'seams': `seam_steps`, None where not asked for or without probabilities.

    Raises:
      InputError: the arrays do not lie on the scan's grid, or a setting is out of range.
    """
    truth, prediction = _mask(truth, "the truth", volume), _mask(prediction, "the prediction", volume)
    if not np.isfinite(rule_mm2) or rule_mm2 < 0:
        raise InputError(f"the rule for positive slices is {rule_mm2} mm2; expected an area from 0 on")
    if probability is not None and (probability.shape != volume.shape or probability.dtype != np.uint8):
        raise InputError(
            f"{volume.name}: the probability is {probability.dtype} {probability.shape}; "
            f"expected uint8 {volume.shape}, 255 for 1"
        )
    found, diameters_mm = lesions.find(
        truth, prediction, probability, pixel_ml=volume.pixel_ml, pixel_mm=volume.pixel_mm
    )
    pixel_mm2 = np.prod(volume.pixel_mm)
    scores = _scores(slice_scores, probability, volume, roc.pixels_above(rule_mm2, pixel_mm2))
    slices = _slices(truth, prediction, scores, diameters_mm, pixel_mm2, rule_mm2)
    inside = calibration.intracranial(volume)
    return {
        "volume": {
            "truth_ml": float(volume.pixel_ml @ [row["truth_px"] for row in slices]),
            "predicted_ml": float(volume.pixel_ml @ [row["predicted_px"] for row in slices]),
        },
        "surface": {
            **surface(truth, prediction, volume.spacing_mm, tolerance_mm=TOLERANCE_MM),
            "tolerance_mm": TOLERANCE_MM,
        },
        "slices": slices,
        "scan_score": None if scores[0] is None else max(scores),
        "own_scores": slice_scores is not None,
        "lesions": found,
        "calibration": None if probability is None else calibration.histogram(probability, truth, inside),
        "false_positives_to_bone": calibration.to_bone(truth, prediction, inside, volume.pixel_mm),
        "seams": None if probability is None or seams is None else seam_steps(probability, *seams),
    }


def _mask(array: np.ndarray, what: str, volume: Volume) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != volume.shape:
        raise InputError(f"{volume.name}: {what} has the shape {array.shape}; expected the scan's, {volume.shape}")
    if array.dtype != bool and (array.dtype != np.uint8 or array.max(initial=0) > 1):
        raise InputError(f"{volume.name}: {what} is {array.dtype} up to {array.max()}; expected a mask of 0 and 1")
    return array.astype(bool, copy=False)


def _scores(slice_scores, probability, volume: Volume, pixels: int) -> list[float | None]:
    """How likely each slice has a hemorrhage; None for each where nothing says so."""
    if slice_scores is not None:
        scores = np.asarray(slice_scores, np.float64)
        if scores.shape != (len(volume.hu),) or not np.isfinite(scores).all():
            raise InputError(f"{volume.name}: slice scores of shape {scores.shape}; expected {len(volume.hu)} numbers")
        return scores.tolist()
    return [None] * len(volume.hu) if probability is None else roc.slice_scores(probability, pixels).tolist()


def _slices(truth, prediction, scores, diameters_mm, pixel_mm2: float, rule_mm2: float) -> list[dict]:
    """One row a slice; arguments as in `scan_details`."""
    truth_px, predicted_px, both_px = (
        np.array([np.count_nonzero(pixels) for pixels in mask]) for mask in (truth, prediction, truth & prediction)
    )
    dice = overlap.with_hemorrhage(overlap.dice, truth_px, predicted_px, both_px)
    called = slice_detection.called_positive(predicted_px, pixel_mm2, rule_mm2=rule_mm2)
    return [
        {
            "truth_px": int(truth_px[d]),
            "predicted_px": int(predicted_px[d]),
            "diameter_mm": float(diameters_mm[d]),
            "score": scores[d],
            "dice": statistics.or_none(dice[d]),
            "called": bool(called[d]),
        }
        for d in range(len(truth))
    ]


def seam_steps(probability: np.ndarray, side: int, stride: int) -> dict:
    """How much the probability jumps where patches begin or end, and elsewhere (the paper: 'minimal').

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      side, stride: of the patches, in pixels; they begin at the multiples of the stride at which they fit.

    Returns:
      {'across', 'elsewhere', 'n_across', 'n_elsewhere'}: mean absolute difference, in [0, 1], of neighbouring pixels
      of a slice on either side of the edge of any patch, and of the others; only pairs with p > 0.01 on at least
      one side count. None where there is no pair.

    Raises:
      InputError: side or stride is not a positive number of pixels.
    """
    if side < 1 or stride < 1:
        raise InputError(f"patches of side {side} at stride {stride}; expected positive numbers of pixels")
    box = bounding_box(probability >= calibration.LEAST_LEVEL)
    # With the pixels around it: the far side of the outermost pairs.
    box = (box[0], *(slice(max(edge.start - 1, 0), edge.stop + 1) for edge in box[1:]))
    cut = probability[box]
    total, n = np.zeros(2), np.zeros(2, np.int64)
    for axis in (1, 2):
        low, high = np.moveaxis(cut, axis, 0)[:-1], np.moveaxis(cut, axis, 0)[1:]
        counted = np.maximum(low, high) >= calibration.LEAST_LEVEL
        step = ((np.maximum(low, high) - np.minimum(low, high)) * counted).sum(axis=(1, 2), dtype=np.int64) / 255.0
        pairs = counted.sum(axis=(1, 2))
        starts = np.arange(0, probability.shape[axis] - side + 1, stride)
        edge = np.isin(np.arange(len(step)) + box[axis].start + 1, np.concatenate([starts, starts + side]))
        for i, chosen in enumerate((edge, ~edge)):
            total[i] += step[chosen].sum()
            n[i] += pairs[chosen].sum()
    across, elsewhere = (float(t / k) if k else None for t, k in zip(total, n, strict=True))
    return {"across": across, "elsewhere": elsewhere, "n_across": int(n[0]), "n_elsewhere": int(n[1])}
