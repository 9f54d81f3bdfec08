"""Cases of `test_variants` for clusters, level sets, wavelets and their like: {op: (options, arguments, expected)}."""

import numpy as np
import scipy.ndimage as nd

from ichjax.ops import fuzzy_clusters, gaussian, haar, level_sets, thresholds
from tests.ops import test_level_sets as by_numpy
from tests.ops.test_fuzzy_clusters import memberships

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(2, 8, 8)).astype(np.float32)
INSIDE = rng.random(IMAGE.shape) < 0.8
ALL = np.ones(IMAGE.shape, bool)
PHI = rng.normal(size=IMAGE.shape).astype(np.float32)
EDGE = rng.random(IMAGE.shape, np.float32)
GREY = rng.integers(0, 256, (2, 8, 8), dtype=np.int32)
BLOCKS = np.kron(np.float32([[[1, 2], [3, 6]]]), np.ones((1, 2, 2), np.float32))
WAVELETS = haar.Wavelets(
    np.float32([[[12]]]), (np.zeros((1, 3, 2, 2), np.float32), np.float32([-4, -6, 2]).reshape(1, 3, 1, 1))
)
TWO_VALUES = np.zeros((1, 5), np.int32)
TWO_VALUES[0, [0, 4]] = 7
CENTERS = np.array([0.0, 4.0])
HALVES = np.repeat(np.float32([[[2] * 4, [9] * 4]]), 4, axis=1)
HALF_CENTERS = np.float32([[2, 9]])
DENOISED = np.where(np.arange(8)[None, :, None] < 4, np.float32(1), np.float32(5)) * np.ones((2, 8, 8), np.float32)
SMOOTHED = np.stack([nd.gaussian_filter(one, 1.5, mode="nearest") for one in IMAGE.astype(float)])
SLOPES = [nd.correlate1d(SMOOTHED, [-0.5, 0, 0.5], axis, mode="nearest") for axis in (1, 2)]
FITTING = {"nu": 0.2, "mu": 0.1, "dt": 0.5}


def one_step(step, *fields, **options):
    """The level set after one step in NumPy."""
    return by_numpy.repeat(step, PHI, *fields, steps=1, **options)


CASES = {
    fuzzy_clusters.of_histogram: (
        {"clusters": 2},
        (TWO_VALUES,),
        fuzzy_clusters.Clusters(CENTERS[None], memberships(np.arange(5.0), CENTERS)[None]),
    ),
    fuzzy_clusters.spatial: (
        {},
        (HALVES, HALVES > 0, HALF_CENTERS),
        fuzzy_clusters.Clusters(HALF_CENTERS, np.stack([HALVES == 2, HALVES == 9], axis=1)),
    ),
    gaussian.smooth: ({"sigma_px": 1.5}, (IMAGE,), SMOOTHED),
    haar.decompose: ({}, (BLOCKS,), WAVELETS),
    haar.reconstruct: ({"height": 4, "width": 4}, (WAVELETS,), BLOCKS),
    haar.denoise: ({}, (DENOISED, INSIDE), DENOISED),
    level_sets.from_mask: ({"height": 3.0}, (INSIDE,), np.where(INSIDE, -3.0, 3.0)),
    level_sets.edge_indicator: ({}, (IMAGE,), 1 / (1 + SLOPES[0] ** 2 + SLOPES[1] ** 2)),
    level_sets.drlse: (
        {"iterations": 1, "alf": 1.5, "dt": 0.2},
        (PHI, EDGE),
        one_step(by_numpy.drlse_step, EDGE, alf=1.5, dt=0.2),
    ),
    level_sets.chan_vese: (
        {"iterations": 1, "nu": 0.1},
        (PHI, IMAGE, INSIDE),
        one_step(by_numpy.chan_vese_step, IMAGE, INSIDE, nu=0.1),
    ),
    level_sets.local_binary_fitting: (
        {"iterations": 1, **FITTING},
        (PHI, IMAGE, ALL),
        one_step(lambda phi, *fields: by_numpy.lbf_step(phi, *fields, balloon=0.0, **FITTING), IMAGE, ALL),
    ),
    thresholds.grey_histograms: (
        {},
        (GREY, INSIDE),
        np.stack([np.bincount(one[k], minlength=256) for one, k in zip(GREY, INSIDE, strict=True)]),
    ),
    thresholds.otsu: ({}, (np.eye(256, dtype=np.int32)[[3, 3]] + np.eye(256, dtype=np.int32)[[200, 3]],), [3, 0]),
}
DTYPES = {thresholds.grey_histograms: np.int32, thresholds.otsu: np.int32}
