"""Thin slices averaged to slabs as thick as those a network was trained on, and back."""

import dataclasses

import numpy as np

from ichjax.data.volume import Volume

THIN_MM = 2.5  # slices closer than this are averaged, where the network was trained on others
SLAB_MM = 5.0


def averaged(volume: Volume, trained_gap_mm: float) -> tuple[Volume, int]:
    """A scan of thin slices as one of slabs of about 5 mm, each the mean of so many neighbouring slices.

    Averaging also lowers the noise to what the network knows. The last slab may hold fewer slices.

    Args:
      volume: any scan.
      trained_gap_mm: between the slices that the network was trained on; where these are thin too nothing is averaged.

    Returns:
      (the scan of slabs, each at the mean place of its slices, not to be written to a file, or `volume` itself;
      how many slices a slab holds, 1 where nothing was averaged).
    """
    gap_mm = volume.spacing_mm[0]
    if len(volume.hu) < 2 or gap_mm >= THIN_MM or trained_gap_mm < THIN_MM:
        return volume, 1
    many = round(SLAB_MM / gap_mm)
    starts = range(0, len(volume.hu), many)
    hu = np.stack([np.rint(volume.hu[k : k + many].mean(axis=0, dtype=np.float32)) for k in starts]).astype(np.int16)
    origins = np.stack([volume.slice_origins_mm[k : k + many].mean(axis=0) for k in starts])
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (many - 1) / 2
    affine[:3, 0] *= many
    return dataclasses.replace(volume, hu=hu, affine=affine, slice_origins_mm=origins), many


def weights(volume: Volume, slabs: Volume) -> np.ndarray:
    """float32 [D, S]: each slice of `volume` between the slabs beside it, linearly by its place; rows sum to 1."""
    found = np.zeros((len(volume.hu), len(slabs.hu)), np.float32)
    middle = np.interp(volume.positions_mm, slabs.positions_mm, np.arange(len(slabs.hu)))
    low = np.minimum(np.floor(middle).astype(int), max(len(slabs.hu) - 2, 0))
    found[np.arange(len(found)), low] = 1 - (middle - low)
    if len(slabs.hu) > 1:
        found[np.arange(len(found)), low + 1] = middle - low
    return found
