"""Types of results.json and of fold_K/scores.json, so that mypy checks every key.

None stands for a figure that does not exist, since JSON has no NaN. `NotRequired` marks what older or partial records
lack: schema 1 had no 'schema', and readers accept it. Volumes are in mL, lengths in mm, rates and scores in [0, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from ichjax.metrics.detection_records import DetectionScores
from ichjax.metrics.score_records import DetectionAtPrevalence, LesionWise, RaterScan, RaterScores
from ichjax.metrics.secondary_records import (
    ScanDetails,
    SecondaryMetrics,
    SubtypeCounts,
    SubtypeDice,
    VolumeInterval,
)
from ichjax.metrics.statistics import AgeTest, Interval, Summary

SCHEMA = 2  # of results.json

Score = Literal["dice", "jaccard"]
Rate = Literal["sensitivity", "specificity", "accuracy"]
ConventionName = Literal["paper", "pooled", "volume", "challenge", "all_slices"]
Threshold = float | list[float]  # a list by fold where folds differ
Convention = dict[Score, Summary]


class SubjectDice(TypedDict):
    subject: int
    dice: float


class Group(TypedDict):
    """Dice of a sub-type or of an age group; `each` lists the subjects where they are too few for an interval."""

    subjects: Summary
    slices: Summary
    each: list[SubjectDice] | None


class DetectionRates(TypedDict):
    sensitivity: float | None
    specificity: float | None
    accuracy: float | None


class PooledDetection(DetectionRates):
    """Over all slices of all subjects at once."""

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int


class PooledAndMeanDetection(DetectionRates):
    """Means of each subject's rate (as in the paper's Table 6), and the pooled rates."""

    pooled: PooledDetection


class Detection(PooledAndMeanDetection):
    """With the summary over subjects of each rate."""

    per_subject: dict[Rate, Summary]


class SliceDetection(Detection):
    threshold: float


class ReportedSliceDetection(Detection):
    threshold: Threshold


class HemorrhageFree(TypedDict):
    """What is predicted in the n scans whose truth is empty."""

    n: int
    false_alarm_rate: float | None
    false_positive_ml: float | None
    false_positive_ml_ci95: Interval | None
    false_positive_ml_median: float | None
    false_positive_ml_max: float | None


class EmptyMaskScores(TypedDict):
    """What an empty mask would score: mean Dice in each convention, and slice detection."""

    paper: float | None
    pooled: float | None
    volume: float | None
    challenge: NotRequired[float | None]
    all_slices: NotRequired[float | None]
    challenge_all_scans: NotRequired[float]
    slice_detection: PooledAndMeanDetection


class ReportedThresholds(TypedDict):
    value: Threshold | list[list[int]]  # pairs of grey levels, one a fold
    chosen_on: str


class Counts(TypedDict):
    subjects: int
    hemorrhage_subjects: int
    slices: int
    positive_slices: int


class Disagreements(TypedDict):
    """Slices on which the mask and the sub-type labels disagree, and the subjects that have one."""

    mask_without_label: int
    label_without_mask: int
    subjects: list[int]


class SubjectRecord(TypedDict):
    """One subject at the reported threshold."""

    subject: int
    fold: int | None
    dice: float | None
    jaccard: float | None
    volume_dice: float | None
    truth_ml: float
    predicted_ml: float
    slices: int
    positive_slices: int
    called_slices: int
    subtypes: list[str]
    volume_interval_ml: NotRequired[VolumeInterval | None]


class PublishedSummary(TypedDict, total=False):
    mean: float
    std: float
    min: float
    max: float


class PublishedDetection(TypedDict):
    threshold: float
    sensitivity: float
    specificity: float
    accuracy: float


class Published(TypedDict, total=False):
    """The paper's figures of a method (`published.UNET`, `published.THRESHOLD`)."""

    table6: Mapping[str, PublishedSummary]
    table7: Sequence[PublishedDetection]
    by_subtype: Mapping[str, float]
    by_age: Mapping[str, float]
    grey_levels: Mapping[Literal["lower", "upper"], int]


class MethodRecord(TypedDict):
    """A method's description of itself (`methods.base.Method.record`)."""

    title: NotRequired[str]
    card: NotRequired[str]
    published: NotRequired[Published]
    reference: NotRequired[str]  # a key of `literature.REVIEWED`
    layers: NotRequired[list[dict]]


class Provenance(TypedDict):
    """Digest of the configuration, versions of packages, and devices (`experiment.setup.provenance`)."""

    config_digest: str
    versions: dict[str, str]
    devices: list[str]


class Scores(TypedDict):
    """Every score of a data set (`protocol.results`, `experiment.scoring.results`)."""

    conventions: dict[ConventionName, Convention]
    conventions_in_words: dict[str, str]
    left_out_of_paper: list[int]
    empty_mask_would_score: EmptyMaskScores
    slice_rule_mm2: float
    slice_rule_px: int | None
    thresholds: ReportedThresholds
    slice_detection: list[SliceDetection]
    reported_slice_detection: ReportedSliceDetection
    by_subtype: dict[str, Group]
    by_age: dict[str, Group]
    by_age_test: NotRequired[AgeTest]
    hemorrhage_free: HemorrhageFree
    counts: Counts
    disagreements: Disagreements
    subjects: list[SubjectRecord]
    beyond: NotRequired[SecondaryMetrics]
    detection_scores: NotRequired[DetectionScores]
    subtype_dice: NotRequired[SubtypeDice]
    lesion_wise: NotRequired[LesionWise]
    raters: NotRequired[RaterScores]  # if there are masks of several raters
    detection_at_prevalence: NotRequired[DetectionAtPrevalence]  # if a prevalence was stated
    nominal_spacing: NotRequired[bool]  # slice spacing assumed, not measured: volumes are nominal


class Results(Scores, MethodRecord, Provenance):
    """results.json."""

    schema: NotRequired[int]
    method: str
    chosen_by_fold: NotRequired[list[dict]]
    scored: NotRequired[list[str]]  # 'mask', 'probability': what `evaluate` was given
    invalid: NotRequired[str]  # why the split is invalid
    left_out_unreadable: NotRequired[list[int]]


class ScoreRow(TypedDict):
    """One subject of fold_K/scores.json: D slices counted at T thresholds (`experiment.scoring.score_scan`)."""

    subject: int
    fold: int | None
    truth_px: list[int]  # [D]
    predicted_px: list[list[int]]  # [T][D]
    overlap_px: list[list[int]]  # [T][D]
    pixel_ml: list[float]  # [D]
    pixel_mm2: float
    slice_labels: list[list[int]]  # [D][5]
    age_years: float | None
    sex: str | None
    main: int  # index of the reported threshold
    nominal_spacing: bool
    details: ScanDetails
    subtype_scores: NotRequired[list[list[float]]]  # [D][5]
    scan_scores: NotRequired[list[float | None]]  # [6], sub-types (None for those without a score) and any hemorrhage
    subtype_px: NotRequired[SubtypeCounts]  # of the classes of the reported mask
    raters: NotRequired[RaterScan]
    level_ml: NotRequired[list[float]]  # volume above each probability of `volume_interval.VOLUME_LEVELS`


class FoldScores(Provenance):
    """fold_K/scores.json."""

    chosen: dict
    chosen_on: NotRequired[str]
    subjects: list[ScoreRow]
