"""Simulates the radiologist who outlines and labels a phantom's bleeds, with the errors of a hand-drawn contour."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from ichjax.phantom import fields as pf

SMOOTH_MM = 1.2  # SD of the blur that removes finer detail from the contour
JITTER_MM = 0.6  # SD of the contour's distance from the true edge
DROP_END = 0.5  # probability that a lesion's end slice is left out
MISS = 0.03  # probability that a slice with blood is missed
MIN_AREA_MM2 = 12.0  # smallest area that is outlined


def read_masks(rng: Generator, shares: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws the reader's masks and labels.

    Args:
      shares: float32 [L, D, H, W], occupancy of each pixel by each lesion.
      pixel_mm: pixel spacing.

    Returns:
      (masks, bool [L, D, H, W]; slice labels, bool [L, D], which half of the slices with a missed outline keep).
    """
    masks: np.ndarray = np.zeros(shares.shape, bool)
    sigma = SMOOTH_MM / pixel_mm
    for lesion in range(len(shares)):
        for d in np.flatnonzero(shares[lesion].max(axis=(1, 2)) > 0.3):
            soft = ndimage.gaussian_filter(shares[lesion, d], sigma, truncate=2.5)
            # Across an edge blurred by SMOOTH_MM, occupancy changes by 1 / (sqrt(2 pi) SMOOTH_MM) per mm.
            jitter = pf.noise(rng, (1, *soft.shape), (1.0, pixel_mm, pixel_mm), 6.0)[0]
            threshold = 0.5 + jitter * np.float32(JITTER_MM / (2.5 * SMOOTH_MM))
            masks[lesion, d] = soft >= np.clip(threshold, 0.12, 0.88)
    masks[masks.sum(axis=(2, 3)) * pixel_mm**2 < MIN_AREA_MM2] = False
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
