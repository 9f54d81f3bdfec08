"""Signed distance fields, noise fields and cubic upsampling: the tools with which phantom anatomy is drawn.

Anatomy is a set of signed fields (mm, negative inside) on a grid of 128 x 128 pixels and three sub-slices per slice.
The fields are smooth, so cubic upsampling keeps their zero level sets sharp at any resolution.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.random import Generator

COARSE = 128  # side of the coarse grid, pixels
SIDES = tuple(np.array([side, 1, 1]) for side in (-1, 1))  # right and left: factors on (x, y, z)
SUB = 3  # sub-slices per slice, because a slice averages over a thickness of a few mm

Box = tuple[slice, slice, slice]  # index ranges of sub-slices, rows and columns
Index = tuple[int, int, int]  # (sub-slice, row, column)
Vector = Sequence[float] | np.ndarray  # (x, y, z), head mm
Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y and z of many points, head mm


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The coarse grid of one subject, in head coordinates: x to the left, y to the back, z to the vertex, in mm.

    Attributes:
      x, y, z: float32 [S, 128, 128], S = 3 D sub-slices; head coordinates of every point after rotation, scaling and
        warp. Anatomy is therefore defined once, for an upright adult head.
      z_mm: float64 [S], position of each sub-slice in the scanner.
      pixel_mm: spacing of the coarse pixels.
      to_index: float64 [3, 4], maps head mm (x, y, z, 1) to (sub-slice, row, column); ignores the warp.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    z_mm: np.ndarray
    pixel_mm: float
    to_index: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, 128, 128)."""
        return self.x.shape

    @property
    def step_mm(self) -> tuple[float, float, float]:
        """Spacing along each axis."""
        return (float(self.z_mm[1] - self.z_mm[0]), self.pixel_mm, self.pixel_mm)

    def box(self, low: Vector, high: Vector, *, margin: float = 8.0) -> Box:
        """Index ranges that contain the box from `low` to `high`, or are empty; `margin` (mm) covers the warp."""
        corners = np.array([[*corner, 1.0] for corner in itertools.product(*zip(low, high, strict=True))])
        index = corners @ self.to_index.T
        pad = margin / np.array(self.step_mm)
        first = np.floor(index.min(axis=0) - pad).astype(int)
        last = np.ceil(index.max(axis=0) + pad).astype(int) + 1
        s, r, c = (slice(*np.clip(ends, 0, n).tolist()) for *ends, n in zip(first, last, self.shape, strict=True))
        return s, r, c

    def at(self, box: Box) -> Points:
        """The coordinates x, y, z in a box."""
        return self.x[box], self.y[box], self.z[box]

    def moved(self, by: np.ndarray) -> "Grid":
        """Adds `by`, float32 [3, S, 128, 128] in mm, to (x, y, z), so anatomy appears displaced by -`by`."""
        return dataclasses.replace(self, x=self.x + by[0], y=self.y + by[1], z=self.z + by[2])

    def empty(self, value: float = 50.0) -> np.ndarray:
        """A field without any structure: `value` mm everywhere."""
        return np.full(self.shape, value, np.float32)


def make_grid(
    *,
    slices: int,
    slice_mm: float,
    bottom_mm: float,
    fov_mm: float,
    rotation_deg: tuple[float, float, float] = (0, 0, 0),
    shift_mm: tuple[float, float] = (0, 0),
    scale: Vector = (1, 1, 1),
    warp: np.ndarray | None = None,
    shear: float = 0,
) -> Grid:
    """Samples head coordinates on the scanner's coarse grid.

    Args:
      slices: D.
      slice_mm: slice spacing.
      bottom_mm: height of the lowest slice's center in the head.
      fov_mm: side of the square image.
      rotation_deg: (yaw, roll, pitch) of the head in the scanner.
      shift_mm: (x, y) of the head's center in the image.
      scale: size of this head along x, y, z relative to an adult's.
      warp: float32 [3, S, 128, 128] displacement in head mm, or None.
      shear: mm by which the left side lies further back than the right, per mm (plagiocephaly).
    """
    pixel = fov_mm / COARSE
    z_mm = bottom_mm + slice_mm * ((np.arange(slices * SUB) + 0.5) / SUB - 0.5)
    side = (np.arange(COARSE) + 0.5) * pixel - fov_mm / 2
    head = _rotation(*rotation_deg).T
    head = np.array([[1, 0, 0], [-shear, 1, 0], [0, 0, 1]]) @ head
    head = np.diag(1.0 / np.asarray(scale, dtype=np.float64)) @ head
    offset = -head @ np.array([shift_mm[0], shift_mm[1], 0.0])
    points = []
    for axis, (dx, dy, dz) in enumerate(head):
        plane = (dz * z_mm)[:, None, None] + (dy * side)[None, :, None] + (dx * side)[None, None, :]
        field = plane.astype(np.float32) + np.float32(offset[axis])
        points.append(field if warp is None else field + warp[axis])
    x, y, z = points
    back = np.linalg.inv(head)
    to_image = np.concatenate([back, (-back @ offset)[:, None]], axis=1)  # head mm -> image mm (x, y, z)
    to_index = np.stack([to_image[2], to_image[1], to_image[0]])
    step = np.array([z_mm[1] - z_mm[0], pixel, pixel])
    to_index /= step[:, None]
    to_index[:, 3] -= np.array([z_mm[0], side[0], side[0]]) / step
    return Grid(x, y, z, z_mm=z_mm, pixel_mm=pixel, to_index=to_index)


def _rotation(yaw: float, roll: float, pitch: float) -> np.ndarray:
    """Rotation about z, then y, then x, in degrees; float64 [3, 3]."""
    a, b, c = np.deg2rad([yaw, roll, pitch])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return about_z @ about_y @ about_x


@functools.lru_cache(maxsize=64)
def spline_matrix(points: int, knots: int, step: float) -> scipy.sparse.csr_matrix:
    """Cubic B-spline weights [points, knots], p / step for row p; sparse, because BLAS would start threads."""
    position = np.arange(points) / step + 1
    t = position - np.floor(position)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6.0
    return _four_tap_matrix(position, weights, knots)


@functools.lru_cache(maxsize=512)
def upsample_matrix(fine: int, coarse: int) -> scipy.sparse.csr_matrix:
    """Catmull-Rom weights [fine, coarse] that resample one side of an image from `coarse` to `fine` pixels."""
    position = (np.arange(fine) + 0.5) * coarse / fine - 0.5
    t = position - np.floor(position)
    weights = 0.5 * np.stack(
        [-(t**3) + 2 * t**2 - t, 3 * t**3 - 5 * t**2 + 2, -3 * t**3 + 4 * t**2 + t, t**3 - t**2], axis=1
    )
    return _four_tap_matrix(position, weights, coarse)


def _four_tap_matrix(position: np.ndarray, weights: np.ndarray, inputs: int) -> scipy.sparse.csr_matrix:
    """A float32 [outputs, inputs] matrix; row p has weights[p] at the four inputs around position[p], clamped."""
    base = np.floor(position).astype(int)
    columns = np.clip(base[:, None] + np.arange(-1, 3), 0, inputs - 1)
    rows = np.repeat(np.arange(len(position)), 4)
    data = (weights.ravel().astype(np.float32), (rows, columns.ravel()))
    return scipy.sparse.csr_matrix(data, shape=(len(position), inputs))


def along(matrix: scipy.sparse.csr_matrix, field: np.ndarray, axis: int) -> np.ndarray:
    """Applies a sparse matrix along one axis of an array."""
    moved = np.moveaxis(field, axis, 0)
    flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    return np.moveaxis(flat.reshape(matrix.shape[0], *moved.shape[1:]), 0, axis)


def upsample(field: np.ndarray, factor: int) -> np.ndarray:
    """Upsamples the last two axes of a float32 [..., h, w] array by `factor`, with cubic interpolation."""
    flat = field.reshape(-1, *field.shape[-2:])
    n, h, w = flat.shape
    wide = upsample_matrix(factor * w, w) @ np.ascontiguousarray(flat.transpose(2, 0, 1)).reshape(w, -1)
    wide = wide.reshape(factor * w, n, h).transpose(2, 1, 0)
    tall = upsample_matrix(factor * h, h) @ np.ascontiguousarray(wide).reshape(h, -1)
    tall = tall.reshape(factor * h, n, factor * w).transpose(1, 0, 2)
    return np.ascontiguousarray(tall).reshape(*field.shape[:-2], factor * h, factor * w)


def noise(rng: Generator, shape: tuple[int, ...], step_mm: tuple[float, ...], knot_mm: float) -> np.ndarray:
    """A smooth random float32 field of unit variance: a cubic B-spline through random knots.

    Args:
      shape: shape of the field.
      step_mm: spacing along each axis.
      knot_mm: spacing of the knots; the finest detail is about twice as large.
    """
    steps = [max(knot_mm / s, 1.0) for s in step_mm]
    knots = [int(np.ceil((n - 1) / s)) + 4 for n, s in zip(shape, steps, strict=True)]
    field = rng.standard_normal(knots, dtype=np.float32)
    for axis, (points, step) in enumerate(zip(shape, steps, strict=True)):
        field = along(spline_matrix(points, knots[axis], step), field, axis)
    gain = np.float32(1.445 ** len(shape))  # the mean square of a cubic B-spline is 0.479 = 1.445^-2
    return np.ascontiguousarray(field) * gain


def irregularity(rng: Generator, grid: Grid) -> np.ndarray:
    """A random displacement of 1 to 3 mm with wavelengths of 13 to 40 mm; float32 [3, S, 128, 128]."""
    waves = np.empty((3, *grid.shape), np.float32)
    for axis in range(3):
        waves[axis] = 1.5 * noise(rng, grid.shape, grid.step_mm, 16.0)
        waves[axis] += 0.8 * noise(rng, grid.shape, grid.step_mm, 6.5)
    return waves


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union of two signed fields with a fillet of about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0.0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k * 0.25)


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Intersection of two signed fields with a fillet of about `k` mm."""
    return -smooth_min(-a, -b, k)


def inside(field: np.ndarray, width_mm: float) -> np.ndarray:
    """Occupancy in [0, 1] inside a signed field, with an edge `width_mm` wide."""
    return np.clip(0.5 - field / np.float32(width_mm), 0.0, 1.0)


def ellipsoid(points: Points, center: Vector, radii: Vector, *, yaw_deg: float = 0.0) -> np.ndarray:
    """Approximate signed distance to an ellipsoid, mm; `yaw_deg` rotates it about z."""
    dx, dy, dz = (c - np.float32(middle) for c, middle in zip(points, center, strict=True))
    if yaw_deg:
        c, s = np.float32(np.cos(np.deg2rad(yaw_deg))), np.float32(np.sin(np.deg2rad(yaw_deg)))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    a, b, c = (np.float32(1.0 / r) for r in radii)
    dx, dy, dz = dx * a, dy * b, dz * c
    k0 = np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * a, dy * b, dz * c
    k1 = np.sqrt(dx * dx + dy * dy + dz * dz)
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def tube(points: Points, start: Vector, end: Vector, r0: float, r1: float, *, flat: float = 1.0) -> np.ndarray:
    """Signed distance to a capsule whose radius changes from `r0` to `r1`, mm; `flat` < 1 stretches it along z."""
    first = np.asarray(start, np.float32)
    axis = (np.asarray(end, np.float32) - first) * np.array([1, 1, flat], np.float32)
    x, y, z = points
    dx, dy, dz = x - first[0], y - first[1], (z - first[2]) * np.float32(flat)
    t = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(axis @ axis)
    t = np.clip(t, 0.0, 1.0)
    dx, dy, dz = dx - t * axis[0], dy - t * axis[1], dz - t * axis[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz) - (np.float32(r0) + t * np.float32(r1 - r0))


def column(points: Points, path: Sequence[Vector], half_axes: Sequence[Vector], *, yaw_deg: float = 0.0) -> np.ndarray:
    """Approximate signed distance to a roughly vertical body with elliptical sections, mm.

    Args:
      path: centers of the sections, (x, y, z) with z falling or rising steadily.
      half_axes: (along x, along y) of the section at each point of `path`, before the rotation by `yaw_deg` about z.
    """
    knots = np.column_stack([np.asarray(path, float), np.asarray(half_axes, float)])
    knots = knots[np.argsort(knots[:, 2])]
    x, y, z = points
    center_x, center_y, a, b = (np.interp(z, knots[:, 2], knots[:, i]).astype(np.float32) for i in (0, 1, 3, 4))
    dx, dy = x - center_x, y - center_y
    c, s = np.float32(np.cos(np.deg2rad(yaw_deg))), np.float32(np.sin(np.deg2rad(yaw_deg)))
    dx, dy = (c * dx + s * dy) / a, (c * dy - s * dx) / b
    k0 = np.sqrt(dx * dx + dy * dy)
    k1 = np.sqrt((dx / a) ** 2 + (dy / b) ** 2)
    section = k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))
    return np.maximum(section, np.maximum(z - np.float32(knots[-1, 2]), np.float32(knots[0, 2]) - z))


def column_box(grid: Grid, path: Sequence[Vector], half_axes: Sequence[Vector]) -> Box:
    """The part of a grid that contains a `column`."""
    reach = np.array([[max(axes), max(axes), 0.0] for axes in half_axes])
    return grid.box((np.asarray(path) - reach).min(axis=0), (np.asarray(path) + reach).max(axis=0))


def add_column(
    field: np.ndarray,
    grid: Grid,
    path: Sequence[Vector],
    half_axes: Sequence[Vector],
    *,
    fillet: float = 0,
    yaw_deg: float = 0,
) -> None:
    """Joins a `column` to a field, in place; computes only the points near it."""
    box = column_box(grid, path, half_axes)
    _join(field, box, column(grid.at(box), path, half_axes, yaw_deg=yaw_deg), fillet)


def add_ellipsoid(
    field: np.ndarray, grid: Grid, center: Vector, radii: Vector, *, fillet: float = 0.0, yaw_deg: float = 0.0
) -> None:
    """Joins an ellipsoid to a field, in place; computes only the points near it."""
    reach = np.full(3, max(radii)) if yaw_deg else np.asarray(radii, float)
    box = grid.box(np.subtract(center, reach + fillet), np.add(center, reach + fillet))
    _join(field, box, ellipsoid(grid.at(box), center, radii, yaw_deg=yaw_deg), fillet)


def add_tube(
    field: np.ndarray, grid: Grid, path: Sequence[Vector], radii: Sequence[float], *, fillet: float = 0, flat: float = 1
) -> None:
    """Joins to a field, in place, a chain of capsules through the points of `path`, where they have these radii."""
    for start, end, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        reach = np.array([1, 1, 1 / flat]) * (max(r0, r1) + fillet)
        box = grid.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        _join(field, box, tube(grid.at(box), start, end, r0, r1, flat=flat), fillet)


def _join(field: np.ndarray, box: Box, part: np.ndarray, fillet: float) -> None:
    """Joins `part` to a box of a field, in place."""
    field[box] = smooth_min(field[box], part, fillet) if fillet else np.minimum(field[box], part)
