"""Phantom hemorrhages: where they lie, their shape at a given volume, and the brain that they displace."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf
from ichjax.phantom.blood import Amount
from ichjax.phantom.brain import Brain, tentorium_height

IVH, IPH, SAH, EDH, SDH = range(5)  # the order of `label_tables.SUBTYPES`
HIDDEN_MM = 1.6  # depth below the inner table to which the bone's blur hides blood
EDH_MM, SDH_MM = (6.0, 25.0), (4.5, 11.0)  # thickness, unless the volume asks for another
SWIRL_SHARE, SWIRL_HU = 0.15, (-20.0, -10.0)  # share of bleeds with darker pockets, and how much darker these are


@dataclasses.dataclass(frozen=True, eq=False)
class Lesion:
    """One bleed.

    Attributes:
      subtype: index into `label_tables.SUBTYPES`.
      field: float32 [S, 128, 128], mm, negative inside; for SAH, the region whose CSF is replaced by blood.
      hu: median HU inside the reader's mask.
      swirl_hu: how much denser pockets inside it are; 0 for none.
      edema_mm, edema_hu: width of the dark rim and how much darker it is; 0 for none.
      settled_hu: how much denser the blood is 60 mm further back.
    """

    subtype: int
    field: np.ndarray
    hu: float
    swirl_hu: float = 0.0
    edema_mm: float = 0.0
    edema_hu: float = 0.0
    settled_hu: float = 0.0


def swirl_hu(rng: Generator) -> float:
    """HU of pockets of fresh blood relative to the rest; 0 in most bleeds."""
    return float(rng.uniform(*SWIRL_HU)) if rng.uniform() < SWIRL_SHARE else 0.0


def level_of_volume(order: np.ndarray, volume_mm3: np.ndarray | float, volume_ml: float) -> float:
    """The level at which points with a smaller `order` make up a volume; the largest if all do not.

    Args:
      order: float [N].
      volume_mm3: of each point, [N] or one for all.
    """
    if not len(order):
        return 0.0
    ranked = np.argsort(order)
    reached = np.cumsum(np.broadcast_to(volume_mm3, order.shape)[ranked], dtype=np.float64)
    return float(order[ranked[min(int(np.searchsorted(reached, 1000 * volume_ml)), len(order) - 1)]])


def point_mm3(grid: pf.Grid) -> float:
    """Volume of a grid point."""
    return float(np.prod(grid.step_mm))


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


def distance_from(grid: pf.Grid, index: pf.Index, *, up: float = 1.0) -> np.ndarray:
    """Distance of every point from a grid point, float32 [S, 128, 128], scanner mm; along z times `up`."""
    axes = [
        (np.arange(n, dtype=np.float32) - np.float32(i)) * np.float32(step)
        for n, i, step in zip(grid.shape, index, grid.step_mm, strict=True)
    ]
    return np.sqrt((axes[0][:, None, None] * np.float32(up)) ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)


def distance_up(grid: pf.Grid, index: pf.Index) -> np.ndarray:
    """Height of every sub-slice over a grid point, float32 [S, 1, 1], scanner mm."""
    return (grid.z_mm - grid.z_mm[index[0]]).astype(np.float32)[:, None, None]


def with_clot(width: np.ndarray, cistern: np.ndarray, clot: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(half-width of the sulci, cisterns) that blood distends where its share `clot` is above 0, mm."""
    return width + clot * np.where(width > -0.6, np.float32(1.5), 0), cistern - clot * np.float32(1.5)


def fluid_share(sulcus: np.ndarray, width: np.ndarray, cistern: np.ndarray, edge_mm: float) -> np.ndarray:
    """Occupancy in [0, 1] by the CSF of sulci and cisterns, or by the blood in its place."""
    return np.maximum(pf.inside(sulcus - width, edge_mm) * (width > 0), pf.inside(cistern, edge_mm))


def epidural(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, site: pf.Index, amount: Amount) -> Lesion:
    """A lens against the inner table, d < T (1 - (s / S)^2)^0.7; one in three ends at a suture.

    Height and volume are given; the width follows the height, and the thickness the volume. If the thickness is
    unusual, the width changes first.
    """
    half_z = 0.65 * amount.extent_mm  # the ends are too thin to be seen
    half = half_z * rng.uniform(0.75, 1.1)
    one_side = np.ones(1, bool)
    if rng.uniform() < 0.33:
        suture_y = grid.y[site] + rng.choice([-1, 1]) * half * rng.uniform(0.2, 0.7)
        beyond = (grid.y - suture_y) * np.sign(suture_y - grid.y[site])
        one_side = beyond < 0
    visible = (wall < -HIDDEN_MM) & (wall > -45) & one_side
    for _ in range(3):
        s = distance_from(grid, site, up=half / half_z) / np.float32(half)
        near = visible & (s < 1)
        lens = np.power(1 - s[near] ** 2, np.float32(0.7))
        thick = level_of_volume(-wall[near] / np.maximum(lens, 1e-3), point_mm3(grid), amount.volume_ml)
        usual = float(np.clip(thick, *EDH_MM))
        if thick == usual:
            break
        half *= float(np.clip(thick / max(usual, 1e-3), 0.5, 2.0)) ** 0.7
    lens = np.float32(thick) * np.power(np.clip(1 - s * s, 0, 1), np.float32(0.7))
    field = np.maximum(-wall - lens, (s - 1) * np.float32(half))
    if one_side.size > 1:
        field = pf.smooth_max(field, beyond, 4.0)
    return Lesion(EDH, field.astype(np.float32), amount.hu, swirl_hu(rng))


def subdural(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, site: pf.Index, side: int, amount: Amount) -> Lesion:
    """A crescent that tapers along an arc and ends at falx and tentorium.

    Height and volume are given; the arc is 60 to 140 degrees, and the thickness follows the volume. If the thickness is
    unusual, the arc changes first.
    """
    arc = np.deg2rad(rng.uniform(60, 140)) / 2
    angle = np.arctan2(grid.y - 2, grid.x * side)
    up = np.broadcast_to(np.abs(distance_up(grid, site)) / np.float32(0.65 * amount.extent_mm), grid.shape)
    rough = 1 + 0.15 * pf.noise(rng, grid.shape, grid.step_mm, 16.0)
    on_side = (grid.x * side > 1.5) & (grid.z - tentorium_height(grid) > 1.0)
    visible = (wall < -HIDDEN_MM) & (wall > -30) & (up < 1) & on_side
    upright = np.sqrt(1 - up[visible] ** 2) * rough[visible]
    for _ in range(3):
        along = np.abs(angle[visible] - angle[site]) / np.float32(arc)
        taper = np.sqrt(np.clip(1 - along * along, 0, 1)) * upright
        near = taper > 0.02
        thick = level_of_volume(-wall[visible][near] / taper[near], point_mm3(grid), amount.volume_ml)
        usual = float(np.clip(thick, *SDH_MM))
        if thick == usual:
            break
        arc = float(np.clip(arc * thick / max(usual, 1e-3), np.deg2rad(8), np.deg2rad(85)))
    along = np.abs(angle - angle[site]) / np.float32(arc)
    taper = np.sqrt(np.clip(1 - along * along, 0, 1)) * np.sqrt(np.clip(1 - up * up, 0, 1)) * rough
    field = np.maximum(-wall - np.float32(thick) * taper, 0.6 - np.float32(thick) * taper)
    field = np.maximum(field, 1.5 - grid.x * side)
    field = np.maximum(field, 1.0 - (grid.z - tentorium_height(grid)))
    return Lesion(SDH, field.astype(np.float32), amount.hu, swirl_hu(rng), settled_hu=rng.uniform(2, 6))


def intraparenchymal(
    rng: Generator, grid: pf.Grid, wall: np.ndarray, *, side: int, trauma: bool, amount: Amount
) -> Lesion:
    """2 to 5 merged ellipsoids with an irregular surface: cortical contusions after trauma, else deep bleeds."""
    if trauma:
        spots = [(28, -58, 16), (16, -64, 22), (46, -28, -6), (52, -6, -2), (50, 14, 24)]
    else:
        spots = [(25, -6, 18), (13, 8, 22), (34, 28, 36), (30, -34, 38), (38, 46, 24)]
    radius = 1.1 * (0.75 * 1000 * amount.volume_ml / np.pi) ** (1 / 3)
    tall = float(np.clip(amount.extent_mm / (1.8 * radius), 0.8, 1.8))
    center = pick_spot(rng, grid, wall, spots, side=side)
    field = grid.empty()
    for _ in range(rng.integers(2, 6)):
        middle = center + rng.normal(0, 0.4 * radius, 3) * (1, 1, tall)
        radii = radius * rng.uniform(0.5, 1.0, 3) * (tall**-0.5, 1.2 * tall**-0.5, tall)
        pf.add_ellipsoid(field, grid, middle, radii, fillet=3.0)
    field += 0.13 * radius * pf.noise(rng, grid.shape, grid.step_mm, 4.5)
    within = wall + np.float32(2.0 if trauma else 4.0)
    field -= np.float32(level_of_volume(field[within < 0], point_mm3(grid), amount.volume_ml))
    field = np.maximum(field, within)
    edema = {"edema_mm": rng.uniform(2, 6), "edema_hu": rng.uniform(10, 15)}
    return Lesion(IPH, field.astype(np.float32), amount.hu, swirl_hu(rng), **edema)


def intraventricular(rng: Generator, grid: pf.Grid, brain: Brain, *, amount: Amount) -> Lesion:
    """Blood that has settled in the back of the ventricles, as the patient is supine; mostly more on one side."""
    rows_mm = (np.arange(pf.COARSE, dtype=np.float32)[:, None] + 0.5 - pf.COARSE / 2) * np.float32(grid.pixel_mm)
    order = np.broadcast_to(-rows_mm, grid.shape)
    if rng.uniform() < 0.6:
        order = order + 30 * pf.inside(grid.x * rng.choice([-1, 1]), 4.0)
    occupied = pf.inside(brain.ventricle, 1.0)
    wet = (occupied > 0) & (grid.z > -20)
    level = level_of_volume(order[wet], occupied[wet] * point_mm3(grid), amount.volume_ml)
    field = np.maximum(brain.ventricle, order - np.float32(level))
    return Lesion(IVH, field.astype(np.float32), amount.hu, swirl_hu(rng))


def subarachnoid(rng: Generator, grid: pf.Grid, wall: np.ndarray, brain: Brain, *, side: int, amount: Amount) -> Lesion:
    """The region whose sulci and cisterns hold blood: an ellipsoid with an irregular surface."""
    spots = [(0, -10, 3), (30, -18, 10)]
    if rng.uniform() < 0.6:  # over the convexity, as after a fall
        spots = [(52, 10, 45), (45, -35, 40), (55, 20, 25), (30, 40, 60)]
    center = pick_spot(rng, grid, wall, spots, side=side)
    reach = 0.5 * amount.extent_mm
    field = grid.empty()
    pf.add_ellipsoid(field, grid, center, (1.2 * reach, 1.4 * reach, reach))
    field += 4.0 * pf.noise(rng, grid.shape, grid.step_mm, 9.0)
    fluid = fluid_share(brain.sulcus, *with_clot(brain.sulcus_width, brain.cistern, 1.0), edge_mm=grid.pixel_mm)
    near = (field < 40) & (wall < -HIDDEN_MM)
    field -= np.float32(level_of_volume(field[near], fluid[near] * point_mm3(grid), amount.volume_ml))
    return Lesion(SAH, np.maximum(field, wall + np.float32(0.5)).astype(np.float32), amount.hu)


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
