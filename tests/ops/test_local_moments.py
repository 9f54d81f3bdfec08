"""Moments and means of neighborhoods in a mask, against SciPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from ichjax.ops import local_moments

MOMENTS = jax.jit(local_moments.local_moments, static_argnames="box")
BOX_MEAN = jax.jit(local_moments.box_mean, static_argnames="box")
GAUSSIAN = jax.jit(local_moments.masked_gaussian, static_argnames="sigma_mm")
SHAPE = (4, 6, 7)


def by_scipy(values, mask, box):
    """{moment: float64 [n]} on the n pixels of the mask, of their neighbors in the mask."""
    pad = [(side // 2, side // 2) for side in box]
    padded = np.pad(np.where(mask, values.astype(float), np.nan), pad, constant_values=np.nan)
    near = np.lib.stride_tricks.sliding_window_view(padded, box)[mask].reshape(mask.sum(), -1)
    mean, sd = np.nanmean(near, axis=1), np.nanstd(near, axis=1)
    standardized = (near - mean[:, None]) / sd[:, None]
    skew, kurtosis = (np.nanmean(standardized**power, axis=1) for power in (3, 4))
    whole = ~np.isnan(near).any(axis=1)
    np.testing.assert_allclose(skew[whole], stats.skew(near[whole], axis=1), atol=1e-9)
    np.testing.assert_allclose(kurtosis[whole], stats.kurtosis(near[whole], axis=1, fisher=False), atol=1e-9)
    return {"mean": mean, "sd": sd, "skew": skew, "kurtosis": kurtosis}


@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([(3, 3, 3), (1, 5, 3)]), st.sampled_from([0.0, 1e4]))
def test_moments_are_scipys_in_a_mask_at_any_offset(seed, box, offset):
    rng = np.random.default_rng(seed)
    values = (rng.gamma(2.0, 20.0, SHAPE) + offset).astype(np.float32)
    mask = rng.random(SHAPE) < 0.8
    mask = ndimage.binary_opening(mask, np.ones((1, 2, 2)))  # no neighborhood of one pixel, which has no skew
    moments = MOMENTS(values, mask, box=box)
    for name, expected in by_scipy(values, mask, box).items():
        np.testing.assert_allclose(getattr(moments, name)[mask], expected, rtol=2e-5, atol=2e-5, err_msg=name)
        assert not np.asarray(getattr(moments, name))[~mask].any()


def test_constant_neighborhoods_and_lone_pixels_have_no_shape():
    values, mask = np.full(SHAPE, 37.7, np.float32), np.zeros(SHAPE, bool)
    mask[:2, :3, :3] = mask[3, 5, 6] = True
    moments = MOMENTS(np.where(mask, values, 900).astype(np.float32), mask)
    np.testing.assert_array_equal(moments.mean, np.where(mask, values, 0))
    for name in ("sd", "skew", "kurtosis"):
        np.testing.assert_array_equal(getattr(moments, name), 0, err_msg=name)
    for moment in MOMENTS(values, np.zeros(SHAPE, bool)):
        np.testing.assert_array_equal(moment, 0)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.sampled_from([(3, 3, 3), (1, 3, 5)]))
def test_means_in_a_box_are_scipys(seed, box):
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(30, 10, SHAPE).astype(np.float32), rng.random(SHAPE) < 0.6
    inside = mask.astype(float)
    total, count = (
        ndimage.uniform_filter(array, size=box, mode="constant", output=float) for array in (values * inside, inside)
    )
    np.testing.assert_allclose(
        BOX_MEAN(values, mask, box=box), np.where(mask, total / np.where(mask, count, 1), 0), rtol=1e-5, atol=1e-5
    )


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.sampled_from([2.0, 20.0]), st.floats(1.0, 7.0))
def test_the_gaussian_is_scipys_normalized_over_the_mask(seed, sigma_mm, slice_mm):
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(1030, 10, SHAPE).astype(np.float32), rng.random(SHAPE) < 0.6
    spacing_mm = np.array([slice_mm, 1.0, 1.5], np.float32)
    smoothed, weight = (
        ndimage.gaussian_filter(array.astype(float), sigma_mm / spacing_mm, mode="constant", truncate=8.0)
        for array in (values * mask, mask)
    )
    expected = np.where(mask, smoothed / np.where(mask, weight, 1), 0)
    np.testing.assert_allclose(GAUSSIAN(values, mask, spacing_mm, sigma_mm=sigma_mm), expected, rtol=2e-6, atol=1e-3)


def test_a_box_without_a_middle_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 3\) pixels has no middle"):
        local_moments.local_moments(jnp.zeros(SHAPE), jnp.ones(SHAPE, bool), box=(2, 3, 3))


def test_other_masks_need_no_new_program():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(local_moments.local_moments, n=1))
    for share in (0.1, 0.9):
        traced(np.ones(SHAPE, np.float32), np.random.default_rng(0).random(SHAPE) < share)
