"""Co-occurrence and weighted histograms of regions, by hand in NumPy."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.ops import texture

SHAPE, REGIONS, LEVELS = (2, 7, 6), 3, 4
TEXTURE = jax.jit(texture.texture, static_argnames=("count", "levels"))
HISTOGRAM = jax.jit(texture.weighted_histogram, static_argnames=("count", "levels"))


def pairs_of(number, level, region):
    """The levels of all pairs of neighbors in a region, in both orders: int [n, 2]."""
    pairs = []
    for axis in (1, 2):
        ahead = [np.moveaxis(array, axis, 0) for array in (number, level)]
        both = (ahead[0][:-1] == region) & (ahead[0][1:] == region)
        pairs += [[a, b] for a, b in zip(ahead[1][:-1][both], ahead[1][1:][both], strict=True)]
    return np.array(pairs + [pair[::-1] for pair in pairs]).reshape(-1, 2)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from([1, 2, LEVELS]))
def test_texture_is_that_of_the_pairs(seed, used):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, REGIONS + 1, (2, 3, 3)).repeat(3, axis=1)[:, :7].repeat(2, axis=2).astype(np.int32)
    level = rng.integers(0, used, SHAPE).astype(np.int32)
    computed = TEXTURE(number, level, count=REGIONS, levels=LEVELS)
    chex.assert_tree_all_finite(computed)
    for region in range(REGIONS):
        pairs = pairs_of(number, level, region)
        if not len(pairs):
            assert all(float(feature[region]) == 0 for feature in computed)
            continue
        a, b = pairs.T.astype(float)
        _, counts = np.unique(pairs, axis=0, return_counts=True)
        expected = {
            "contrast": ((a - b) ** 2).mean(),
            "correlation": np.corrcoef(a, b)[0, 1] if np.ptp(a) else 0.0,
            "energy": ((counts / len(pairs)) ** 2).sum(),
            "homogeneity": (1 / (1 + np.abs(a - b))).mean(),
        }
        for name, value in expected.items():
            assert float(getattr(computed, name)[region]) == pytest.approx(value, abs=1e-5), name


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_histograms_are_numpys_with_weights(seed):
    rng = np.random.default_rng(seed)
    number, level = rng.integers(0, REGIONS + 1, SHAPE, np.int32), rng.integers(0, LEVELS, SHAPE, np.int32)
    weight = (rng.integers(0, 256, SHAPE) / 255).astype(np.float32)
    computed = HISTOGRAM(number, level, weight, count=REGIONS, levels=LEVELS)
    for region in range(REGIONS):
        of_region = number == region
        total = weight[of_region].sum()
        expected = np.bincount(level[of_region], weight[of_region], LEVELS) / (total or 1)
        np.testing.assert_allclose(computed[region], expected, atol=1e-5)


def test_regions_without_pixels_and_one_trace():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(texture.texture, n=1), static_argnames=("count", "levels"))
    empty = np.full(SHAPE, REGIONS, np.int32)
    for level in (np.zeros(SHAPE, np.int32), np.ones(SHAPE, np.int32)):
        for feature in traced(empty, level, count=REGIONS, levels=LEVELS):
            np.testing.assert_array_equal(feature, 0)
    nothing = HISTOGRAM(empty, level, np.ones(SHAPE, np.float32), count=REGIONS, levels=LEVELS)
    np.testing.assert_array_equal(nothing, 0)
