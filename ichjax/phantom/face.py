"""Phantom skull base, face, neck and scalp as signed fields."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf

ETHMOID_BOX = ((-16, -84, -30), (16, -30, 4))  # corners, head mm


def base_bones(grid: pf.Grid, *, infancy: float) -> tuple[np.ndarray, np.ndarray]:
    """(bones of skull base, face and upper neck; dense cores of the petrous pyramids)."""
    bone, dense = grid.empty(), grid.empty()
    for s in pf.SIDES:
        pf.add_tube(bone, grid, [s * (12, 0, -18), s * (36, 15, -15), s * (60, 30, -12)], [10, 12, 14], fillet=5)
        pf.add_tube(dense, grid, [s * (24, 10, -11), s * (42, 19, -10)], [5, 6])
        pf.add_ellipsoid(bone, grid, s * (61, 30, -22), (13, 18, 24), fillet=6)  # mastoid
        pf.add_ellipsoid(bone, grid, s * (52, 2, -24), (14, 12, 6), fillet=4)  # roof of the temporomandibular joint
        pf.add_tube(bone, grid, [s * (12, -26, 3), s * (34, -36, 5), s * (56, -42, 8)], [3.5, 2.5, 4], fillet=3)
        pf.add_tube(bone, grid, [s * (10, -30, -20), s * (34, -36, -14), s * (52, -40, -8)], [4, 3, 3.5], fillet=4)
        # Lateral wall and rims of the orbit, zygomatic bone and arch.
        pf.add_tube(bone, grid, [s * (24, -32, -12), s * (50, -62, -12)], [2.0, 3.4], flat=0.14, fillet=2)
        pf.add_tube(bone, grid, [s * (50, -62, -8), s * (48, -64, -34), s * (30, -74, -40)], [4, 5, 4], fillet=3)
        pf.add_tube(bone, grid, [s * (52, -62, -28), s * (67, -36, -30), s * (66, -8, -26)], [3.5, 2, 4], fillet=2)
        pf.add_tube(bone, grid, [s * (52, -64, 4), s * (34, -82, 10), s * (8, -86, 6)], [3.5, 3.5, 5], fillet=4)
        pf.add_tube(bone, grid, [s * (8, -84, 0), s * (15, -80, -12), s * (16, -74, -34)], [3, 1.6, 2.0], fillet=2)
        pf.add_tube(bone, grid, [s * (12.5, -76, -14), s * (12, -36, -14)], [0.8, 1.2], flat=0.1)  # medial wall
        # Maxilla around its sinus; mandible: condyle, ramus and body; teeth.
        pf.add_ellipsoid(bone, grid, s * (29, -58, -46), (15.4, 16.4, 18.4))
        pf.add_tube(bone, grid, [s * (54, -4, -30), s * (50, -6, -60), s * (46, -10, -88)], [5, 3.6, 5], fillet=2)
        pf.add_tube(bone, grid, [s * (46, -10, -90), s * (30, -55, -100), s * (6, -76, -102)], [5, 6, 6], fillet=3)
        pf.add_tube(bone, grid, [s * (24, -38, -66), s * (18, -66, -68), s * (4, -78, -68)], [4.5, 4.5, 4.5])
        pf.add_tube(bone, grid, [s * (20, -30, -22), s * (18, -34, -60)], [1.8, 1.5], fillet=3)  # pterygoid plates
        pf.add_tube(bone, grid, [s * (17, 18, -58), s * (38, 20, -64)], [8, 4], fillet=3)  # atlas
    pf.add_ellipsoid(bone, grid, (0, -22, -14), (17, 15, 13), fillet=4)  # sphenoid body
    pf.add_tube(bone, grid, [(0, -6, -4), (0, 10, -34)], [7, 6], flat=0.8, fillet=4)  # clivus
    box = grid.box(*ETHMOID_BOX)
    bone[box] = np.minimum(bone[box], _ethmoid(grid.at(box)) - 0.6)  # `air_spaces` carves the cells out of it
    bone = _spine(grid, bone)
    return (bone + np.float32(1.0) if infancy > 0.5 else bone), dense


def canal_y(z: np.ndarray) -> np.ndarray:
    """How far back the spinal canal lies at height z, head mm."""
    return 27 + np.maximum(-z - 45, 0) * np.float32(0.12)


def _ethmoid(points: pf.Points) -> np.ndarray:
    """The block of the ethmoid bone between the orbits."""
    x, y, z = points
    block = np.maximum(np.maximum(np.abs(x) - 11.5, np.abs(y + 56) - 24), np.abs(z + 14) - 13)
    return block.astype(np.float32)


def _spine(grid: pf.Grid, bone: np.ndarray) -> np.ndarray:
    """Adds the vertebrae, one every 16 mm: a body in front of the canal, an arch and a spinous process behind."""
    box = grid.box((-40, -12, -400), (40, 70, -50))
    x, y, z = grid.at(box)
    behind = canal_y(z)
    arch = np.abs(np.sqrt((x * 0.9) ** 2 + ((y - behind) * np.float32(1.05)) ** 2) - 16) - 3
    body = pf.ellipsoid((x, y, z * 0), (0, 4, 0), (13, 8, 20))
    spine = np.maximum(np.abs(x) - 2.5, np.abs(y - behind - 24) - 8)
    levels = np.abs(np.mod(-z - 50, 16) - 8) - 6
    bone[box] = np.minimum(bone[box], np.maximum(np.minimum(np.minimum(arch, body), spine), levels))
    return bone


def air_spaces(rng: Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Nose, paranasal sinuses, throat, ear canals, ethmoid and mastoid cells."""
    air = grid.empty()
    size = 1.0 - 0.6 * infancy
    pf.add_ellipsoid(air, grid, (rng.normal(0, 2), -24, -12), (11 * size, 10 * size, 8 * size), fillet=1)
    for s in pf.SIDES:
        pf.add_ellipsoid(air, grid, s * (29, -58, -46), np.array([14, 15, 17]) * size)  # maxillary
        tall = max(9 + rng.normal(0, 3), 2.0)
        pf.add_ellipsoid(air, grid, s * (9, -86, 5), np.array([rng.uniform(5, 12), 3.2, tall]) * size * size)
        pf.add_ellipsoid(air, grid, s * (6, -62, -44), (5, 30, 20))  # nose
        pf.add_tube(air, grid, [s * (88, 4, -24), s * (54, 8, -20)], [4, 2.5])  # ear canal
    pf.add_tube(air, grid, [(0, -22, -42), (0, -14, -80), (0, -16, -400)], [8, 7, 8], fillet=3)  # throat
    nose = grid.box((-22, -100, -75), (22, -25, -15))
    shelf = np.abs(pf.noise(rng, grid.shape, grid.step_mm, 6.0)[nose]) * np.float32(3.5) - np.float32(1.3)
    septum = np.abs(grid.x[nose]) - np.float32(1.6)
    air[nose] = np.maximum(air[nose], -np.minimum(shelf, septum))
    cells = 3.2 * pf.noise(rng, grid.shape, grid.step_mm, 3.6)
    box = grid.box(*ETHMOID_BOX)
    air[box] = np.minimum(air[box], np.maximum(_ethmoid(grid.at(box)), np.abs(cells[box]) * -0.9 + 0.8))
    if infancy < 0.5:
        for s in pf.SIDES:
            low, high = sorted((s[0] * 44, s[0] * 76))
            box = grid.box((low, 8, -46), (high, 48, 2))
            mastoid = pf.ellipsoid(grid.at(box), s * (60, 29, -21), (10, 14, 20))
            air[box] = np.minimum(air[box], np.maximum(mastoid, 1.4 - np.abs(cells[box]) * 0.9))
    return air


def skin_surface(rng: Generator, grid: pf.Grid, vault: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """The outer surface of the head: scalp, temples, face, nose, ears and neck.

    Args:
      vault: distance to the inside of a smooth vault, mm, because skin is smoother than the bone under it.
      outer: distance to the outer table, mm; the skin stays outside it.
    """
    x, y, z = grid.x, grid.y, grid.z
    ax = np.abs(x)
    scalp = 6.0 + rng.normal(0, 0.7) + 0.7 * pf.noise(rng, grid.shape, grid.step_mm, 24.0)
    scalp += 12.0 * np.exp(-(((ax - 66) / 18) ** 2) - ((y + 30) / 27) ** 2 - ((z - 8) / 32) ** 2)
    scalp += 9.0 * np.clip((4 - z) / 30, 0, 1) * np.clip((y - 20) / 30, 0, 1)
    skin = vault - 5.8 - scalp
    skin = np.where(z > -5, pf.smooth_min(skin, outer - 3.0, 4.0), skin)
    face = pf.ellipsoid((x, y, z), (0, -24, -62), (66, 70, 74))
    cheeks = pf.ellipsoid((x, y, z), (0, -30, -34), (68, 61, 50))
    neck = np.sqrt((x / 62) ** 2 + ((y - 18) / 58) ** 2) * 60 - 60
    neck = np.maximum(neck, (z + 22) * np.float32(0.7)).astype(np.float32)
    skin = pf.smooth_min(skin, pf.smooth_min(face, cheeks, 8.0), 10.0)
    skin = pf.smooth_min(skin, neck, 10.0)
    pf.add_tube(skin, grid, [(0, -86, -8), (0, -98, -34), (0, -90, -46)], [6, 8, 13], fillet=8)
    for s in pf.SIDES:
        rim = [s * (76, 8, -40), s * (86, 18, -22), s * (84, 22, 0), s * (77, 10, 6)]
        pf.add_tube(skin, grid, rim, [4, 2.4, 2.2, 2.4], fillet=2)
        pf.add_tube(skin, grid, [s * (76, 12, -22), s * (84, 16, -10)], [3, 2], fillet=2)
        pf.add_tube(skin, grid, [s * (74, 2, -32), s * (79, 0, -20)], [4, 2.5], fillet=3)
    skin += 0.5 * pf.noise(rng, grid.shape, grid.step_mm, 9.0) * np.clip((-z) / 15, 0, 1)
    return skin.astype(np.float32)


def muscles(rng: Generator, grid: pf.Grid, wall: np.ndarray, thickness: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Muscle, glands and cartilage outside the skull; the rest of the soft tissue there is fat."""
    x, y, z = grid.x, grid.y, grid.z
    ax = np.abs(x)
    field = grid.empty()
    for s in pf.SIDES:
        pf.add_tube(field, grid, [s * (58, -22, -34), s * (52, -26, -84)], [9, 9], flat=0.7)  # masseter
        pf.add_tube(field, grid, [s * (50, -28, -8), s * (53, -30, -40)], [11, 7])  # temporal tendon
        pf.add_tube(field, grid, [s * (24, -30, -46), s * (44, -8, -40)], [9, 7])  # lateral pterygoid
        pf.add_tube(field, grid, [s * (24, -28, -52), s * (40, -10, -84)], [8, 7])
        pf.add_ellipsoid(field, grid, s * (58, 6, -58), (10, 14, 24))  # parotid gland
        pf.add_tube(field, grid, [s * (52, 34, -44), s * (40, 8, -140)], [9, 9], flat=0.6)  # sternomastoid
        pf.add_tube(field, grid, [s * (9, 66, -34), s * (13, 62, -180)], [10, 11], flat=0.7)  # semispinalis
        pf.add_tube(field, grid, [s * (33, 56, -36), s * (28, 56, -180)], [10, 10], flat=0.7)  # splenius
        pf.add_tube(field, grid, [s * (16, 46, -50), s * (18, 44, -90)], [8, 9], flat=0.8)
        pf.add_tube(field, grid, [s * (34, 34, -50), s * (36, 30, -180)], [8, 10], flat=0.7)
        pf.add_tube(field, grid, [s * (9, -3, -44), s * (10, -4, -180)], [7, 6])  # longus
        eye, apex = s * (31, -72, -13), s * (15, -38, -10)
        for off in ((10, 4, 0), (-10, 4, 0), (0, 4, 10), (0, 4, -10)):
            side = np.array(off) * (s[0], 1, 1)
            pf.add_tube(field, grid, [eye + side, (eye + apex) / 2 + side * 0.8, apex], [1.3, 2.0, 1.4])
        pf.add_tube(field, grid, [eye + np.array([0, 11, 0]), apex], [1.9, 1.7])  # optic nerve
        pf.add_ellipsoid(field, grid, s * (33, -80, -42), (12, 5, 18))  # cheek muscles
    pf.add_ellipsoid(field, grid, (0, -46, -88), (24, 30, 18))  # tongue
    pf.add_tube(field, grid, [(0, -22, -40), (0, -14, -80), (0, -16, -180)], [13, 12, 13])  # wall of the throat
    pf.add_tube(field, grid, [(0, -88, -14), (0, -98, -36), (0, -90, -50)], [5, 7, 12])  # nose
    for s in pf.SIDES:
        pf.add_ellipsoid(field, grid, s * (7, -60, -44), (8, 32, 22))  # turbinates, between the air of the nose
    lip = np.maximum(np.abs(skin + 5) - 2.5, np.maximum(z + 14, y + 72))
    field = np.minimum(field, lip)
    fibres = pf.noise(rng, grid.shape, grid.step_mm, 3.4)
    broad = pf.noise(rng, grid.shape, grid.step_mm, 9.0)
    field += 0.9 * fibres + 0.8 * broad - np.float32(0.4)
    temple = np.maximum(pf.ellipsoid((x, y, z), (0, -24, 4), (90, 44, 54)), 46 - ax)
    temple = np.maximum(temple, np.maximum(skin + 4, thickness + 0.4 - wall))
    nape = np.maximum(np.abs(skin + 12 + 2 * broad) - 4.5, np.maximum(z + 10 + 4 * broad, 14 - y))
    field = np.minimum(field, np.minimum(temple, nape))
    return np.maximum(field, skin + 2.0).astype(np.float32)


def eyes(rng: Generator, grid: pf.Grid) -> tuple[np.ndarray, np.ndarray]:
    """(globes, lenses)."""
    globe, lens = grid.empty(), grid.empty()
    for s in pf.SIDES:
        center = s * np.array([31.0, -72.0, -13.0 + rng.normal(0, 0.7)])
        pf.add_ellipsoid(globe, grid, center, (12.3, 12.3, 12.0))
        pf.add_ellipsoid(lens, grid, center + np.array([0, -8.6, 0]), (4.6, 2.2, 4.6))
    return globe, lens


def head_holder(rng: Generator, grid: pf.Grid) -> np.ndarray:
    """A shell around the back of the head, float32 [128, 128]; it does not rotate with the head."""
    side = (np.arange(pf.COARSE) + 0.5 - pf.COARSE / 2) * grid.pixel_mm
    row, column = side[:, None], side[None, :]
    rise = rng.uniform(-6, 14)
    ring = np.sqrt((column / 0.94) ** 2 + (np.maximum(row, -20) / 0.985) ** 2)
    shell = np.abs(ring - 103.5 + rng.normal(0, 0.6)) - 1.6
    return np.maximum(shell, rise - row).astype(np.float32)
