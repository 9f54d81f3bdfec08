"""The radiologist's mask of a phantom: close to the truth, as a hand-drawn contour is, not equal to it."""

import numpy as np
from scipy import ndimage

from ichjax.phantom import fields as pf

SMOOTH_MM = 1.2  # the contour follows no finer detail
JITTER_MM = 0.6  # SD of its distance from the true edge
DROP_END = 0.5  # how often a lesion's last slice is left out
MISSED = 0.03  # share of slices with blood that the reader missed
SMALLEST_MM2 = 12.0  # nobody outlines less


def read_masks(rng: np.random.Generator, shares: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws masks of the lesions as a reader does.

    Args:
      shares: float32 [L, D, H, W], occupancy of each pixel by each lesion.
      pixel_mm: distance of pixels.

    Returns:
      (masks bool [L, D, H, W]; labels bool [L, D], what the reader writes into the table: as the masks, but half
      of the slices whose outline was forgotten are labelled all the same).
    """
    masks = np.zeros(shares.shape, bool)
    sigma = SMOOTH_MM / pixel_mm
    for lesion in range(len(shares)):
        for d in np.flatnonzero(shares[lesion].max(axis=(1, 2)) > 0.3):
            soft = ndimage.gaussian_filter(shares[lesion, d], sigma, truncate=2.5)
            # On an edge blurred by SMOOTH_MM, an offset of e mm is an offset of e / (sqrt(2 pi) SMOOTH_MM).
            wobble = pf.noise(rng, (1, *soft.shape), (1.0, pixel_mm, pixel_mm), 6.0)[0]
            cut = 0.5 + wobble * np.float32(JITTER_MM / (2.5 * SMOOTH_MM))
            masks[lesion, d] = soft >= np.clip(cut, 0.12, 0.88)
    area = masks.sum(axis=(2, 3)) * pixel_mm**2
    masks[area < SMALLEST_MM2] = False
    for lesion in range(len(shares)):
        for end in (0, -1):
            drawn = np.flatnonzero(masks[lesion].any(axis=(1, 2)))
            cut_off = len(drawn) and drawn[end] in (0, masks.shape[1] - 1)  # by the scan: no end of the bleed
            if len(drawn) > 2 and not cut_off and rng.uniform() < DROP_END:
                masks[lesion, drawn[end]] = False
    labels = masks.any(axis=(2, 3))
    for d in np.flatnonzero(labels.any(axis=0)):
        if rng.uniform() < MISSED and labels.any(axis=0).sum() > 2:
            masks[:, d] = False
            if rng.uniform() < 0.5:
                labels[:, d] = False
    return masks, labels
