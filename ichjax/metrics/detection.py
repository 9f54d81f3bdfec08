"""Detection of a data set: slices, scans and sub-types by their scores, and lesions that the prediction touches."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import calibration
from ichjax.metrics.confusion import subtype_confusion
from ichjax.metrics.detection_intervals import (
    CURVE_RESAMPLES,
    MIN_SCANS_OF_CLASS,
    curve_figures,
    delong_interval,
    resampled_intervals,
)
from ichjax.metrics.detection_records import DetectionScores, FigureWithInterval, ScanCalibration, Unit, UnitDetection
from ichjax.metrics.lesions import MIN_LESION_ML
from ichjax.metrics.records import ScoreRow
from ichjax.metrics.secondary_records import DetectionFigures, ScanDetails, SubtypeDetection
from ichjax.metrics.statistics import MIN_SUBJECTS, Share, bootstrap_intervals, share

SCAN_BINS = 5  # of the reliability of scan scores: a test set has tens of scans
DETECTION_IN_WORDS: Mapping[str, str] = {
    "auc": (
        "Area under the ROC curve: the probability that one with a hemorrhage (or the sub-type) scores higher than one "
        "without. 95 % intervals: of scans by DeLong's variance on the logit scale; of slices, which are alike within "
        f"a scan, by a bootstrap over scans ({CURVE_RESAMPLES} resamples), like those of all other figures here. No "
        f"interval with fewer than {MIN_SUBJECTS} scans, or fewer than {MIN_SCANS_OF_CLASS} with or without a "
        "positive, or where it would have no width."
    ),
    "average_precision": (
        "The mean precision over the recalls of all thresholds. A ranking by chance has the share of positives."
    ),
    "sensitivity_at_90_specificity": (
        "The highest sensitivity of the thresholds with a specificity of at least 90 %. The threshold is read off the "
        "tested scans themselves, so this describes the curve; a threshold fixed beforehand would usually do worse."
    ),
    "specificity_at_90_sensitivity": "The same with the two rates exchanged.",
    "calibration": (
        "Scan scores as probabilities: Brier score (mean squared error) and expected calibration error (mean distance "
        f"of score and frequency in {SCAN_BINS} equal bins, weighted by scans); none if a score is outside [0, 1]. A "
        "scan's score is the method's own if it has one, else that of its highest slice, which tends to overstate."
    ),
    "lesions_touched": (
        "The share of the true lesions with at least one voxel in the predicted mask, that is, above the fitted "
        "threshold and after post-processing (as Lee et al. 2019 count bleeding points under attention). A lesion is a "
        f"26-connected component of at least {MIN_LESION_ML:g} mL. A mask of everything touches all of them."
    ),
    "components_on_lesions": (
        f"The share of the predicted components of at least {MIN_LESION_ML:g} mL that have a voxel in common with the "
        "truth."
    ),
    "confusion": (
        "Of the slices and scans with exactly one true sub-type: the sub-type with the highest score. Several that "
        "share the highest score leave it undecided, which counts as wrong."
    ),
}


class _Scores(NamedTuple):
    """The scores of one scan with D slices.

    Attributes:
      slices: float [D, 6], sub-types and any hemorrhage; NaN where there is none.
      scan: float [6].
      true_slices: bool [D, 6].
    """

    slices: np.ndarray
    scan: np.ndarray
    true_slices: np.ndarray


def detection_scores(rows: Sequence[ScoreRow], *, seed: int = 0) -> DetectionScores:
    """Every detection score of a data set.

    Args:
      rows: of `experiment.scoring.score_scan`, at least one.
      seed: of the bootstrap.

    Returns:
      See `DetectionScores`. Scans without scores are left out of what needs them. A hemorrhage is true by the mask, a
      sub-type by the labels of slices.
    """
    scans = [_scores(row) for row in rows]
    details = [row["details"] for row in rows]
    slices, whole = _of_slices(scans, seed=seed), _of_scans(scans, seed=seed)
    result: DetectionScores = {
        "slices": slices,
        "scans": whole,
        "ranked_by": _ranked_by(rows),
        "lesions_touched": _lesions_touched(details, seed=seed),
        "components_on_lesions": _components_on_lesions(details, seed=seed),
        "in_words": dict(DETECTION_IN_WORDS),
    }
    if confusion := _confusion(scans, seed=seed):
        result["confusion"] = confusion
    return result


def subtype_figures(scores: DetectionScores) -> dict[str, SubtypeDetection]:
    """Area and average precision of each sub-type, without intervals; empty for a method that scores none."""
    return {
        name: {"slices": _figures(scores["slices"].get(name)), "scans": _figures(scores["scans"].get(name))}
        for name in SUBTYPES
        if name in scores["slices"] or name in scores["scans"]
    }


def _figures(unit: UnitDetection | None) -> DetectionFigures | None:
    if unit is None:
        return None
    return {
        "area": unit["auc"]["value"],
        "average_precision": unit["average_precision"]["value"],
        "positives": unit["positives"],
        "negatives": unit["negatives"],
    }


def _scores(row: ScoreRow) -> _Scores:
    slices = row["details"]["slices"]
    of_any = np.array([[np.nan if s["score"] is None else s["score"]] for s in slices], np.float64)
    of_subtypes = np.array(row.get("subtype_scores", np.full((len(slices), len(SUBTYPES)), np.nan)), np.float64)
    by_slice = np.concatenate([of_subtypes, of_any], axis=1)
    own = np.array([np.nan if x is None else x for x in row.get("scan_scores", [None] * 6)], np.float64)
    scan = np.where(np.isnan(own), by_slice.max(axis=0), own)
    bleeds = np.array([[s["truth_px"] > 0] for s in slices])
    labels = np.array(row["slice_labels"], bool).reshape(-1, len(SUBTYPES))
    return _Scores(by_slice, scan, np.concatenate([labels, bleeds], axis=1))


def _ranked_by(rows: Sequence[ScoreRow]) -> dict[Unit, str]:
    """Whose scores rank slices and scans, in words."""
    slices = "own slice scores" if any(row["details"].get("own_scores") for row in rows) else "probability"
    return {"slices": slices, "scans": "own scan scores" if any("scan_scores" in row for row in rows) else slices}


def _of_slices(scans: Sequence[_Scores], *, seed: int) -> dict[str, UnitDetection | None]:
    lengths = [len(scan.slices) for scan in scans]
    scores, positive = (np.concatenate(a) for a in ([s.slices for s in scans], [s.true_slices for s in scans]))
    owner = np.repeat(np.arange(len(scans)), lengths)
    return {name: _detected(scores[:, k], positive[:, k], owner, seed=seed) for name, k in _columns(scores)}


def _of_scans(scans: Sequence[_Scores], *, seed: int) -> dict[str, UnitDetection | None]:
    return of_scans(np.stack([s.scan for s in scans]), np.stack([s.true_slices.any(axis=0) for s in scans]), seed=seed)


def of_scans(scores: np.ndarray, positive: np.ndarray, *, seed: int = 0) -> dict[str, UnitDetection | None]:
    """Detection of whole scans, as in `DetectionScores`.

    Args:
      scores: float [N, 6], of the sub-types and any hemorrhage; NaN where there is none.
      positive: bool [N, 6], which scans have it.
      seed: of the bootstrap.
    """
    found = {name: _detected(scores[:, k], positive[:, k], None, seed=seed) for name, k in _columns(scores)}
    for name, k in _columns(scores):
        if (unit := found[name]) is not None:
            exists = ~np.isnan(scores[:, k])
            unit["calibration"] = _calibration(scores[exists, k], positive[exists, k], seed=seed)
    return found


def _columns(scores: np.ndarray) -> list[tuple[str, int]]:
    """(name, column) of any hemorrhage, then of the sub-types that have a score."""
    scored = [(name, k) for k, name in enumerate(SUBTYPES) if not np.isnan(scores[:, k]).all()]
    return [("any", len(SUBTYPES)), *scored]


def _detected(scores: np.ndarray, positive: np.ndarray, owner: np.ndarray | None, *, seed: int) -> UnitDetection | None:
    """The figures of slices with their scans `owner`, int [N], or of scans (None); None where a class is missing."""
    exists = ~np.isnan(scores)
    scores, positive = scores[exists], positive[exists]
    if positive.all() or not positive.any():
        return None
    scan = np.arange(len(scores)) if owner is None else np.unique(owner[exists], return_inverse=True)[1]
    scans = int(scan.max()) + 1
    figures = curve_figures(scores, positive, scan, np.ones((1, scans), np.float32))
    intervals = resampled_intervals(scores, positive, scan, seed=seed)
    if owner is None:
        intervals["auc"] = delong_interval(scores, positive)
    with_intervals: list[FigureWithInterval] = [
        {"value": float(values[0]), "ci95": intervals[name]} for name, values in figures._asdict().items()
    ]
    auc, precision, sensitivity, specificity = with_intervals
    return {
        "auc": auc,
        "auc_interval": "DeLong" if owner is None else "bootstrap over scans",
        "average_precision": precision,
        "sensitivity_at_90_specificity": sensitivity,
        "specificity_at_90_sensitivity": specificity,
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
        "scans": scans,
    }


def _calibration(scores: np.ndarray, positive: np.ndarray, *, seed: int) -> ScanCalibration | None:
    if not ((scores >= 0.0) & (scores <= 1.0)).all():
        return None
    reliability = calibration.reliability([calibration.histogram_of_scores(scores, positive, bins=SCAN_BINS)])
    assert reliability is not None  # there is a scan
    errors, shared = (scores - positive) ** 2, float(positive.mean())
    return {
        "brier": {
            "value": float(errors.mean()),
            "ci95": bootstrap_intervals(errors, np.ones(len(errors)), seed=seed)[0],
        },
        "brier_of_share": shared * (1.0 - shared),
        "reliability": reliability,
    }


def _lesions_touched(details: Sequence[ScanDetails], *, seed: int) -> Share:
    lesions = [scan["lesions"]["truth"] for scan in details]
    touched = np.array([sum(lesion["covered"] > 0 for lesion in scan) for scan in lesions])
    return share(touched, np.array([len(scan) for scan in lesions]), seed=seed)


def _components_on_lesions(details: Sequence[ScanDetails], *, seed: int) -> Share:
    components = [scan["lesions"]["predicted"] for scan in details]
    hits = np.array([sum(not component["false_positive"] for component in scan) for scan in components])
    return share(hits, np.array([len(scan) for scan in components]), seed=seed)


def _confusion(scans: Sequence[_Scores], *, seed: int) -> dict:
    """By unit, of methods that score sub-types."""
    labels = [scan.true_slices[:, :-1] for scan in scans]
    of_scans = [np.asarray(rows.any(axis=0, keepdims=True)) for rows in labels]
    found = {
        "scans": subtype_confusion([scan.scan[None, :-1] for scan in scans], of_scans, seed=seed),
        "slices": subtype_confusion([scan.slices[:, :-1] for scan in scans], labels, seed=seed),
    }
    return {unit: confusion for unit, confusion in found.items() if confusion}
