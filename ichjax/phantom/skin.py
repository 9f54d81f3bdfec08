"""Phantom skin of head and neck, and the head holder."""

import numpy as np
from numpy.random import Generator

from ichjax.phantom import fields as pf


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
    full = rng.normal(0, 2.5)  # fat of face and neck, mm
    face = pf.ellipsoid((x, y, z), (0, -26, -60), (64 + full, 68, 72))
    cheeks = pf.ellipsoid((x, y, z), (0, -30, -36), (68 + 0.7 * full, 61, 54))
    below = np.clip((-40 - z) / 80, 0, 1)
    wide, deep = 64 + full - 4 * below, 60 + full - 4 * below
    neck = np.sqrt((x / wide) ** 2 + ((y - 20) / deep) ** 2) * 60 - 60
    neck = np.maximum(neck, (z + 18) * np.float32(0.7)).astype(np.float32)
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


def head_holder(rng: Generator, grid: pf.Grid, skin: np.ndarray) -> np.ndarray:
    """A shell around the back of the head, float32 [128, 128]: round or with flat sides, and outside the skin on every
    slice; it does not rotate with the head."""
    side = (np.arange(pf.COARSE) + 0.5 - pf.COARSE / 2) * grid.pixel_mm
    row, column = side[:, None], side[None, :]
    rise = rng.uniform(-20, 20)
    power = rng.choice([2.0, 4.0])
    flat = rng.uniform(0.9, 1.05)
    ring = (np.abs(column / flat) ** power + np.abs(np.maximum(row, -20)) ** power) ** (1 / power)
    radius = max(float(ring[(skin < 2).any(axis=0)].max(initial=0)), 96.0) + rng.uniform(1, 5)
    return np.maximum(np.abs(ring - radius) - rng.uniform(1.1, 1.8), rise - row).astype(np.float32)
