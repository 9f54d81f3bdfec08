"""Dice and Jaccard of slices and scans, averaged in each convention and broken down by sub-type and age."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import statistics
from ichjax.metrics.records import Convention, ConventionName, Group, Score

AGE_GROUPS = ("under_18", "18_and_over", "unknown")


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """All S slices of all N subjects, concatenated, at the reported threshold.

    Attributes:
      owner: int [S], index of the subject, 0 to N - 1; every subject has at least one slice.
      truth_px, predicted_px, overlap_px: int [S].
      labels: bool [S, 5], columns as `SUBTYPES`.
    """

    owner: np.ndarray
    truth_px: np.ndarray
    predicted_px: np.ndarray
    overlap_px: np.ndarray
    labels: np.ndarray

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(truth, predicted, overlap), int [S] each."""
        return self.truth_px, self.predicted_px, self.overlap_px

    def sums(self, values: np.ndarray) -> np.ndarray:
        """float [N]: values [S] summed over the slices of each subject."""
        return np.bincount(self.owner, weights=values)

    def means(self, values: np.ndarray) -> np.ndarray:
        """float [N]: mean of each subject's values [S] that exist (are not NaN); NaN where it has none."""
        exists = ~np.isnan(values)
        n = np.bincount(self.owner, weights=exists)
        return np.where(n > 0, self.sums(np.where(exists, values, 0.0)) / np.maximum(n, 1), np.nan)


def dice(truth_px: np.ndarray, predicted_px: np.ndarray, overlap_px: np.ndarray, *, empty: float) -> np.ndarray:
    """float [...]: Dice coefficient 2 |A and B| / (|A| + |B|) (paper, equation 2).

    Args:
      truth_px, predicted_px, overlap_px: pixel or voxel counts [...] of both masks and of their intersection.
      empty: the score where both masks are empty; it is 0 where only one of them is.
    """
    return _fraction(2.0 * overlap_px, truth_px + predicted_px, empty)


def jaccard(truth_px: np.ndarray, predicted_px: np.ndarray, overlap_px: np.ndarray, *, empty: float) -> np.ndarray:
    """float [...]: Jaccard index |A and B| / |A or B| (paper, equation 1); arguments as in `dice`."""
    return _fraction(overlap_px, truth_px + predicted_px - overlap_px, empty)


def _fraction(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), empty)


def score_positive(
    score: Callable[..., np.ndarray], truth_px: np.ndarray, predicted_px: np.ndarray, overlap_px: np.ndarray
) -> np.ndarray:
    """float [...]: `dice` or `jaccard` where the truth has a pixel; NaN elsewhere, whatever is predicted there, since
    the paper averages over slices with a hemorrhage only."""
    return np.where(truth_px > 0, score(truth_px, predicted_px, overlap_px, empty=np.nan), np.nan)


SCORES: dict[Score, Callable[..., np.ndarray]] = {"dice": dice, "jaccard": jaccard}
SMOOTHING = 1e-5  # voxels, of the `challenge` convention


def smoothed(score: Score, truth_px: np.ndarray, predicted_px: np.ndarray, overlap_px: np.ndarray) -> np.ndarray:
    """float [...]: Dice or Jaccard with `SMOOTHING` added to numerator and denominator, so that empty against empty
    scores 1, as in the scripts of segmentation challenges."""
    if score == "dice":
        numerator, denominator = 2.0 * overlap_px, truth_px + predicted_px
    else:
        numerator, denominator = 1.0 * overlap_px, truth_px + predicted_px - overlap_px
    return (numerator + SMOOTHING) / (denominator + SMOOTHING)


def conventions(slices: Slices, kept: np.ndarray, *, seed: int = 0) -> dict[ConventionName, Convention]:
    """Dice and Jaccard in each convention.

    Args:
      slices: of all subjects.
      kept: bool [N], the subjects that count in `paper`; the other conventions include all.
      seed: of the bootstrap.
    """
    scans = [slices.sums(counts) for counts in slices.counts]
    table: dict[ConventionName, Convention]
    table = {"paper": {}, "pooled": {}, "volume": {}, "challenge": {}, "all_slices": {}}
    for name, score in SCORES.items():
        of_slice = score_positive(score, *slices.counts)
        of_subject = np.where(kept, slices.means(of_slice), np.nan)
        challenge = np.where(scans[0] > 0, smoothed(name, *scans), np.nan)
        table["paper"][name] = statistics.summary(of_subject, seed=seed)
        table["pooled"][name] = statistics.summary(of_slice, slices.owner, seed=seed)
        table["volume"][name] = statistics.summary(score_positive(score, *scans), seed=seed)
        table["challenge"][name] = statistics.summary(challenge, seed=seed)
        table["all_slices"][name] = statistics.summary(score(*slices.counts, empty=1.0), slices.owner, seed=seed)
    return table


def challenge_all_scans(slices: Slices) -> float:
    """Mean Dice in the `challenge` convention with hemorrhage-free scans included: inflated, for comparison only."""
    return float(smoothed("dice", *(slices.sums(counts) for counts in slices.counts)).mean())


def by_subtype(slices: Slices, kept: np.ndarray, numbers: np.ndarray, *, seed: int = 0) -> dict[str, Group]:
    """Dice over the slices of each sub-type; a slice counts in every sub-type it is labeled with.

    Args:
      slices: of all subjects.
      kept: bool [N], the subjects that count.
      numbers: int [N], subject numbers.
      seed: of the bootstrap.
    """
    return {
        name: _group(slices, slices.labels[:, column] & kept[slices.owner], numbers, seed=seed)
        for column, name in enumerate(SUBTYPES)
    }


def by_age(
    slices: Slices, kept: np.ndarray, numbers: np.ndarray, ages: np.ndarray, *, seed: int = 0
) -> dict[str, Group]:
    """Dice by `AGE_GROUPS`; 'unknown' only where an age is unknown.

    Args:
      slices, kept, numbers, seed: as `by_subtype`.
      ages: float [N], years, NaN where unknown.
    """
    adult = statistics.ADULT_YEARS
    groups = dict(zip(AGE_GROUPS, (ages < adult, ages >= adult, np.isnan(ages)), strict=True))
    if not groups["unknown"].any():
        del groups["unknown"]
    return {
        name: _group(slices, (members & kept)[slices.owner], numbers, seed=seed) for name, members in groups.items()
    }


def _group(slices: Slices, chosen: np.ndarray, numbers: np.ndarray, *, seed: int) -> Group:
    of_slice = np.where(chosen, score_positive(dice, *slices.counts), np.nan)
    of_subject = slices.means(of_slice)
    summary = statistics.summary(of_subject, seed=seed)
    return {
        "subjects": summary,
        "slices": statistics.summary(of_slice, slices.owner, seed=seed),
        "each": [
            {"subject": int(number), "dice": float(value)}
            for number, value in zip(numbers, of_subject, strict=True)
            if not np.isnan(value)
        ]
        if summary["n"] < statistics.MIN_SUBJECTS
        else None,
    }
