"""Scores of a data set in every convention, from pixel counts of each slice: most of results.json."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import overlap, slice_detection, statistics
from ichjax.metrics.overlap import Slices
from ichjax.metrics.records import Detection, Disagreements, EmptyMaskScores, Scores, SubjectRecord, Threshold

CONVENTIONS = {
    "paper": (
        "Score of each slice whose truth is not empty, mean over these slices of a subject, then mean over the "
        "subjects that have one; predictions on slices without a hemorrhage do not count."
    ),
    "pooled": "Score of each slice whose truth is not empty, mean over all such slices of all subjects at once.",
    "volume": "One score per scan, over all its voxels at once; mean over the subjects with a hemorrhage.",
    "challenge": (
        "As 'volume', with 0.00001 added to numerator and denominator, as in the scripts of segmentation challenges; "
        "only the subjects with a hemorrhage, although some scripts include the others, where an empty mask scores 1."
    ),
    "all_slices": (
        "Inflated, shown only as a warning: score of every slice, where empty against empty counts as 1, so "
        "predicting nothing wins most of it."
    ),
    "slice_detection": (
        "A slice is predicted positive when its predicted area exceeds the rule, and positive when its truth has "
        "at least one pixel; the rate over the slices of each subject, then the mean over the subjects for which "
        "the rate exists."
    ),
    "slice_detection_pooled": "The same rates over all slices of all subjects at once.",
    "false_alarm_rate": "The share of the subjects without a true pixel that have any slice predicted positive.",
    "false_positive_ml": "The volume predicted in a scan without a true pixel, mean over these scans.",
    "by_subtype": (
        "The paper's convention over the slices of each sub-type; a slice counts in every sub-type it is labeled with."
    ),
    "by_age": "The paper's convention over the subjects of an age group.",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SubjectCounts:
    """One subject's pixel counts, D slices at T thresholds, after post-processing.

    Attributes:
      subject: number in the data set.
      fold: the fold that tests it; None where there are no folds.
      truth_px: int [D].
      predicted_px: int [T, D].
      overlap_px: int [T, D], pixels in both.
      pixel_ml: float [D], volume of a pixel of each slice.
      pixel_mm2: area of a pixel.
      slice_labels: bool [D, 5], columns as `SUBTYPES`.
      age_years, sex: None where unknown.
    """

    subject: int
    fold: int | None
    truth_px: np.ndarray
    predicted_px: np.ndarray
    overlap_px: np.ndarray
    pixel_ml: np.ndarray
    pixel_mm2: float
    slice_labels: np.ndarray
    age_years: float | None
    sex: str | None


def results(
    counts: Sequence[SubjectCounts],
    *,
    thresholds: Sequence[float],
    main: int | Mapping[int, int],
    chosen_on: str,
    chosen: list[list[int]] | None = None,
    slice_rule_mm2: float,
    slice_rule_px: int | None = None,
    leave_out: Sequence[int] = (),
    seed: int = 0,
) -> Scores:
    """Scores a data set in every convention.

    Args:
      counts: one per subject, each subject once.
      thresholds: float [T], the probability thresholds at which `predicted_px` was counted.
      main: index of the reported threshold, or {fold: index} where folds chose different ones.
      chosen_on: what the reported threshold was chosen on ('fixed beforehand', 'training folds').
      chosen: `thresholds.value` of a method without a probability threshold: each fold's pair of gray levels. None for
        the reported threshold itself (a list by fold where folds differ).
      slice_rule_mm2: a slice is predicted positive above this area.
      slice_rule_px: the same rule as a number of pixels (the paper's 400), which replaces it; None for the area.
      leave_out: subjects excluded from the overlap scores that follow the paper (`paper`, `by_subtype`, `by_age`),
        as the authors exclude subject 70; `pooled`, `volume` and slice detection include them.
      seed: of the bootstrap.

    Raises:
      ValueError: no subject, a subject twice, arrays of inconsistent shapes, or no such threshold.
    """
    index = _reported_index(counts, main, len(thresholds))
    for c in counts:
        _check(c, len(thresholds))
    numbers = np.array([c.subject for c in counts])
    ages = np.array([np.nan if c.age_years is None else c.age_years for c in counts], dtype=np.float64)
    kept = ~np.isin(numbers, leave_out)
    slices = _concatenate(counts, index)
    truth = slices.truth_px > 0
    free = slices.sums(truth) == 0
    predicted_positive = np.concatenate(
        [
            slice_detection.exceeds_rule(c.predicted_px, c.pixel_mm2, rule_mm2=slice_rule_mm2, rule_px=slice_rule_px)
            for c in counts
        ],
        axis=1,
    )
    reported = predicted_positive[np.repeat(index, np.bincount(slices.owner)), np.arange(len(truth))]
    predicted_ml = np.array([float(c.predicted_px[i] @ c.pixel_ml) for c, i in zip(counts, index, strict=True)])
    dice = slices.means(overlap.score_positive(overlap.dice, *slices.counts))
    if isinstance(main, Mapping):
        value: Threshold = [float(thresholds[main[fold]]) for fold in sorted(main)]
    else:
        value = float(thresholds[main])

    def detected(positive: np.ndarray) -> Detection:
        return slice_detection.detection(positive, truth, slices.owner, seed=seed)

    return {
        "conventions": overlap.conventions(slices, kept, seed=seed),
        "conventions_in_words": dict(CONVENTIONS),
        "left_out_of_paper": sorted(int(number) for number in numbers[~kept]),
        "empty_mask_would_score": _empty_mask_scores(slices, kept),
        "slice_rule_mm2": slice_rule_mm2,
        "slice_rule_px": slice_rule_px,
        "thresholds": {"value": value if chosen is None else chosen, "chosen_on": chosen_on},
        "slice_detection": [
            {"threshold": float(threshold), **detected(positive)}
            for threshold, positive in zip(thresholds, predicted_positive, strict=True)
        ],
        "reported_slice_detection": {"threshold": value, **detected(reported)},
        "by_subtype": overlap.by_subtype(slices, kept, numbers, seed=seed),
        "by_age": overlap.by_age(slices, kept, numbers, ages, seed=seed),
        "by_age_test": statistics.age_difference(np.where(kept, dice, np.nan), ages, seed=seed),
        "hemorrhage_free": slice_detection.hemorrhage_free(reported, predicted_ml, free, slices.owner),
        "counts": {
            "subjects": len(counts),
            "hemorrhage_subjects": int((~free).sum()),
            "slices": len(truth),
            "positive_slices": int(truth.sum()),
        },
        "disagreements": _disagreements(slices, numbers),
        "subjects": _subjects(counts, slices, reported, predicted_ml),
    }


def _reported_index(counts: Sequence[SubjectCounts], main: int | Mapping[int, int], thresholds: int) -> np.ndarray:
    """int [N]: index of the reported threshold of each subject's fold."""
    if not counts:
        raise ValueError("no subject to score; expected at least one")
    numbers = [c.subject for c in counts]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"a subject is scored twice in {sorted(numbers)}; expected each in one test fold")
    if isinstance(main, Mapping):
        folds = [c.fold for c in counts if c.fold is not None]
        if len(folds) < len(counts) or not set(folds) <= set(main):
            raise ValueError(f"reported thresholds of folds {sorted(main)}; expected one for the fold of each subject")
        index = np.array([main[fold] for fold in folds])
    else:
        index = np.full(len(counts), main)
    if index.min() < 0 or index.max() >= thresholds:
        raise ValueError(f"the reported threshold is number {index.max()} of {thresholds}; expected one of them")
    return index


def _check(c: SubjectCounts, thresholds: int) -> None:
    depth = len(c.truth_px)
    if depth == 0:
        raise ValueError(f"subject {c.subject}: no slice to score; expected at least one")
    expected = {
        "predicted_px": (thresholds, depth),
        "overlap_px": (thresholds, depth),
        "pixel_ml": (depth,),
        "slice_labels": (depth, len(SUBTYPES)),
    }
    for name, shape in expected.items():
        if np.shape(getattr(c, name)) != shape:
            raise ValueError(f"subject {c.subject}: {name} is {np.shape(getattr(c, name))}; expected {shape}")
    if (np.asarray(c.overlap_px) > np.minimum(c.truth_px, c.predicted_px)).any():
        raise ValueError(f"subject {c.subject}: more pixels in both masks than in one of them")


def _concatenate(counts: Sequence[SubjectCounts], index: np.ndarray) -> Slices:
    """The slices of all subjects at the reported thresholds."""
    return Slices(
        owner=np.repeat(np.arange(len(counts)), [len(c.truth_px) for c in counts]),
        truth_px=np.concatenate([c.truth_px for c in counts]).astype(np.int64),
        predicted_px=np.concatenate([c.predicted_px[i] for c, i in zip(counts, index, strict=True)]).astype(np.int64),
        overlap_px=np.concatenate([c.overlap_px[i] for c, i in zip(counts, index, strict=True)]).astype(np.int64),
        labels=np.concatenate([c.slice_labels for c in counts]).astype(bool),
    )


def _empty_mask_scores(slices: Slices, kept: np.ndarray) -> EmptyMaskScores:
    zeros = np.zeros_like(slices.truth_px)
    empty = dataclasses.replace(slices, predicted_px=zeros, overlap_px=zeros)
    dice = {name: scores["dice"]["mean"] for name, scores in overlap.conventions(empty, kept).items()}
    rates = slice_detection.detection(zeros > 0, slices.truth_px > 0, slices.owner)
    return {
        "paper": dice["paper"],
        "pooled": dice["pooled"],
        "volume": dice["volume"],
        "challenge": dice["challenge"],
        "all_slices": dice["all_slices"],
        "challenge_all_scans": overlap.challenge_all_scans(empty),
        "slice_detection": {
            "sensitivity": rates["sensitivity"],
            "specificity": rates["specificity"],
            "accuracy": rates["accuracy"],
            "pooled": rates["pooled"],
        },
    }


def _disagreements(slices: Slices, numbers: np.ndarray) -> Disagreements:
    """Slices on which the mask and the sub-type labels disagree; the mask decides in every score."""
    mask_positive, label_positive = slices.truth_px > 0, slices.labels.any(axis=1)
    return {
        "mask_without_label": int((mask_positive & ~label_positive).sum()),
        "label_without_mask": int((label_positive & ~mask_positive).sum()),
        "subjects": sorted(int(n) for n in numbers[np.unique(slices.owner[mask_positive != label_positive])]),
    }


def _subjects(
    counts: Sequence[SubjectCounts], slices: Slices, predicted_positive: np.ndarray, predicted_ml: np.ndarray
) -> list[SubjectRecord]:
    dice, jaccard = (slices.means(overlap.score_positive(score, *slices.counts)) for score in overlap.SCORES.values())
    volume_dice = overlap.score_positive(overlap.dice, *(slices.sums(px) for px in slices.counts))
    has_subtype = np.stack([slices.sums(column) for column in slices.labels.T], axis=1) > 0
    positive_slices, called_slices = slices.sums(slices.truth_px > 0), slices.sums(predicted_positive)
    return [
        {
            "subject": int(c.subject),
            "fold": None if c.fold is None else int(c.fold),
            "dice": statistics.or_none(dice[n]),
            "jaccard": statistics.or_none(jaccard[n]),
            "volume_dice": statistics.or_none(volume_dice[n]),
            "truth_ml": float(c.truth_px @ c.pixel_ml),
            "predicted_ml": float(predicted_ml[n]),
            "slices": len(c.truth_px),
            "positive_slices": int(positive_slices[n]),
            "called_slices": int(called_slices[n]),
            "subtypes": [name for name, present in zip(SUBTYPES, has_subtype[n], strict=True) if present],
        }
        for n, c in enumerate(counts)
    ]
