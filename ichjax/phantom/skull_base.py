"""Phantom skull base: clivus, petrous and mastoid bones, sphenoid, occipital condyles, and the mastoid cells."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf


def add_base(bone: np.ndarray, dense: np.ndarray, grid: pf.Grid) -> None:
    """Joins the bones of the skull base to `bone` and the dense cores of the petrous pyramids to `dense`, in place."""
    for s in pf.SIDES:
        pf.add_tube(bone, grid, [s * (12, 0, -18), s * (36, 15, -15), s * (60, 30, -12)], [9, 12, 14], fillet=5)
        pf.add_tube(dense, grid, [s * (24, 10, -12), s * (42, 19, -12)], [5, 6])
        pf.add_ellipsoid(bone, grid, s * (61, 30, -25), (12, 16, 22), fillet=5)  # mastoid
        pf.add_ellipsoid(bone, grid, s * (52, 4, -23), (13, 11, 5), fillet=4)  # roof of the temporomandibular joint
        pf.add_tube(bone, grid, [s * (54, 12, -36), s * (44, 6, -64)], [2.2, 1.2], fillet=1)  # styloid process
        pf.add_tube(bone, grid, [s * (12, -26, 3), s * (34, -36, 5), s * (56, -42, 8)], [3.5, 2.5, 4], fillet=3)
        pf.add_tube(bone, grid, [s * (10, -30, -20), s * (34, -36, -14), s * (52, -40, -8)], [4, 3, 3.5], fillet=4)
        pf.add_tube(bone, grid, [s * (6, 0, -24), s * (24, 10, -28), s * (44, 18, -28)], [6, 6, 6], fillet=4)
        pf.add_tube(bone, grid, [s * (14, -20, -20), s * (34, -16, -28), s * (50, -12, -22)], [5, 3.5, 4], fillet=4)
        _pterygoid(bone, grid, s)
        condyle = [s * (20, 25, -42), s * (14, 11, -45)]
        pf.add_tube(bone, grid, condyle, [6, 5], fillet=3)
        pf.add_tube(bone, grid, [s * (12, 6, -34), s * (36, 22, -36), s * (50, 40, -38)], [5, 4, 4], fillet=4)
    pf.add_ellipsoid(bone, grid, (0, -22, -14), (16, 14, 12), fillet=4)  # sphenoid body
    pf.add_tube(bone, grid, [(0, -8, -6), (0, 3, -24), (0, 9, -36)], [7, 6, 5], flat=0.8, fillet=4)  # clivus


def _pterygoid(bone: np.ndarray, grid: pf.Grid, s: np.ndarray) -> None:
    """Root and both plates of a pterygoid process."""
    pf.add_tube(bone, grid, [s * (17, -30, -20), s * (16, -36, -40)], [4.5, 3.0], fillet=3)
    for x, back in ((23, -26), (12.5, -28)):
        plate = [s * (16, -36, -26), s * (15.5, -37, -60)]
        rear = [s * (x, back, -30), s * (x - 1.0, back - 2, -58)]
        middle = [(np.asarray(a) + np.asarray(b)) / 2 for a, b in zip(plate, rear, strict=True)]
        yaw = float(np.rad2deg(np.arctan2(rear[0][0] - plate[0][0], plate[0][1] - rear[0][1])))
        pf.add_column(bone, grid, middle, [(1.0, 6), (0.9, 5)], yaw_deg=-yaw if abs(yaw) < 90 else 180 - yaw)


def mastoid_cells(rng: Generator, grid: pf.Grid, cells: np.ndarray, side: np.ndarray) -> tuple[pf.Box, np.ndarray]:
    """(box, signed field) of the air cells of one mastoid, more or less pneumatized.

    Args:
      cells: noise whose zero lines are the walls of the cells.
      side: one of `fields.SIDES`.
    """
    low, high = sorted((side[0] * 44, side[0] * 76))
    box = grid.box((low, 8, -50), (high, 48, 2))
    size = rng.uniform(0.55, 1.1)
    mastoid = pf.ellipsoid(grid.at(box), side * (60, 27, -20), np.array([10, 14, 20]) * size)
    return box, np.maximum(mastoid, 1.2 - np.abs(cells[box]) * 0.9)
