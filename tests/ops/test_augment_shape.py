"""Random changes of shape against SciPy: the sampled positions are read off two images of coordinates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import BSpline

from ichjax.ops import augment_shape
from tests.xla import AS_USERS

SIDE = 24
AFFINE = functools.partial(augment_shape.affine, rotation_degrees=30.0, zoom=0.25, shift=0.1)
ELASTIC = functools.partial(augment_shape.elastic, displacement_px=3.0, spacing_px=8)
OPS = {"affine": AFFINE, "elastic": ELASTIC, "mirror": augment_shape.mirror}


@functools.cache
def compiled(name, probability):
    return jax.jit(functools.partial(OPS[name], probability=probability), compiler_options=AS_USERS)


def positions(name, key):
    """(row, column) [P, P] that each output pixel is sampled at, clipped to the image."""
    ramps = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1).astype(np.float32)
    return np.moveaxis(np.asarray(compiled(name, 1.0)(key, ramps, jnp.zeros((SIDE, SIDE)))[0], np.float64), -1, 0)


def example(seed):
    rng = np.random.default_rng(seed)
    mask = np.hypot(*(np.mgrid[:SIDE, :SIDE] - rng.uniform(8, 15, (2, 1, 1)))) < 5
    return rng.random((SIDE, SIDE, 2), np.float32), mask.astype(np.float32)


@pytest.mark.parametrize("name", OPS)
@given(st.integers(0, 2**31))
def test_image_and_mask_are_interpolated_as_by_scipy(name, seed):
    (image, mask), key = example(seed), jax.random.key(seed)
    at = positions(name, key)
    out, out_mask = compiled(name, 1.0)(key, image, mask)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[..., channel].astype(float), at, order=1, mode="nearest")
        np.testing.assert_allclose(out[..., channel], expected, atol=2e-5)
    soft = ndimage.map_coordinates(mask.astype(float), at, order=1, mode="nearest")
    certain = abs(soft - 0.5) > 1e-4
    np.testing.assert_array_equal(np.asarray(out_mask)[certain], (soft >= 0.5)[certain])
    assert set(np.unique(out_mask)) <= {0.0, 1.0}


@given(st.integers(0, 2**31))
def test_affine_positions_are_a_rotation_of_zoomed_axes(seed):
    """Least squares on the inner pixels, which are not clipped: M = diag(zooms) R(angle), and a shift of the center."""
    row, column = positions("affine", jax.random.key(seed))
    inner = (row > 0) & (row < SIDE - 1) & (column > 0) & (column < SIDE - 1)
    center = (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE] - center
    system = np.stack([y[inner], x[inner], np.ones(inner.sum())], axis=1)
    fit, residuals, *_ = np.linalg.lstsq(system, np.stack([row, column], -1)[inner] - center, rcond=None)
    assert residuals.max() < 1e-6
    matrix = fit[:2].T
    zooms = np.linalg.norm(matrix, axis=1)
    np.testing.assert_allclose(matrix[0] @ matrix[1], 0, atol=1e-5)  # rows stay orthogonal
    assert (zooms < 1.25 + 1e-4).all()
    assert (zooms > 1 / 1.25 - 1e-4).all()
    angle = np.degrees(np.arctan2(matrix[1, 0], matrix[1, 1]))
    assert abs(angle) < 30.01
    shift = -np.linalg.solve(matrix, fit[2])
    assert (abs(shift) < 0.1 * SIDE + 1e-3).all()


def test_the_largest_changes_of_an_affine_transform_are_drawn():
    """Rotation only: the angle of 2,000 draws fills its range."""
    ramps = np.stack(np.mgrid[:9, :9], axis=-1).astype(np.float32)
    only = functools.partial(augment_shape.affine, probability=1.0, rotation_degrees=30.0, zoom=0.0, shift=0.0)
    keys = jax.random.split(jax.random.key(0), 2000)
    out = np.asarray(jax.vmap(lambda key: only(key, ramps, jnp.zeros((9, 9)))[0])(keys))
    angles = np.degrees(np.arctan2(out[:, 4, 5, 0] - out[:, 4, 3, 0], out[:, 4, 5, 1] - out[:, 4, 3, 1]))
    assert -30.001 < angles.min() < -29.8
    assert 29.8 < angles.max() < 30.001
    assert abs(angles.mean()) < 1.0


@given(st.integers(0, 2**31))
def test_an_elastic_field_is_smooth_bounded_and_does_not_fold(seed):
    row, column = positions("elastic", jax.random.key(seed))
    y, x = np.mgrid[:SIDE, :SIDE]
    assert max(abs(row - y).max(), abs(column - x).max()) <= 3.0 + 1e-4
    assert (np.diff(row, axis=0) >= 0).all()
    assert (np.diff(column, axis=1) >= 0).all()


@pytest.mark.parametrize(("size", "spacing"), [(24, 8), (25, 7), (5, 16)])
def test_the_spline_is_that_of_scipy(size, spacing):
    weights = augment_shape._spline(size, spacing)
    knots = np.arange(-3, weights.shape[1] + 1, dtype=float)
    expected = np.stack(
        [
            BSpline(knots, np.eye(weights.shape[1])[k], 3, extrapolate=False)(np.arange(size) / spacing)
            for k in range(weights.shape[1])
        ],
        axis=1,
    )
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", OPS)
def test_it_is_drawn_with_its_probability_and_else_changes_no_bit(name):
    image, mask = example(0)
    keys = jax.random.split(jax.random.key(1), 400)
    out, out_mask = jax.vmap(lambda key: compiled(name, 0.3)(key, image, mask))(keys)
    same = (np.asarray(out) == image[None]).all(axis=(1, 2, 3))
    assert 0.2 < 1 - same.mean() < 0.4
    np.testing.assert_array_equal(out_mask[same], np.broadcast_to(mask, (same.sum(), SIDE, SIDE)))


def test_mirroring_twice_changes_nothing():
    image, mask = example(0)
    once = compiled("mirror", 1.0)(jax.random.key(0), image, mask)
    np.testing.assert_array_equal(once[0], image[:, ::-1])
    np.testing.assert_array_equal(once[1], mask[:, ::-1])
