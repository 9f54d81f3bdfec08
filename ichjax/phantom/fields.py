"""Smooth fields on a coarse grid in head coordinates: what the phantom's anatomy is drawn with.

The anatomy is a set of signed fields (negative inside, in mm) on a grid of 128 x 128 pixels and three sub-slices
a slice. Fields are smooth, so a cubic upsampling keeps their level sets sharp at any resolution.
"""

import dataclasses
import functools

import numpy as np
import scipy.sparse

COARSE = 128  # pixels along a side of the coarse grid
SUB = 3  # sub-slices a slice: a slice is a box of a few mm, not a plane


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The coarse grid of one subject, in head millimetres: x to the left, y to the back, z to the vertex.

    Attributes:
      x, y, z: float32 [S, 128, 128], S = 3 D sub-slices; the head's own coordinates of every point, after
        rotation, scale and warp, so that anatomy is written once for a straight adult head.
      z_mm: float64 [S], position of each sub-slice in the scanner.
      pixel_mm: distance of coarse pixels.
      to_index: float64 [3, 4], maps head mm (x, y, z, 1) to (sub-slice, row, column) without the warp.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    z_mm: np.ndarray
    pixel_mm: float
    to_index: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.x.shape

    @property
    def step_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring points along each axis."""
        return (float(self.z_mm[1] - self.z_mm[0]), self.pixel_mm, self.pixel_mm)

    def box(self, low, high, *, margin: float = 8.0) -> tuple[slice, slice, slice]:
        """Index ranges that surely hold the head-coordinate box from `low` to `high` (x, y, z in mm).

        `margin` covers the warp, in mm. A box outside the grid gives empty ranges.
        """
        corners = np.array(
            [[x, y, z, 1.0] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        index = corners @ self.to_index.T
        pad = margin / np.array(self.step_mm)
        first = np.floor(index.min(axis=0) - pad).astype(int)
        last = np.ceil(index.max(axis=0) + pad).astype(int) + 1
        return tuple(
            slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n))) for a, b, n in zip(first, last, self.shape, strict=True)
        )

    def at(self, box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The coordinates x, y, z inside a box of indices."""
        return self.x[box], self.y[box], self.z[box]

    def moved(self, by: np.ndarray) -> "Grid":
        """The grid on which anatomy appears displaced by -`by`, float32 [3, S, 128, 128] in mm (x, y, z)."""
        return dataclasses.replace(self, x=self.x + by[0], y=self.y + by[1], z=self.z + by[2])

    def empty(self, value: float = 50.0) -> np.ndarray:
        """A field that holds nothing: `value` mm from any surface, everywhere."""
        return np.full(self.shape, value, np.float32)


def make_grid(
    *, slices: int, slice_mm: float, bottom_mm: float, fov_mm: float, rotation_deg, shift_mm, scale, warp, shear
) -> Grid:
    """Lays the coarse grid through a head.

    Args:
      slices: D; `slice_mm` their distance; `bottom_mm` the height of the lowest slice's centre in the head.
      fov_mm: side of the square image.
      rotation_deg: (yaw, roll, pitch) of the head in the scanner.
      shift_mm: (x, y) of the head's centre in the image.
      scale: float [3], size of this head along x, y, z; 1 is an adult's.
      warp: float32 [3, S, 128, 128] or None, displacement in head mm.
      shear: how far the left side lies behind the right one, mm a mm (plagiocephaly).
    """
    pixel = fov_mm / COARSE
    z_mm = bottom_mm + slice_mm * ((np.arange(slices * SUB) + 0.5) / SUB - 0.5)
    side = (np.arange(COARSE) + 0.5) * pixel - fov_mm / 2
    head = _rotation(*rotation_deg).T
    head = np.array([[1, 0, 0], [-shear, 1, 0], [0, 0, 1]]) @ head
    head = np.diag(1.0 / np.asarray(scale, dtype=np.float64)) @ head
    offset = -head @ np.array([shift_mm[0], shift_mm[1], 0.0])
    points = []
    for axis in range(3):
        row = head[axis]
        field = (
            (row[2] * z_mm)[:, None, None] + (row[1] * side)[None, :, None] + (row[0] * side)[None, None, :]
        ).astype(np.float32)
        field += np.float32(offset[axis])
        if warp is not None:
            field += warp[axis]
        points.append(field)
    back = np.linalg.inv(head)
    to_image = np.concatenate([back, (-back @ offset)[:, None]], axis=1)  # head mm -> image mm (x, y, z)
    to_index = np.stack([to_image[2], to_image[1], to_image[0]])
    to_index /= np.array([z_mm[1] - z_mm[0], pixel, pixel])[:, None]
    to_index[:, 3] -= np.array([z_mm[0], side[0], side[0]]) / np.array([z_mm[1] - z_mm[0], pixel, pixel])
    return Grid(*points, z_mm=z_mm, pixel_mm=pixel, to_index=to_index)


def _rotation(yaw: float, roll: float, pitch: float) -> np.ndarray:
    """Rotation about z, then y, then x, in degrees; float64 [3, 3]."""
    a, b, c = np.deg2rad([yaw, roll, pitch])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return about_z @ about_y @ about_x


@functools.lru_cache(maxsize=64)
def spline_matrix(points: int, knots: int, step: float) -> scipy.sparse.csr_matrix:
    """Cubic B-spline weights: row p holds the four knots around p / step. Sparse, so no BLAS and no threads."""
    place = np.arange(points) / step + 1
    base = np.floor(place).astype(int)
    t = place - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6.0
    columns = np.clip(base[:, None] + np.arange(-1, 3), 0, knots - 1)
    rows = np.repeat(np.arange(points), 4)
    data = (weights.ravel().astype(np.float32), (rows, columns.ravel()))
    return scipy.sparse.csr_matrix(data, shape=(points, knots))


@functools.lru_cache(maxsize=512)
def upsample_matrix(fine: int, coarse: int) -> scipy.sparse.csr_matrix:
    """Catmull-Rom weights from `coarse` pixel centres to `fine` ones along one side of the same image."""
    place = (np.arange(fine) + 0.5) * coarse / fine - 0.5
    base = np.floor(place).astype(int)
    t = place - base
    weights = 0.5 * np.stack(
        [-(t**3) + 2 * t**2 - t, 3 * t**3 - 5 * t**2 + 2, -3 * t**3 + 4 * t**2 + t, t**3 - t**2], axis=1
    )
    columns = np.clip(base[:, None] + np.arange(-1, 3), 0, coarse - 1)
    rows = np.repeat(np.arange(fine), 4)
    data = (weights.ravel().astype(np.float32), (rows, columns.ravel()))
    return scipy.sparse.csr_matrix(data, shape=(fine, coarse))


def along(matrix: scipy.sparse.csr_matrix, field: np.ndarray, axis: int) -> np.ndarray:
    """Applies a sparse matrix along one axis of an array."""
    moved = np.moveaxis(field, axis, 0)
    flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    return np.moveaxis(flat.reshape(matrix.shape[0], *moved.shape[1:]), 0, axis)


def upsample(field: np.ndarray, factor: int) -> np.ndarray:
    """Upsamples the last two axes of a float32 [..., h, w] array `factor`-fold, by cubic interpolation."""
    flat = field.reshape(-1, *field.shape[-2:])
    n, h, w = flat.shape
    wide = upsample_matrix(factor * w, w) @ np.ascontiguousarray(flat.transpose(2, 0, 1)).reshape(w, -1)
    wide = wide.reshape(factor * w, n, h).transpose(2, 1, 0)
    tall = upsample_matrix(factor * h, h) @ np.ascontiguousarray(wide).reshape(h, -1)
    tall = tall.reshape(factor * h, n, factor * w).transpose(1, 0, 2)
    return np.ascontiguousarray(tall).reshape(*field.shape[:-2], factor * h, factor * w)


def noise(rng: np.random.Generator, shape, step_mm, knot_mm: float) -> np.ndarray:
    """A smooth random field of unit variance: random knots every `knot_mm`, joined by a cubic B-spline.

    Args:
      shape: of the result, float32.
      step_mm: distance of points along each axis.
      knot_mm: distance of knots; the finest detail is about twice that.
    """
    steps = [max(knot_mm / s, 1.0) for s in step_mm]
    knots = [int(np.ceil((n - 1) / s)) + 4 for n, s in zip(shape, steps, strict=True)]
    field = rng.standard_normal(knots, dtype=np.float32)
    for axis, (points, step) in enumerate(zip(shape, steps, strict=True)):
        field = along(spline_matrix(points, knots[axis], step), field, axis)
    gain = np.float32(1.445 ** len(shape))  # the mean square of a cubic B-spline is 0.479 = 1.445^-2
    return np.ascontiguousarray(field) * gain


def irregularity(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """A displacement of 1 to 3 mm in waves of 13 to 40 mm; float32 [3, S, 128, 128]."""
    waves = np.empty((3, *grid.shape), np.float32)
    for axis in range(3):
        waves[axis] = 1.5 * noise(rng, grid.shape, grid.step_mm, 16.0)
        waves[axis] += 0.8 * noise(rng, grid.shape, grid.step_mm, 6.5)
    return waves


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The union of two signed fields with a fillet of about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0.0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k * 0.25)


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The intersection of two signed fields with a fillet of about `k` mm."""
    return -smooth_min(-a, -b, k)


def inside(field: np.ndarray, width_mm: float) -> np.ndarray:
    """Occupancy in [0, 1] of a signed field, with an edge `width_mm` wide."""
    return np.clip(0.5 - field / np.float32(width_mm), 0.0, 1.0)


def ellipsoid(x, y, z, center, radii, *, yaw_deg: float = 0.0) -> np.ndarray:
    """Approximate signed distance to an ellipsoid, mm; `yaw_deg` turns it about z."""
    dx, dy, dz = x - np.float32(center[0]), y - np.float32(center[1]), z - np.float32(center[2])
    if yaw_deg:
        c, s = np.float32(np.cos(np.deg2rad(yaw_deg))), np.float32(np.sin(np.deg2rad(yaw_deg)))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    a, b, c = (np.float32(1.0 / r) for r in radii)
    dx, dy, dz = dx * a, dy * b, dz * c
    k0 = np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * a, dy * b, dz * c
    k1 = np.sqrt(dx * dx + dy * dy + dz * dz)
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def tube(x, y, z, start, end, r0: float, r1: float, *, flat: float = 1.0) -> np.ndarray:
    """Signed distance to a capsule whose radius goes from `r0` to `r1`; `flat` < 1 stretches it along z."""
    start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
    axis = (end - start) * np.array([1, 1, flat], np.float32)
    dx, dy, dz = x - start[0], y - start[1], (z - start[2]) * np.float32(flat)
    t = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(axis @ axis)
    t = np.clip(t, 0.0, 1.0)
    dx, dy, dz = dx - t * axis[0], dy - t * axis[1], dz - t * axis[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz) - (np.float32(r0) + t * np.float32(r1 - r0))


def add_ellipsoid(field, grid: Grid, center, radii, *, fillet: float = 0.0, yaw_deg: float = 0.0) -> None:
    """Joins an ellipsoid to a field, in place, looking only at the points near it."""
    reach = np.full(3, max(radii)) if yaw_deg else np.asarray(radii, float)
    box = grid.box(np.subtract(center, reach + fillet), np.add(center, reach + fillet))
    _join(field, box, ellipsoid(*grid.at(box), center, radii, yaw_deg=yaw_deg), fillet)


def add_tube(field, grid: Grid, path, radii, *, fillet: float = 0.0, flat: float = 1.0) -> None:
    """Joins a chain of capsules through the points of `path` with these radii to a field, in place."""
    for start, end, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        reach = np.array([1, 1, 1 / flat]) * (max(r0, r1) + fillet)
        box = grid.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        _join(field, box, tube(*grid.at(box), start, end, r0, r1, flat=flat), fillet)


def _join(field, box, part, fillet: float) -> None:
    field[box] = smooth_min(field[box], part, fillet) if fillet else np.minimum(field[box], part)
