"""Phantom orbits: globes, lenses, eye muscles, optic nerves and lacrimal glands, in fat."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf
from ichjax.phantom.soft_tissue import SoftTissue

APEX = np.array([15.0, -38.0, -10.0])  # where the muscles of the left eye arise


def globes_and_lenses(rng: Generator, grid: pf.Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(globes, lenses, both as signed fields; center of the left globe, head mm)."""
    globe, lens = grid.empty(), grid.empty()
    center = np.array([31.0, -72.0, -13.0]) + rng.normal(0, 1.2, 3)
    radius = rng.normal(12.2, 0.5)
    gaze = rng.normal(0, 2.0, 2)  # of both eyes to the left and upwards, mm at the lens
    for s in pf.SIDES:
        middle = s * center + rng.normal(0, 0.4, 3)
        pf.add_ellipsoid(globe, grid, middle, np.array([1, 1, 0.98]) * radius)
        pf.add_ellipsoid(lens, grid, middle + np.array([gaze[0], 3.4 - radius, gaze[1]]), (4.6, 2.2, 4.6))
    return globe, lens, center


def add_orbit(tissue: SoftTissue, eye: np.ndarray) -> None:
    """Adds muscles, nerve and lacrimal gland of both eyes; `eye` is the center of the left one."""
    for off in ((10, 4, 0), (-10, 4, 0), (0, 4, 10), (0, 4, -10)):
        side = np.array(off)
        tissue.tube([eye + side, (eye + APEX) / 2 + side * 0.8, APEX + 0.2 * side], [1.2, 2.1, 1.5], spread=0.4)
    behind = eye + np.array([0, 11, 0])
    bend = (behind + APEX) / 2 + tissue.rng.normal(0, 1.2, 3)
    tissue.tube([behind, bend, APEX], [2.2, 1.9, 1.7], hu=tissue.rng.uniform(30, 45), spread=0.4)
    tissue.ellipsoid(eye + np.array([13, -1, 8]), (3.5, 7, 6))  # lacrimal gland
