"""Post-processing and scores as in the authors' Python code: NumPy, OpenCV and scikit-learn on the host.

Independent of ichjax and JAX: patches are added into an array one by one, masks are cleaned by cv2.morphologyEx, and
slices are scored by scikit-learn or, as a faster peer, by sums in NumPy.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from sklearn.metrics import f1_score, jaccard_score

from benchmarks.keras_pipeline import CLOSING_PX, OPENING_PX, RULE_PX

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class Scores(NamedTuple):
    """The mask and scores of a scan.

    Attributes:
      mask: uint8 [D, H, W] of 0 and 1, at the first threshold, cleaned.
      dice, jaccard: float [D, T], NaN on slices without a hemorrhage, which the authors exclude.
      detection: float [T, 3], see `detection`.
    """

    mask: np.ndarray
    dice: np.ndarray
    jaccard: np.ndarray
    detection: np.ndarray


def example(*, slices: int, patches: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A scan's predicted patches, with lesions, false positives and noise, and its truth.

    Probabilities are multiples of 1/256, close to the 8 bits that the authors keep, so that sums of four are exact and
    any order of summation gives the same masks.

    Args:
      slices: D; about a quarter of them have a hemorrhage.
      patches: along each side of a slice, at a stride of half a patch.
      side: P, in pixels.
      seed: of everything random.

    Returns:
      (float32 [D, patches, patches, P, P] in [0, 1), uint8 [D, H, W] of 0 and 1).
    """
    rng = np.random.default_rng(seed)
    stride = side // 2
    extent = stride * (patches + 1)
    y, x = np.mgrid[:extent, :extent].astype(np.float32)
    truth = np.zeros((slices, extent, extent), np.uint8)
    probability = np.empty((slices, patches, patches, side, side), np.float32)
    for d in range(slices):
        logits = np.full((extent, extent), -3.0, np.float32)  # mostly confident
        for kind in ("lesion", "lesion", "false alarm"):
            row, column = rng.uniform(0.2, 0.8, 2) * extent
            radius, stretch = rng.uniform(0.02, 0.07) * extent, rng.uniform(0.5, 2.0)
            if d % 4 != 1 and (kind == "lesion" or d % 3):
                continue
            distance = np.hypot(y - row, (x - column) * stretch)
            logits = np.maximum(logits, (radius - distance) / (0.01 * extent))
            if kind == "lesion":
                truth[d] |= distance < radius * rng.uniform(0.8, 1.2)
        for i in range(patches):
            for j in range(patches):
                part = logits[i * stride :, j * stride :][:side, :side]
                noisy = part + rng.normal(0.0, 1.0, (side, side)).astype(np.float32)
                probability[d, i, j] = np.floor(256.0 / (1.0 + np.exp(-noisy))) / 256.0
    return np.minimum(probability, 255.0 / 256.0), truth


def stitch(patches: np.ndarray) -> np.ndarray:
    """Averages the overlapping patches of one slice [rows, columns, P, P], at a stride of half a patch."""
    rows, columns, side, _ = patches.shape
    stride = side // 2
    total = np.zeros(((rows + 1) * stride, (columns + 1) * stride), np.float32)
    count = np.zeros_like(total)
    for i in range(rows):
        for j in range(columns):
            region = slice(i * stride, i * stride + side), slice(j * stride, j * stride + side)
            total[region] += patches[i, j]
            count[region] += 1
    return total / count


def clean(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Thresholds, closes, then opens: uint8 [H, W] of 0 and 1."""
    mask = (probability > np.float32(threshold)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((CLOSING_PX, CLOSING_PX), np.uint8))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((OPENING_PX, OPENING_PX), np.uint8))


def overlap_by_sklearn(truth: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """(Dice, Jaccard) of two masks by scikit-learn."""
    truth, mask = truth.ravel(), mask.ravel()
    return f1_score(truth, mask, zero_division=0.0), jaccard_score(truth, mask, zero_division=0.0)


def overlap_by_sums(truth: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """(Dice, Jaccard) of two masks from three counts."""
    both, total = np.count_nonzero(truth & mask), np.count_nonzero(truth) + np.count_nonzero(mask)
    return 2 * both / total, both / (total - both)


def score(patches: np.ndarray, truth: np.ndarray, overlap: Callable) -> Scores:
    """Stitches, cleans and scores a scan slice by slice at all `THRESHOLDS`.

    Args:
      patches: float32 [D, rows, columns, P, P].
      truth: uint8 [D, H, W] of 0 and 1.
      overlap: `overlap_by_sklearn` or `overlap_by_sums`.
    """
    depth, count = len(truth), len(THRESHOLDS)
    dice, jaccard = np.full((2, depth, count), np.nan)
    predicted_positive = np.zeros((depth, count), bool)
    bleeds = truth.any(axis=(1, 2))
    first_mask = np.empty_like(truth)
    for d in range(depth):
        probability = stitch(patches[d])
        for t, threshold in enumerate(THRESHOLDS):
            mask = clean(probability, threshold)
            predicted_positive[d, t] = np.count_nonzero(mask) > RULE_PX
            if bleeds[d]:
                dice[d, t], jaccard[d, t] = overlap(truth[d], mask)
            if t == 0:
                first_mask[d] = mask
    return Scores(first_mask, dice, jaccard, detection(predicted_positive, bleeds))


def detection(predicted_positive: np.ndarray, bleeds: np.ndarray) -> np.ndarray:
    """Sensitivity, specificity and accuracy of a scan's slices, float64 [T, 3].

    Args:
      predicted_positive: bool [D, T].
      bleeds: bool [D], whether the slice has a hemorrhage.
    """
    right = predicted_positive == bleeds[:, None]
    return np.stack([right[bleeds].mean(axis=0), right[~bleeds].mean(axis=0), right.mean(axis=0)], axis=1)


def prepare(*, slices: int, patches: int, side: int, overlap: str) -> Callable[[], dict]:
    """A contestant; `overlap` is 'sklearn' or 'sums'."""
    probability, truth = example(slices=slices, patches=patches, side=side)
    by = {"sklearn": overlap_by_sklearn, "sums": overlap_by_sums}[overlap]
    return lambda: summary(score(probability, truth, by))


def summary(scores: Scores) -> dict:
    """A contestant's scores to compare: mean Dice and Jaccard at each threshold, detection, pixels of the mask."""
    return {
        "dice": np.nanmean(scores.dice, axis=0).tolist(),
        "jaccard": np.nanmean(scores.jaccard, axis=0).tolist(),
        "detection": np.asarray(scores.detection).tolist(),
        "mask_px": int(np.count_nonzero(scores.mask)),
    }
