"""Patch extraction and stitching against loops in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.errors import InputError
from ichjax.ops import patches

# Stride, strides per side, further rows, further columns, slices: few, since each shape is compiled.
GRIDS = st.sampled_from([(1, 1, 0, 0, 1), (2, 2, 3, 1, 2), (3, 2, 0, 4, 1), (2, 3, 2, 2, 3), (5, 1, 2, 3, 2)])
EXTRACT = jax.jit(patches.extract, static_argnames=("side", "stride"))
STITCH = jax.jit(patches.stitch, static_argnames="stride")


def by_loops(slices, side, stride):
    """The grid of patches, cut one at a time."""
    _, height, width = slices.shape
    rows = range(0, height - side + 1, stride)
    columns = range(0, width - side + 1, stride)
    return np.array([[[s[i : i + side, j : j + side] for j in columns] for i in rows] for s in slices])


def stitch_by_loops(cut, stride, height, width):
    """Sum of predictions divided by their number, as in the authors' code, and that number."""
    count, rows, columns, side, _ = cut.shape
    total, times = np.zeros((count, height, width)), np.zeros((height, width))
    for i in range(rows):
        for j in range(columns):
            window = np.s_[i * stride : i * stride + side, j * stride : j * stride + side]
            total[:, *window] += cut[:, i, j]
            times[window] += 1
    return total / times, times


@given(GRIDS, st.integers(0, 2**31))
def test_extract_and_stitch_agree_with_loops(grid, seed):
    stride, k, more_rows, more_columns, count = grid
    side = k * stride
    height, width = side + more_rows * stride, side + more_columns * stride
    rng = np.random.default_rng(seed)
    slices = rng.integers(-1024, 3000, (count, height, width), dtype=np.int16)
    cut = EXTRACT(jnp.asarray(slices), side=side, stride=stride)
    np.testing.assert_array_equal(cut, by_loops(slices, side, stride))
    random = rng.random(cut.shape, dtype=np.float32)
    expected, _ = stitch_by_loops(random, stride, height, width)
    np.testing.assert_allclose(STITCH(jnp.asarray(random), stride=stride), expected, atol=1e-6)
    stitched = STITCH(cut.astype(jnp.float32), stride=stride)
    np.testing.assert_array_equal(stitched, slices.astype(np.float32))  # integers: the mean of equals is exact


def test_each_patch_is_stretched_to_0_and_1():
    cut = np.random.default_rng(0).uniform(0.2, 0.7, (2, 3, 2, 4, 4)).astype(np.float32)
    cut[1, 2, 0] = 0.3  # constant: nothing to stretch
    result = np.asarray(jax.jit(patches.min_max_stretch)(cut))
    for index in np.ndindex(2, 3, 2):
        patch = cut[index].astype(np.float64)
        expected = (patch - patch.min()) / max(patch.max() - patch.min(), 1e-9)
        np.testing.assert_allclose(result[index], expected, atol=1e-6)
    assert not result[1, 2, 0].any()
    assert ((result.max(axis=(-2, -1)) == 1.0).sum(), (result.min(axis=(-2, -1)) == 0.0).sum()) == (11, 12)


@pytest.mark.parametrize(("side", "stride"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.9])
def test_stitching_through_8_bits_compares_as_the_authors_code(side, stride, threshold):
    """Saved as trunc(255 p), summed and averaged in integers, truncated; positive above 256 t."""
    rng = np.random.default_rng(0)
    cut = rng.uniform(threshold - 0.02, threshold + 0.02, (2, 3, 4, side, side)).astype(np.float32)
    saved = np.floor(cut.astype(np.float64) * 255.0).astype(np.int64)
    height, width = 2 * stride + side, 3 * stride + side
    mean, times = stitch_by_loops(saved, stride, height, width)
    levels = np.rint(mean * times).astype(np.int64) // times.astype(np.int64)
    result = np.asarray(jax.jit(patches.stitch_8bit, static_argnames="stride")(cut, stride=stride))
    np.testing.assert_array_equal(result * 256.0, levels)
    positive = result > np.float32(threshold)
    np.testing.assert_array_equal(positive, levels > 256 * threshold)
    assert 0 < positive.mean() < 1


@pytest.mark.parametrize(("size", "side", "stride"), [(640, 160, 80), (512, 128, 64), (256, 64, 32)])
def test_the_papers_grids_hold_49_patches_and_1_2_or_4_predictions(size, side, stride):
    assert patches.grid_shape(size, size, side=side, stride=stride) == (7, 7)
    _, times = stitch_by_loops(np.zeros((1, 7, 7, side, side)), stride, size, size)
    assert sorted(np.unique(times)) == [1, 2, 4]
    # A patch of ones among zeros: each pixel becomes 1 / its number of predictions.
    single = jnp.zeros((1, 7, 7, side, side)).at[0, 0, 0].set(1.0)
    weight = np.asarray(STITCH(single, stride=stride))[0]
    assert weight[0, 0] == 1.0
    assert weight[0, stride] == 0.5
    assert weight[stride, stride] == 0.25
    assert weight[side:].max() == 0.0


def test_further_axes_are_kept():
    slices = jnp.arange(2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
    cut = patches.extract(slices, side=4, stride=2)
    chex.assert_shape(cut, (2, 3, 3, 4, 4, 3))
    np.testing.assert_array_equal(cut[1, 2, 1], slices[1, 4:8, 2:6])


@pytest.mark.parametrize(("size", "side", "stride"), [(100, 64, 32), (512, 160, 80), (64, 30, 20), (32, 64, 32)])
def test_an_uneven_grid_is_refused(size, side, stride):
    with pytest.raises(InputError, match=str(side)):
        patches.grid_shape(size, size, side=side, stride=stride)


def test_compiles_once_for_one_shape():
    round_trip = jax.jit(
        chex.assert_max_traces(lambda x: patches.stitch(patches.extract(x, side=4, stride=2), stride=2), n=1)
    )
    for seed in range(3):
        round_trip(jnp.full((2, 8, 12), float(seed)))
