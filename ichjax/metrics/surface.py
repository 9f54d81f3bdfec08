"""Surface Dice and 95th percentile Hausdorff distance (HD95) of two masks in mm, as defined by `surface-distance`.

Every cell of 2 x 2 x 2 neighboring voxel centers that is neither all inside nor all outside holds a surface element,
whose area is that of the triangles that marching cubes would draw there. It runs on the host, since the number of
elements depends on the data, and only inside the bounding box of the masks.
"""

import numpy as np
import scipy.ndimage

from ichjax.errors import InputError
from ichjax.metrics.secondary_records import SurfaceScores

# The triangles of each cell by its 8-bit code (codes 128 to 255 mirror these). A letter is one triangle, and TRIANGLES
# holds 8 times its normal at unit spacing. From `lookup_tables.py` of github.com/google-deepmind/surface-distance
# (Apache License 2.0), without the signs, which the area does not need.
TRIANGLES = {
    **{"a": (0, 0, 0), "b": (0, 0, 4), "c": (0, 2, 2), "d": (0, 4, 0), "e": (1, 1, 1)},
    **{"f": (2, 0, 2), "g": (2, 2, 0), "h": (2, 2, 2), "i": (3, 3, 3), "j": (4, 0, 0)},
}
CELLS = """
    a e e gg e ff ee ehj e ee ff ehj gg ehj ehj jj e cc ee deh ee beh eee eehh ee cce eff cefi egg cegi eehj ehj
    e ee cc deh ee eff cce cefi ee eee beh eehh egg eehj cegi ehj gg deh deh dd egg efgi deeh deh egg deeh efgi deh
    gggg egg egg gg e ee ee egg cc beh cce cegi ee eee eff eehj deh eehh cefi ehj ff beh eff efgi beh bb beeh beh
    eff beeh ffff eff efgi beh eff ff ee eee cce deeh cce beeh cccc cce eee eeee beeh eee deeh eee cce ee ehj eehh
    cefi deh cegi beh cce cc eehj eee eff ee egg ee ee e
"""
TOLERANCE_MM = 2.0  # of the surface Dice


def surface(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    tolerance_mm: float = TOLERANCE_MM,
) -> SurfaceScores:
    """Surface Dice at a tolerance, and HD95 (Nikolov et al., 2018).

    Args:
      truth, prediction: bool [D, H, W].
      spacing_mm: between voxel centers along D, H and W.
      tolerance_mm: surface elements at most this far from the other surface count as overlapping.

    Returns:
      HD95 is the larger of the two directed 95th percentiles over the surface elements, weighted by area. Both scores
      are None where both masks are empty; where exactly one is, the distance is infinite and the Dice 0.

    Raises:
      InputError: the masks differ in shape, or a spacing is not a positive number.
    """
    if truth.shape != prediction.shape or truth.ndim != 3:
        raise InputError(f"truth {truth.shape} and prediction {prediction.shape}; expected two masks of one scan")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"voxel spacing {list(spacing_mm)} mm; expected three positive numbers")
    if not truth.any() or not prediction.any():
        one_empty = bool(truth.any() or prediction.any())
        return {"dice": 0.0 if one_empty else None, "hd95_mm": None, "infinite": one_empty}
    areas_mm2 = cell_areas(spacing)
    (points_a, area_a), (points_b, area_b) = (_elements(mask, areas_mm2) for mask in (truth, prediction))
    a_to_b, b_to_a = _distances(points_a, points_b, spacing), _distances(points_b, points_a, spacing)
    within = area_a[a_to_b <= tolerance_mm].sum() + area_b[b_to_a <= tolerance_mm].sum()
    return {
        "dice": float(within / (area_a.sum() + area_b.sum())),
        "hd95_mm": float(max(_percentile(a_to_b, area_a, 0.95), _percentile(b_to_a, area_b, 0.95))),
        "infinite": False,
    }


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every true voxel, as slices; empty slices where no voxel is true.

    Args:
      mask: bool [D, H, W].
    """
    plane = np.asarray(mask.any(axis=0))
    lines = [np.asarray(line) for line in (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))]
    if not lines[0].any():
        return (slice(0, 0),) * 3
    return tuple(slice(int(line.argmax()), int(len(line) - line[::-1].argmax())) for line in lines)


def cell_areas(spacing_mm: np.ndarray) -> np.ndarray:
    """float64 [256], mm2: the surface area in a cell of each code.

    Args:
      spacing_mm: float [3].
    """
    faces_mm2 = np.prod(spacing_mm) / spacing_mm  # area of the voxel face perpendicular to each axis
    area = {letter: np.linalg.norm(np.array(normal) / 8.0 * faces_mm2) for letter, normal in TRIANGLES.items()}
    half = np.array([sum(area[letter] for letter in cell) for cell in CELLS.split()])
    return np.concatenate([half, half[::-1]])


def _elements(mask: np.ndarray, areas_mm2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int [N, 3] indices of the cells that hold surface, float [N] their areas in mm2)."""
    box = bounding_box(mask)
    inside = np.pad(mask[box], 1).astype(np.uint8)  # outside the scan is outside the mask
    # Of two corners along an axis the far one takes the lower bits: pairs along W, pairs of those along H, then D.
    code = inside[:, :, 1:] | inside[:, :, :-1] << 1
    code = code[:, 1:] | code[:, :-1] << 2
    code = code[1:] | code[:-1] << 4
    cells = np.nonzero(code + np.uint8(1) > 1)  # neither 0 nor 255, which 1 more makes 0
    return np.stack(cells, axis=1) + [edge.start for edge in box], areas_mm2[code[cells]]


def _distances(points: np.ndarray, others: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """float64 [N], mm: from each cell to the nearest of the others.

    One in-plane distance map per slice of the others bounds the work by slices x points; a k-d tree is slow where many
    points are far from few.
    """
    corner = np.minimum(points.min(axis=0), others.min(axis=0))
    points, others = points - corner, others - corner
    shape = np.maximum(points.max(axis=0), others.max(axis=0))[1:] + 1
    height, row, column = np.ascontiguousarray(points.T)
    pixel = np.ravel_multi_index((row, column), shape)
    nearest_mm2 = np.full(len(points), np.inf)
    for slice_index in np.unique(others[:, 0]):
        along_mm2 = ((height - slice_index) * spacing_mm[0]) ** 2
        nearer = np.flatnonzero(along_mm2 < nearest_mm2)  # for the rest no point of this slice can be nearer
        empty = np.ones(shape, bool)
        empty[tuple(others[others[:, 0] == slice_index, 1:].T)] = False
        near_row, near_column = scipy.ndimage.distance_transform_edt(
            empty, sampling=spacing_mm[1:], return_distances=False, return_indices=True
        )
        mm2 = along_mm2[nearer]
        # From whole steps, not from the distance: an element exactly at the tolerance is not lost to rounding.
        rows = row[nearer] - near_row.ravel()[pixel[nearer]]
        columns = column[nearer] - near_column.ravel()[pixel[nearer]]
        mm2 += (rows * spacing_mm[1]) ** 2 + (columns * spacing_mm[2]) ** 2
        nearest_mm2[nearer] = np.minimum(nearest_mm2[nearer], mm2)
    return np.sqrt(nearest_mm2)


def _percentile(distances_mm: np.ndarray, areas_mm2: np.ndarray, share: float) -> float:
    """The smallest distance within which at least `share` of the area lies."""
    order = np.argsort(distances_mm)
    within = np.cumsum(areas_mm2[order]) / areas_mm2.sum()
    return distances_mm[order][min(int(np.searchsorted(within, share)), len(order) - 1)]
