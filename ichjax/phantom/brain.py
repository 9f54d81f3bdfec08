"""Phantom brain: ventricles, cisterns, sulci, dura, sinuses and calcifications as signed fields."""

import dataclasses

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from ichjax.phantom import fields as pf
from ichjax.phantom import spine


@dataclasses.dataclass(frozen=True, eq=False)
class Brain:
    """Signed fields of one brain, float32 [S, 128, 128], mm, negative inside.

    Attributes:
      ventricle: the four ventricles.
      cistern: cisterns, Sylvian fissures and the space around the brain.
      sulcus: distance to the middle of the nearest sulcus, never negative.
      sulcus_width: half-width of that sulcus here; zero or negative deep in the brain, where there are no sulci.
      deep: basal ganglia and thalamus.
      cerebellum: cerebellum and brainstem.
      falx: falx and tentorium.
      sinus: venous sinuses.
      calcified: calcified choroid plexus and pineal gland.
      folia: contrast of the cerebellar folia, about -1 to 1.
    """

    ventricle: np.ndarray
    cistern: np.ndarray
    sulcus: np.ndarray
    sulcus_width: np.ndarray
    deep: np.ndarray
    cerebellum: np.ndarray
    falx: np.ndarray
    sinus: np.ndarray
    calcified: np.ndarray
    folia: np.ndarray


def make_brain(rng: Generator, grid: pf.Grid, wall: np.ndarray, *, age_years: float) -> Brain:
    """Builds the brain inside the inner table `wall`; ventricles and sulci widen with age."""
    atrophy = float(np.clip((age_years - 20) / 50, 0, 1.2)) + rng.uniform(0, 0.15)
    tentorium = grid.z - tentorium_height(grid)
    ventricle = ventricles(rng, grid, atrophy=atrophy)
    cistern = cisterns(rng, grid, wall, tentorium, atrophy=atrophy)
    # The hindbrain lies below the tentorium and behind the petrous ridges.
    hindbrain = np.maximum(tentorium, 2 + 0.63 * (np.abs(grid.x) - 12) - grid.y)
    sulcus, sulcus_width = sulci(rng, grid, wall, hindbrain, atrophy=atrophy)
    return Brain(
        ventricle=ventricle,
        cistern=cistern,
        sulcus=sulcus,
        sulcus_width=sulcus_width,
        deep=deep_nuclei(grid),
        cerebellum=hindbrain,
        falx=dura(rng, grid, wall, tentorium),
        sinus=sinuses(rng, grid, wall),
        calcified=calcifications(rng, grid, age_years=age_years),
        folia=folia(rng, grid),
    )


def tentorium_height(grid: pf.Grid) -> np.ndarray:
    """Height of the tentorium over (x, y): a ridge along the midline that falls to the sides and the back."""
    ridge = 26 - 0.30 * np.maximum(grid.y - 22, 0)
    return (ridge - 0.40 * np.sqrt(grid.x**2 + 16.0)).astype(np.float32)


def ventricles(rng: Generator, grid: pf.Grid, *, atrophy: float) -> np.ndarray:
    """Lateral, third and fourth ventricles."""
    field = grid.empty()
    size = (0.72 + 0.45 * atrophy) * rng.uniform(0.85, 1.15)
    for s in pf.SIDES:
        g = size * rng.uniform(0.92, 1.08)
        body = [s * (17, -35, 22), s * (8, -24, 28), s * (8, -4, 37), s * (14, 16, 40), s * (22, 30, 31)]
        pf.add_tube(field, grid, body, [3.0 * g, 5.0 * g, 5.2 * g, 5.8 * g, 7.0 * g], fillet=3, flat=0.75)
        pf.add_tube(field, grid, [s * (22, 30, 31), s * (25, 44, 26), s * (22, 58, 24)], [6 * g, 4 * g, 1.5 * g])
        horn = [s * (22, 30, 31), s * (32, 22, 16), s * (35, 4, 0), s * (32, -10, -3)]
        pf.add_tube(field, grid, horn, [5 * g, 3 * g, 1.8 * g, 1.6 * g])
    third = [(0, -10, 12), (0, 2, 17), (0, 12, 21)]
    pf.add_tube(field, grid, third, [1.6 * size, 2.2 * size, 1.8 * size], flat=0.30)
    pf.add_tube(field, grid, [(0, 17, 12), (0, 24, -3)], [0.8, 1.2])
    pf.add_ellipsoid(field, grid, (0, 30, -12), (6.5 * size + 1.5, 4.5 * size + 0.8, 9), fillet=2)
    nuclei = grid.empty()
    for s in pf.SIDES:
        pf.add_ellipsoid(nuclei, grid, s * (16, -18, 27), (5.5, 11, 10))
    field = pf.smooth_max(field, -nuclei, 2.0)  # the caudate nuclei bulge into the frontal horns
    septum = 0.7 - np.abs(grid.x)  # septum pellucidum between the frontal horns
    return np.where(grid.z > 19, np.maximum(field, septum), field).astype(np.float32)


def cisterns(rng: Generator, grid: pf.Grid, wall: np.ndarray, tentorium: np.ndarray, *, atrophy: float) -> np.ndarray:
    """Basal cisterns, Sylvian fissures and the fluid between brain and skull."""
    g = 0.75 + 0.5 * atrophy + rng.uniform(0, 0.15)
    rim = 1.5 * atrophy - 0.4 + 0.6 * pf.noise(rng, grid.shape, grid.step_mm, 14.0)
    field = np.maximum(-wall - rim, -1.0).astype(np.float32)  # fluid between brain and skull, patchy
    pf.add_ellipsoid(field, grid, (0, -10, 3), (12 * g, 10 * g, 8), fillet=4)
    for s in pf.SIDES:
        pf.add_tube(field, grid, [s * (8, -14, 5), s * (22, -20, 6)], [3.5 * g, 2.2 * g], fillet=3)
        stem = [s * (22, -20, 6), s * (34, -20, 10), s * (41, -6, 16), s * (44, 8, 22)]
        pf.add_tube(field, grid, stem, [2.4 * g, 2.8 * g, 2.0 * g, 1.8 * g], flat=0.35, fillet=1)
        pf.add_tube(field, grid, [s * (36, -18, 14), s * (62, -24, 14)], [2.6 * g, 3.4 * g], flat=0.5)
        pf.add_tube(field, grid, [stem[3], s * (52, 18, 27), s * (64, 26, 32)], [1.7 * g, 1.4 * g, 2.4 * g])
        ring = [s * (12, -8, 5), s * (17, 2, 7), s * (16, 12, 9), s * (8, 20, 12), s * (0, 22, 13)]
        pf.add_tube(field, grid, ring, [2.2 * g, 1.5 * g, 1.6 * g, 2.0 * g, 2.4 * g], flat=0.5, fillet=1)
        pf.add_tube(field, grid, [s * (3, -1, -8), s * (18, 8, -12), s * (22, 14, -14)], [3 * g, 3 * g, 2.5 * g])
    pf.add_tube(field, grid, [(0, 0, -4), (0, 8, -22), (0, 14, -36)], [3.5 * g, 3.2 * g, 3 * g], fillet=3)
    pf.add_tube(field, grid, [(0, 60, -34), (0, 50, -42)], [4.5 * g, 7 * g], fillet=3)
    pf.add_tube(field, grid, [(0, 22, 14), (0, 30, 22), (0, 36, 30)], [2.8 * g, 2.4, 1.5], fillet=1)
    pf.add_tube(field, grid, [(0, 30, -8), (0, 62, 6)], [0.6, 1.6 * g])
    cord = grid.box((-25, 5, -400), (25, 60, -38))
    x, y, z = grid.at(cord)
    around = (rng.uniform(5.8, 6.8) - np.hypot(x * 0.85, (y - spine.canal_y(z)) * 1.1)).astype(np.float32)
    field[cord] = np.minimum(field[cord], np.maximum(around, z + 44))
    return field


def sulci(
    rng: Generator, grid: pf.Grid, wall: np.ndarray, hindbrain: np.ndarray, *, atrophy: float
) -> tuple[np.ndarray, np.ndarray]:
    """(distance to the nearest sulcus, half-width of that sulcus), mm.

    Sulci are the zero lines of band-passed noise, sampled at coordinates that are stretched with depth so that the
    sulci run inwards from the surface.
    """
    side, step = 96, 2.2
    cube, steps = (side,) * 3, (step,) * 3
    band = pf.noise(rng, cube, steps, 8.0) - 0.75 * pf.noise(rng, cube, steps, 22.0)
    x, y, z = grid.x, grid.y - 2, grid.z - 22
    depth = np.maximum(-wall, 0)
    radius = np.maximum(np.sqrt(x * x + y * y + z * z), 10)
    push = 1 + np.float32(0.62) * np.minimum(depth, 32) / radius
    position = np.stack([z * push, y * push, x * push])
    position += np.float32(side * step / 2)
    position /= np.float32(step)
    intracranial = wall < 3
    n = np.ones(wall.shape, np.float32)
    n[intracranial] = ndimage.map_coordinates(band, position[:, intracranial], order=1, mode="mirror", prefilter=False)
    dz, dy, dx = np.gradient(n, *grid.step_mm)
    slope = np.sqrt(dx * dx + dy * dy + dz * dz + np.float32(0.03**2))
    distance = np.abs(n) / slope
    # The medial faces of the hemispheres have sulci too, so depth is also measured from the falx.
    medial = np.where((grid.z > 40) | (np.abs(grid.y) > 48), np.abs(grid.x) + 1, 40)
    reach = np.minimum(depth, medial.astype(np.float32))
    open_mm = (0.7 + 0.8 * atrophy) * np.exp(0.5 * pf.noise(rng, grid.shape, grid.step_mm, 11.0))
    open_mm *= 1 + 0.35 * np.clip((60 - grid.z) / 20, 0, 1) - 0.55 * np.clip((14 - medial) / 8, 0, 1)
    width = open_mm * np.clip(1.35 - reach / np.float32(17.0), -0.5, 1.1) - 0.1
    width += pf.inside(hindbrain - 2, 4.0) * (np.float32(-0.5) - width)
    fissure = np.abs(grid.x)  # between the hemispheres
    distance = np.where(medial < 40, np.minimum(distance, fissure), distance)
    return distance.astype(np.float32), width.astype(np.float32)


def deep_nuclei(grid: pf.Grid) -> np.ndarray:
    """Heads of the caudate nuclei, lentiform nuclei and thalami."""
    field = grid.empty()
    for s in pf.SIDES:
        pf.add_ellipsoid(field, grid, s * (13, -23, 25), (4.5, 9, 9))
        pf.add_ellipsoid(field, grid, s * (24, -6, 19), (6.5, 15, 10), yaw_deg=-18 * s[0])
        pf.add_ellipsoid(field, grid, s * (10.5, 8, 23), (7.5, 13, 9), yaw_deg=-22 * s[0], fillet=1)
    return field


def folia(rng: Generator, grid: pf.Grid) -> np.ndarray:
    """Contrast of the cerebellar folia: patchy arcs 5 mm apart around the brainstem."""
    field = np.zeros(grid.shape, np.float32)
    box = grid.box((-60, 0, -50), (60, 90, 30))
    x, y, z = grid.at(box)
    phase = np.hypot(0.55 * x, y - 8 + 0.3 * z) * np.float32(2 * np.pi / 5.0)
    phase += 2.5 * pf.noise(rng, phase.shape, grid.step_mm, 14.0)
    field[box] = np.sin(phase) * np.clip(0.6 + pf.noise(rng, phase.shape, grid.step_mm, 10.0), 0, 1.5)
    return field


def dura(rng: Generator, grid: pf.Grid, wall: np.ndarray, tentorium: np.ndarray) -> np.ndarray:
    """Falx and tentorium, sheets about 1 mm thick."""
    x, y, z = grid.x, grid.y, grid.z
    bow = 1.2 * pf.noise(rng, grid.shape, grid.step_mm, 60.0)
    falx = np.abs(x + bow) - np.float32(0.45)
    # Free edge: an arc from the crista galli over the corpus callosum to the tentorium.
    arc = 46 - np.hypot((y - 2) * 0.86, z - 10)
    falx = np.maximum(falx, np.maximum(arc, np.where(y < 0, -2 - z, -tentorium)) * np.float32(0.5))
    edge = np.hypot(x, (y - 4) * 0.7)
    leaf = np.maximum(np.abs(tentorium) * np.float32(0.93) - np.float32(0.45), (21 - edge) * np.float32(0.8))
    leaf = np.maximum(leaf, (-6 - y + np.abs(x) * 0.1).astype(np.float32))
    return np.maximum(np.minimum(falx, leaf), wall + 0.3).astype(np.float32)


def sinuses(rng: Generator, grid: pf.Grid, wall: np.ndarray) -> np.ndarray:
    """Superior sagittal, transverse and sigmoid sinuses; the two sides differ in size."""
    x, y, z = grid.x, grid.y, grid.z
    top = np.maximum(np.abs(x) + (-wall) * np.float32(0.55) - 4.0, np.maximum(4 - z, (-y - 60) * 0.5))
    lean = rng.uniform(-0.35, 0.35)
    strength = np.where(x > 0, np.float32(1 + lean), np.float32(1 - lean))
    level = np.abs(z - 2 - 0.03 * np.abs(x))
    side = np.maximum(np.hypot(level, wall + 2) - 3.2 * strength, 24 - y)
    ax = np.abs(x)
    bend = np.hypot(ax - 52, y - 26 + 0.1 * z)
    down = np.maximum(bend - 4.2 * strength, np.maximum(z - 2, -26 - z))
    return np.maximum(np.minimum(np.minimum(top, side), down), wall + 0.4).astype(np.float32)


def calcifications(rng: Generator, grid: pf.Grid, *, age_years: float) -> np.ndarray:
    """Calcified pineal gland and choroid plexus of both trigones, more often with age."""
    field = grid.empty()
    if rng.uniform() < np.clip(age_years / 30, 0, 0.8):
        pf.add_ellipsoid(field, grid, (rng.normal(0, 0.7), 21, 19), np.full(3, rng.uniform(1.2, 2.4)))
    for side in (-1, 1):
        if rng.uniform() < np.clip((age_years - 5) / 35, 0, 0.75):
            center = np.array([side * 23, 31, 30]) + rng.normal(0, 1.2, 3)
            pf.add_ellipsoid(field, grid, center, rng.uniform(1.4, 3.0) * np.array([0.8, 1.5, 1.2]))
    return field
