"""Thin slices averaged to slabs as thick as those a network was trained on, and back."""

import dataclasses

import numpy as np

from ichjax.scan.volume import Volume

THIN_MM = 2.5  # slices that stand for less are averaged, where the network was trained on thicker ones
SLAB_MM = 5.0


def averaged(volume: Volume, trained_gap_mm: float) -> tuple[Volume, int]:
    """A scan of thin slices as one of slabs of about 5 mm, each the mean of neighbouring thin slices.

    Averaging also lowers the noise to what the network knows. Slices that stand for `THIN_MM` or more stay as they
    are, as above the base of a skull that was scanned thinly; no slab bridges a gap where a slice is missing.

    Args:
      volume: any scan.
      trained_gap_mm: between the slices that the network was trained on; where these are thin too nothing is averaged.

    Returns:
      (the scan of slabs, each at the mean place of its slices, not to be written to a file, or `volume` itself;
      how many slices the thickest slab holds, 1 where nothing was averaged).
    """
    slabs = _slabs(volume)
    most = max(len(slab) for slab in slabs)
    if trained_gap_mm < THIN_MM or most == 1:
        return volume, 1
    hu = np.stack([np.rint(volume.hu[slab].mean(axis=0, dtype=np.float32)) for slab in slabs]).astype(np.int16)
    origins = np.stack([volume.slice_origins_mm[slab].mean(axis=0) for slab in slabs])
    affine = volume.affine.copy()
    affine[:3, 3] = origins[0]
    affine[:3, 0] = origins[1] - origins[0] if len(slabs) > 1 else affine[:3, 0] * most
    return dataclasses.replace(volume, hu=hu, affine=affine, slice_origins_mm=origins), most


def _slabs(volume: Volume) -> list[list[int]]:
    """Which slices make each slab: a thin one joins the thin ones below it while they are nearer 5 mm with it."""
    heights, positions, found = volume.extent_mm, volume.positions_mm, []
    for k, height in enumerate(heights):
        thin = k > 0 and max(height, heights[k - 1], positions[k] - positions[k - 1]) < THIN_MM
        if thin and heights[found[-1]].sum() + height / 2 < SLAB_MM:
            found[-1].append(k)
        else:
            found.append([k])
    return found


def weights(volume: Volume, slabs: Volume) -> np.ndarray:
    """float32 [D, S]: each slice of `volume` between the slabs beside it, linearly by its place; rows sum to 1."""
    found = np.zeros((len(volume.hu), len(slabs.hu)), np.float32)
    middle = np.interp(volume.positions_mm, slabs.positions_mm, np.arange(len(slabs.hu)))
    low = np.minimum(np.floor(middle).astype(int), max(len(slabs.hu) - 2, 0))
    found[np.arange(len(found)), low] = 1 - (middle - low)
    if len(slabs.hu) > 1:
        found[np.arange(len(found)), low + 1] = middle - low
    return found
