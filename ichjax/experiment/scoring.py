"""Scores a scan's prediction into a row of pixel counts and details, and all rows into results.json."""

import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.classes import UNKNOWN_SUBTYPE
from ichjax.data.generic import load_raters
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import read_json, write_json
from ichjax.methods import gates
from ichjax.methods.base import PostProcess, Prediction
from ichjax.methods.slices import pad_depth
from ichjax.metrics import detection, protocol, statistics
from ichjax.metrics.aggregate import secondary_metrics
from ichjax.metrics.lesion_wise import lesion_wise
from ichjax.metrics.per_scan import measure_scan
from ichjax.metrics.prevalence import detection_at_prevalence
from ichjax.metrics.raters import score_raters, summarize_raters
from ichjax.metrics.records import SCHEMA, FoldScores, Results, ScoreRow, Scores
from ichjax.metrics.secondary_records import SubtypeCounts
from ichjax.metrics.subtype_dice import subtype_dice
from ichjax.ops import metrics, subtypes
from ichjax.scan.nifti import write_nifti

SCORES_FILE = "scores.json"  # of a fold


def score_scan(
    scan: CachedScan,
    prediction: Prediction,
    post: PostProcess,
    *,
    thresholds: Sequence[float],
    fold: int | None,
    folder: pathlib.Path | None,
    config: Config,
    seams: tuple[int, int] | None = None,
    classes: np.ndarray | None = None,
) -> ScoreRow:
    """Scores one scan at all thresholds, and writes its mask and its 8-bit probability on the scan's grid.

    Args:
      scan: with its truth.
      prediction: on the scan's grid.
      post: the reported threshold, closing and opening.
      thresholds: at which pixels are counted, including `post.threshold`; the same for all scans of a run.
      fold: the fold that tests the scan; None where there are no folds.
      folder: gets predictions/ID.nii.gz and probabilities/ID.nii.gz; None writes neither.
      config: its `evaluate` has the area above which a slice is predicted positive.
      seams: (side, stride) of patches in the scan's pixels, to measure the seams between them; None for none.
      classes: uint8 [D, H, W], the predicted sub-types of a source that gives them as such; None to take them from the
        prediction's class probabilities, if it has any.
    """
    volume, depth = scan.volume, len(scan.volume.hu)
    pixel_mm2 = volume.pixel_mm[0] * volume.pixel_mm[1]
    truth = pad_depth(np.asarray(scan.mask), 0)
    main = tuple(thresholds).index(post.threshold)
    options = {"main": main, "closing": post.closing_px, "opening": post.opening_px}
    probability = pad_depth(prediction.probability, 0.0)
    lesion_gates = gates.arguments(post, volume.pixel_ml)
    scored = _score(probability, truth, np.array(thresholds, np.float32), lesion_gates, **options)
    subtype_px = _count_subtypes(scan, prediction, scored[1], classes)
    counts, mask, eight_bits = jax.device_get(scored)
    scan_scores = [] if prediction.scan_scores is None else np.asarray(prediction.scan_scores, np.float64).tolist()
    truth, mask, eight_bits = truth[:depth], mask[:depth], eight_bits[:depth]
    with ThreadPoolExecutor(1) as writer:
        if folder:
            writing = writer.submit(_write, folder, scan, {"predictions": mask, "probabilities": eight_bits})
        own_scores = None if prediction.slice_scores is None else np.asarray(prediction.slice_scores)
        details = measure_scan(
            truth,
            mask,
            eight_bits,
            volume,
            rule_mm2=rule_mm2(config, pixel_mm2),
            seams=seams,
            slice_scores=own_scores,
            scan_score=scan_scores[-1] if scan_scores else None,
        )
        if folder:
            writing.result()  # raises the errors of writing
    truth_px, predicted_px, overlap_px = (count[:depth].T.tolist() for count in counts)
    row: ScoreRow = {
        "subject": scan.number,
        "fold": fold,
        "truth_px": truth_px,
        "predicted_px": predicted_px,
        "overlap_px": overlap_px,
        "pixel_ml": volume.pixel_ml.tolist(),
        "pixel_mm2": pixel_mm2,
        "slice_labels": scan.slice_labels.astype(int).tolist(),
        "age_years": scan.subject.age_years,
        "sex": scan.subject.sex,
        "main": main,
        "nominal_spacing": volume.nominal_spacing,
        "details": details,
    }
    if prediction.subtype_scores is not None:
        row["subtype_scores"] = np.asarray(prediction.subtype_scores, np.float64).reshape(depth, 5).tolist()
    if scan_scores:
        row["scan_scores"] = [statistics.or_none(score) for score in scan_scores]
    if subtype_px is not None:
        row["subtype_px"] = subtype_px
    if raters := load_raters(scan.subject, volume):
        row["raters"] = score_raters({rater: labels > 0 for rater, labels in raters.items()}, mask > 0)
    return row


def _count_subtypes(
    scan: CachedScan, prediction: Prediction, mask: jax.Array, classes: np.ndarray | None
) -> SubtypeCounts | None:
    """Voxels by sub-type of a mask, uint8 [D, H, W], padded; None for a prediction without sub-types."""
    truth = pad_depth(np.asarray(scan.classes), 0)
    if classes is not None:
        counts = _count_classes(pad_depth(classes, 0), truth)
    elif prediction.class_probability is not None:
        counts = _count_classes_in(mask, pad_depth(prediction.class_probability, 0.0), truth)
    else:
        return None
    truth_px, predicted_px, overlap_px, unknown_px = jax.device_get(counts)
    return {
        "truth_px": truth_px.tolist(),
        "predicted_px": predicted_px.tolist(),
        "overlap_px": overlap_px.tolist(),
        "unknown_px": int(unknown_px),
    }


@jax.jit
def _count_classes(predicted: jax.Array, truth: jax.Array) -> tuple[jax.Array, ...]:
    """`metrics.class_counts` of the sub-types."""
    return metrics.class_counts(predicted, truth, classes=len(SUBTYPES), unknown=UNKNOWN_SUBTYPE)


@jax.jit
def _count_classes_in(mask: jax.Array, class_probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, ...]:
    """As `_count_classes`, of the classes of a mask, uint8 [D, H, W], by their probabilities."""
    return _count_classes(subtypes.class_mask(class_probability, mask > 0), truth)


def rule_mm2(config: Config, pixel_mm2: float) -> float:
    """The area above which a slice of pixels of this size is predicted positive, in mm2: `config.evaluate`'s rule."""
    rule_px = config.evaluate.slice_rule_px
    return rule_px * pixel_mm2 if rule_px else config.evaluate.slice_rule_mm2


def _write(folder: pathlib.Path, scan: CachedScan, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes {subfolder: uint8 [D, H, W]} as NIfTI files on the scan's grid."""
    for name, array in arrays.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_nifti(folder / name / f"{scan.subject.name}.nii.gz", array, scan.volume)


@functools.partial(jax.jit, static_argnames=("main", "closing", "opening"))
def _score(
    probability: jax.Array,
    truth: jax.Array,
    thresholds: jax.Array,
    lesion_gates: gates.Gates | None = None,
    *,
    main: int,
    closing: int,
    opening: int,
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array, jax.Array]:
    """Counts at every threshold, the mask at the reported one, and the 8-bit probability, in one program.

    Counts and mask are of the probability after the gates, the 8 bits of the one before. It loops over slices, since
    one slice at all thresholds fits a CPU's cache.

    Returns:
      ((truth int32 [D], predicted int32 [D, T], overlap int32 [D, T]), uint8 [D, H, W], uint8 [D, H, W]).
    """

    def score_slice(pixels: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        probability, gated, truth = pixels
        level = metrics.levels(gated, thresholds, closing=closing, opening=opening)
        mask = level >= metrics.ranks(thresholds)[main].astype(level.dtype)
        counts = metrics.counts_at(level, thresholds, truth)
        return counts, mask.astype(jnp.uint8), jnp.round(probability * 255.0).astype(jnp.uint8)

    return jax.lax.map(score_slice, (probability, gates.apply(probability, lesion_gates), truth > 0))


def results(
    config: Config,
    rows: Sequence[ScoreRow],
    *,
    thresholds: Sequence[float],
    chosen_on: str,
    chosen: list[list[int]] | None = None,
) -> Scores:
    """Every score of a set of scans: `protocol.results`, `aggregate.secondary_metrics` as 'beyond', `lesion_wise`,
    `detection_scores`, the scores against several raters as 'raters', if there are any, and the Dice by sub-type of
    multi-class masks as 'subtype_dice', if there are any and the truth has sub-types.

    Args:
      config: of the run: its slice rule, the subjects to leave out and the seed.
      rows: of `score_scan`, each subject once, all at the same thresholds.
      thresholds: those of the rows.
      chosen_on, chosen: see `protocol.results`.

    Raises:
      InputError: the rows are of an older version.
    """
    if any("main" not in row for row in rows):
        raise InputError("scores.json is of an older version of ichjax; expected this one's: delete fold_K/scores.json")
    by_fold = {row["fold"]: row["main"] for row in rows if row["fold"] is not None}
    indices = {row["main"] for row in rows}
    table = protocol.results(
        [_counts(row) for row in rows],
        thresholds=thresholds,
        main=indices.pop() if len(indices) == 1 else by_fold,
        chosen_on=chosen_on,
        chosen=chosen,
        slice_rule_mm2=config.evaluate.slice_rule_mm2,
        slice_rule_px=config.evaluate.slice_rule_px or None,
        leave_out=config.data.leave_out,
        seed=config.seed,
    )
    predicted_positive, rule_px = None, config.evaluate.slice_rule_px
    if rule_px:
        predicted_positive = [[px > rule_px for px in row["predicted_px"][row["main"]]] for row in rows]
    table["beyond"] = secondary_metrics(
        [row["details"] for row in rows], predicted_positive=predicted_positive, seed=config.seed
    )
    table["detection_scores"] = detection.detection_scores(rows, seed=config.seed)
    if by_subtype := detection.subtype_figures(table["detection_scores"]):
        table["beyond"]["subtype_roc"] = by_subtype
    counted = [row["subtype_px"] for row in rows if "subtype_px" in row]
    if by_class := subtype_dice(counted, seed=config.seed):
        table["subtype_dice"] = by_class
    by_subject = {row["subject"]: row["raters"] for row in rows if "raters" in row}
    if rater_scores := summarize_raters(by_subject, seed=config.seed):
        table["raters"] = rater_scores
    lesion_scores = lesion_wise([row["details"] for row in rows], [row["subject"] for row in rows], seed=config.seed)
    if lesion_scores:
        table["lesion_wise"] = lesion_scores
    table["nominal_spacing"] = any(row["nominal_spacing"] for row in rows)
    return table


def write(path: pathlib.Path, results: Results, *, unreadable: Iterable[int], rows: Sequence[ScoreRow]) -> None:
    """Writes results.json; 'left_out_unreadable' lists the subjects that could not be read and have no row."""
    left_out = sorted(set(unreadable) - {row["subject"] for row in rows})
    write_json(path, {"schema": SCHEMA, **results, "left_out_unreadable": left_out})


def add_detection(path: pathlib.Path, prevalence: float | None) -> None:
    """Adds 'detection_at_prevalence' to results.json: a scan is flagged if any slice is predicted positive.

    Args:
      path: results.json.
      prevalence: share of scans with a hemorrhage, in (0, 1); None adds nothing.
    """
    if prevalence is None:
        return
    results = read_json(path)
    flagged = np.array([subject["called_slices"] > 0 for subject in results["subjects"]])
    truth = np.array([subject["positive_slices"] > 0 for subject in results["subjects"]])
    detection = detection_at_prevalence(flagged, truth, prevalence=prevalence)
    write_json(path, {**results, "detection_at_prevalence": detection})


def read_fold(folder: pathlib.Path) -> FoldScores:
    """Reads fold_K/scores.json; InputError where it cannot be read as a JSON object."""
    return cast(FoldScores, read_json(folder / SCORES_FILE))


def _counts(row: ScoreRow) -> protocol.SubjectCounts:
    return protocol.SubjectCounts(
        subject=row["subject"],
        fold=row["fold"],
        truth_px=np.array(row["truth_px"], np.int64),
        predicted_px=np.array(row["predicted_px"], np.int64),
        overlap_px=np.array(row["overlap_px"], np.int64),
        pixel_ml=np.array(row["pixel_ml"]),
        pixel_mm2=row["pixel_mm2"],
        slice_labels=np.array(row["slice_labels"], bool).reshape(-1, 5),
        age_years=row["age_years"],
        sex=row["sex"],
    )
