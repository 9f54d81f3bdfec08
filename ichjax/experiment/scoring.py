"""From a scan's probability or mask to its row of counts and details, and from all rows to results.json."""

import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import write_json
from ichjax.methods.base import PostProcess, Prediction
from ichjax.methods.slices import pad_depth
from ichjax.metrics import protocol, roc
from ichjax.metrics.aggregate import secondary_metrics
from ichjax.metrics.per_scan import scan_details
from ichjax.metrics.records import SCHEMA
from ichjax.ops import metrics
from ichjax.scan.nifti import write_nifti

SCORES_FILE = "scores.json"  # of a fold
NOT_COUNTS = ("details", "main", "nominal_spacing", "subtype_scores")  # of a row, beside `protocol.SubjectCounts`


def score_scan(
    scan: CachedScan,
    prediction: Prediction,
    post: PostProcess,
    *,
    thresholds: Sequence[float],
    fold: int | None,
    place: pathlib.Path | None,
    config: Config,
    seams: tuple[int, int] | None = None,
) -> dict:
    """Scores one scan at all thresholds, and writes its mask and its probability in 8 bits on the scan's grid.

    Args:
      scan: with its truth.
      prediction: on the scan's grid.
      post: the reported threshold, closing and opening.
      thresholds: those at which pixels are counted, `post.threshold` among them; the same for all scans of a run.
      fold: in whose test part the scan is; None where there are no folds.
      place: gets predictions/NNN.nii.gz and probabilities/NNN.nii.gz; None writes neither.
      config: its `evaluate`: the area rule by which a slice is called positive.
      seams: (side, stride) of patches in the scan's pixels, to look for seams between them; None for none.

    Returns:
      A row ready for JSON: the fields of `protocol.SubjectCounts`, 'details' (`scan_details`), and 'subtype_scores'
      ([D][5]) from methods that have them.
    """
    volume, depth = scan.volume, len(scan.volume.hu)
    pixel_mm2 = volume.pixel_mm[0] * volume.pixel_mm[1]
    rule_px = config.evaluate.slice_rule_px
    rule_mm2 = rule_px * pixel_mm2 if rule_px else config.evaluate.slice_rule_mm2
    truth = pad_depth(np.asarray(scan.mask), 0)
    main = tuple(thresholds).index(post.threshold)
    kernels = {"closing": post.closing_px, "opening": post.opening_px}
    counts, mask, eight_bits = jax.device_get(
        _score(pad_depth(prediction.probability, 0.0), truth, np.array(thresholds, np.float32), main=main, **kernels)
    )
    truth, mask, eight_bits = truth[:depth], mask[:depth], eight_bits[:depth]
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(_write, place, scan, {"predictions": mask, "probabilities": eight_bits})
        given = {"rule_mm2": rule_mm2, "seams": seams, "slice_scores": prediction.slice_scores}
        details = scan_details(truth, mask, eight_bits, volume, **given)
        writing.result()  # raises what went wrong
    truth_px, predicted_px, overlap_px = (count[:depth].T.tolist() for count in counts)
    row = {
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
    return row


def _write(place: pathlib.Path | None, scan: CachedScan, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes {folder: uint8 [D, H, W]} as NIfTI files on the scan's grid."""
    for name, array in arrays.items() if place else ():
        (place / name).mkdir(parents=True, exist_ok=True)
        write_nifti(place / name / f"{scan.number:03d}.nii.gz", array, scan.volume)


@functools.partial(jax.jit, static_argnames=("main", "closing", "opening"))
def _score(probability, truth, thresholds, *, main: int, closing: int, opening: int):
    """Counts at every threshold, the mask at the reported one, and the probability in 8 bits: one program.

    Slice by slice, for a slice at all thresholds stays in a CPU's cache.

    Returns:
      ((truth int32 [D], predicted int32 [D, T], both int32 [D, T]), uint8 [D, H, W], uint8 [D, H, W]).
    """

    def of_slice(pixels):
        probability, truth = pixels
        level = metrics.levels(probability, thresholds, closing=closing, opening=opening)
        mask = level >= metrics.ranks(thresholds)[main].astype(level.dtype)
        counts = metrics.counts_at(level, thresholds, truth)
        return counts, mask.astype(jnp.uint8), jnp.round(probability * 255.0).astype(jnp.uint8)

    return jax.lax.map(of_slice, (probability, truth > 0))


def results(
    config: Config,
    rows: Sequence[Mapping],
    *,
    thresholds: Sequence[float],
    chosen_on: str,
    chosen: object = None,
) -> dict:
    """Every score of a set of scans: `protocol.results`, and 'beyond' (`metrics.aggregate.secondary_metrics`).

    Args:
      config: of the run; its slice rule, the subjects left out, the seed.
      rows: of `score_scan`, each subject once, all at the same thresholds.
      thresholds: those of the rows.
      chosen_on, chosen: see `protocol.results`.

    Raises:
      InputError: the rows are of an older version.
    """
    if any("main" not in row for row in rows):
        raise InputError("scores.json is of an older version of ichjax; expected this one's: delete fold_K/scores.json")
    main = {row["fold"]: row["main"] for row in rows}
    same = len(set(main.values())) == 1
    table = protocol.results(
        [_counts(row) for row in rows],
        thresholds=thresholds,
        main=next(iter(main.values())) if same else main,
        chosen_on=chosen_on,
        chosen=chosen,
        slice_rule_mm2=config.evaluate.slice_rule_mm2,
        slice_rule_px=config.evaluate.slice_rule_px or None,
        leave_out=config.data.leave_out,
        seed=config.seed,
    )
    called = None
    if config.evaluate.slice_rule_px:
        called = [[px > config.evaluate.slice_rule_px for px in row["predicted_px"][row["main"]]] for row in rows]
    table["beyond"] = secondary_metrics([row["details"] for row in rows], called=called, seed=config.seed)
    scored = [row for row in rows if "subtype_scores" in row]
    if scored:
        scores, labels = ([row[key] for row in scored] for key in ("subtype_scores", "slice_labels"))
        table["beyond"]["subtype_roc"] = roc.subtype_detection(scores, labels)
    table["nominal_spacing"] = any(row["nominal_spacing"] for row in rows)
    return table


def write(path: pathlib.Path, results: Mapping, *, unreadable: Iterable[int], rows: Sequence[Mapping]) -> None:
    """Writes results.json; 'left_out_unreadable' holds the subjects that could not be read and have no row."""
    left_out = sorted(set(unreadable) - {row["subject"] for row in rows})
    write_json(path, {"schema": SCHEMA, **results, "left_out_unreadable": left_out})


def _counts(row: Mapping) -> protocol.SubjectCounts:
    arrays = ("truth_px", "predicted_px", "overlap_px")
    return protocol.SubjectCounts(
        **{
            **{name: value for name, value in row.items() if name not in NOT_COUNTS},
            **{name: np.array(row[name], np.int64) for name in arrays},
            "pixel_ml": np.array(row["pixel_ml"]),
            "slice_labels": np.array(row["slice_labels"], bool).reshape(-1, 5),
        }
    )
