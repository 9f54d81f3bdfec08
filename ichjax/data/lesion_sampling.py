"""Sampling of patches by lesion, so that small bleeds and rare sub-types are seen as often as large and common ones."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ichjax.data.patch_index import PatchTable, any_in_patch
from ichjax.data.scan_cache import CachedScan


def lesion_weights(scans: Sequence[CachedScan], table: PatchTable, *, stride: int) -> np.ndarray:
    """The probability with which each patch is drawn.

    Every subject with a hemorrhage has the same share, within it every group of lesions with the same sub-types, within
    that every lesion, and within it every patch that shows a part of it. A lesion is a 26-connected component of the
    mask; its sub-types are those of its slices.

    Args:
      scans: of the table.
      table: patches of `stride`.
      stride: in pixels.

    Returns:
      float64 [N], by row of the table; sums to 1.
    """
    weights = np.zeros(len(table))
    for index, scan in enumerate(scans):
        rows = np.flatnonzero(table.scan == index)
        groups = defaultdict(list)
        labels, _ = ndimage.label(np.asarray(scan.mask) > 0, np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            seen = any_in_patch(labels[box[0]] == number, table.side, stride)
            per_slice = len(rows) // len(labels)
            patches = rows[box[0].start * per_slice : box[0].stop * per_slice][seen.ravel()]
            subtypes = tuple(scan.slice_labels[box[0]].any(axis=0).tolist())
            groups[subtypes].append(patches)
        for lesions in groups.values():
            for patches in lesions:
                weights[patches] += 1 / (len(groups) * len(lesions) * len(patches))
    return weights / weights.sum()
