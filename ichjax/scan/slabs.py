"""Average thin slices to the slab thickness a network was trained on, and interpolate results back to slices."""

import dataclasses

import numpy as np

from ichjax.scan.volume import Volume

THIN_SLICE_MM = 2.5  # thinner slices are averaged if the network was trained on thicker ones
SLAB_MM = 5.0


def average_to_slabs(volume: Volume, trained_spacing_mm: float) -> tuple[Volume, int]:
    """Averages neighboring thin slices to slabs of about 5 mm, which also reduces the noise to the trained level.

    Slices of `THIN_SLICE_MM` or more are unchanged (some protocols scan only the skull base thinly); no slab spans a
    gap left by a missing slice.

    Args:
      volume: any scan.
      trained_spacing_mm: slice spacing of the training scans; below `THIN_SLICE_MM` nothing is averaged.

    Returns:
      (the slabs as a scan, each at the mean position of its slices, not to be written to a file, or `volume` itself;
      the number of slices in the thickest slab, 1 if nothing was averaged).
    """
    slabs = _group_slices(volume)
    max_count = max(len(slab) for slab in slabs)
    if trained_spacing_mm < THIN_SLICE_MM or max_count == 1:
        return volume, 1
    hu = np.stack([np.rint(volume.hu[slab].mean(axis=0, dtype=np.float32)) for slab in slabs]).astype(np.int16)
    origins = np.stack([volume.slice_origins_mm[slab].mean(axis=0) for slab in slabs])
    affine = volume.affine.copy()
    affine[:3, 3] = origins[0]
    affine[:3, 0] = origins[1] - origins[0] if len(slabs) > 1 else affine[:3, 0] * max_count
    return dataclasses.replace(volume, hu=hu, affine=affine, slice_origins_mm=origins), max_count


def _group_slices(volume: Volume) -> list[list[int]]:
    """Slice indices of each slab: a thin slice joins the thin ones below it if that brings the slab closer to 5 mm."""
    heights, positions = volume.extent_mm, volume.positions_mm
    slabs: list[list[int]] = []
    for k, height in enumerate(heights):
        thin = k > 0 and max(height, heights[k - 1], positions[k] - positions[k - 1]) < THIN_SLICE_MM
        if thin and heights[slabs[-1]].sum() + height / 2 < SLAB_MM:
            slabs[-1].append(k)
        else:
            slabs.append([k])
    return slabs


def interpolation_weights(volume: Volume, slabs: Volume) -> np.ndarray:
    """float32 [D, S]: linear interpolation from the positions of S slabs to those of D slices; rows sum to 1."""
    depth, count = len(volume.hu), len(slabs.hu)
    weights = np.zeros((depth, count), np.float32)
    index = np.interp(volume.positions_mm, slabs.positions_mm, np.arange(count))
    low = np.minimum(np.floor(index).astype(int), max(count - 2, 0))
    weights[np.arange(depth), low] = 1 - (index - low)
    if count > 1:
        weights[np.arange(depth), low + 1] = index - low
    return weights
