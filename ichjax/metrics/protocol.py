"""From pixel counts of each slice to results.json: every score with the convention it follows."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import overlap, slice_detection, statistics
from ichjax.metrics.overlap import Slices

CONVENTIONS = {
    "paper": (
        "Score of each slice whose truth is not empty, mean over these slices of a subject, then mean over the "
        "subjects that have one; what is predicted on slices without a hemorrhage does not count."
    ),
    "pooled": "Score of each slice whose truth is not empty, mean over all such slices of all subjects at once.",
    "volume": "One score a scan, over all its voxels at once; mean over the subjects with a hemorrhage.",
    "challenge": (
        "As 'volume', with 0.00001 added above and below the fraction bar, as the challenges' scripts do; only the "
        "subjects with a hemorrhage, although some let the others in, where an empty mask then scores 1."
    ),
    "all_slices": (
        "Inflated, shown as a warning only: score of every slice, empty against empty counting as 1, so most of it "
        "is won by predicting nothing."
    ),
    "slice_detection": (
        "A slice is called positive when its predicted area exceeds the rule, and is positive when its truth has "
        "at least one pixel; the rate over the slices of each subject, then the mean over the subjects for which "
        "the rate exists."
    ),
    "slice_detection_pooled": "The same rates over all slices of all subjects at once.",
    "false_alarm_rate": "The share of the subjects without a true pixel that have any slice called positive.",
    "false_positive_ml": "The volume predicted in a scan without a true pixel, mean over these scans.",
    "by_subtype": (
        "The paper's convention over the slices that carry a sub-type; a slice counts in each sub-type it carries."
    ),
    "by_age": "The paper's convention over the subjects of an age group.",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SubjectCounts:
    """One subject's pixel counts, D slices at T thresholds, after post-processing.

    Attributes:
      subject: number in the data set.
      fold: the fold in whose test part it is; None where there are no folds.
      truth_px: int [D].
      predicted_px: int [T, D].
      overlap_px: int [T, D], pixels in both.
      pixel_ml: float [D], the volume in mL that one pixel of each slice stands for.
      pixel_mm2: the area of a pixel.
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
    chosen: object = None,
    slice_rule_mm2: float,
    slice_rule_px: int | None = None,
    leave_out: Sequence[int] = (),
    seed: int = 0,
) -> dict:
    """Scores a data set in every convention; results.json but for what identifies the run.

    Args:
      counts: one per subject, each subject once.
      thresholds: float [T], the probability thresholds at which `predicted_px` was counted.
      main: index of the reported threshold, or {fold: index} where folds chose different ones.
      chosen_on: what the reported threshold was chosen on, in words ('fixed beforehand', 'training folds').
      chosen: what `thresholds.value` says where it is not a probability, for example a list with each fold's pair
        of grey levels; None for the reported threshold itself (a list by fold where folds differ).
      slice_rule_mm2: a slice is called positive when its predicted area exceeds this.
      slice_rule_px: the same rule as a literal number of pixels, in its place (the paper's 400); None for none.
      leave_out: subjects left out of the overlap scores that follow the paper (`paper`, `by_subtype`, `by_age`),
        as the authors leave out subject 70; `pooled`, `volume` and slice detection keep them.
      seed: of the bootstrap.

    Returns:
      A dict ready for JSON: None where a figure does not exist.

    Raises:
      ValueError: no subject, a subject twice, arrays that do not fit each other, a threshold that is not there.
    """
    index = _reported_index(counts, main, len(thresholds))
    for c in counts:
        _check(c, len(thresholds))
    numbers = np.array([c.subject for c in counts])
    ages = np.array([np.nan if c.age_years is None else c.age_years for c in counts], dtype=np.float64)
    kept = ~np.isin(numbers, leave_out)
    slices = _in_a_row(counts, index)
    nothing = np.zeros_like(slices.truth_px)
    empty = dataclasses.replace(slices, predicted_px=nothing, overlap_px=nothing)
    truth = slices.truth_px > 0
    free = slices.sums(truth) == 0
    rule = {"rule_mm2": slice_rule_mm2, "rule_px": slice_rule_px}
    called = np.concatenate(
        [slice_detection.called_positive(c.predicted_px, c.pixel_mm2, **rule) for c in counts], axis=1
    )
    reported = called[np.repeat(index, np.bincount(slices.owner)), np.arange(len(truth))]
    predicted_ml = np.array([float(c.predicted_px[i] @ c.pixel_ml) for c, i in zip(counts, index, strict=True)])
    value = _reported_value(thresholds, main)

    def detected(calls):
        return slice_detection.detection(calls, truth, slices.owner, seed=seed)

    return {
        "conventions": overlap.conventions(slices, kept, seed=seed),
        "conventions_in_words": dict(CONVENTIONS),
        "left_out_of_paper": sorted(int(number) for number in numbers[~kept]),
        "empty_mask_would_score": {
            **{name: row["dice"]["mean"] for name, row in overlap.conventions(empty, kept).items()},
            "challenge_all_scans": overlap.challenge_of_all_scans(empty),
            "slice_detection": {k: v for k, v in detected(nothing > 0).items() if k != "per_subject"},
        },
        "slice_rule_mm2": slice_rule_mm2,
        "slice_rule_px": slice_rule_px,
        "thresholds": {"value": value if chosen is None else chosen, "chosen_on": chosen_on},
        "slice_detection": [
            {"threshold": float(t), **detected(calls)} for t, calls in zip(thresholds, called, strict=True)
        ],
        "reported_slice_detection": {"threshold": value, **detected(reported)},
        "by_subtype": overlap.by_subtype(slices, kept, numbers, seed=seed),
        "by_age": overlap.by_age(slices, kept, numbers, ages, seed=seed),
        "by_age_test": statistics.age_difference(
            np.where(kept, slices.means(overlap.with_hemorrhage(overlap.dice, *slices.counts)), np.nan), ages, seed=seed
        ),
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
        raise ValueError("no subject to score")
    numbers = [c.subject for c in counts]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"a subject is scored twice in {sorted(numbers)}; expected each in one test fold")
    index = np.array([main[c.fold] if isinstance(main, Mapping) else main for c in counts])
    if index.min() < 0 or index.max() >= thresholds:
        raise ValueError(f"the reported threshold is number {index.max()} of {thresholds}")
    return index


def _check(c: SubjectCounts, thresholds: int) -> None:
    depth = len(c.truth_px)
    if depth == 0:
        raise ValueError(f"subject {c.subject}: no slice to score")
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


def _in_a_row(counts: Sequence[SubjectCounts], index: np.ndarray) -> Slices:
    def pick(name):
        return np.concatenate([getattr(c, name)[i] for c, i in zip(counts, index, strict=True)])

    return Slices(
        owner=np.repeat(np.arange(len(counts)), [len(c.truth_px) for c in counts]),
        truth_px=np.concatenate([c.truth_px for c in counts]).astype(np.int64),
        predicted_px=pick("predicted_px").astype(np.int64),
        overlap_px=pick("overlap_px").astype(np.int64),
        labels=np.concatenate([c.slice_labels for c in counts]).astype(bool),
    )


def _reported_value(thresholds: Sequence[float], main: int | Mapping[int, int]) -> float | list[float]:
    if isinstance(main, Mapping):
        return [float(thresholds[main[fold]]) for fold in sorted(main)]
    return float(thresholds[main])


def _disagreements(slices: Slices, numbers: np.ndarray) -> dict:
    """Slices on which the mask and the sub-type labels disagree; the mask decides in every score."""
    masked, labelled = slices.truth_px > 0, slices.labels.any(axis=1)
    odd = masked != labelled
    return {
        "mask_without_label": int((masked & ~labelled).sum()),
        "label_without_mask": int((labelled & ~masked).sum()),
        "subjects": sorted(int(number) for number in numbers[np.unique(slices.owner[odd])]),
    }


def _subjects(
    counts: Sequence[SubjectCounts], slices: Slices, called: np.ndarray, predicted_ml: np.ndarray
) -> list[dict]:
    of_slice = {
        name: slices.means(overlap.with_hemorrhage(score, *slices.counts)) for name, score in overlap.SCORES.items()
    }
    volume_dice = overlap.with_hemorrhage(overlap.dice, *(slices.sums(x) for x in slices.counts))
    carries = np.stack([slices.sums(column) for column in slices.labels.T], axis=1) > 0
    positive, n_called = slices.sums(slices.truth_px > 0), slices.sums(called)
    return [
        {
            "subject": int(c.subject),
            "fold": None if c.fold is None else int(c.fold),
            "dice": statistics.or_none(of_slice["dice"][n]),
            "jaccard": statistics.or_none(of_slice["jaccard"][n]),
            "volume_dice": statistics.or_none(volume_dice[n]),
            "truth_ml": float(c.truth_px @ c.pixel_ml),
            "predicted_ml": float(predicted_ml[n]),
            "slices": len(c.truth_px),
            "positive_slices": int(positive[n]),
            "called_slices": int(n_called[n]),
            "subtypes": [name for name, there in zip(SUBTYPES, carries[n], strict=True) if there],
        }
        for n, c in enumerate(counts)
    ]
