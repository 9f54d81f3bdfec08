"""Soft tissue outside the skull: bodies of muscle and gland that keep a plane of fat between them."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf

PLANE_MM = 0.55  # half the width of the fat between two muscles that touch
MIDLINE = pf.SIDES[1:]  # instead of both sides


class SoftTissue:
    """Bodies of soft tissue, each with its own HU, in the fat of head and neck.

    Each body is displaced and enlarged at random, the same on both sides except for a little.

    Attributes:
      near, other: distance to the nearest and to the second nearest body, float32 [S, 128, 128], mm.
      hu: HU of the nearest body, float32 [S, 128, 128].
    """

    def __init__(self, rng: Generator, grid: pf.Grid, *, muscle_hu: float) -> None:
        self.rng, self.grid, self.muscle_hu = rng, grid, muscle_hu
        self.strong_mm = rng.uniform(2.2, 4.6)  # by which all bodies are thicker than drawn
        self.near, self.other, self.hu = grid.empty(), grid.empty(), grid.empty(muscle_hu)

    def column(
        self,
        path: Sequence[pf.Vector],
        radii: Sequence[pf.Vector],
        *,
        hu: float | None = None,
        yaw_deg: float = 0.0,
        spread: float = 1.0,
        sides: Sequence[np.ndarray] = pf.SIDES,
    ) -> None:
        """Adds a vertical body (see `fields.column`) on each side; `path` and `yaw_deg` are those of the left one.

        Args:
          hu: HU, a draw around the muscles' if None.
          spread: factor on the differences between subjects.
          sides: both, or `MIDLINE` for a single body.
        """
        shift = self.rng.normal(0, 1.2 * spread, 3)
        size = np.exp(self.rng.normal(0, 0.1 * spread, 2))
        value = self._value(hu)
        for s in sides:
            moved = [s * (np.asarray(p) + shift) + self.rng.normal(0, 0.5, 3) for p in path]
            axes = [np.asarray(r) * size for r in radii]
            box = pf.column_box(self.grid, moved, axes)
            part = pf.column(self.grid.at(box), moved, axes, yaw_deg=yaw_deg * float(s[0]))
            self._join(box, part, value + self.rng.normal(0, 1.0))

    def tube(
        self,
        path: Sequence[pf.Vector],
        radii: Sequence[float],
        *,
        hu: float | None = None,
        flat: float = 1.0,
        spread: float = 1.0,
        sides: Sequence[np.ndarray] = pf.SIDES,
    ) -> None:
        """Adds a chain of capsules (see `fields.tube`) on each side; the other arguments are those of `column`."""
        shift = self.rng.normal(0, 1.2 * spread, 3)
        size = float(np.exp(self.rng.normal(0, 0.1 * spread)))
        value = self._value(hu)
        for s in sides:
            moved = np.array([s * (np.asarray(p) + shift) for p in path]) + self.rng.normal(0, 0.5, 3)
            reach = np.array([1, 1, 1 / flat]) * max(radii) * size
            box = self.grid.box(moved.min(axis=0) - reach, moved.max(axis=0) + reach)
            points = self.grid.at(box)
            ends = zip(moved[:-1], moved[1:], radii[:-1], radii[1:], strict=True)
            parts = [pf.tube(points, a, b, r0 * size, r1 * size, flat=flat) for a, b, r0, r1 in ends]
            self._join(box, np.minimum.reduce(parts), value + self.rng.normal(0, 1.0))

    def ellipsoid(
        self, center: pf.Vector, radii: pf.Vector, *, hu: float | None = None, sides: Sequence[np.ndarray] = pf.SIDES
    ) -> None:
        """Adds an ellipsoid on each side; the other arguments are those of `column`."""
        middle = np.asarray(center) + self.rng.normal(0, 1.0, 3)
        size = np.asarray(radii) * np.exp(self.rng.normal(0, 0.08, 3))
        value = self._value(hu)
        for s in sides:
            moved = s * middle + self.rng.normal(0, 0.5, 3)
            box = self.grid.box(moved - size, moved + size)
            self._join(box, pf.ellipsoid(self.grid.at(box), moved, size), value)

    def add(self, part: np.ndarray, hu: float | None = None) -> None:
        """Adds a body given by its field on the whole grid."""
        self._join((slice(None),) * 3, part, self._value(hu))

    def field(self, fibers: np.ndarray) -> np.ndarray:
        """Signed field of all bodies, with fat between them and in them; `fibers` is noise of unit variance."""
        plane = PLANE_MM * (1 + 0.6 * fibers) - (self.other - self.near) * np.float32(0.5)
        return np.maximum(self.near + 0.8 * fibers - np.float32(self.strong_mm), plane).astype(np.float32)

    def _value(self, hu: float | None) -> float:
        return self.muscle_hu + self.rng.normal(0, 1.5) if hu is None else hu

    def _join(self, box: pf.Box, part: np.ndarray, hu: float) -> None:
        near, other, values = self.near[box], self.other[box], self.hu[box]
        values[part < near] = hu
        np.minimum(other, np.maximum(near, part), out=other)
        np.minimum(near, part, out=near)
