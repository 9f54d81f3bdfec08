"""The trend of HU with depth, against NumPy."""

import jax
import numpy as np

from ichjax.ops import cupping

FLATTEN = jax.jit(cupping.flatten)


def head(seed, *, cup_hu):
    """(hu, depth in mm, mask), [2, 100, 100]: noisy brain of 30 HU that is brighter towards the edge of a disk."""
    y, x = np.mgrid[:100, :100] - 49.5
    depth_mm = np.float32(np.maximum(45 - np.hypot(y, x), 0))[None].repeat(2, axis=0)
    noise = np.random.default_rng(seed).normal(0, 2, depth_mm.shape)
    hu = 30 + cup_hu * np.exp(-depth_mm / 4) + noise
    return hu.astype(np.float32), depth_mm, depth_mm > 0


def test_brain_becomes_flat_and_stays_as_it_is_deep_inside_and_outside():
    hu, depth_mm, mask = head(0, cup_hu=np.array([10, 30])[:, None, None])
    flat = np.asarray(FLATTEN(hu, depth_mm, mask))
    for plane, depth in zip(flat, depth_mm, strict=True):
        means = [plane[(depth > low) & (depth <= low + 1)].mean() for low in range(1, 20)]
        np.testing.assert_allclose(means, 30, atol=1.5)
    np.testing.assert_array_equal(flat[~mask], hu[~mask])
    np.testing.assert_array_equal(flat[depth_mm > 30], hu[depth_mm > 30])
    assert (flat <= hu).all()


def test_blood_along_a_quarter_of_the_skull_stays():
    hu, depth_mm, mask = head(1, cup_hu=20)
    y, x = np.mgrid[:100, :100] - 49.5
    blood = (depth_mm > 0) & (depth_mm < 8) & ((y > 0) & (x > 0))[None]
    without = np.asarray(FLATTEN(hu, depth_mm, mask))
    flat = np.asarray(FLATTEN(hu + 25 * blood.astype(np.float32), depth_mm, mask))
    assert (flat - without)[blood].mean() > 22
    assert abs((flat - without)[mask & ~blood]).mean() < 1.5


def test_the_subtracted_trend_is_that_of_numpy():
    hu, depth_mm, mask = head(2, cup_hu=25)
    depth_mm = np.floor(depth_mm) + np.float32(0.5)  # at the middle of a bin, nothing is interpolated
    subtracted = hu - np.asarray(FLATTEN(hu, depth_mm, mask))
    deep = np.quantile(hu[mask & (depth_mm >= 20)], 0.4)
    for plane in range(2):
        for depth in range(12):
            there = mask[plane] & (depth_mm[plane] == depth + 0.5)
            expected = max(np.quantile(hu[plane][there], 0.4) - deep, 0)
            np.testing.assert_allclose(subtracted[plane][there], expected, atol=1.1)  # levels of 1 HU


def test_an_empty_mask_and_a_constant_slice():
    hu, depth_mm, mask = head(3, cup_hu=0)
    np.testing.assert_array_equal(FLATTEN(hu, depth_mm, mask & False), hu)
    np.testing.assert_array_equal(FLATTEN(0 * hu + 30, depth_mm, mask), 0 * hu + 30)
