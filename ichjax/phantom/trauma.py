"""What comes with phantom hemorrhages: fractures, swelling of the scalp and old infarcts."""

import dataclasses

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf
from ichjax.phantom.head import Head
from ichjax.phantom.lesions import distance_from, pick_spot


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
