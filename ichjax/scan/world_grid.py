"""A tilted or unevenly spaced scan on a straight, even grid, which is what NIfTI and ITK can hold.

ITK, and so 3D Slicer and ITK-SNAP, holds no affine whose axes are not at right angles, and no affine says uneven
gaps. So the pixels of such a scan are written as they are on the nearest straight grid (every slice whole, its place
approximate), and beside them resampled to a grid along the patient's axes (every place right, the pixels new).
"""

import dataclasses

import numpy as np
import scipy.ndimage

from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU, Volume

TOLERANCE = 0.1  # of the smallest voxel side
MAX_TILT_COSINE = 1e-3  # cosine of the angle between two axes, from which on it is none
MAX_GRID_VOXELS = 2**29  # of the new grid: 1 GiB of HU
FINEST_MM, COARSEST_MM = 1.0, 2.0  # between planes of the new grid


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """An even grid along the patient's axes.

    Attributes:
      affine: float64 [4, 4], maps (i, j, k, 1) to RAS+ mm; i grows to the left, j to the back, k to the head.
      shape: (I, J, K).
    """

    affine: np.ndarray
    shape: tuple[int, int, int]


def is_exact(volume: Volume) -> bool:
    """Whether the scan's affine puts every slice where it is, to a tenth of the smallest voxel side."""
    origins = volume.affine[:3, 3] + np.arange(len(volume.hu))[:, None] * volume.affine[:3, 0]
    apart = np.linalg.norm(origins - volume.slice_origins_mm, axis=1).max()
    return bool(apart <= TOLERANCE * min(volume.spacing_mm))


def is_sheared(volume: Volume) -> bool:
    """Whether the axes of the file's affine are not at right angles, so that ITK cannot hold it."""
    axes = volume.file_affine[:3, :3] / np.linalg.norm(volume.file_affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > MAX_TILT_COSINE)


def in_words(volume: Volume) -> str:
    """What an affine can say of the scan: 'exact', or what is not."""
    if not is_exact(volume):
        return "approximate: the slices are tilted or unevenly spaced"
    return "exact, but sheared, which ITK cannot hold" if is_sheared(volume) else "exact"


def world_grid(volume: Volume) -> Grid:
    """The grid along the patient's axes that holds all of a scan: its pixels' size in plane, and from plane to plane
    its smallest gap, within `FINEST_MM` and `COARSEST_MM`.

    Raises:
      InputError: it would have more than `MAX_GRID_VOXELS`.
    """
    row_mm, column_mm = volume.pixel_mm
    gaps = np.diff(volume.positions_mm)
    gap = float(np.clip(gaps.min() if len(gaps) else COARSEST_MM, FINEST_MM, COARSEST_MM))
    spacing = np.array([column_mm, row_mm, gap])
    lowest, highest = _box(volume)
    shape = np.maximum(np.ceil((highest - lowest) / spacing - 1e-6).astype(int), 1)
    if shape.prod() > MAX_GRID_VOXELS:
        raise InputError(
            f"{volume.name}: a straight grid of it would have {shape.prod()} voxels; expected at most {MAX_GRID_VOXELS}"
        )
    middle = (lowest + highest) / 2
    direction = np.diag([-1.0, -1.0, 1.0]) * spacing
    affine = np.eye(4)
    affine[:3, :3] = direction
    affine[:3, 3] = middle - direction @ ((shape - 1) / 2)
    return Grid(affine, tuple(int(n) for n in shape))


def _box(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest RAS mm of the edges of all pixels, with half a gap beyond the end slices."""
    depth, height, width = volume.shape
    rows, columns = volume.affine[:3, 1], volume.affine[:3, 2]
    corners = [rows * h + columns * w for h in (-0.5, height - 0.5) for w in (-0.5, width - 0.5)]
    ends = _origins_at(volume, np.array([-0.5, depth - 0.5]))
    points = (np.concatenate([ends, volume.slice_origins_mm])[:, None] + np.array(corners)[None]).reshape(-1, 3)
    return points.min(axis=0), points.max(axis=0)


def _origins_at(volume: Volume, index: np.ndarray) -> np.ndarray:
    """float64 [..., 3], the place of pixel (0, 0) at a fractional slice; straight on beyond the ends."""
    origins = volume.slice_origins_mm
    if len(origins) == 1:
        return origins[0] + index[..., None] * volume.affine[:3, 0]
    low = np.clip(np.floor(index).astype(int), 0, len(origins) - 2)
    share = (index - low)[..., None]
    return (1 - share) * origins[low] + share * origins[low + 1]


def _slice_at(volume: Volume, along: np.ndarray) -> np.ndarray:
    """The fractional slice at a position along the normal; straight on beyond the ends."""
    positions = volume.positions_mm
    if len(positions) == 1:
        return (along - positions[0]) / volume.extent_mm[0]
    low = np.clip(np.searchsorted(positions, along, side="right") - 1, 0, len(positions) - 2)
    return low + (along - positions[low]) / (positions[low + 1] - positions[low])


def resample(volume: Volume, mask: np.ndarray | None, grid: Grid) -> tuple[np.ndarray, np.ndarray | None]:
    """A scan, and a mask of it, on another grid.

    Args:
      volume: the scan.
      mask: uint8 [D, H, W], or None.
      grid: as `world_grid` makes it.

    Returns:
      (int16 [I, J, K], HU by linear interpolation, air outside the scan; uint8 [I, J, K], the nearest voxel's, or
      None).
    """
    hu = np.full(grid.shape[::-1], AIR_HU, np.int16).T  # planes lie together in memory, and in a NIfTI
    found = None if mask is None else np.zeros(grid.shape[::-1], np.uint8).T
    aligned = _columns_aligned(volume, grid)
    i, j = np.meshgrid(np.arange(1 if aligned else grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    plane = grid.affine[:3, 3] + i[..., None] * grid.affine[:3, 0] + j[..., None] * grid.affine[:3, 1]
    for k in range(grid.shape[2]):
        inside, where = _places(volume, plane + k * grid.affine[:3, 2])
        nearest = tuple(np.rint(where).astype(int))
        if aligned:  # the same slice and row for a whole line: lines are copied and mixed, not pixels
            lines = inside[0]
            hu[:, lines, k] = np.rint(_mixed_lines(volume.hu, *where[:2])).T
            if mask is not None:
                found[:, lines, k] = mask[nearest[:2]].T
            continue
        hu[inside, k] = np.rint(scipy.ndimage.map_coordinates(volume.hu, where, np.float32, order=1, mode="nearest"))
        if mask is not None:
            found[inside, k] = mask[nearest]
    return hu, found


def _columns_aligned(volume: Volume, grid: Grid) -> bool:
    """Whether column i of a slice is plane i of the grid, as where a gantry is tilted about the left-right axis."""
    if grid.shape[0] != volume.shape[2]:
        return False
    apart = grid.affine[0, 0] * np.arange(grid.shape[0]) + grid.affine[0, 3]
    ours = volume.affine[0, 2] * np.arange(volume.shape[2]) + volume.slice_origins_mm[:, 0, None]
    others = np.abs(volume.affine[0, 1]) + np.abs(volume.affine[1:3, 2]).sum()
    return bool(others < 1e-6 and np.abs(ours - apart).max() < 1e-3)


def _mixed_lines(hu: np.ndarray, slices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 [N, W], lines between slices and rows by bilinear interpolation; the edge's beyond it."""
    depth, height, _ = hu.shape
    slices, rows = np.clip(slices, 0, depth - 1), np.clip(rows, 0, height - 1)
    low_s, low_r = np.floor(slices).astype(int), np.floor(rows).astype(int)
    high_s, high_r = np.minimum(low_s + 1, depth - 1), np.minimum(low_r + 1, height - 1)
    share_s, share_r = ((v - low)[:, None].astype(np.float32) for v, low in ((slices, low_s), (rows, low_r)))
    below = hu[low_s, low_r] * (1 - share_r) + hu[low_s, high_r] * share_r
    above = hu[high_s, low_r] * (1 - share_r) + hu[high_s, high_r] * share_r
    return below * (1 - share_s) + above * share_s


def _places(volume: Volume, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which points [...] lie in the scan, float64 [3, N] their fractional slice, row and column)."""
    row_mm, column_mm = volume.pixel_mm
    depth, height, width = volume.shape
    slices = _slice_at(volume, points @ volume.normal)
    offset = points - _origins_at(volume, slices)
    where = np.stack([slices, offset @ volume.affine[:3, 1] / row_mm**2, offset @ volume.affine[:3, 2] / column_mm**2])
    size = np.array([depth, height, width]).reshape(3, *[1] * (where.ndim - 1))
    inside = ((where > -0.5) & (where < size - 0.5)).all(axis=0)
    return inside, where[:, inside]
