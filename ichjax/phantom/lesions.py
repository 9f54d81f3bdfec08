"""The phantom's hemorrhages, and what comes with them: edema, mass effect, fractures, scalp swelling."""

import dataclasses

import numpy as np

from ichjax.phantom import fields as pf
from ichjax.phantom.brain import Brain
from ichjax.phantom.head import Head

FAINTEST_HU = 45.0  # of a bleed that is not chronic: fainter ones no reader would outline
IVH, IPH, SAH, EDH, SDH = range(5)  # the order of `ct_ich_nifti.SUBTYPES`


@dataclasses.dataclass(frozen=True, eq=False)
class Lesion:
    """One bleed.

    Attributes:
      subtype: index into `ct_ich_nifti.SUBTYPES`.
      field: float32 [S, 128, 128], mm, negative inside; of a subarachnoid bleed, the region whose fluid is blood.
      hu: its HU; `swirl_hu` that of pockets inside it (equal to `hu` where there are none).
      edema_mm, edema_hu: width and depth of the dark rim (0 for none).
      settled_hu: how much denser it is 60 mm further back.
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
    """How large and how dense the bleeds of a set are, and where in the range of sizes a subject's lie."""

    extent: float = 1.0  # chords, arcs' heights, diameters
    depth: float = 1.0  # thickness of EDH and SDH
    blood_hu: tuple[float, float] = (58.0, 8.0)  # mean and SD of acute blood
    quantiles: tuple[float, float] = (0.0, 1.0)  # the part of the range that this set uses
    quantile: float = 0.5  # of this subject's bleeds among all, in (0, 1)


def blood_hu(rng: np.random.Generator, sizes: Sizes, *, chronic: bool) -> tuple[float, float]:
    """(HU of the bleed, HU of its pockets): acute, anemic or days old; one chronic case."""
    if chronic:
        return rng.uniform(20, 30), rng.uniform(15, 22)
    hu = float(np.clip(rng.normal(*sizes.blood_hu), FAINTEST_HU, 76))
    if rng.uniform() < 0.1:
        hu = rng.uniform(FAINTEST_HU, 50)  # anemic
    elif rng.uniform() < 0.3:
        hu = max(hu - 2.0 * rng.integers(1, 6), FAINTEST_HU)  # days old: about 2 HU a day
    return hu, (rng.uniform(35, 45) if rng.uniform() < 0.15 else hu)


def site_on_wall(rng: np.random.Generator, grid: pf.Grid, wall, *, low, high, side: int) -> np.ndarray:
    """Index (s, row, column) of a random point of the inner table within head-coordinate bounds.

    Args:
      low, high: bounds of (|x|, y, z) in head mm.
      side: -1 or 1, the patient's right or left.
    """
    x = grid.x * side
    hit = (np.abs(wall) < 1.2) & (x > low[0]) & (x < high[0])
    hit &= (grid.y > low[1]) & (grid.y < high[1]) & (grid.z > low[2]) & (grid.z < high[2])
    places = np.flatnonzero(hit)
    if not len(places):  # bounds outside the scan: the side's most lateral point of the wall
        places = np.flatnonzero(np.abs(wall) < 1.2)
        places = places[np.argsort(grid.x.ravel()[places] * side)[-50:]]
    return np.array(np.unravel_index(places[rng.integers(len(places))], wall.shape))


def pick_spot(rng: np.random.Generator, grid: pf.Grid, wall, spots, *, side: int) -> np.ndarray:
    """One of `spots` (|x|, y, z in head mm) on this side, moved a little; float64 [3].

    Spots outside the scan or the skull don't count; if none is left, the highest is taken.
    """
    moved = np.array(spots, float) * (side, 1, 1) + rng.normal(0, 3, (len(spots), 3))
    index = np.rint(np.column_stack([moved, np.ones(len(moved))]) @ grid.to_index.T).astype(int)
    seen = (index[:, 0] > 3) & (index[:, 0] < grid.shape[0] - 3)
    held = wall[tuple(np.clip(index, 0, np.array(grid.shape) - 1).T)] < -3
    usable = np.flatnonzero(seen & held)
    if not len(usable):
        usable = [int(np.argmax(moved[:, 2]))]
    return moved[rng.choice(usable)]


def distance_from(grid: pf.Grid, index) -> np.ndarray:
    """Distance in scanner mm from a grid point, [S, 128, 128]."""
    axes = [
        (np.arange(n, dtype=np.float32) - np.float32(i)) * np.float32(step)
        for n, i, step in zip(grid.shape, index, grid.step_mm, strict=True)
    ]
    return np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)


def epidural(rng: np.random.Generator, grid: pf.Grid, wall, *, site, sizes: Sizes, chronic: bool) -> Lesion:
    """A lens against the inner table: d < T (1 - (s / S)^2)^0.7, cut off at a suture one time in three."""
    half = sizes.extent * np.exp(np.interp(sizes.quantile, (0, 1), np.log((16.0, 47.0))))
    deep = sizes.depth * np.clip(half * (rng.uniform(0.14, 0.28) + 0.22 * sizes.quantile), 6.0, 25.0)
    s = distance_from(grid, site) / np.float32(half)
    lens = np.float32(deep) * np.power(np.clip(1 - s * s, 0, 1), np.float32(0.7))
    field = np.maximum(-wall - lens, (s - 1) * np.float32(half))
    if rng.uniform() < 0.33:
        y0 = grid.y[tuple(site)] + rng.choice([-1, 1]) * half * rng.uniform(0.2, 0.7)
        field = np.maximum(field, (grid.y - y0) * np.sign(y0 - grid.y[tuple(site)]))
    hu, swirl = blood_hu(rng, sizes, chronic=chronic)
    return Lesion(EDH, field.astype(np.float32), hu, swirl)


def subdural(rng: np.random.Generator, grid: pf.Grid, wall, tentorium, *, site, side, sizes: Sizes, chronic):
    """A crescent: d < 3 to 10 mm along an arc of 60 to 140 degrees, tapered; it stops at falx and tentorium."""
    thick = sizes.depth * np.interp(sizes.quantile, (0, 1), (3.0, 9.0))
    arc = np.deg2rad(rng.uniform(60, 140)) / 2
    tall = sizes.extent * rng.uniform(28.0, 55.0)
    angle = np.arctan2(grid.y - 2, grid.x * side)
    at = tuple(site)
    along = np.abs(angle - angle[at]) / np.float32(arc)
    up = np.abs(grid.z - grid.z[at]) / np.float32(tall)
    taper = np.sqrt(np.clip(1 - along * along, 0, 1)) * np.sqrt(np.clip(1 - up * up, 0, 1))
    taper *= 1 + 0.15 * pf.noise(rng, grid.shape, grid.step_mm, 16.0)
    field = np.maximum(-wall - np.float32(thick) * taper, 0.6 - np.float32(thick) * taper)
    field = np.maximum(field, 1.5 - grid.x * side)
    field = np.maximum(field, 1.0 - tentorium)
    hu, swirl = blood_hu(rng, sizes, chronic=chronic)
    return Lesion(SDH, field.astype(np.float32), hu, swirl, settled_hu=rng.uniform(2, 6))


def intraparenchymal(rng: np.random.Generator, grid: pf.Grid, wall, *, side, trauma: bool, sizes: Sizes, chronic):
    """2 to 5 merged ellipsoids with a noisy surface; contusions lie at the frontal and temporal poles."""
    if trauma:
        spots = [(28, -58, 16), (16, -64, 22), (46, -28, -6), (52, -6, -2), (50, 14, 24)]
        radius = np.interp(sizes.quantile, (0, 0.6, 1), (5.5, 10.0, 17.0))
    else:
        spots = [(25, -6, 18), (13, 8, 22), (34, 28, 36), (30, -34, 38), (38, 46, 24)]
        radius = np.interp(sizes.quantile, (0, 0.6, 1), (7.0, 13.0, 23.0))
    radius *= sizes.extent
    centre = pick_spot(rng, grid, wall, spots, side=side)
    field = grid.empty()
    for _ in range(rng.integers(2, 6)):
        middle = centre + rng.normal(0, 0.45 * radius, 3)
        radii = radius * rng.uniform(0.5, 1.0, 3) * (1, 1.2, 1)
        pf.add_ellipsoid(field, grid, middle, radii, fillet=3.0)
    field += 0.13 * radius * pf.noise(rng, grid.shape, grid.step_mm, 4.5)
    field = np.maximum(field, wall + np.float32(2.0 if trauma else 4.0))
    hu, swirl = blood_hu(rng, sizes, chronic=chronic)
    return Lesion(IPH, field.astype(np.float32), hu, swirl, edema_mm=rng.uniform(2, 6), edema_hu=rng.uniform(10, 15))


def intraventricular(rng: np.random.Generator, grid: pf.Grid, brain: Brain, *, sizes: Sizes, chronic: bool) -> Lesion:
    """Blood in the ventricles below a horizontal level: the patient lies on the back."""
    row = (np.arange(pf.COARSE, dtype=np.float32) + 0.5 - pf.COARSE / 2) * np.float32(grid.pixel_mm)
    rows = row[None, :, None]
    wet = (brain.ventricle < 0) & (grid.z > 0)
    y = np.broadcast_to(rows, grid.shape)[wet]
    level = np.quantile(y, rng.uniform(0.55, 0.88)) if len(y) else 0.0
    field = np.maximum(brain.ventricle, np.float32(level) - rows)
    if rng.uniform() < 0.6:  # one side more than the other
        field = np.maximum(field, (grid.x * rng.choice([-1, 1]) - rng.uniform(0, 6)).astype(np.float32) * 0.5)
    hu, swirl = blood_hu(rng, sizes, chronic=chronic)
    return Lesion(IVH, field.astype(np.float32), hu - 4, swirl)


def subarachnoid(rng: np.random.Generator, grid: pf.Grid, wall, *, side: int, sizes: Sizes, chronic: bool):
    """The region whose sulci and cisterns hold blood: a ball around a spot, eaten into by a random field."""
    spots = [(0, -10, 3), (30, -18, 10)]
    if rng.uniform() < 0.6:  # over the convexity, as after a fall
        spots = [(52, 10, 45), (45, -35, 40), (55, 20, 25), (30, 40, 60)]
    centre = pick_spot(rng, grid, wall, spots, side=side)
    reach = sizes.extent * rng.uniform(11, 22)
    field = grid.empty()
    pf.add_ellipsoid(field, grid, centre, (reach, reach * 1.2, reach * 0.8))
    field += 4.0 * pf.noise(rng, grid.shape, grid.step_mm, 9.0)
    field = np.maximum(field, wall + np.float32(0.5))
    hu, _ = blood_hu(rng, sizes, chronic=chronic)
    return Lesion(SAH, field.astype(np.float32), hu, hu)


def mass_effect(grid: pf.Grid, lesions) -> pf.Grid:
    """The grid on which to draw a brain pushed aside by these lesions: displacement t exp(-d / 25 mm).

    The push points from a lesion's middle to the middle of the head, so the midline shifts with it.
    """
    push = np.zeros((3, *grid.shape), np.float32)
    for lesion in lesions:
        within = lesion.field < 0
        count = int(within.sum())
        if not count or lesion.subtype not in (IPH, EDH, SDH):
            continue
        centre = np.array([float(c[within].mean(dtype=np.float64)) for c in (grid.x, grid.y, grid.z)])
        volume = count * float(np.prod(grid.step_mm))
        if lesion.subtype == IPH:
            strength = 0.35 * (volume * 0.75 / np.pi) ** (1 / 3)
        else:
            depth = -lesion.field[within].min()
            strength = 0.55 * float(depth)
        fall = np.float32(min(strength, 9.0)) * np.exp(-np.maximum(lesion.field, 0) / np.float32(25.0))
        toward = np.array([0.0, 0.0, 22.0]) - centre
        toward /= max(float(np.linalg.norm(toward)), 1e-3)
        for axis in range(3):
            push[axis] += np.float32(toward[axis]) * fall
    return grid.moved(-push)


def old_infarct(rng: np.random.Generator, grid: pf.Grid, wall, *, side: int) -> np.ndarray:
    """A wedge of dead brain that reaches the cortex; float32 [S, 128, 128], mm, negative inside."""
    centre = pick_spot(rng, grid, wall, [(52, 14, 24), (46, -30, 30), (36, 52, 18), (40, 8, 44)], side=side)
    field = grid.empty()
    pf.add_ellipsoid(field, grid, centre, rng.uniform(9, 17, 3), fillet=2.0)
    return field + 2.5 * pf.noise(rng, grid.shape, grid.step_mm, 7.0)


def fracture(rng: np.random.Generator, grid: pf.Grid, site) -> np.ndarray:
    """A crack through the bone around a site: a wavy plane 1 to 1.6 mm wide; float32 [S, 128, 128], mm."""
    at = tuple(site)
    slope = rng.normal(0, 0.4)
    t = grid.y - grid.y[at] + slope * (grid.z - grid.z[at]) + 1.5 * pf.noise(rng, grid.shape, grid.step_mm, 10.0)
    crack = np.abs(t) - rng.uniform(0.5, 0.8)
    return np.maximum(crack, distance_from(grid, site) - rng.uniform(14, 32)).astype(np.float32)


def scalp_swelling(rng: np.random.Generator, grid: pf.Grid, head: Head, site) -> tuple[Head, np.ndarray]:
    """(the head with a bump over the site, the field of the blood under it)."""
    bump = rng.uniform(4, 10) * np.exp(-((distance_from(grid, site) / np.float32(rng.uniform(18, 32))) ** 2))
    skin = head.skin - bump
    blood = np.maximum(head.wall - head.thickness - 0.85 * bump, 1.0 - bump)
    blood = np.maximum(blood, skin + 3)
    return dataclasses.replace(head, skin=skin.astype(np.float32)), blood.astype(np.float32)
