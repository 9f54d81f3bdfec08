"""Batches of examples: what all have in common, and those of images with masks."""

from typing import TypedDict

import numpy as np


class Examples(TypedDict):
    """Which examples a batch has.

    Attributes:
      index: int32 [B], the example's row in its table: of patches, slices or scans.
      weight: float32 [B], 0 for the padding of a last batch, else 1.
    """

    index: np.ndarray
    weight: np.ndarray


class Batch(Examples):
    """A batch for the device: 2 bytes per pixel, whatever the number of HU windows.

    Attributes:
      image: int16 HU [B, P, P], or [B, P, P, S] of S neighboring slices, the example's own slice in the middle, and of
        the mirrored slice after them if there is one. With priors there is one more channel, the last: probability x
        1000, of the example's own slice.
      mask: uint8 [B, P, P] of 0 and 1, or the classes of its pixels (`classes.class_mask`).
    """

    image: np.ndarray
    mask: np.ndarray
