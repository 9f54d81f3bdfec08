"""What the details of all scans (`scan_details`) say together: one dictionary ready for JSON."""

from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.errors import InputError
from ichjax.metrics import calibration, roc, volume_agreement
from ichjax.metrics.lesions import LEAST_ML
from ichjax.metrics.statistics import or_none, summary

LINE_MM = 10.0  # the paper: subjects with bleeds below it scored 0
LESION_EDGES_ML = (LEAST_ML, 0.5, 2.0, 10.0, 30.0)  # the last bin is open


def secondary_metrics(
    details: Sequence[Mapping], *, called: Sequence[Sequence[bool]] | None = None, seed: int = 0
) -> dict:
    """Sums up the details of a data set.

    Args:
      details: of `per_scan.scan_details`, one a subject.
      called: for each scan, which of its slices are called positive, where another rule decides than the predicted
        area of the details (the literal 400 pixels, say); None for that of the details.
      seed: of the bootstrap.

    Returns:
      'surface': {'tolerance_mm', 'dice': `statistics.summary`, 'hd95_mm': {summary of the finite values, 'median',
        'infinite'}, 'false_alarms'}: Dice and HD95 over scans with a hemorrhage; 'infinite' counts those of them with
        an empty prediction, 'false_alarms' the scans without one that have a predicted voxel
      'slice_roc', 'scan_roc': `roc.detection_curves` over the scans that have probabilities; None where there
        is no such scan or a class is missing; with 'own_scores' where the method scores slices itself
      'froc': `roc.free_response`, over components of at least 0.05 mL
      'volume_agreement': `volume_agreement.volume_agreement` over all scans
      'calibration': `calibration.reliability`, or None
      'lesion_size': {'bins': [{'low_ml', 'high_ml', 'n', 'found', 'dice'}], 'points': [[ml, dice]]}: how many lesions
        of that size there are and how many are found, and their mean Dice; the last bin's 'high_ml' is None
      'diameter': {'line_mm', 'below': {'slices', 'dice', 'detected'}, 'above', 'points': [[diameter_mm, dice,
        detected]]} over slices with a hemorrhage: mean Dice, and the share called positive; a slice on the line
        is above
      'false_positives_to_bone': {'edges_mm', 'share', 'share_of_brain', 'n_predicted_px'}: the share of false
        positives, and of the intracranial space outside the truth, in each range of distances to the inner table;
        zeros where there are none
      'seams': {'across', 'elsewhere', 'n_across', 'n_elsewhere'}, means over all pairs of pixels, or None.

    Raises:
      InputError: there is no scan, `called` does not fit, or the scans have different tolerances.
    """
    if not details:
        raise InputError("no scan has details; expected at least one to sum up")
    _check(details, called)
    if called is None:
        called = [[row["called"] for row in scan["slices"]] for scan in details]
    true_lesions = [lesion for scan in details for lesion in scan["lesions"]["truth"]]
    false_positives = [c for scan in details for c in scan["lesions"]["predicted"] if c["false_positive"]]
    volumes = np.array([[scan["volume"]["truth_ml"], scan["volume"]["predicted_ml"]] for scan in details])
    histograms = [scan["calibration"] for scan in details if scan["calibration"]]
    return {
        "surface": _surface(details, seed=seed),
        **_detection(details),
        "froc": roc.free_response(
            [lesion["score"] for lesion in true_lesions], [c["score"] for c in false_positives], scans=len(details)
        ),
        "volume_agreement": volume_agreement.volume_agreement(volumes[:, 0], volumes[:, 1]),
        "calibration": calibration.reliability(histograms),
        "lesion_size": _lesion_size(true_lesions),
        "diameter": _diameter(details, called),
        "false_positives_to_bone": _to_bone([scan["false_positives_to_bone"] for scan in details]),
        "seams": _seams([scan["seams"] for scan in details if scan["seams"]]),
    }


def _check(details: Sequence[Mapping], called: Sequence | None) -> None:
    tolerances = sorted({scan["surface"]["tolerance_mm"] for scan in details})
    if len(tolerances) > 1:
        raise InputError(f"scans were scored with surface tolerances of {tolerances} mm; expected one for all")
    slices = [len(scan["slices"]) for scan in details]
    if called is not None and [len(row) for row in called] != slices:
        raise InputError(f"'called' has {[len(row) for row in called]} slices; the scans have {slices}")


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """float64 [N], NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _surface(details: Sequence[Mapping], *, seed: int) -> dict:
    bleeds = np.array([any(row["truth_px"] for row in scan["slices"]) for scan in details])
    infinite = np.array([scan["surface"]["infinite"] for scan in details])
    dice, hd95_mm = (
        np.where(bleeds, _floats([scan["surface"][key] for scan in details]), np.nan) for key in ("dice", "hd95_mm")
    )
    finite = hd95_mm[~np.isnan(hd95_mm)]
    return {
        "tolerance_mm": details[0]["surface"]["tolerance_mm"],
        "dice": summary(dice, seed=seed),
        "hd95_mm": {
            **summary(hd95_mm, seed=seed),
            "median": float(np.median(finite)) if len(finite) else None,
            "infinite": int((infinite & bleeds).sum()),
        },
        "false_alarms": int((infinite & ~bleeds).sum()),
    }


def _detection(details: Sequence[Mapping]) -> dict:
    scored = [scan for scan in details if scan["scan_score"] is not None]
    rows = [row for scan in scored for row in scan["slices"]]
    truth = np.array([row["truth_px"] > 0 for row in rows], bool)
    bleeds = np.array([any(row["truth_px"] for row in scan["slices"]) for scan in scored], bool)
    found = {
        "slice_roc": roc.detection_curves(_floats([row["score"] for row in rows]), truth),
        "scan_roc": roc.detection_curves(_floats([scan["scan_score"] for scan in scored]), bleeds),
    }
    own = {"own_scores": True} if any(scan.get("own_scores") for scan in scored) else {}
    return {name: None if curve is None else {**curve, **own} for name, curve in found.items()}


def _lesion_size(lesions: Sequence[Mapping]) -> dict:
    ml, dice = (_floats([lesion[key] for lesion in lesions]) for key in ("ml", "dice"))
    found = np.array([lesion["found"] for lesion in lesions], bool)
    # Lesions of just 0.05 mL may be a rounding below it: the first bin has no lower bound.
    bins = np.searchsorted(LESION_EDGES_ML[1:], ml, side="right")
    rows = []
    for i, (low, high) in enumerate(zip(LESION_EDGES_ML, (*LESION_EDGES_ML[1:], None), strict=True)):
        mine = bins == i
        rows.append(
            {
                "low_ml": low,
                "high_ml": high,
                "n": int(mine.sum()),
                "found": int(found[mine].sum()),
                "dice": _mean(dice[mine]),
            }
        )
    return {"bins": rows, "points": np.stack([ml, dice], axis=1).tolist()}


def _diameter(details: Sequence[Mapping], called: Sequence[Sequence[bool]]) -> dict:
    points = [
        [row["diameter_mm"], row["dice"], bool(positive)]
        for scan, calls in zip(details, called, strict=True)
        for row, positive in zip(scan["slices"], calls, strict=True)
        if row["truth_px"]
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 3)
    below = table[:, 0] < LINE_MM
    sides = {
        name: {"slices": len(rows), "dice": _mean(rows[:, 1]), "detected": _mean(rows[:, 2])}
        for name, rows in (("below", table[below]), ("above", table[~below]))
    }
    return {"line_mm": LINE_MM, **sides, "points": points}


def _mean(values: np.ndarray) -> float | None:
    return or_none(values.mean()) if len(values) else None


def _to_bone(counts: Sequence[Mapping]) -> dict:
    predicted_px, brain_px = (
        np.sum([count[key] for count in counts], axis=0) for key in ("predicted_px", "intracranial_px")
    )
    return {
        "edges_mm": list(counts[0]["edges_mm"]),
        "share": (predicted_px / max(predicted_px.sum(), 1)).tolist(),
        "share_of_brain": (brain_px / max(brain_px.sum(), 1)).tolist(),
        "n_predicted_px": int(predicted_px.sum()),
    }


def _seams(steps: Sequence[Mapping]) -> dict | None:
    if not steps:
        return None
    figures = {}
    for name in ("across", "elsewhere"):
        n = np.array([step[f"n_{name}"] for step in steps])
        total = sum(step[name] * step[f"n_{name}"] for step in steps if step[name] is not None)
        figures |= {name: float(total / n.sum()) if n.sum() else None, f"n_{name}": int(n.sum())}
    return figures
