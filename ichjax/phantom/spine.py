"""Phantom cervical spine: atlas, axis and the vertebrae below, around the spinal canal."""

import numpy as np

from ichjax.phantom import fields as pf

VERTEBRAE_Z = tuple(range(-93, -230, -17))  # heights of the vertebral bodies below the axis, mm


def canal_y(z: np.ndarray) -> np.ndarray:
    """How far back the spinal canal lies at height z, head mm."""
    return 27 + np.maximum(-z - 45, 0) * np.float32(0.05)


def add_vertebrae(bone: np.ndarray, grid: pf.Grid) -> None:
    """Joins the vertebrae to the field of the bones, in place."""
    for s in pf.SIDES:
        _half_of_atlas_and_axis(bone, grid, s)
    pf.add_tube(bone, grid, [(0, 11, -50), (0, 12, -70)], [4.6, 5.6])  # dens
    pf.add_ellipsoid(bone, grid, (0, 11, -75), (10, 8.5, 9), fillet=2)
    for level in VERTEBRAE_Z:
        _vertebra(bone, grid, float(level))


def _half_of_atlas_and_axis(bone: np.ndarray, grid: pf.Grid, s: np.ndarray) -> None:
    pf.add_ellipsoid(bone, grid, s * (19, 19, -55), (7.5, 9, 7))  # lateral mass of the atlas
    front: list[pf.Vector] = [s * (15, 12, -56), s * (8, 4, -56), (0, 2.5, -56)]
    pf.add_tube(bone, grid, front, [4, 3.2, 3.4], flat=0.7)
    arch: list[pf.Vector] = [s * (21, 26, -56), s * (16, 38, -57), (0, 43, -58)]
    pf.add_tube(bone, grid, arch, [3.4, 2.8, 3.2], flat=0.7, fillet=1)
    for y in (15, 24):  # transverse process on both sides of its foramen
        pf.add_tube(bone, grid, [s * (22, 19, -56), s * (34, y, -57), s * (38, 20, -57)], [3.4, 2.0, 3.2])
    pf.add_ellipsoid(bone, grid, s * (15, 15, -67), (8, 8, 5), fillet=2)  # axis
    lamina = [s * (15, 20, -71), s * (15, 34, -75), s * (3, 44, -78), s * (6, 54, -82)]
    pf.add_tube(bone, grid, lamina, [4.5, 3.2, 4, 3.4], flat=0.7, fillet=1)
    pf.add_tube(bone, grid, [s * (14, 16, -71), s * (27, 19, -74)], [4.5, 3.0])


def _vertebra(bone: np.ndarray, grid: pf.Grid, z: float) -> None:
    """One vertebra below the axis; the disc above it stays open."""
    back = float(canal_y(np.array(z))) - 27
    body = [(0, 9 + back, z + 6.5), (0, 9 + back, z - 6.5)]
    pf.add_column(bone, grid, body, [(12.5, 8.5), (13, 9)])
    for s in pf.SIDES:
        pillar = [s * (20, 20 + back, z + 8), s * (21, 25 + back, z - 8)]
        pf.add_column(bone, grid, pillar, [(6, 5), (6, 5)])
        lamina = [s * (18, 29 + back, z), s * (3, 41 + back, z - 4), s * (4, 53 + back, z - 9)]
        pf.add_tube(bone, grid, lamina, [3.2, 3.0, 2.6], flat=0.5, fillet=1)
        pf.add_tube(bone, grid, [s * (12, 10 + back, z), s * (26, 12 + back, z - 3)], [3.6, 2.2])
