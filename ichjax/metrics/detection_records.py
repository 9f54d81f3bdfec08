"""Types of 'detection_scores' in results.json: scores of slices and scans, lesions touched, confusion of sub-types.

None stands for a figure that does not exist.
"""

from typing import Literal, NotRequired, TypedDict

from ichjax.metrics.score_records import DetectionAtPrevalence, RateEstimate
from ichjax.metrics.secondary_records import Reliability
from ichjax.metrics.statistics import Interval, Share

Unit = Literal["slices", "scans"]
AucInterval = Literal["DeLong", "bootstrap over scans"]


class FigureWithInterval(TypedDict):
    """A figure and its 95 % interval, None where it does not exist (`detection_intervals`)."""

    value: float
    ci95: Interval | None


class ScanCalibration(TypedDict):
    """How well scores of scans serve as probabilities; `brier_of_share` is the Brier score of always saying their share
    of scans with a hemorrhage."""

    brier: FigureWithInterval
    brier_of_share: float
    reliability: Reliability


class UnitDetection(TypedDict):
    """Slices or scans ranked by their scores; `scans` of them are resampled. `calibration` only of scans, None where a
    score is outside [0, 1]."""

    auc: FigureWithInterval
    auc_interval: AucInterval
    average_precision: FigureWithInterval
    sensitivity_at_90_specificity: FigureWithInterval
    specificity_at_90_sensitivity: FigureWithInterval
    positives: int
    negatives: int
    scans: int
    calibration: NotRequired[ScanCalibration | None]


class Confusion(TypedDict):
    """Of those with exactly one true sub-type: {true: {the one with the highest score: number}}.

    `undecided` counts, by true sub-type, those of which several sub-types share the highest score; they are right in
    none. `right` is the share on the diagonal.
    """

    counts: dict[str, dict[str, int]]
    undecided: dict[str, int]
    right: Share


class DetectionScores(TypedDict):
    """'detection_scores' (`detection.detection_scores`).

    `slices` and `scans` are by what is detected: 'any' (hemorrhage), and each sub-type of methods that score them; None
    where there is no score, or where all or none have it.
    """

    slices: dict[str, UnitDetection | None]
    scans: dict[str, UnitDetection | None]
    ranked_by: dict[Unit, str]
    lesions_touched: Share
    components_on_lesions: Share
    confusion: NotRequired[dict[Unit, Confusion]]
    in_words: dict[str, str]


class ReadsDetection(TypedDict):
    """detection.json: predictions against labels of whole scans (`experiment.score_reads`).

    `detected` as `DetectionScores.scans`; sensitivity and specificity are of flagged scans, those with a slice that is
    predicted positive. `scans` has a row for each: its name, whether it is flagged, the predicted volume in mL, and by
    label what is true and its score, None where there is none.
    """

    schema: int
    method: str
    ranked_by: list[str]
    detected: dict[str, UnitDetection | None]
    sensitivity: RateEstimate
    specificity: RateEstimate
    detection_at_prevalence: NotRequired[DetectionAtPrevalence]
    in_words: dict[str, str]
    scans: list[dict[str, str | bool | float | None]]
