"""Phantom facial skeleton: orbits, zygomatic bones, ethmoid, maxilla, mandible, teeth, hyoid and larynx."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf

ETHMOID_BOX = ((-16, -84, -30), (16, -30, 4))  # corners, head mm
ARCH = ((22, -38), (23.5, -47), (23, -55), (21, -62), (18, -69), (13.5, -75), (8.5, -79), (3, -81))  # teeth, (x, y)


def add_upper_face(bone: np.ndarray, grid: pf.Grid) -> None:
    """Joins the bones above the mouth to `bone`, in place; `airways` carves the cells out of the ethmoid."""
    for s in pf.SIDES:
        # Walls and rims of the orbit, zygomatic bone and arch.
        pf.add_tube(bone, grid, [s * (24, -32, -12), s * (50, -62, -12)], [2.0, 3.4], flat=0.14, fillet=2)
        pf.add_tube(bone, grid, [s * (50, -62, -8), s * (48, -64, -34), s * (30, -74, -38)], [4, 5, 3.5], fillet=3)
        pf.add_tube(bone, grid, [s * (52, -60, -30), s * (66, -36, -31), s * (64, -8, -28)], [3.2, 2, 3.5], fillet=2)
        pf.add_tube(bone, grid, [s * (52, -64, 4), s * (34, -82, 10), s * (8, -86, 6)], [3.5, 3.5, 5], fillet=4)
        pf.add_tube(bone, grid, [s * (5, -89, 2), s * (7, -93, -18)], [2.2, 1.4], fillet=2)  # nasal bone
        pf.add_tube(bone, grid, [s * (9, -85, -2), s * (15, -79, -16), s * (15, -76, -44)], [2.4, 1.8, 2.2], fillet=2)
        pf.add_tube(bone, grid, [s * (12.5, -76, -14), s * (12, -36, -14)], [0.8, 1.2], flat=0.1)  # medial wall
        box = maxillary_box(grid, s)
        bone[box] = np.minimum(bone[box], maxillary(grid.at(box), s) - 1.2)
        pf.add_tube(bone, grid, [s * (44, -60, -40), s * (36, -56, -56)], [3.5, 2.5], fillet=3)  # its lateral buttress
        alveolar = [s * (*ARCH[i], -62) for i in (0, 2, 4, 7)]
        pf.add_tube(bone, grid, alveolar, [4.5, 4.5, 4.2, 4.0], flat=0.7, fillet=2)
    pf.add_ellipsoid(bone, grid, (0, -55, -54), (20, 25, 1.9), fillet=2)  # hard palate
    pf.add_tube(bone, grid, [(0, -78, -20), (0, -34, -36)], [0.6, 0.8], flat=0.08)  # bony septum
    box = grid.box(*ETHMOID_BOX)
    bone[box] = np.minimum(bone[box], ethmoid(grid.at(box)) - 0.6)


def ethmoid(points: pf.Points) -> np.ndarray:
    """The block of the ethmoid bone between the orbits, signed field."""
    x, y, z = points
    block = np.maximum(np.maximum(np.abs(x) - 11.5, np.abs(y + 56) - 24), np.abs(z + 14) - 13)
    return block.astype(np.float32)


def maxillary_box(grid: pf.Grid, s: np.ndarray) -> pf.Box:
    """The part of a grid that contains one maxillary sinus and its walls."""
    low, high = sorted((s[0] * 12, s[0] * 48))
    return grid.box((low, -84, -64), (high, -32, -24))


def maxillary(points: pf.Points, s: np.ndarray, *, size: float = 1.0) -> np.ndarray:
    """One maxillary sinus, signed field: a pyramid with its tip at the zygomatic bone."""
    x, y, z = points[0] * np.float32(s[0]) - 29, points[1] + 58, points[2] + 44
    x, y, z = x / np.float32(size), y / np.float32(size), z / np.float32(size)
    front = 0.62 * x - 0.78 * y - 12.5  # walls, outward normals of unit length
    behind = 0.66 * x + 0.75 * y - 11.5
    sides = pf.smooth_max(pf.smooth_max(front, behind, 6.0), -13.5 - x, 4.0)
    floor = np.maximum(np.abs(z) - 15 + 0.12 * np.abs(x), 0.5 * (np.abs(y) - 22))
    return (pf.smooth_max(sides, floor, 7.0) * size).astype(np.float32)


def add_mandible(bone: np.ndarray, grid: pf.Grid, jaw: np.ndarray) -> None:
    """Joins mandible and hyoid to `bone`, in place.

    Args:
      jaw: (x, y, z) displacement of the mandible by its size and the opening of the mouth, mm; zero at the joint.
    """
    for s in pf.SIDES:
        pf.add_tube(bone, grid, [s * (52, -2, -30), s * (50, -8, -44) + 0.3 * jaw], [4.8, 3.6], fillet=2)
        coronoid = [s * (47, -26, -38) + 0.3 * jaw, s * (48, -22, -54) + 0.3 * jaw]
        pf.add_tube(bone, grid, coronoid, [1.8, 3.4], fillet=2)
        ramus = [s * (50, -14, -46) + 0.3 * jaw, s * (46, -14, -90) + 0.8 * jaw]
        pf.add_column(bone, grid, ramus, [(3.4, 12), (4.4, 13)], fillet=2, yaw_deg=6 * s[0])
        body = [s * (46, -12, -86), s * (38, -40, -92), s * (22, -66, -97), (0, -77, -99)]
        path = [np.asarray(p) + w * jaw for p, w in zip(body, (0.8, 0.9, 1, 1), strict=True)]
        pf.add_tube(bone, grid, path, [5.2, 5.4, 5.2, 5.6], flat=0.48, fillet=2)
        pf.add_tube(bone, grid, [s * (19, -16, -106), s * (12, -36, -110), (0, -42, -110)], [1.8, 2.2, 3.0])  # hyoid
        pf.add_tube(bone, grid, [s * (16, -10, -134), (0, -38, -130)], [1.0, 1.2], flat=0.12)  # thyroid cartilage


def teeth(rng: Generator, grid: pf.Grid, jaw: np.ndarray, *, age_years: float) -> np.ndarray:
    """Signed field of the teeth: none before one year, gaps with age."""
    field = grid.empty()
    lost = 1.0 if age_years < 1 else float(np.clip((age_years - 35) / 70, 0.03, 0.6))
    if age_years > 55 and rng.uniform() < 0.3:
        lost = 0.95
    upper, lower = (0, 0, -69), (0, 3, -82)
    for s in pf.SIDES:
        for i, (x, y) in enumerate(ARCH):
            if y > -50 and age_years < 8:
                continue
            wide, deep = (4.3, 4.6) if i < 3 else (3.0, 3.8)
            for root, shift in ((upper, 0 * jaw), (lower, jaw)):
                if rng.uniform() > lost:
                    center = s * np.add((x, y, 0), root) + shift + rng.normal(0, 0.4, 3)
                    pf.add_ellipsoid(field, grid, center, (wide, deep, 7.5))
    return field
