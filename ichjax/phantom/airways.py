"""Phantom airways: nose, paranasal sinuses, throat, ear canals and mastoid cells, with the fluid and mucosa in them."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import facial_bones, skull_base
from ichjax.phantom import fields as pf


def airways(rng: Generator, grid: pf.Grid, *, infancy: float) -> tuple[np.ndarray, np.ndarray]:
    """(air, walls of the cavities that hold it), signed fields; between them lies mucosa or fluid."""
    air, cavity = grid.empty(), grid.empty()
    size = 1.0 - 0.6 * infancy
    _sinuses(rng, grid, air, cavity, size=size)
    _nose(rng, grid, air, cavity)
    _throat(rng, grid, air)
    cells = 3.2 * pf.noise(rng, grid.shape, grid.step_mm, 3.6)
    box = grid.box(*facial_bones.ETHMOID_BOX)
    block = facial_bones.ethmoid(grid.at(box))
    cavity[box] = np.minimum(cavity[box], np.maximum(block, np.abs(cells[box]) * -0.9 + 0.8))
    swollen = rng.uniform(3.0, 9.0) if rng.uniform() < 0.25 else 0.0  # part of the ethmoid cells filled
    open_cells = np.maximum(block + swollen * (0.6 + 0.3 * cells[box]), np.abs(cells[box]) * -0.9 + 0.8)
    air[box] = np.minimum(air[box], open_cells)
    for s in pf.SIDES:
        pf.add_tube(air, grid, [s * (88, 4, -24), s * (54, 8, -20)], [4, 2.5])  # ear canal
        if infancy < 0.5:
            box, field = skull_base.mastoid_cells(rng, grid, cells, s)
            cavity[box] = np.minimum(cavity[box], field)
            if rng.uniform() > 0.12:  # else the cells are filled
                air[box] = np.minimum(air[box], field)
    return air, cavity


def _sinuses(rng: Generator, grid: pf.Grid, air: np.ndarray, cavity: np.ndarray, *, size: float) -> None:
    """Adds sphenoid, frontal and maxillary sinuses; a third of the subjects have fluid or thick mucosa in some."""
    sick = rng.uniform() < 0.35
    for s in pf.SIDES:
        box = facial_bones.maxillary_box(grid, s)
        hollow = facial_bones.maxillary(grid.at(box), s, size=size * rng.uniform(0.85, 1.0))
        _fill(rng, grid, air, cavity, box, hollow, sick=sick)
        tall = max(9 + rng.normal(0, 3), 2.0)
        frontal = np.array([rng.uniform(5, 12), 3.2, tall]) * size * size
        sphenoid = np.array([rng.uniform(5, 8), rng.uniform(7, 11), rng.uniform(5, 8)]) * size
        for center, radii in ((s * (9, -86, 5), frontal), (s * (6, -24, -12) + (rng.normal(0, 1.0), 0, 0), sphenoid)):
            box = grid.box(center - radii, center + radii)
            _fill(rng, grid, air, cavity, box, pf.ellipsoid(grid.at(box), center, radii), sick=sick)


def _fill(
    rng: Generator,
    grid: pf.Grid,
    air: np.ndarray,
    cavity: np.ndarray,
    box: pf.Box,
    hollow: np.ndarray,
    *,
    sick: bool,
) -> None:
    """Adds one sinus, `hollow` in `box`, with its lining and perhaps fluid."""
    cavity[box] = np.minimum(cavity[box], hollow)
    lining = rng.uniform(0.0, 0.6)
    if sick and rng.uniform() < 0.6:
        lining = rng.uniform(1.0, 5.0) * (0.5 + rng.uniform())
    open_part = hollow + np.float32(lining)
    inside = hollow < 0
    if sick and rng.uniform() < 0.5 and inside.any():  # fluid collects at the back, as the patient is supine
        y = grid.y[box]
        level = np.quantile(y[inside], rng.uniform(0.05, 0.9))
        open_part = np.maximum(open_part, y - level)
    air[box] = np.minimum(air[box], open_part)


def _nose(rng: Generator, grid: pf.Grid, air: np.ndarray, cavity: np.ndarray) -> None:
    """Adds the nasal cavity on both sides of a bent septum, with its turbinates."""
    box = grid.box((-18, -98, -56), (18, -26, -8))
    points = x, y, z = grid.at(box)
    half = 3.5 + 10.0 * np.clip((-z - 8) / 28, 0, 1)
    hollow = np.maximum(np.abs(x) - half, np.maximum(np.abs(y + 60) - 30, np.abs(z + 32) - 19)).astype(np.float32)
    nostrils = np.maximum(np.abs(x) - 7, pf.ellipsoid(points, (0, -88, -42), (8, 9, 9)))
    hollow = pf.smooth_min(hollow, nostrils, 4.0)
    cavity[box] = np.minimum(cavity[box], hollow - 1)
    bend = rng.normal(0, 1.5) * np.cos((y + 60) / 20) * np.cos((z + 32) / 14)
    wall = 1.5 - np.abs(x + bend.astype(np.float32))
    swelling = rng.uniform(-0.6, 1.4)
    for s in pf.SIDES:
        for place, radius in (((9.5, -44), 4.2), ((8, -32), 3.4), ((6, -22), 2.2)):
            side = swelling * (1 + 0.5 * s[0] * rng.uniform(-1, 1))
            start, end = s * (place[0], -76, place[1]), s * (place[0] - 1, -36, place[1] + 1)
            wall = np.maximum(wall, -pf.tube(points, start, end, radius + side - 1, radius + side, flat=0.7))
    crust = 0.7 * pf.noise(rng, x.shape, grid.step_mm, 4.5)
    air[box] = np.minimum(air[box], np.maximum(hollow + 0.4, wall + crust))


def _throat(rng: Generator, grid: pf.Grid, air: np.ndarray) -> None:
    """Adds nasopharynx, oropharynx, larynx and trachea, and sometimes air above the tongue."""
    wide = rng.uniform(0.75, 1.25)
    shift = rng.normal(0, 1.0)
    path = [(0, -27, -40), (0, -22, -50), (0, -17, -66), (0, -15, -82), (0, -18, -100), (0, -22, -122), (0, -20, -150)]
    axes = np.array([(8, 6), (11, 7), (9, 3.5), (10, 5), (11, 6), (5, 8), (8, 8)]) * wide
    pf.add_column(air, grid, [(x + shift, y, z) for x, y, z in path] + [(0, -18, -400)], [*axes, (8, 8)])
    if rng.uniform() < 0.4:
        pf.add_ellipsoid(air, grid, (0, -52, -63 - rng.uniform(0, 4)), (14, 20, rng.uniform(1.5, 4)))
