"""Simulates the radiologist who outlines and labels a phantom's bleeds, with the errors of a hand-drawn contour."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from ichjax.phantom import fields as pf
from ichjax.phantom.lesions import Lesion

SMOOTH_MM = 1.2  # SD of the blur that removes finer detail from the contour
JITTER_MM = 0.6  # SD of the contour's distance from the true edge
DROP_END = 0.5  # probability that a lesion's end slice is left out
MISS = 0.03  # probability that a slice with blood is missed
MIN_AREA_MM2 = 12.0  # smallest region that is outlined


def read_masks(
    rng: Generator, shares: np.ndarray, hidden: np.ndarray, pixel_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the reader's masks and labels.

    Args:
      shares: float32 [L, D, H, W], occupancy of each pixel by each lesion.
      hidden: bool [D, H, W], where bone hides blood; contours end there.
      pixel_mm: pixel spacing.

    Returns:
      (masks, bool [L, D, H, W]; slice labels, bool [L, D], which half of the slices with a missed outline keep).
    """
    masks: np.ndarray = np.zeros(shares.shape, bool)
    for lesion in range(len(shares)):
        for d in np.flatnonzero(shares[lesion].max(axis=(1, 2)) > 0.3):
            masks[lesion, d] = _outline(rng, shares[lesion, d], hidden[d], pixel_mm)
    for lesion in range(len(shares)):
        for end in (0, -1):
            drawn = np.flatnonzero(masks[lesion].any(axis=(1, 2)))
            cut_off = len(drawn) and drawn[end] in (0, len(masks[lesion]) - 1)  # the bleed extends beyond the scan
            if len(drawn) > 2 and not cut_off and rng.uniform() < DROP_END:
                masks[lesion, drawn[end]] = False
    labels = np.asarray(masks.any(axis=(2, 3)))
    for d in np.flatnonzero(labels.any(axis=0)):
        if rng.uniform() < MISS and labels.any(axis=0).sum() > 2:
            masks[:, d] = False
            if rng.uniform() < 0.5:
                labels[:, d] = False
    return masks, labels


def classify(lesions: Sequence[Lesion], shares: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The sub-type of each outlined pixel, uint8 [D, H, W]: 1 + its index in `SUBTYPES`, 0 outside.

    Where outlines overlap, the lesion with the larger share of the pixel counts. `shares`, `masks`: [L, D, H, W].
    """
    classes: np.ndarray = np.zeros(masks.shape[1:], np.uint8)
    largest: np.ndarray = np.full(masks.shape[1:], -1, np.float32)
    for lesion, share, mask in zip(lesions, shares, masks, strict=True):
        wins = mask & (share > largest)
        classes[wins] = 1 + lesion.subtype
        largest[wins] = share[wins]
    return classes


def _outline(rng: Generator, share: np.ndarray, hidden: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The reader's outline of one lesion on one slice, bool [H, W]; regions too small to be noticed are left out."""
    # Across an edge blurred by SMOOTH_MM, occupancy changes by 1 / (sqrt(2 pi) SMOOTH_MM) per mm.
    jitter = pf.noise(rng, (1, *share.shape), (1.0, pixel_mm, pixel_mm), 6.0)[0]
    threshold = np.clip(0.5 + jitter * np.float32(JITTER_MM / (2.5 * SMOOTH_MM)), 0.12, 0.88)
    # Averaged over what is visible, so that the contour of a thin bleed along the skull does not shrink.
    box = _box(share, round(4 * SMOOTH_MM / pixel_mm))
    visible = ~hidden[box]
    blur = functools.partial(ndimage.gaussian_filter, sigma=SMOOTH_MM / pixel_mm, truncate=2.5)
    soft = blur(share[box] * visible) / np.maximum(blur(visible.astype(np.float32)), 0.05)
    regions, count = ndimage.label((soft >= threshold[box]) & visible)
    area_mm2 = np.bincount(regions.ravel(), minlength=count + 1) * pixel_mm**2
    outline: np.ndarray = np.zeros(share.shape, bool)
    outline[box] = (area_mm2 >= MIN_AREA_MM2)[regions] & (regions > 0)
    return outline


def _box(share: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that contain all occupied pixels, and `margin` more."""
    rows, columns = (np.flatnonzero(share.any(axis=axis)) for axis in (1, 0))
    first, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    return slice(first, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)
