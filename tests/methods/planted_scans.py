"""Training scans for classical methods, directly on their working grid: plain brains, some with a clear hemorrhage."""

import jax.numpy as jnp
import numpy as np
import scipy.ndimage as nd

from ichjax.methods.heads import Head, Training

SHAPE, SLICE_MM = (8, 80, 72), 5.0
BRAIN_HU, FLUID_HU, BONE_HU, AIR_HU = 31.0, 8.0, 900.0, -1000.0
CLEAR_HU, CLEAR_ML = 54.0, 17.0  # upper quartiles of intraparenchymal hemorrhages of the BHSD set
DEPTH = 7  # slices; the last one is padding


def head(seed=0, *, blood_hu=CLEAR_HU, blood_ml=0.0, noise_hu=4.0, depth=DEPTH):
    """A training scan: an ellipse of brain with ventricles in a ring of bone, and a sphere of blood."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    radius = np.hypot(y / 40, x / 36)
    hu = np.select([radius < 0.9, radius < 1.0], [BRAIN_HU, BONE_HU], AIR_HU)
    hu[np.hypot(y, (np.abs(x) - 7) * 2) < 8] = FLUID_HU
    hu[(radius < 0.9) & (rng.random(SHAPE) < 0.4)] += 6  # coarse gray and white matter
    truth = np.zeros(SHAPE, bool)
    if blood_ml:
        center = rng.uniform((-1, -14, 11), (1, 14, 13)) * (1, 1, rng.choice([-1, 1]))
        squared = ((z - center[0]) * SLICE_MM) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2
        truth = (squared < (3 * blood_ml * 1000 / (4 * np.pi)) ** (2 / 3)) & (radius < 0.85)
        hu[truth] = blood_hu
    blurred = nd.gaussian_filter(hu, (0, 0.6, 0.6)) + rng.normal(0, noise_hu, SHAPE)
    real = np.arange(SHAPE[0]) < depth
    hu = np.where(real[:, None, None], np.round(blurred), AIR_HU).astype(np.float32)
    inside, truth = ((part & real[:, None, None]) for part in (radius < 0.9, truth))
    scan = Head(jnp.asarray(hu), jnp.asarray(inside), jnp.int32(depth), jnp.float32(SLICE_MM))
    return Training(scan, jnp.asarray(truth), jnp.asarray(np.where(truth, 2, 0).astype(np.uint8)), seed)


def training_set():
    """Two scans with a hemorrhage of different size and brightness, and one without."""
    return [head(0, blood_ml=20, blood_hu=56), head(1, blood_ml=10, blood_hu=50), head(10)]


def dice(probability, training):
    """Of what is above 0.5."""
    mask, truth = np.asarray(probability) > 0.5, np.asarray(training.truth)
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
