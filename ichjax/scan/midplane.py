"""The head's mid-plane, to mirror slices left-right about it so that the hemispheres can be compared.

The plane is a column of pixels or the border between two, the same in all slices: a head that is turned in the plane of
its slices is not turned back. It is described by the sum of a column and its mirror image, so column x mirrors to
`column_sum` - x, and slices are shifted by whole pixels alone.
"""

import numpy as np

from ichjax.scan.skull import MIN_BONE_HU


def column_sum(hu: np.ndarray) -> int:
    """The sum of a column and its mirror image for which bone and mirrored bone agree best.

    The number of slices with bone at a pixel is correlated with its mirror image. Bone, as it is sharp and nearly
    symmetric, and as neither a head's hair nor most of its support contains any. Where nothing is above `MIN_BONE_HU`
    (the 8-bit release), the brightest pixels are used. Whole numbers, so that it is the same on every machine.

    Args:
      hu: int16 [D, H, W].

    Returns:
      0 to 2 W - 2; W - 1 mirrors about the middle of the image, also where there is only air.
    """
    width = hu.shape[2]
    bone = (hu > min(MIN_BONE_HU, int(hu.max()) - 1)).sum(axis=0).astype(np.float64)
    spectrum = np.fft.rfft(bone, 2 * width, axis=1)
    overlap = np.rint(np.fft.irfft((spectrum**2).sum(axis=0), 2 * width))[: 2 * width - 1]
    return int(overlap.argmax())


def mirrored_patch(rows: np.ndarray, column_sum: int, left: int, side: int, *, outside: int) -> np.ndarray:
    """Columns `left` to `left` + `side` - 1 of the mirrored rows [P, W]; `outside` beyond the image: [P, side]."""
    columns = column_sum - np.arange(left, left + side)
    inside = (columns >= 0) & (columns < rows.shape[1])
    patch = np.full((len(rows), side), outside, rows.dtype)
    patch[:, inside] = rows[:, columns[inside]]
    return patch
