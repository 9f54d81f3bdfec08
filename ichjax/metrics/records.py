"""Types of results.json and of fold_K/scores.json, so that mypy checks every key.

None stands for a figure that does not exist, since JSON has no NaN. `NotRequired` marks what older or partial records
lack: schema 1 had no 'schema', and readers accept it. Volumes are in mL, lengths in mm, rates and scores in [0, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

SCHEMA = 2  # of results.json

Interval = list[float]  # [low, high]
Curve = list[list[float]]  # [[x, y], ...]
Score = Literal["dice", "jaccard"]
Rate = Literal["sensitivity", "specificity", "accuracy"]
ConventionName = Literal["paper", "pooled", "volume", "challenge", "all_slices"]
Threshold = float | list[float]  # a list by fold where folds differ


class Summary(TypedDict):
    """Scores over subjects, or over slices (`statistics.summary`).

    `std` divides by n, as the authors' code does. `ci95` holds the percentiles of a bootstrap over subjects and
    `ci95_bca` its bias-corrected and accelerated form; each is None below `statistics.MIN_SUBJECTS` subjects.
    """

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    ci95: Interval | None
    ci95_bca: NotRequired[Interval | None]
    n: int
    unit: Literal["subjects", "slices"]
    n_subjects: int


Convention = dict[Score, Summary]


class PairedDifference(TypedDict):
    """Mean of B - A over the same subjects (`statistics.paired_difference`)."""

    mean: float | None
    ci95: Interval | None
    ci95_bca: Interval | None
    n: int
    wilcoxon_p: float | None


AgeTest = TypedDict(
    "AgeTest",
    {
        "under_18": Summary,
        "18_and_over": Summary,
        "difference": float | None,  # the mean under 18 less the mean from 18 on
        "ci95": Interval | None,
        "mann_whitney_p": float | None,  # two-sided
        "n": int,  # subjects of both groups
    },
)


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


class VolumeDetails(TypedDict):
    truth_ml: float
    predicted_ml: float


class SurfaceScores(TypedDict):
    """Both None where both masks are empty; Dice 0, HD95 None and `infinite` where exactly one is."""

    dice: float | None
    hd95_mm: float | None
    infinite: bool


class SurfaceDetails(SurfaceScores):
    tolerance_mm: float


class SliceDetails(TypedDict):
    """One slice of a scan.

    `diameter_mm` is the largest Feret diameter of the truth's components, 0 without one; `score` says how likely the
    slice has a hemorrhage; `dice` is None where the truth is empty; `called` is whether the predicted area exceeds the
    rule.
    """

    truth_px: int
    predicted_px: int
    diameter_mm: float
    score: float | None
    dice: float | None
    called: bool


class LesionMatch(TypedDict):
    """How a true lesion is covered by the prediction."""

    covered: float
    found: bool
    score: float | None
    dice: float


class TrueLesion(LesionMatch):
    ml: float
    diameter_mm: float


class PredictedComponent(TypedDict):
    ml: float
    score: float
    false_positive: bool


class LesionDetails(TypedDict):
    truth: list[TrueLesion]
    predicted: list[PredictedComponent]


class CalibrationHistogram(TypedDict):
    """Pixels, the sum of their probabilities and the true ones among them, in each bin of probability."""

    n: list[int]
    probability_sum: list[float]
    positive: list[int]


class ToBoneCounts(TypedDict):
    """Pixels by distance to the inner table of the skull: false positives, and all outside the truth."""

    edges_mm: list[int]
    predicted_px: list[int]
    intracranial_px: list[int]


class Seams(TypedDict):
    """Mean step of probability between neighbouring pixels across patch edges and elsewhere, and the pairs."""

    across: float | None
    elsewhere: float | None
    n_across: int
    n_elsewhere: int


class ScanDetails(TypedDict):
    """The secondary metrics of one scan (`per_scan.measure_scan`)."""

    volume: VolumeDetails
    surface: SurfaceDetails
    slices: list[SliceDetails]
    scan_score: float | None
    own_scores: NotRequired[bool]
    lesions: LesionDetails
    calibration: CalibrationHistogram | None
    false_positives_to_bone: ToBoneCounts
    seams: Seams | None


class Hd95Summary(Summary):
    """Over finite distances; `infinite` counts scans with a hemorrhage and an empty prediction."""

    median: float | None
    infinite: int


class SurfaceSummary(TypedDict):
    """Over scans with a hemorrhage; `false_alarms` counts the others that have a predicted voxel."""

    tolerance_mm: float
    dice: Summary
    hd95_mm: Hd95Summary
    false_alarms: int


class DetectionFigures(TypedDict):
    area: float
    average_precision: float
    positives: int
    negatives: int


class DetectionCurves(DetectionFigures):
    """ROC [[false positive rate, sensitivity]] and precision-recall curve [[recall, precision]]."""

    roc: Curve
    precision_recall: Curve
    own_scores: NotRequired[bool]


class SubtypeDetection(TypedDict):
    slices: DetectionFigures | None
    scans: DetectionFigures | None


class Froc(TypedDict):
    """Free-response curve [[false positives per scan, sensitivity]]; `at` reads it off at '0.5', '1', '2' and '4'."""

    curve: Curve
    at: dict[str, float | None]
    lesions: int
    found: int
    false_positives: int


class VolumeAgreement(TypedDict):
    """Bland and Altman's bias, SD and limits of agreement, Lin's concordance; points [[true, predicted]]."""

    bias_ml: float | None
    sd_ml: float | None
    limits_ml: Interval | None
    concordance: float | None
    n: int
    points: Curve


class ReliabilityBin(TypedDict):
    """Pixels of a bin, their mean probability and the share of true ones."""

    low: float
    high: float
    n: int
    probability: float | None
    frequency: float | None


class Reliability(TypedDict):
    bins: list[ReliabilityBin]
    expected_calibration_error: float


class LesionSizeBin(TypedDict):
    """Lesions of a range of volumes, how many are found, and their mean Dice; the last bin has no upper bound."""

    low_ml: float
    high_ml: float | None
    n: int
    found: int
    dice: float | None


class LesionSize(TypedDict):
    bins: list[LesionSizeBin]
    points: Curve  # [[mL, Dice]]


class DiameterSide(TypedDict):
    slices: int
    dice: float | None
    detected: float | None


class Diameter(TypedDict):
    """Slices with a hemorrhage by its diameter: below `line_mm`, and from it on; points [[mm, Dice, detected]]."""

    line_mm: float
    below: DiameterSide
    above: DiameterSide
    points: list[list[float]]


class ToBone(TypedDict):
    """Share of the false positives, and of the intracranial space outside the truth, in each range of distances."""

    edges_mm: list[int]
    share: list[float]
    share_of_brain: list[float]
    n_predicted_px: int


class SecondaryMetrics(TypedDict):
    """'beyond' of results.json (`aggregate.secondary_metrics`)."""

    surface: SurfaceSummary
    slice_roc: DetectionCurves | None
    scan_roc: DetectionCurves | None
    froc: Froc
    volume_agreement: VolumeAgreement
    calibration: Reliability | None
    lesion_size: LesionSize
    diameter: Diameter
    false_positives_to_bone: ToBone
    seams: Seams | None
    subtype_roc: NotRequired[dict[str, SubtypeDetection]]


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


class FoldScores(Provenance):
    """fold_K/scores.json."""

    chosen: dict
    chosen_on: NotRequired[str]
    subjects: list[ScoreRow]
