"""Scans on the grid that a network sees, where that is not their own: resampled once, mapped from the cache."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ichjax.data import scan_cache
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.scan.volume import Volume

LARGEST_RATIO = 1.2  # of pixel sizes; beyond it a scan is resampled
GRID_FORMAT = 1  # part of every name in the cache: raise it when the way of resampling changes


class Geometry(NamedTuple):
    """A slice's matrix and pixel size: pixels, pixels, mm, mm."""

    height: int
    width: int
    row_mm: float
    column_mm: float


def common_grid(scans: Sequence[CachedScan], *, side: int = 0, border: int = 0) -> Geometry:
    """The grid on which a network sees these scans.

    Args:
      scans: at least one.
      side: pixels along a slice of the grid; 0 for the scans' own matrix, the commonest where they differ.
      border: pixels that the grid leaves out at each edge of the image: 512 pixels become 640 as in the data set's
        first release by side 640 and border 5. A scan whose matrix is `side` already has lost its border: as it is
        read from that release.

    Returns:
      The grid, its pixel size the median over the scans.

    Raises:
      InputError: there is no scan.
    """
    if not scans:
        raise InputError("no scan could be read for training or validation; expected at least one of each")
    (height, width), _ = Counter(scan.volume.shape[1:] for scan in scans).most_common(1)[0]
    rows, columns = (side, side) if side else (height, width)
    whole = (rows + 2 * border, columns + 2 * border) if side else (height, width)
    row_mm, column_mm = np.median([_on_matrix(scan.volume, (rows, columns), whole) for scan in scans], axis=0)
    return Geometry(rows, columns, float(row_mm), float(column_mm))


def _on_matrix(volume: Volume, inner: tuple[int, int], whole: tuple[int, int]) -> np.ndarray:
    """float64 [2], pixel size in mm once a scan's slices have the `whole` matrix, of which `inner` is kept."""
    if volume.shape[1:] == inner:
        return np.array(volume.pixel_mm)
    return np.array(volume.pixel_mm) * volume.shape[1:] / whole


def own_grid(volume: Volume) -> Geometry:
    """The grid of a scan's slices."""
    return Geometry(*volume.shape[1:], *volume.pixel_mm)


def same_grid(own: Geometry, grid: Geometry) -> bool:
    """Whether a scan can go through the network on its own pixels: the same matrix, pixels of about the same size."""
    return own[:2] == grid[:2] and same_pixels(own[2:], grid[2:])


def same_pixels(own_mm: Sequence[float], other_mm: Sequence[float]) -> bool:
    """Whether two pixel sizes (rows, columns) differ by no more than a fifth."""
    ratios = np.array(own_mm) / np.array(other_mm)
    return bool(np.all((ratios <= LARGEST_RATIO) & (ratios >= 1 / LARGEST_RATIO)))


def on_grid(scan: CachedScan, grid: Geometry) -> CachedScan:
    """A scan on another grid: HU by linear interpolation (averaged where the grid is coarser), a mask pixel set
    where at least half of it is. Made once and mapped from the cache.

    Its `volume.hu`, `mask` and `truth_px` are the grid's; the geometry in `volume` stays the scan's own, as nothing
    that is measured in mm is taken from a resampled scan. A scan that is on the grid already, pixel for pixel, is
    returned as it is, even if its pixels are a little larger or smaller: so are the heads.

    Raises:
      InputError: the cache folder cannot be written.
    """
    if same_grid(own_grid(scan.volume), grid):
        return scan
    recipe = json.dumps([GRID_FORMAT, scan.digest, *grid])
    place = cache_folder() / "grids" / hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()
    try:
        hu, mask = (np.load(place / name, mmap_mode="r") for name in (scan_cache.HU_FILE, scan_cache.MASK_FILE))
    except (OSError, EOFError, ValueError):  # not there, or damaged: made anew
        scan_cache.store(place, functools.partial(_write, scan, grid))
        hu, mask = (np.load(place / name, mmap_mode="r") for name in (scan_cache.HU_FILE, scan_cache.MASK_FILE))
    return dataclasses.replace(
        scan,
        volume=dataclasses.replace(scan.volume, hu=hu),
        mask=mask,
        truth_px=np.asarray(mask).sum(axis=(1, 2), dtype=np.int64),
    )


def _write(scan: CachedScan, grid: Geometry, into: pathlib.Path) -> None:
    """Resamples slice by slice."""
    depth, height, width = scan.volume.shape
    row_mm, column_mm = scan.volume.pixel_mm
    rows = line_weights(height, row_mm, grid.height, grid.row_mm)
    columns = line_weights(width, column_mm, grid.width, grid.column_mm)
    shape = (depth, grid.height, grid.width)
    hu = np.lib.format.open_memmap(into / scan_cache.HU_FILE, mode="w+", dtype=np.int16, shape=shape)
    mask = np.lib.format.open_memmap(into / scan_cache.MASK_FILE, mode="w+", dtype=np.uint8, shape=shape)
    for d in range(depth):
        hu[d] = np.rint(rows @ scan.volume.hu[d].astype(np.float32) @ columns.T)
        if scan.mask[d].any():
            mask[d] = rows @ scan.mask[d].astype(np.float32) @ columns.T >= 0.5


def line_weights(size: int, spacing: float, to_size: int, to_spacing: float) -> np.ndarray:
    """Linear interpolation along one axis between grids centred on each other; the edge is repeated beyond it.

    Where the target is coarser, the hat is as wide as the target's spacing. The host's twin of
    `ops.resample.line_weights`, which a test holds equal.

    Returns:
      float32 [to_size, size], rows summing to 1.
    """
    target_mm = (np.arange(to_size) - (to_size - 1) / 2) * to_spacing
    place = np.clip(target_mm / spacing + (size - 1) / 2, 0, size - 1)
    reach = max(1.0, to_spacing / spacing)
    hat = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(size)[None, :]) / reach)
    return (hat / hat.sum(axis=1, keepdims=True)).astype(np.float32)
