"""Scores predictions of whole scans against CQ500's labels, the majority of three readers; there are no masks."""

import pathlib
from typing import NamedTuple

import numpy as np

from ichjax.console import say
from ichjax.data import cq500
from ichjax.data.cq500 import Cq500Scan
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.errors import InputError
from ichjax.experiment.prediction_files import find_files
from ichjax.files import check_new, write_csv, write_json, write_text
from ichjax.inference.discover import PREDICTION_FILE
from ichjax.inference.records import read_prediction
from ichjax.metrics import detection
from ichjax.metrics.detection_records import ReadsDetection
from ichjax.metrics.prevalence import detection_at_prevalence, rate
from ichjax.metrics.statistics import or_none
from ichjax.report.tables.reads import reads_text

READS_SCHEMA = 1  # of detection.json
OF_SCANS = (
    "auc", "average_precision", "sensitivity_at_90_specificity", "specificity_at_90_sensitivity", "calibration"
)  # fmt: skip


class _ScanFolder(NamedTuple):
    """A scan by the name of its folder, after which `predict` names its own; see `prediction_files.Named`."""

    number: int
    name: str


class _Prediction(NamedTuple):
    """What a prediction.json says of the whole scan: float [6], columns as `DETECTION_LABELS`, NaN without a score."""

    run: str
    scores: np.ndarray
    ranked_by: str
    flagged: bool
    volume_ml: float


def evaluate(
    predictions: pathlib.Path,
    root: pathlib.Path,
    workdir: pathlib.Path | None,
    *,
    name: str,
    prevalence: float | None = None,
    seed: int = 0,
) -> list[str]:
    """The `evaluate` command on CQ500: ranks scans by their scores, and prints how well that finds hemorrhages.

    A prediction belongs to the scan whose folder's name is in its own, as `predict` names it. A scan's score of any
    hemorrhage is the method's own, else that of its highest slice, else its `suspicion`.

    Args:
      predictions: the output of `predict`.
      root: of the set.
      workdir: a new folder for detection.json, detection.csv and detection.txt; None only prints.
      name: of the method.
      prevalence: share of scans with a hemorrhage at which detection is stated too; None for none.
      seed: of the bootstrap.

    Returns:
      One sentence for everything that is missing, surplus or could not be scored.

    Raises:
      InputError: the set is none, no prediction belongs to a scan, predictions are of several runs, or the folders are
        not usable.
    """
    if workdir is not None:
        check_new(workdir, "the results")
    dataset = cq500.read_dataset(root)
    names = [_ScanFolder(scan.reads.number, scan.folder.name) for scan in dataset.scans]
    files, problems = find_files(predictions, names, inner=PREDICTION_FILE)
    problems += [f"{scan}: {reason}" for scan, reason in dataset.skipped.items()]
    read: list[tuple[Cq500Scan, _Prediction]] = []
    for scan in dataset.scans:
        if scan.reads.number in files:
            try:
                read.append((scan, _read(files[scan.reads.number])))
            except InputError as error:
                problems.append(str(error))
    for note in dataset.notes:
        say(f"note: {note}")
    for problem in problems:
        say(f"skipped: {problem}")
    if len(runs := {prediction.run for _, prediction in read}) > 1:
        raise InputError(f"{predictions}: holds predictions of {len(runs)} runs; expected those of one")
    if not read:
        raise InputError(f"{predictions}: none of its predictions could be scored")
    scored = _score(read, name=name, prevalence=prevalence, seed=seed)
    text = reads_text(scored)
    say(text)
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / "detection.json", scored)
        write_csv(workdir / "detection.csv", scored["scans"])
        write_text(workdir / "detection.txt", f"{text}\n")
    return problems


def _read(path: pathlib.Path) -> _Prediction:
    record = read_prediction(path)
    try:
        flagged, volume_ml = record["positive_slices"], float(record["volume_ml"])
        slices = np.array(record.get("slice_scores", ()), np.float64)
        by_slice = np.array(record.get("subtype_scores", [[None] * len(SUBTYPES)]), np.float64)
        own = np.array(record.get("scan_scores", [None] * len(DETECTION_LABELS)), np.float64)  # None becomes NaN
        if by_slice.shape[1:] != (len(SUBTYPES),) or own.shape != (len(DETECTION_LABELS),):
            raise ValueError
        of_scan = np.append(by_slice.max(axis=0), slices.max() if len(slices) else float(record["suspicion"]))
        scores = np.where(np.isnan(own), of_scan, own)
        # JSON has no such numbers, but Python reads and other programs write them.
        if not np.isfinite([volume_ml, scores[-1]]).all() or np.isinf(scores).any() or not isinstance(flagged, list):
            raise ValueError
        ranked_by = "own scan scores" if np.isfinite(own[-1]) else "own slice scores" if len(slices) else "suspicion"
        return _Prediction(record.get("run_digest", ""), scores, ranked_by, bool(flagged), volume_ml)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.parent.name}: prediction.json is damaged; expected the output of `predict`") from error


def _score(
    read: list[tuple[Cq500Scan, _Prediction]], *, name: str, prevalence: float | None, seed: int
) -> ReadsDetection:
    truth = np.stack([scan.reads.labels for scan, _ in read])
    scores = np.stack([prediction.scores for _, prediction in read])
    flagged = np.array([prediction.flagged for _, prediction in read])
    bleeds = truth[:, -1]
    scored: ReadsDetection = {
        "schema": READS_SCHEMA,
        "method": name,
        "ranked_by": sorted({prediction.ranked_by for _, prediction in read}),
        "detected": detection.of_scans(scores, truth, seed=seed),
        "sensitivity": rate(int((flagged & bleeds).sum()), int((~flagged & bleeds).sum())),
        "specificity": rate(int((~flagged & ~bleeds).sum()), int((flagged & ~bleeds).sum())),
        "in_words": {key: detection.DETECTION_IN_WORDS[key] for key in OF_SCANS},
        "scans": [_row(scan, prediction) for scan, prediction in read],
    }
    if prevalence is not None:
        scored["detection_at_prevalence"] = detection_at_prevalence(flagged, bleeds, prevalence=prevalence)
    return scored


def _row(scan: Cq500Scan, prediction: _Prediction) -> dict[str, str | bool | float | None]:
    return {
        "scan": scan.name,
        "flagged": prediction.flagged,
        "volume_ml": prediction.volume_ml,
        **{f"true_{name}": bool(label) for name, label in zip(DETECTION_LABELS, scan.reads.labels, strict=True)},
        **{f"score_{name}": or_none(score) for name, score in zip(DETECTION_LABELS, prediction.scores, strict=True)},
    }
