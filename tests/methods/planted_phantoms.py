"""Small heads on the working grid with a planted lesion of a sub-type, for classical methods."""

import chex
import jax.numpy as jnp
import numpy as np

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods.heads import Head, Training

DEPTH, SIDE, SLICE_MM = 4, 88, 10.0
BRAIN_HU, FLUID_HU, BONE_HU = 30.0, 5.0, 900.0
BLOOD_HU = (54.0, 63.0)  # upper quartiles of real lesions, from IPH to EDH
RADII_PX = (40.0, 33.0)  # of the brain, along rows and columns
VESSEL_PX = 2.5


def training(subtype, seed):
    """A head with a clear lesion of a sub-type ('IVH', 'IPH', 'SDH', 'EDH'), or with none (None).

    All have a bright vessel on the mid-plane. HU do not depend on the sub-type.
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.linspace(-1, 1, DEPTH), *(np.arange(SIDE) - (SIDE - 1) / 2,) * 2, indexing="ij")
    y, x = y - rng.uniform(-2, 2), x - rng.uniform(-2, 2)
    shrink = rng.uniform(0.95, 1.05) * np.sqrt(1.0 - 0.3 * z**2)
    radius = np.hypot(y / (RADII_PX[0] * shrink), x / (RADII_PX[1] * shrink))
    brain = radius < 1
    hu = np.select([brain, radius < 1.14], [BRAIN_HU, BONE_HU], -1000.0)
    fluid = ((np.abs(x) - 8) / 4) ** 2 + (y / 15) ** 2 + (z / 1.2) ** 2 < 1
    hu[fluid] = FLUID_HU
    hu[np.hypot(y + 24, x) < VESSEL_PX] = rng.uniform(*BLOOD_HU)
    sign, angle = rng.choice([-1, 1]), rng.uniform(-0.5, 0.5)
    around = np.arctan2(y, sign * x) - angle  # from the side, in radians
    ball = np.sqrt(np.maximum(1 - (z / 1.2) ** 2, 0)) * 8
    mask = {
        None: np.zeros(hu.shape, bool),
        "IVH": fluid & (y > rng.uniform(-3, 1)),
        "IPH": np.hypot(y - rng.uniform(-16, 16), x - sign * 19) < ball,
        "EDH": brain & (radius > 0.68 + 0.32 * np.minimum(np.abs(around) / 0.45, 1) ** 2),
        "SDH": brain & (radius > 0.82) & (np.abs(around) < 0.9),
    }[subtype]
    hu[mask] = rng.uniform(*BLOOD_HU)
    hu = np.rint(hu + rng.normal(0, 2.0, hu.shape))
    classes = np.where(mask, 1 + SUBTYPES.index(subtype) if subtype else 0, 0).astype(np.uint8)
    head = Head(jnp.asarray(hu, jnp.float32), jnp.asarray(brain), jnp.int32(DEPTH), jnp.float32(SLICE_MM))
    return Training(head, jnp.asarray(mask), jnp.asarray(classes), seed)


def dice(segmented, scan):
    """Of a planted lesion, in pixels."""
    mask, truth = np.asarray(segmented.probability) > 0.5, np.asarray(scan.truth)
    return 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)


def check_is_stored(method, params, root, folder, monkeypatch):
    """What a method has learned is stored, and then only read, to the same bits."""
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(root).subjects[:2])
    monkeypatch.setattr(method, "learn", lambda *arguments, **options: params)
    method.fit(scans, [], workdir=folder / "fold_0", fold=0)
    monkeypatch.setattr(method, "learn", None)  # a finished fold is only read
    again = method.fit(scans, [], workdir=folder / "fold_0", fold=0)
    chex.assert_trees_all_equal(again, params)
    assert method.fingerprint(again) == method.fingerprint(params)
