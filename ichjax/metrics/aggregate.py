"""Secondary metrics of a data set, from those of each scan: 'beyond' of results.json."""

from collections.abc import Sequence

import numpy as np

from ichjax.errors import InputError
from ichjax.metrics import calibration, roc, volume_agreement
from ichjax.metrics.lesions import MIN_LESION_ML
from ichjax.metrics.secondary_records import (
    DetectionCurves,
    Diameter,
    DiameterSide,
    LesionSize,
    ScanDetails,
    Seams,
    SecondaryMetrics,
    SurfaceSummary,
    ToBone,
    ToBoneCounts,
    TrueLesion,
)
from ichjax.metrics.statistics import or_none, summary

DIAMETER_LINE_MM = 10.0  # the paper: subjects with smaller hemorrhages scored 0
LESION_EDGES_ML = (MIN_LESION_ML, 0.5, 2.0, 10.0, 30.0)  # the last bin is open


def secondary_metrics(
    details: Sequence[ScanDetails], *, predicted_positive: Sequence[Sequence[bool]] | None = None, seed: int = 0
) -> SecondaryMetrics:
    """Aggregates the secondary metrics of a data set's scans.

    Args:
      details: of `per_scan.measure_scan`, one per subject.
      predicted_positive: per scan and slice, where another rule than the predicted area of the details decides (such as
        the literal 400 pixels); None for that of the details.
      seed: of the bootstrap.

    Returns:
      `slice_roc` and `scan_roc` over the scans that have scores, None where there is none or a class is missing;
      `froc` and `lesion_size` over components of at least 0.05 mL; `diameter` over slices with a hemorrhage; zeros in
      `false_positives_to_bone` where there are none; `seams` over all pairs of pixels, or None.

    Raises:
      InputError: there is no scan, `predicted_positive` does not fit, or the scans have different tolerances.
    """
    if not details:
        raise InputError("no scan has details; expected at least one to aggregate")
    if predicted_positive is None:
        predicted_positive = [[row["called"] for row in scan["slices"]] for scan in details]
    _check(details, predicted_positive)
    true_lesions = [lesion for scan in details for lesion in scan["lesions"]["truth"]]
    false_scores = [c["score"] for scan in details for c in scan["lesions"]["predicted"] if c["false_positive"]]
    volumes_ml = np.array([[scan["volume"]["truth_ml"], scan["volume"]["predicted_ml"]] for scan in details])
    scored = [scan for scan in details if scan["scan_score"] is not None]
    own = any(scan.get("own_scores") for scan in scored)
    own_scan = own or any(scan.get("own_scan_score") for scan in scored)
    bleeds = np.array([_has_hemorrhage(scan) for scan in scored], bool)
    rows = [row for scan in scored for row in scan["slices"]]
    return {
        "surface": _surface(details, seed=seed),
        "slice_roc": _curves(
            [row["score"] for row in rows], np.array([row["truth_px"] > 0 for row in rows], bool), own
        ),
        "scan_roc": _curves([scan["scan_score"] for scan in scored], bleeds, own_scan),
        "froc": roc.free_response([lesion["score"] for lesion in true_lesions], false_scores, scans=len(details)),
        "volume_agreement": volume_agreement.volume_agreement(volumes_ml[:, 0], volumes_ml[:, 1]),
        "calibration": calibration.reliability([scan["calibration"] for scan in details if scan["calibration"]]),
        "lesion_size": _lesion_size(true_lesions),
        "diameter": _diameter(details, predicted_positive),
        "false_positives_to_bone": _to_bone([scan["false_positives_to_bone"] for scan in details]),
        "seams": _seams([scan["seams"] for scan in details if scan["seams"]]),
    }


def _check(details: Sequence[ScanDetails], predicted_positive: Sequence[Sequence[bool]]) -> None:
    tolerances = sorted({scan["surface"]["tolerance_mm"] for scan in details})
    if len(tolerances) > 1:
        raise InputError(f"scans were scored with surface tolerances of {tolerances} mm; expected one for all")
    slices, given = [len(scan["slices"]) for scan in details], [len(row) for row in predicted_positive]
    if given != slices:
        raise InputError(f"'predicted_positive' has {given} slices; expected those of the scans, {slices}")


def _has_hemorrhage(scan: ScanDetails) -> bool:
    return any(row["truth_px"] for row in scan["slices"])


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """float64 [N], NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _surface(details: Sequence[ScanDetails], *, seed: int) -> SurfaceSummary:
    bleeds = np.array([_has_hemorrhage(scan) for scan in details])
    infinite = np.array([scan["surface"]["infinite"] for scan in details])
    dice = np.where(bleeds, _floats([scan["surface"]["dice"] for scan in details]), np.nan)
    hd95_mm = np.where(bleeds, _floats([scan["surface"]["hd95_mm"] for scan in details]), np.nan)
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


def _curves(scores: Sequence[float | None], truth: np.ndarray, own_scores: bool) -> DetectionCurves | None:
    curves = roc.detection_curves(_floats(scores), truth)
    if curves is not None and own_scores:
        curves["own_scores"] = True
    return curves


def _lesion_size(lesions: Sequence[TrueLesion]) -> LesionSize:
    ml, dice = _floats([lesion["ml"] for lesion in lesions]), _floats([lesion["dice"] for lesion in lesions])
    found = np.array([lesion["found"] for lesion in lesions], bool)
    # A lesion of exactly 0.05 mL may be rounded below it: the first bin has no lower bound.
    bins = np.searchsorted(LESION_EDGES_ML[1:], ml, side="right")
    edges_ml = enumerate(zip(LESION_EDGES_ML, (*LESION_EDGES_ML[1:], None), strict=True))
    return {
        "bins": [
            {
                "low_ml": low,
                "high_ml": high,
                "n": int((bins == i).sum()),
                "found": int(found[bins == i].sum()),
                "dice": _mean(dice[bins == i]),
            }
            for i, (low, high) in edges_ml
        ],
        "points": np.stack([ml, dice], axis=1).tolist(),
    }


def _diameter(details: Sequence[ScanDetails], predicted_positive: Sequence[Sequence[bool]]) -> Diameter:
    points: list[list[float]] = [
        [row["diameter_mm"], row["dice"], bool(positive)]
        for scan, positives in zip(details, predicted_positive, strict=True)
        for row, positive in zip(scan["slices"], positives, strict=True)
        if row["dice"] is not None
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 3)
    below = table[:, 0] < DIAMETER_LINE_MM
    return {
        "line_mm": DIAMETER_LINE_MM,
        "below": _diameter_side(table[below]),
        "above": _diameter_side(table[~below]),
        "points": points,
    }


def _diameter_side(table: np.ndarray) -> DiameterSide:
    return {"slices": len(table), "dice": _mean(table[:, 1]), "detected": _mean(table[:, 2])}


def _mean(values: np.ndarray) -> float | None:
    return or_none(values.mean()) if len(values) else None


def _to_bone(counts: Sequence[ToBoneCounts]) -> ToBone:
    predicted_px = np.sum([count["predicted_px"] for count in counts], axis=0)
    brain_px = np.sum([count["intracranial_px"] for count in counts], axis=0)
    return {
        "edges_mm": list(counts[0]["edges_mm"]),
        "share": (predicted_px / max(predicted_px.sum(), 1)).tolist(),
        "share_of_brain": (brain_px / max(brain_px.sum(), 1)).tolist(),
        "n_predicted_px": int(predicted_px.sum()),
    }


def _seams(seams: Sequence[Seams]) -> Seams | None:
    if not seams:
        return None
    across, n_across = _pooled_mean([(scan["across"], scan["n_across"]) for scan in seams])
    elsewhere, n_elsewhere = _pooled_mean([(scan["elsewhere"], scan["n_elsewhere"]) for scan in seams])
    return {"across": across, "n_across": n_across, "elsewhere": elsewhere, "n_elsewhere": n_elsewhere}


def _pooled_mean(means: Sequence[tuple[float | None, int]]) -> tuple[float | None, int]:
    """(mean over all values, their number), from the mean and number of each scan."""
    n = sum(count for _, count in means)
    total = sum(mean * count for mean, count in means if mean is not None)
    return total / n if n else None, n
