"""Types of the secondary metrics: of one scan (in fold_K/scores.json) and over all ('beyond' of results.json).

None stands for a figure that does not exist. Volumes are in mL, lengths in mm, rates and scores in [0, 1].
"""

from typing import Literal, NotRequired, TypedDict

from ichjax.metrics.statistics import Interval, Summary

Curve = list[list[float]]  # [[x, y], ...]
SubtypeConvention = Literal["present_only", "nnunet", "pooled"]


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
    """`matched`, here and below, is whether it has a partner in `lesions.match_one_to_one`."""

    ml: float
    diameter_mm: float
    matched: NotRequired[bool]


class PredictedComponent(TypedDict):
    ml: float
    score: float
    false_positive: bool
    matched: NotRequired[bool]


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
    """Mean step of probability between neighboring pixels across patch edges and elsewhere, and the pairs."""

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
    own_scan_score: NotRequired[bool]
    lesions: LesionDetails
    calibration: CalibrationHistogram | None
    false_positives_to_bone: ToBoneCounts
    seams: Seams | None
    diagonal_mm: NotRequired[float]  # of the scan


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


class VolumeInterval(TypedDict):
    """A scan's volume lies in it with probability `coverage`; `calibrated_on` is the number of subjects like it."""

    low: float
    high: float
    coverage: float
    calibrated_on: int


class VolumeCoverage(TypedDict):
    """Of n intervals, those that hold the true volume (`observed` with its 95 % Wilson interval), and their widths."""

    coverage: float
    observed: float | None
    observed_ci95: Interval | None
    n: int
    inside: int
    mean_width_ml: float | None
    median_width_ml: float | None


class VolumeIntervals(VolumeCoverage):
    """Of the test subjects; `reason` says why some or all have no interval, '' where all have."""

    calibrated_on: int
    reason: str


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
    volume_interval: NotRequired[VolumeIntervals]
    calibration: Reliability | None
    lesion_size: LesionSize
    diameter: Diameter
    false_positives_to_bone: ToBone
    seams: Seams | None
    subtype_roc: NotRequired[dict[str, SubtypeDetection]]


class SubtypeCounts(TypedDict):
    """One scan's voxels of each sub-type [5], without those whose true sub-type is unknown, and their number."""

    truth_px: list[int]
    predicted_px: list[int]
    overlap_px: list[int]
    unknown_px: int


class PooledDice(TypedDict):
    """Dice of the voxels of all scans at once."""

    dice: float | None
    truth_px: int
    predicted_px: int
    overlap_px: int


class SubtypeScores(TypedDict):
    """Dice of one sub-type in each convention."""

    present_only: Summary
    nnunet: Summary
    pooled: PooledDice


class SubtypeDice(TypedDict):
    """'subtype_dice' of results.json (`subtype_dice.subtype_dice`)."""

    by_subtype: dict[str, SubtypeScores]
    mean: dict[str, float | None]  # by `SubtypeConvention`
    in_words: dict[SubtypeConvention, str]
    subjects: int
    unknown_px: int
