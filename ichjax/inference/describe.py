"""Describe a prediction in numbers, ready for prediction.json: lesions, provenance, geometry and warnings."""

import math

import numpy as np

from ichjax.data import regrid
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError
from ichjax.experiment import scoring, volume_calibration
from ichjax.inference import lesion_findings, scan_warnings
from ichjax.inference.model import PredictedScan, TrainedRun, kernel_sides_px
from ichjax.inference.records import (
    PREDICTION_SCHEMA,
    MissingInterval,
    PredictionRecord,
    SkullRestriction,
    SliceScores,
    SubtypeFindings,
)
from ichjax.metrics import calibration, volume_interval
from ichjax.metrics.secondary_records import VolumeInterval
from ichjax.scan import world_grid
from ichjax.scan.volume import Volume, scan_digest


def describe(trained: TrainedRun, volume: Volume, prediction: PredictedScan) -> PredictionRecord:
    """Returns what prediction.json holds, all but 'seconds' and 'dicom_seg'; docs/prediction.md lists the fields.

    Raises:
      InputError: the prediction is not of this scan.
    """
    if prediction.mask.shape != volume.shape:
        raise InputError(f"the mask has the shape {prediction.mask.shape}; expected that of the scan, {volume.shape}")
    inside = calibration.intracranial(volume)
    post = trained.post_of(prediction.folds, prediction.own_scan)
    closing, opening = kernel_sides_px(trained, post, regrid.own_grid(volume))
    down, across = (volume.affine[:3, axis] / volume.pixel_mm[axis - 1] for axis in (1, 2))
    rule_mm2 = scoring.rule_mm2(trained.config, volume.pixel_mm[0] * volume.pixel_mm[1])
    rule_field = "slice_rule_px" if trained.config.evaluate.slice_rule_px else "slice_rule_mm2"
    findings = lesion_findings.describe(
        volume,
        prediction.mask,
        prediction.probability,
        inside=inside,
        rule_mm2=rule_mm2,
        classes=prediction.classes,
    )
    for lesion in findings["lesions"]:
        lesion["centroid_voxel"] = volume.to_file_index(lesion["centroid_voxel"]).round(1).tolist()
    scores: SliceScores = {}
    if prediction.slice_scores is not None:
        scores["slice_scores"] = np.round(prediction.slice_scores, 4).tolist()
    if prediction.subtype_scores is not None:
        scores["subtype_scores"] = np.round(prediction.subtype_scores, 4).tolist()
    if prediction.scan_scores is not None:
        rounded = [round(float(score), 4) for score in prediction.scan_scores]
        scores["scan_scores"] = [None if math.isnan(score) else score for score in rounded]
    restriction: SkullRestriction = {}
    if prediction.skull_found is not None:
        restriction["skull_found"] = prediction.skull_found
        restriction["outside_skull_ml"] = round(prediction.outside_skull_ml, 3)
    subtypes: SubtypeFindings = {}
    if prediction.classes is not None:
        subtypes["subtypes"] = {
            "labels": {str(label): name for label, name in enumerate(SUBTYPES, start=1)},
            "volume_ml": lesion_findings.subtype_volumes_ml(prediction.classes, volume.pixel_ml),
        }
    interval, reason = _volume_interval(trained, volume, prediction, findings["volume_ml"])
    missing: MissingInterval = {"volume_interval_missing": reason} if reason else {}
    return {
        "schema": PREDICTION_SCHEMA,
        **findings,
        "volume_interval_ml": interval,
        **missing,
        **scores,
        **restriction,
        **subtypes,
        "rule_from": f"evaluate.{rule_field} of the run's config.json",
        "warnings": [
            *_prediction_warnings(prediction, volume),
            *volume.notes,
            *scan_warnings.find_warnings(volume, inside, trained_pixel_mm=trained.pixel_mm),
        ],
        "geometry": world_grid.describe_geometry(volume),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "slice_origins_mm": np.round(volume.file_origins_mm(), 3).tolist(),
        "down_direction": np.round(down, 6).tolist(),
        "across_direction": np.round(across, 6).tolist(),
        "pixel_mm": volume.pixel_mm,
        "threshold": post.threshold,
        "threshold_chosen_on": post.chosen_on,
        "closing_px": closing,
        "opening_px": opening,
        "gates": post.gates,
        "mode": trained.method.mode,
        "slab_slices": prediction.slab_slices,
        "folds": list(prediction.folds),
        "run_folds": list(trained.folds),
        "own_scan": prediction.own_scan,
        "config_digest": trained.digest,
        "run_digest": trained.identity,
        "changed": trained.changed,
        "scan_digest": scan_digest(volume),
        "use": "research use only",
    }


def _volume_interval(
    trained: TrainedRun, volume: Volume, prediction: PredictedScan, volume_ml: float
) -> tuple[VolumeInterval | None, str]:
    """(the interval of the volume, rounded outward to 0.001 mL, or None; why there is none)."""
    harmless = {"batch_size", *(("whole_slices",) if trained.method.same_on_whole_slices else ())}
    number, of_others = trained.tests.subject(volume), trained.calibration
    if number is not None:  # its own error, in the fold that validated it, does not count
        of_others = of_others.without(number)
    reason = volume_calibration.why_none(volume_ml, of_others)
    if prediction.own_scan == "trained on it":
        reason = "the run was trained on this scan"
    elif changed := sorted(trained.changed.keys() - harmless):
        reason = f"calibrated with other settings: {', '.join(changed)}"
    if reason:
        return None, reason
    interval = volume_interval.interval(volume_ml, prediction.level_ml, of_others)
    assert interval is not None  # as there is no reason for none
    interval["low"], interval["high"] = np.floor(1e3 * interval["low"]) / 1e3, np.ceil(1e3 * interval["high"]) / 1e3
    return interval, ""


def _prediction_warnings(prediction: PredictedScan, volume: Volume) -> list[str]:
    warnings = []
    if prediction.skull_found is False:
        warnings.append("no closed skull was found: the prediction is not restricted to its inside")
    if prediction.own_scan == "trained on it":
        warnings.append("the run was trained on this scan: the result does not show how it does on other scans")
    if not world_grid.has_exact_affine(volume):
        warnings.append(
            "the slices are tilted or unevenly spaced: positions in mask.nii.gz are approximate, those in "
            "mask_world.nii.gz are exact"
        )
    return warnings
