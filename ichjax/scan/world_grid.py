"""Resample a tilted or unevenly spaced scan to an axis-aligned, evenly spaced grid, as NIfTI viewers and ITK need.

ITK, and so 3D Slicer and ITK-SNAP, rejects affines whose axes are not at right angles, and no affine represents uneven
slice gaps. Such a scan is therefore written twice: unchanged, with the nearest affine that has right angles (original
pixels, approximate positions), and resampled to a grid along the patient's axes (exact positions, interpolated pixels).
"""

import dataclasses

import numpy as np
import scipy.ndimage

from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU, Volume

EXACT_TOLERANCE = 0.1  # of the smallest voxel side
MAX_AXIS_COSINE = 1e-3  # cosine of the angle between two axes; above it the affine is sheared
MAX_GRID_VOXELS = 2**29  # of the new grid: 1 GiB of HU
MIN_PLANE_SPACING_MM, MAX_PLANE_SPACING_MM = 1.0, 2.0  # of the new grid


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """An evenly spaced grid along the patient's axes.

    Attributes:
      affine: float64 [4, 4], maps (i, j, k, 1) to RAS+ mm; i points to the left, j to the back, k to the head.
      shape: (I, J, K).
    """

    affine: np.ndarray
    shape: tuple[int, int, int]


def has_exact_affine(volume: Volume) -> bool:
    """Whether the scan's affine gives the position of every slice, to a tenth of the smallest voxel side."""
    origins = volume.affine[:3, 3] + np.arange(len(volume.hu))[:, None] * volume.affine[:3, 0]
    error = np.linalg.norm(origins - volume.slice_origins_mm, axis=1).max()
    return bool(error <= EXACT_TOLERANCE * min(volume.spacing_mm))


def is_sheared(volume: Volume) -> bool:
    """Whether the axes of the file's affine are not at right angles, which ITK rejects."""
    axes = volume.file_affine[:3, :3] / np.linalg.norm(volume.file_affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > MAX_AXIS_COSINE)


def describe_geometry(volume: Volume) -> str:
    """How well an affine represents the scan: 'exact', or what is wrong."""
    if not has_exact_affine(volume):
        return "approximate: the slices are tilted or unevenly spaced"
    return "exact, but sheared, which ITK cannot hold" if is_sheared(volume) else "exact"


def world_grid(volume: Volume) -> Grid:
    """The grid along the patient's axes that covers a whole scan: the scan's pixel size in plane, and as plane spacing
    its smallest gap, clipped to `MIN_PLANE_SPACING_MM` and `MAX_PLANE_SPACING_MM`.

    Raises:
      InputError: it would have more than `MAX_GRID_VOXELS`.
    """
    row_mm, column_mm = volume.pixel_mm
    gaps = np.diff(volume.positions_mm)
    plane_mm = gaps.min() if len(gaps) else MAX_PLANE_SPACING_MM
    spacing = np.array([column_mm, row_mm, np.clip(plane_mm, MIN_PLANE_SPACING_MM, MAX_PLANE_SPACING_MM)])
    lowest, highest = _bounding_box(volume)
    shape = np.maximum(np.ceil((highest - lowest) / spacing - 1e-6).astype(int), 1)
    if shape.prod() > MAX_GRID_VOXELS:
        raise InputError(
            f"{volume.name}: an axis-aligned grid of it would have {shape.prod()} voxels; expected at most "
            f"{MAX_GRID_VOXELS}"
        )
    middle = (lowest + highest) / 2
    direction = np.diag([-1.0, -1.0, 1.0]) * spacing
    affine = np.eye(4)
    affine[:3, :3] = direction
    affine[:3, 3] = middle - direction @ ((shape - 1) / 2)
    return Grid(affine, (int(shape[0]), int(shape[1]), int(shape[2])))


def _bounding_box(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) RAS+ mm of all pixel edges, with half a gap beyond the end slices."""
    depth, height, width = volume.shape
    rows, columns = volume.affine[:3, 1], volume.affine[:3, 2]
    corners = [rows * h + columns * w for h in (-0.5, height - 0.5) for w in (-0.5, width - 0.5)]
    ends = _origins_at(volume, np.array([-0.5, depth - 0.5]))
    points = (np.concatenate([ends, volume.slice_origins_mm])[:, None] + np.array(corners)[None]).reshape(-1, 3)
    return points.min(axis=0), points.max(axis=0)


def _origins_at(volume: Volume, index: np.ndarray) -> np.ndarray:
    """float64 [..., 3], position of pixel (0, 0) at a fractional slice index; linear extrapolation beyond the ends."""
    origins = volume.slice_origins_mm
    if len(origins) == 1:
        return origins[0] + index[..., None] * volume.affine[:3, 0]
    low = np.clip(np.floor(index).astype(int), 0, len(origins) - 2)
    weight = (index - low)[..., None]
    return (1 - weight) * origins[low] + weight * origins[low + 1]


def _slice_at(volume: Volume, along: np.ndarray) -> np.ndarray:
    """The fractional slice index at a position along the normal; linear extrapolation beyond the ends."""
    positions = volume.positions_mm
    if len(positions) == 1:
        return (along - positions[0]) / volume.extent_mm[0]
    low = np.clip(np.searchsorted(positions, along, side="right") - 1, 0, len(positions) - 2)
    return low + (along - positions[low]) / (positions[low + 1] - positions[low])


def resample(volume: Volume, mask: np.ndarray | None, grid: Grid) -> tuple[np.ndarray, np.ndarray | None]:
    """Resamples a scan, and optionally a mask of it, to another grid.

    Args:
      volume: the scan.
      mask: uint8 [D, H, W], or None.
      grid: from `world_grid`.

    Returns:
      (int16 [I, J, K], HU by linear interpolation, air outside the scan; uint8 [I, J, K] by nearest neighbor, or None).
    """
    hu = np.full(grid.shape[::-1], AIR_HU, np.int16).T  # planes are contiguous in memory, as in a NIfTI
    resampled_mask = None if mask is None else np.zeros(grid.shape[::-1], np.uint8).T
    aligned = _columns_aligned(volume, grid)
    i, j = np.meshgrid(np.arange(1 if aligned else grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    plane = grid.affine[:3, 3] + i[..., None] * grid.affine[:3, 0] + j[..., None] * grid.affine[:3, 1]
    for k in range(grid.shape[2]):
        inside, index = _to_voxels(volume, plane + k * grid.affine[:3, 2])
        nearest = tuple(np.rint(index).astype(int))
        if aligned:  # slice and row are constant along a line, so whole lines are interpolated
            hu[:, inside[0], k] = np.rint(_interpolate_lines(volume.hu, index[0], index[1])).T
        else:
            values = scipy.ndimage.map_coordinates(volume.hu, index, np.float32, order=1, mode="nearest")
            hu[inside, k] = np.rint(values)
        if mask is not None and resampled_mask is not None:
            if aligned:
                resampled_mask[:, inside[0], k] = mask[nearest[:2]].T
            else:
                resampled_mask[inside, k] = mask[nearest]
    return hu, resampled_mask


def _columns_aligned(volume: Volume, grid: Grid) -> bool:
    """Whether column i of a slice lies in plane i of the grid, as with a gantry tilted about the left-right axis."""
    if grid.shape[0] != volume.shape[2]:
        return False
    grid_x = grid.affine[0, 0] * np.arange(grid.shape[0]) + grid.affine[0, 3]
    scan_x = volume.affine[0, 2] * np.arange(volume.shape[2]) + volume.slice_origins_mm[:, 0, None]
    off_axis = np.abs(volume.affine[0, 1]) + np.abs(volume.affine[1:3, 2]).sum()
    return bool(off_axis < 1e-6 and np.abs(scan_x - grid_x).max() < 1e-3)


def _interpolate_lines(hu: np.ndarray, slices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 [N, W], lines at fractional slices and rows by bilinear interpolation; the edge is repeated beyond it."""
    depth, height, _ = hu.shape
    slices, rows = np.clip(slices, 0, depth - 1), np.clip(rows, 0, height - 1)
    low_s, low_r = np.floor(slices).astype(int), np.floor(rows).astype(int)
    high_s, high_r = np.minimum(low_s + 1, depth - 1), np.minimum(low_r + 1, height - 1)
    weight_s, weight_r = ((v - low)[:, None].astype(np.float32) for v, low in ((slices, low_s), (rows, low_r)))
    below = hu[low_s, low_r] * (1 - weight_r) + hu[low_s, high_r] * weight_r
    above = hu[high_s, low_r] * (1 - weight_r) + hu[high_s, high_r] * weight_r
    return below * (1 - weight_s) + above * weight_s


def _to_voxels(volume: Volume, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bool [...], which points [..., 3] lie in the scan; float64 [3, N], their fractional slice, row and column)."""
    row_mm, column_mm = volume.pixel_mm
    slices = _slice_at(volume, points @ volume.normal)
    offset = points - _origins_at(volume, slices)
    index = np.stack([slices, offset @ volume.affine[:3, 1] / row_mm**2, offset @ volume.affine[:3, 2] / column_mm**2])
    size = np.array(volume.shape).reshape(3, *[1] * (index.ndim - 1))
    inside = np.all((index > -0.5) & (index < size - 0.5), axis=0)
    return inside, index[:, inside]
