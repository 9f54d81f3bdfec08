"""Phantom hemorrhages and what comes with them: edema, mass effect, fractures, scalp swelling, old infarcts."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf
from ichjax.phantom.brain import Brain, tentorium_height
from ichjax.phantom.head import Head

MIN_ACUTE_HU = 45.0  # no reader would outline a fainter bleed
IVH, IPH, SAH, EDH, SDH = range(5)  # the order of `label_tables.SUBTYPES`


@dataclasses.dataclass(frozen=True, eq=False)
class Lesion:
    """One bleed.

    Attributes:
      subtype: index into `label_tables.SUBTYPES`.
      field: float32 [S, 128, 128], mm, negative inside; for SAH, the region whose CSF is replaced by blood.
      hu: HU of the blood.
      swirl_hu: HU of pockets inside it; equal to `hu` where there are none.
      edema_mm, edema_hu: width of the dark rim and how much darker it is; 0 for none.
      settled_hu: how much denser the blood is 60 mm further back.
    """

    subtype: int
    field: np.ndarray
    hu: float
    swirl_hu: float
    edema_mm: float = 0.0
    edema_hu: float = 0.0
    settled_hu: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Size and density of the bleeds of a set, and which size a subject's bleeds have."""

    extent: float = 1.0  # factor on diameters, chords and heights
    depth: float = 1.0  # factor on the thickness of EDH and SDH
    blood_hu: tuple[float, float] = (58.0, 8.0)  # mean and SD of acute blood
    quantiles: tuple[float, float] = (0.0, 1.0)  # part of the size range that this set uses
    quantile: float = 0.5  # of this subject's bleeds in the size range
    chronic: bool = False  # whether this subject's bleed is old and therefore dark


def blood_hu(rng: Generator, sizes: Sizes) -> tuple[float, float]:
    """Draws (HU of the blood, HU of its pockets): acute, anemic, days old or chronic."""
    if sizes.chronic:
        return rng.uniform(20, 30), rng.uniform(15, 22)
    hu = float(np.clip(rng.normal(*sizes.blood_hu), MIN_ACUTE_HU, 76))
    if rng.uniform() < 0.1:
        hu = rng.uniform(MIN_ACUTE_HU, 50)  # anemic
    elif rng.uniform() < 0.3:
        hu = max(hu - 2.0 * rng.integers(1, 6), MIN_ACUTE_HU)  # days old: about 2 HU less per day
    return hu, (rng.uniform(35, 45) if rng.uniform() < 0.15 else hu)


def site_on_wall(
    rng: Generator, grid: pf.Grid, wall: np.ndarray, *, low: pf.Vector, high: pf.Vector, side: int
) -> pf.Index:
    """Index (sub-slice, row, column) of a random point of the inner table.

    Args:
      low, high: bounds of (|x|, y, z) in head mm; if the scan does not reach them, the most lateral part is used.
      side: -1 or 1, the patient's right or left.
    """
    x = grid.x * side
    on_wall = np.abs(wall) < 1.2
    hit = on_wall & (x > low[0]) & (x < high[0])
    hit &= (grid.y > low[1]) & (grid.y < high[1]) & (grid.z > low[2]) & (grid.z < high[2])
    candidates = np.flatnonzero(hit)
    if not len(candidates):
        candidates = np.flatnonzero(on_wall)
        candidates = candidates[np.argsort(x.ravel()[candidates])[-50:]]
    s, row, column = np.unravel_index(candidates[rng.integers(len(candidates))], wall.shape)
    return int(s), int(row), int(column)


def pick_spot(rng: Generator, grid: pf.Grid, wall: np.ndarray, spots: Sequence[pf.Vector], *, side: int) -> np.ndarray:
    """One of `spots`, (|x|, y, z) in head mm, on this side, with jitter; float64 [3].

    Only spots inside the scan and the skull are eligible; if there is none, the highest spot is taken.
    """
    moved = np.array(spots, float) * (side, 1, 1) + rng.normal(0, 3, (len(spots), 3))
    index = np.rint(np.column_stack([moved, np.ones(len(moved))]) @ grid.to_index.T).astype(int)
    in_scan = (index[:, 0] > 3) & (index[:, 0] < grid.shape[0] - 3)
    in_skull = wall[tuple(np.clip(index, 0, np.array(grid.shape) - 1).T)] < -3
    eligible = np.flatnonzero(in_scan & in_skull)
    if not len(eligible):
        eligible = np.argmax(moved[:, 2], keepdims=True)
    return moved[rng.choice(eligible)]


def distance_from(grid: pf.Grid, index: pf.Index) -> np.ndarray:
    """Distance of every point from a grid point, float32 [S, 128, 128], scanner mm."""
    axes = [
        (np.arange(n, dtype=np.float32) - np.float32(i)) * np.float32(step)
        for n, i, step in zip(grid.shape, index, grid.step_mm, strict=True)
    ]
    return np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)


def epidural(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, site: pf.Index, sizes: Sizes) -> Lesion:
    """A lens against the inner table, d < T (1 - (s / S)^2)^0.7; one in three ends at a suture."""
    half = sizes.extent * np.exp(np.interp(sizes.quantile, (0, 1), np.log((16.0, 47.0))))
    deep = sizes.depth * np.clip(half * (rng.uniform(0.14, 0.28) + 0.22 * sizes.quantile), 6.0, 25.0)
    s = distance_from(grid, site) / np.float32(half)
    lens = np.float32(deep) * np.power(np.clip(1 - s * s, 0, 1), np.float32(0.7))
    field = np.maximum(-wall - lens, (s - 1) * np.float32(half))
    if rng.uniform() < 0.33:
        suture_y = grid.y[site] + rng.choice([-1, 1]) * half * rng.uniform(0.2, 0.7)
        field = np.maximum(field, (grid.y - suture_y) * np.sign(suture_y - grid.y[site]))
    hu, swirl = blood_hu(rng, sizes)
    return Lesion(EDH, field.astype(np.float32), hu, swirl)


def subdural(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, site: pf.Index, side: int, sizes: Sizes) -> Lesion:
    """A crescent 3 to 9 mm thick that tapers along an arc of 60 to 140 degrees and ends at falx and tentorium."""
    thick = sizes.depth * np.interp(sizes.quantile, (0, 1), (3.0, 9.0))
    arc = np.deg2rad(rng.uniform(60, 140)) / 2
    tall = sizes.extent * rng.uniform(28.0, 55.0)
    angle = np.arctan2(grid.y - 2, grid.x * side)
    along = np.abs(angle - angle[site]) / np.float32(arc)
    up = np.abs(grid.z - grid.z[site]) / np.float32(tall)
    taper = np.sqrt(np.clip(1 - along * along, 0, 1)) * np.sqrt(np.clip(1 - up * up, 0, 1))
    taper *= 1 + 0.15 * pf.noise(rng, grid.shape, grid.step_mm, 16.0)
    field = np.maximum(-wall - np.float32(thick) * taper, 0.6 - np.float32(thick) * taper)
    field = np.maximum(field, 1.5 - grid.x * side)
    field = np.maximum(field, 1.0 - (grid.z - tentorium_height(grid)))
    hu, swirl = blood_hu(rng, sizes)
    return Lesion(SDH, field.astype(np.float32), hu, swirl, settled_hu=rng.uniform(2, 6))


def intraparenchymal(
    rng: Generator, grid: pf.Grid, wall: np.ndarray, *, side: int, trauma: bool, sizes: Sizes
) -> Lesion:
    """2 to 5 merged ellipsoids with an irregular surface: cortical contusions after trauma, else deep bleeds."""
    if trauma:
        spots = [(28, -58, 16), (16, -64, 22), (46, -28, -6), (52, -6, -2), (50, 14, 24)]
        radius = np.interp(sizes.quantile, (0, 0.6, 1), (5.5, 10.0, 17.0))
    else:
        spots = [(25, -6, 18), (13, 8, 22), (34, 28, 36), (30, -34, 38), (38, 46, 24)]
        radius = np.interp(sizes.quantile, (0, 0.6, 1), (7.0, 13.0, 23.0))
    radius *= sizes.extent
    center = pick_spot(rng, grid, wall, spots, side=side)
    field = grid.empty()
    for _ in range(rng.integers(2, 6)):
        middle = center + rng.normal(0, 0.45 * radius, 3)
        radii = radius * rng.uniform(0.5, 1.0, 3) * (1, 1.2, 1)
        pf.add_ellipsoid(field, grid, middle, radii, fillet=3.0)
    field += 0.13 * radius * pf.noise(rng, grid.shape, grid.step_mm, 4.5)
    field = np.maximum(field, wall + np.float32(2.0 if trauma else 4.0))
    hu, swirl = blood_hu(rng, sizes)
    return Lesion(IPH, field.astype(np.float32), hu, swirl, edema_mm=rng.uniform(2, 6), edema_hu=rng.uniform(10, 15))


def intraventricular(rng: Generator, grid: pf.Grid, brain: Brain, *, sizes: Sizes) -> Lesion:
    """Blood that has settled in the back of the ventricles, as the patient is supine."""
    rows_mm = (np.arange(pf.COARSE, dtype=np.float32)[:, None] + 0.5 - pf.COARSE / 2) * np.float32(grid.pixel_mm)
    fluid_mm = np.broadcast_to(rows_mm, grid.shape)[(brain.ventricle < 0) & (grid.z > 0)]
    level = np.quantile(fluid_mm, rng.uniform(0.55, 0.88)) if len(fluid_mm) else 0.0
    field = np.maximum(brain.ventricle, np.float32(level) - rows_mm)
    if rng.uniform() < 0.6:  # mostly on one side
        field = np.maximum(field, (grid.x * rng.choice([-1, 1]) - rng.uniform(0, 6)).astype(np.float32) * 0.5)
    hu, swirl = blood_hu(rng, sizes)
    return Lesion(IVH, field.astype(np.float32), hu - 4, swirl)


def subarachnoid(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, side: int, sizes: Sizes) -> Lesion:
    """The region whose sulci and cisterns hold blood: an ellipsoid with an irregular surface."""
    spots = [(0, -10, 3), (30, -18, 10)]
    if rng.uniform() < 0.6:  # over the convexity, as after a fall
        spots = [(52, 10, 45), (45, -35, 40), (55, 20, 25), (30, 40, 60)]
    center = pick_spot(rng, grid, wall, spots, side=side)
    reach = sizes.extent * rng.uniform(11, 22)
    field = grid.empty()
    pf.add_ellipsoid(field, grid, center, (reach, reach * 1.2, reach * 0.8))
    field += 4.0 * pf.noise(rng, grid.shape, grid.step_mm, 9.0)
    field = np.maximum(field, wall + np.float32(0.5))
    hu, _ = blood_hu(rng, sizes)
    return Lesion(SAH, field.astype(np.float32), hu, hu)


def mass_effect(grid: pf.Grid, lesions: Sequence[Lesion]) -> pf.Grid:
    """The grid on which to draw a brain displaced by these lesions, by t exp(-d / 25 mm) at distance d.

    Each lesion pushes from its center towards the center of the head, so the midline shifts too.
    """
    push = np.zeros((3, *grid.shape), np.float32)
    for lesion in lesions:
        within = lesion.field < 0
        if lesion.subtype not in (IPH, EDH, SDH) or not within.any():
            continue
        center = np.array([float(c[within].mean(dtype=np.float64)) for c in (grid.x, grid.y, grid.z)])
        if lesion.subtype == IPH:
            volume = int(within.sum()) * float(np.prod(grid.step_mm))
            strength = 0.35 * (volume * 0.75 / np.pi) ** (1 / 3)
        else:
            strength = 0.55 * float(-lesion.field[within].min())
        fall = np.float32(min(strength, 9.0)) * np.exp(-np.maximum(lesion.field, 0) / np.float32(25.0))
        toward = np.array([0.0, 0.0, 22.0]) - center
        toward /= max(float(np.linalg.norm(toward)), 1e-3)
        for axis in range(3):
            push[axis] += np.float32(toward[axis]) * fall
    return grid.moved(-push)


def old_infarct(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, side: int) -> np.ndarray:
    """Signed field of an old infarct that reaches the cortex."""
    center = pick_spot(rng, grid, wall, [(52, 14, 24), (46, -30, 30), (36, 52, 18), (40, 8, 44)], side=side)
    field = grid.empty()
    pf.add_ellipsoid(field, grid, center, rng.uniform(9, 17, 3), fillet=2.0)
    return field + 2.5 * pf.noise(rng, grid.shape, grid.step_mm, 7.0)


def fracture(rng: Generator, grid: pf.Grid, site: pf.Index) -> np.ndarray:
    """Signed field of a crack through the bone around a site: a wavy plane 1 to 1.6 mm wide."""
    slope = rng.normal(0, 0.4)
    t = grid.y - grid.y[site] + slope * (grid.z - grid.z[site]) + 1.5 * pf.noise(rng, grid.shape, grid.step_mm, 10.0)
    crack = np.abs(t) - rng.uniform(0.5, 0.8)
    return np.maximum(crack, distance_from(grid, site) - rng.uniform(14, 32)).astype(np.float32)


def scalp_swelling(rng: Generator, grid: pf.Grid, head: Head, site: pf.Index) -> tuple[Head, np.ndarray]:
    """(the head with a bump over the site, signed field of the blood under it)."""
    bump = rng.uniform(4, 10) * np.exp(-((distance_from(grid, site) / np.float32(rng.uniform(18, 32))) ** 2))
    skin = head.skin - bump
    blood = np.maximum(head.wall - head.thickness - 0.85 * bump, 1.0 - bump)
    blood = np.maximum(blood, skin + 3)
    return dataclasses.replace(head, skin=skin.astype(np.float32)), blood.astype(np.float32)
