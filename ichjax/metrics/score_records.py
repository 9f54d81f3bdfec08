"""Types of results.json: detection at a stated prevalence, lesion-wise scores, and scores against several raters.

None stands for a figure that does not exist.
"""

from typing import TypedDict

from ichjax.metrics.statistics import Interval, Share, Summary


class RateEstimate(TypedDict):
    """An estimate with its 95 % interval; both None where a group of scans is missing."""

    value: float | None
    ci95: Interval | None


class DetectionAtPrevalence(TypedDict):
    """'detection_at_prevalence' (`prevalence.detection_at_prevalence`); the counts are scans."""

    prevalence: float
    test_set_prevalence: float
    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int
    sensitivity: RateEstimate
    specificity: RateEstimate
    positive_predictive_value: RateEstimate
    negative_predictive_value: RateEstimate
    false_alarms_per_100_scans: RateEstimate
    missed_per_100_scans: RateEstimate
    in_words: dict[str, str]


class PenalizedHd95(TypedDict):
    """HD95 in mm over the scans with a hemorrhage and over all; `penalty_mm` is [lowest, highest] of all scans.

    `misses` and `false_alarms` count the scans with the penalty, where only the prediction or only the truth is empty.
    """

    hemorrhage: Summary
    all_scans: Summary
    misses: int
    false_alarms: int
    both_empty: int
    penalty_mm: list[float]


class LesionWiseScan(TypedDict):
    """One scan: pairs, lesions without a partner, F1 (None without any lesion), and HD95 with the penalty."""

    subject: int
    true_positives: int
    false_negatives: int
    false_positives: int
    f1: float | None
    hd95_mm: float


class LesionWise(TypedDict):
    """'lesion_wise' (`lesion_wise.lesion_wise`)."""

    f1: Share
    f1_per_scan: Summary
    recall: Share
    precision: Share
    recall_under_1_ml: Share
    true_positives: int
    false_negatives: int
    false_positives: int
    hd95_mm: PenalizedHd95
    subjects: list[LesionWiseScan]
    in_words: dict[str, str]


class RaterScan(TypedDict):
    """One scan's scores against its raters (`raters.score_raters`), in scores.json.

    `dice` is by the rater's number, None where its mask is empty; `between` is the mean Dice of pairs of raters, None
    where all are empty. The rest is None for a single rater.
    """

    dice: dict[str, float | None]
    between: float | None
    ged_one_class: float | None
    ged: float | None
    dice_max: float | None
    dice_match: float | None
    dice_soft: float | None


class RaterSubject(RaterScan):
    subject: int


class MbhSeg2025(TypedDict):
    """The scores of MBH-Seg 2025, over the scans with two raters or more."""

    ged: Summary
    dice_max: Summary
    dice_match: Summary
    dice_soft: Summary


class OwnRaterScores(TypedDict):
    """Dice against each rater, by number, and between raters; GED of hemorrhage as the only class."""

    dice_by_rater: dict[str, Summary]
    dice_between_raters: Summary
    ged: Summary


class RaterScores(TypedDict):
    """'raters' (`raters.summarize_raters`)."""

    scans: int
    scans_of_several: int
    own: OwnRaterScores
    mbh_seg_2025: MbhSeg2025
    subjects: list[RaterSubject]
    in_words: dict[str, str]
