"""Scores against the masks of several raters: Dice against each, and those of the challenge MBH-Seg 2025.

The challenge's definitions are those of its evaluation code, github.com/mbhseg/metrics-mbhseg2025 (metrics_set.py,
diverse_performance.py and auto_config.py, commit 448c010); the scores' names are those of D-Persona (Wu et al., CVPR
2024, arXiv 2403.13417). Its classes are sub-types; here hemorrhage is the only one, since a prediction is one mask for
all of them. Its smoothing terms of 1e-8 are left out, which changes scores in the eighth digit.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.metrics import overlap
from ichjax.metrics.score_records import RaterScan, RaterScores
from ichjax.metrics.statistics import or_none, summary
from ichjax.metrics.surface import bounding_box

FOREGROUND_CLASSES = 5  # that the challenge's code averages over, whether or not they occur
MAX_FALSE_VOXELS = 100  # above it, a prediction scores 0 against an empty mask
SOFT_TENTHS = (1, 3, 5, 7, 9)  # thresholds on the mean of the masks
MBH_SEG_SOURCE = "MBH-Seg 2025: as github.com/mbhseg/metrics-mbhseg2025, with hemorrhage as the only class."
RATERS_IN_WORDS: Mapping[str, str] = {
    "dice_by_rater": "Dice of each scan against a rater, mean over the scans in which that rater marks a hemorrhage.",
    "dice_between_raters": (
        "Dice between two raters of a scan, mean over the pairs of which at least one marks a hemorrhage, then over "
        "the scans."
    ),
    "ged_one_class": (
        "Generalized energy distance between the prediction p and the raters y, with hemorrhage as the only class: "
        "2 E d(p, y) - E d(y, y') with d = 1 - Jaccard, over all ordered pairs of raters, each with itself too. 0 is "
        "best; two empty masks have a distance of 0."
    ),
    "ged": (
        "Generalized energy distance as in the code of MBH-Seg 2025: the Jaccard index is a mean over five classes, of "
        "which only hemorrhage occurs here and the others count as 0, so it is a fifth of the one above. Two empty "
        "masks have a distance of 1, but the score is 0 if prediction and raters are all empty, and 1 if only the "
        "prediction is, or only the raters are."
    ),
    "dice_max": "Dice against the rater who agrees most (MBH-Seg 2025).",
    "dice_match": (
        "Mean Dice over the raters, since with a single prediction every rater is matched with it (MBH-Seg 2025)."
    ),
    "dice_soft": (
        "Dice of the prediction and the voxels that more than 10, 30, 50, 70 and 90 % of the raters mark, mean over "
        "these five; 1 where both are empty (MBH-Seg 2025)."
    ),
    "hemorrhage_free": (
        "In Dice max and match, x predicted voxels score 2 (100 - x) / (200 - x) against a rater's empty mask, and 0 "
        "if x is above 100 (MBH-Seg 2025)."
    ),
}


def score_raters(raters: Mapping[int, np.ndarray], prediction: np.ndarray) -> RaterScan:
    """Scores one scan's prediction against its raters.

    Args:
      raters: {number: bool [D, H, W]}, at least one.
      prediction: bool [D, H, W].
    """
    masks = [np.asarray(mask, bool) for mask in (prediction, *raters.values())]
    box = bounding_box(np.any(masks, axis=0))
    masks = [mask[box] for mask in masks]
    sizes = np.array([np.count_nonzero(mask) for mask in masks])
    common = np.array([[np.count_nonzero(one & other) for other in masks] for one in masks])
    jaccard, dice = (
        score(sizes[:, None], sizes[None], common, empty=np.nan) for score in (overlap.jaccard, overlap.dice)
    )
    pairs = [dice[i, j] for i, j in itertools.combinations(range(1, len(masks)), 2)]
    challenge = [_challenge_dice(dice[0, k], int(sizes[0]), int(sizes[k])) for k in range(1, len(masks))]
    several = len(raters) > 1
    return {
        "dice": {str(rater): or_none(dice[0, k]) if sizes[k] else None for k, rater in enumerate(raters, start=1)},
        "between": _mean(pairs),
        "ged_one_class": _energy_distance(1.0 - np.where(np.isnan(jaccard), 1.0, jaccard)) if several else None,
        "ged": _challenge_energy_distance(jaccard, sizes) if several else None,
        "dice_max": max(challenge) if several else None,
        "dice_match": float(np.mean(challenge)) if several else None,
        "dice_soft": _soft_dice(masks[0], masks[1:]) if several else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    """The mean of the values that are not NaN; None if there is none."""
    existing = [value for value in values if not np.isnan(value)]
    return float(np.mean(existing)) if existing else None


def _challenge_dice(dice: float, predicted: int, marked: int) -> float:
    """The challenge's Dice against one rater, from the Dice and the voxels of both masks."""
    if marked:
        return float(dice)
    if predicted > MAX_FALSE_VOXELS:
        return 0.0
    return 2.0 * (MAX_FALSE_VOXELS - predicted) / (2.0 * MAX_FALSE_VOXELS - predicted)


def _energy_distance(distance: np.ndarray) -> float:
    """2 E d(p, y) - E d(y, y') - d(p, p) of distances [1 + R, 1 + R], the prediction's first."""
    return float(2.0 * distance[0, 1:].mean() - distance[1:, 1:].mean() - distance[0, 0])


def _challenge_energy_distance(jaccard: np.ndarray, sizes: np.ndarray) -> float:
    """The energy distance as the challenge's code computes it, see `RATERS_IN_WORDS`."""
    if not sizes[0] or not sizes[1:].any():
        return float(sizes.any())
    return _energy_distance(1.0 - np.where(np.isnan(jaccard), 0.0, jaccard) / FOREGROUND_CLASSES)


def _soft_dice(prediction: np.ndarray, raters: Sequence[np.ndarray]) -> float:
    votes = np.sum(raters, axis=0)
    predicted = np.count_nonzero(prediction)
    scores = []
    for tenths in SOFT_TENTHS:
        marked = 10 * votes > tenths * len(raters)
        counts = np.count_nonzero(marked), predicted, np.count_nonzero(marked & prediction)
        scores.append(overlap.dice(*map(np.asarray, counts), empty=1.0))
    return float(np.mean(scores))


def summarize_raters(by_subject: Mapping[int, RaterScan], *, seed: int = 0) -> RaterScores | None:
    """Means over the scans of a data set; None if no scan has raters.

    Args:
      by_subject: {subject: scores of its scan by `score_raters`}.
      seed: of the bootstrap.
    """
    scans = list(by_subject.values())
    if not scans:
        return None

    def over(values: Sequence[float | None]) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in values], np.float64)

    numbers = sorted({rater for scan in scans for rater in scan["dice"]}, key=int)
    return {
        "scans": len(scans),
        "scans_of_several": sum(scan["ged"] is not None for scan in scans),
        "own": {
            "dice_by_rater": {
                rater: summary(over([scan["dice"].get(rater) for scan in scans]), seed=seed) for rater in numbers
            },
            "dice_between_raters": summary(over([scan["between"] for scan in scans]), seed=seed),
            "ged": summary(over([scan["ged_one_class"] for scan in scans]), seed=seed),
        },
        "mbh_seg_2025": {
            "ged": summary(over([scan["ged"] for scan in scans]), seed=seed),
            "dice_max": summary(over([scan["dice_max"] for scan in scans]), seed=seed),
            "dice_match": summary(over([scan["dice_match"] for scan in scans]), seed=seed),
            "dice_soft": summary(over([scan["dice_soft"] for scan in scans]), seed=seed),
        },
        "subjects": [{"subject": subject, **scan} for subject, scan in by_subject.items()],
        "in_words": dict(RATERS_IN_WORDS),
    }
