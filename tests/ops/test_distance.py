"""Distances against SciPy."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import distance

DISTANCE = jax.jit(distance.distance_mm)
SPACINGS = [np.float32(mm) for mm in ([1.0, 1.0], [0.4, 0.9], [5.0, 1.0, 1.0], [1.2, 0.4, 3.0])]


@given(st.integers(0, 2**31), st.floats(0.0, 0.6), st.sampled_from(SPACINGS))
def test_equals_scipy(seed, share, spacing_mm):
    mask = np.random.default_rng(seed).random((3, 17, 22)) < share
    expected = np.full(mask.shape, np.inf)
    if len(spacing_mm) == 3 and mask.any():
        expected = ndimage.distance_transform_edt(~mask, spacing_mm)
    elif len(spacing_mm) == 2:
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            expected[k] = ndimage.distance_transform_edt(~mask[k], spacing_mm)
    np.testing.assert_allclose(DISTANCE(mask, spacing_mm), expected, rtol=1e-6)


def test_a_mask_without_a_pixel_is_infinitely_far():
    mask = np.zeros((2, 4, 5), bool)
    mask[1, 2, 3] = True
    by_slice = np.asarray(DISTANCE(mask, np.float32([2.0, 1.0])))
    assert np.isinf(by_slice[0]).all()
    assert by_slice[1, 0, 3] == 4.0
    assert np.asarray(DISTANCE(mask, np.float32([7.0, 2.0, 1.0])))[0, 2, 3] == 7.0
    assert np.isinf(DISTANCE(mask & False, np.float32([7.0, 2.0, 1.0]))).all()


def test_other_spacings_need_no_new_program():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(distance.distance_mm, n=1))
    for mm in (1.0, 0.5):
        assert traced(np.eye(4, dtype=bool), np.float32([mm, mm]))[0, 2] == np.float32(np.sqrt(2) * mm)


def test_axes_and_spacings_must_agree():
    for spacing_mm in (np.ones(1, np.float32), np.ones(3, np.float32), np.ones(4, np.float32)):
        with pytest.raises(ValueError, match="spacings"):
            distance.distance_mm(np.ones((4, 4), bool), spacing_mm)
