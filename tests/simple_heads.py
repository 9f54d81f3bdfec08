"""A plain geometrical head and neck, in HU, for tests that need a skull of a head's size but no anatomy."""

import numpy as np

SIDE, PIXEL_MM = 96, 2.2
TOP_MM = 85.0  # of the skull, above the middle of the head
VESSELS_MM = ((0, 20), (0, -30), (-30, 0), (30, 5))  # from the middle: to the back, to the left


def _grid():
    """(y, x) in mm from the middle of the slice."""
    return np.meshgrid(*(np.arange(SIDE) - (SIDE - 1) / 2,) * 2, indexing="ij") * np.array(PIXEL_MM)


def head(z_mm, *, vessel_hu=None, blood_hu=None, noise=3.0):
    """int16 [D, SIDE, SIDE]: brain of 35 HU in an ellipsoid of bone that is open below; `z_mm` from its middle, upward.

    `vessel_hu` paints four vessels of 5 mm through all slices, `blood_hu` a clot of 50 mm.
    """
    y, x = _grid()
    planes = []
    for z in z_mm:
        plane = np.full((SIDE, SIDE), -1000.0)
        for hu, radius, height in ((45, 80, TOP_MM + 6), (900, 75, TOP_MM), (35, 68, TOP_MM - 7)):
            plane[(x / radius) ** 2 + (y / (radius + 12)) ** 2 + (max(z, 0.0) / height) ** 2 < 1] = hu
        inside = plane == 35
        if blood_hu is not None:
            plane[(np.hypot(x - 20, y) < 25) & inside] = blood_hu
        if vessel_hu is not None:
            for back_mm, left_mm in VESSELS_MM:
                plane[(np.hypot(y - back_mm, x - left_mm) < 2.5) & inside] = vessel_hu
        planes.append(plane)
    return _noisy(planes, noise)


def neck(z_mm, *, noise=3.0):
    """int16 [D, SIDE, SIDE]: muscle, a vertebra with its canal, and the airway."""
    y, x = _grid()
    plane = np.full((SIDE, SIDE), -1000.0)
    for hu, width, length, back_mm in ((-80, 70, 60, 0), (55, 66, 56, 0), (400, 17, 17, 12), (30, 9, 9, 22)):
        plane[(x / width) ** 2 + ((y - back_mm) / length) ** 2 < 1] = hu
    plane[np.hypot(x, y + 25) < 10] = -1000
    return _noisy([plane for _ in z_mm], noise)


def _noisy(planes, noise):
    stack = np.stack(planes)
    return np.rint(stack + np.random.default_rng(0).normal(0, noise, stack.shape)).clip(-1024, 3071).astype(np.int16)
