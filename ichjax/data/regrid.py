"""Resample scans in plane to the common grid of a network, once, and memory-map them from the cache."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ichjax.data import scan_cache
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.scan.volume import Volume

MAX_PIXEL_RATIO = 1.2  # of pixel sizes; above it a scan is resampled
GRID_FORMAT = 2  # part of every name in the cache: increment it when the resampling changes


class Geometry(NamedTuple):
    """Matrix and pixel size of a slice: pixels, pixels, mm, mm."""

    height: int
    width: int
    row_mm: float
    column_mm: float


def common_grid(scans: Sequence[CachedScan], *, side: int = 0, border: int = 0) -> Geometry:
    """The common grid of a network for these scans.

    Args:
      scans: at least one.
      side: matrix size of the grid; 0 for the scans' own, the most common one if they differ.
      border: pixels that the grid omits at each edge of the image: side 640 and border 5 convert 512 pixels to 640, as
        in the first release of the data set. A scan whose matrix already is `side` has no border, as read from that
        release.

    Returns:
      The grid; its pixel size is the median over the scans.

    Raises:
      InputError: there is no scan.
    """
    if not scans:
        raise InputError("no scan could be read for training or validation; expected at least one of each")
    (height, width), _ = Counter(scan.volume.shape[1:] for scan in scans).most_common(1)[0]
    rows, columns = (side, side) if side else (height, width)
    whole = (rows + 2 * border, columns + 2 * border) if side else (height, width)
    row_mm, column_mm = np.median([_pixel_mm_on(scan.volume, (rows, columns), whole) for scan in scans], axis=0)
    return Geometry(rows, columns, float(row_mm), float(column_mm))


def _pixel_mm_on(volume: Volume, inner: tuple[int, int], whole: tuple[int, int]) -> np.ndarray:
    """float64 [2], pixel size in mm after resampling slices to the `whole` matrix, of which `inner` is kept."""
    if volume.shape[1:] == inner:
        return np.array(volume.pixel_mm)
    return np.array(volume.pixel_mm) * volume.shape[1:] / whole


def own_grid(volume: Volume) -> Geometry:
    """The grid of a scan's slices."""
    return Geometry(*volume.shape[1:], *volume.pixel_mm)


def same_grid(own: Geometry, grid: Geometry) -> bool:
    """Whether a scan needs no resampling: the same matrix and about the same pixel size."""
    return own[:2] == grid[:2] and same_pixels(own[2:], grid[2:])


def same_pixels(own_mm: Sequence[float], other_mm: Sequence[float]) -> bool:
    """Whether two pixel sizes (row mm, column mm) differ by a factor of at most `MAX_PIXEL_RATIO`."""
    ratios = np.array(own_mm) / np.array(other_mm)
    return bool(np.all((ratios <= MAX_PIXEL_RATIO) & (ratios >= 1 / MAX_PIXEL_RATIO)))


def resample_to_grid(scan: CachedScan, grid: Geometry) -> CachedScan:
    """A scan on another grid, created once and memory-mapped from the cache.

    HU are interpolated linearly (averaged on a coarser grid); a mask pixel is set if at least half of it is covered,
    and its class is the one that covers most of it. `volume.hu`, `mask`, `classes` and `truth_px` are on the grid; the
    geometry in `volume` remains the scan's own, since nothing in mm is measured on a resampled scan. A scan that needs
    no resampling (`same_grid`) is returned unchanged.

    Raises:
      InputError: the cache folder cannot be written.
    """
    if same_grid(own_grid(scan.volume), grid):
        return scan
    recipe = json.dumps([GRID_FORMAT, scan.digest, *grid])
    folder = cache_folder() / "grids" / hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()
    hu, mask, classes = scan_cache.open_or_store(folder, _open, lambda: functools.partial(_write, scan, grid))
    volume = dataclasses.replace(scan.volume, hu=hu)
    truth_px = np.asarray(mask).sum(axis=(1, 2), dtype=np.int64)
    return dataclasses.replace(scan, volume=volume, mask=mask, classes=classes, truth_px=truth_px)


def to_grid(planes: np.ndarray, volume: Volume, grid: Geometry) -> np.ndarray:
    """Resamples float32 [D, H, W] on the slices of a scan to a grid, as `resample_to_grid` does its HU."""
    if same_grid(own_grid(volume), grid):
        return planes
    rows, columns = _weights(own_grid(volume), grid)
    return rows @ planes @ columns.T


def _open(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(HU, mask, classes), memory-mapped."""
    files = (scan_cache.HU_FILE, scan_cache.MASK_FILE, scan_cache.CLASSES_FILE)
    hu, mask, classes = (np.load(folder / name, mmap_mode="r") for name in files)
    return hu, mask, classes


def _write(scan: CachedScan, grid: Geometry, folder: pathlib.Path) -> None:
    """Resamples a scan slice by slice into the files of a cache folder."""
    rows, columns = _weights(own_grid(scan.volume), grid)
    shape = (len(scan.volume.hu), grid.height, grid.width)
    hu = np.lib.format.open_memmap(folder / scan_cache.HU_FILE, mode="w+", dtype=np.int16, shape=shape)
    mask = np.lib.format.open_memmap(folder / scan_cache.MASK_FILE, mode="w+", dtype=np.uint8, shape=shape)
    classes = np.lib.format.open_memmap(folder / scan_cache.CLASSES_FILE, mode="w+", dtype=np.uint8, shape=shape)
    for d, plane in enumerate(_resampled(scan.volume.hu, rows, columns)):
        hu[d] = plane
        if scan.mask[d].any():
            mask[d] = rows @ scan.mask[d].astype(np.float32) @ columns.T >= 0.5
            numbers = np.setdiff1d(scan.classes[d], 0)
            covered = [rows @ (scan.classes[d] == k).astype(np.float32) @ columns.T for k in numbers]
            classes[d] = mask[d] * numbers[np.argmax(covered, axis=0)]


def resampled_hu(hu: np.ndarray, own: Geometry, grid: Geometry) -> np.ndarray:
    """int16 [D, H, W] on another grid, as `resample_to_grid` stores it; the same array if it needs no resampling."""
    if same_grid(own, grid):
        return hu
    return np.stack([plane.astype(np.int16) for plane in _resampled(hu, *_weights(own, grid))])


def _weights(own: Geometry, grid: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Weights of rows and columns that resample slices from one grid to another."""
    rows = line_weights(own.height, own.row_mm, grid.height, grid.row_mm)
    return rows, line_weights(own.width, own.column_mm, grid.width, grid.column_mm)


def _resampled(hu: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Each slice of a scan, resampled and rounded."""
    for plane in hu:
        yield np.rint(rows @ plane.astype(np.float32) @ columns.T)


def line_weights(size: int, spacing: float, to_size: int, to_spacing: float) -> np.ndarray:
    """Linear interpolation along one axis between grids with a common center; the edge is repeated beyond it.

    On a coarser target grid, the triangular kernel is as wide as the target's spacing. NumPy counterpart of
    `ops.resample.line_weights`; a test compares them.

    Returns:
      float32 [to_size, size], rows sum to 1.
    """
    target_mm = (np.arange(to_size) - (to_size - 1) / 2) * to_spacing
    index = np.clip(target_mm / spacing + (size - 1) / 2, 0, size - 1)
    reach = max(1.0, to_spacing / spacing)
    kernel = np.maximum(0.0, 1.0 - np.abs(index[:, None] - np.arange(size)[None, :]) / reach)
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
