"""Which examples a batch has: what all batches have in common."""

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
