"""Augmentation: the warp against SciPy, sampled transforms against the documented ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import augment
from tests.xla import AS_USERS

RANGES = augment.AffineRange()
WARP = jax.jit(augment.warp, compiler_options=AS_USERS)
SAMPLE = jax.jit(augment.sample_affine, static_argnums=(1, 2), compiler_options=AS_USERS)
AUGMENT = jax.jit(augment.augment, static_argnums=3, compiler_options=AS_USERS)


@given(st.integers(0, 2**31), st.sampled_from([4, 15, 32]))
def test_warp_agrees_with_scipy(seed, side):
    image = np.random.default_rng(seed).random((side, side), dtype=np.float32)
    transform = SAMPLE(jax.random.key(seed), side, RANGES)
    result = WARP(jnp.asarray(image)[None, :, :, None], transform[None])[0, :, :, 0]
    matrix = np.asarray(transform, np.float64)
    center = np.full(2, (side - 1) / 2)
    offset = center + matrix[:, 2] - matrix[:, :2] @ center
    expected = ndimage.affine_transform(image.astype(np.float64), matrix[:, :2], offset, order=1, mode="nearest")
    np.testing.assert_allclose(result, expected, atol=2e-5)  # float32 coordinates: 1e-6 of the side, times the slope


@pytest.mark.parametrize("name", ["rotation_degrees", "shift", "shear_degrees", "zoom"])
def test_samples_stay_in_each_range_and_fill_it(name):
    side, only = 100, augment.AffineRange(0.0, 0.0, 0.0, 0.0)._replace(**{name: getattr(RANGES, name)})
    keys = jax.random.split(jax.random.key(1), 4000)
    transforms = np.asarray(jax.vmap(lambda key: augment.sample_affine(key, side, only))(keys), np.float64)
    values, limit = {
        "rotation_degrees": (np.degrees(np.arctan2(transforms[:, 1, 0], transforms[:, 0, 0])), 20.0),
        "shift": (transforms[:, :, 2], 10.0),
        "shear_degrees": (np.degrees(np.arcsin(-transforms[:, 0, 1])), 0.1),
        "zoom": (np.stack([transforms[:, 0, 0], transforms[:, 1, 1]]) - 1.0, 0.2),
    }[name]
    assert np.abs(values).max() <= limit * (1 + 1e-4)
    assert values.max() > 0.99 * limit
    assert values.min() < -0.99 * limit
    np.testing.assert_allclose(values.mean(), 0.0, atol=0.05 * limit)


def test_ranges_of_zero_change_nothing():
    image = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 2), dtype=np.float32))
    mask = (image[..., 0] > 0.5).astype(jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    out, out_mask = AUGMENT(keys, image, mask, augment.AffineRange(0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(out, image, atol=1e-5)
    np.testing.assert_array_equal(out_mask, mask)


@given(st.integers(0, 2**31))
def test_image_and_mask_get_the_same_transform(seed):
    disc = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 8
    image = jnp.asarray(disc, jnp.float32)[None, :, :, None]
    out, mask = AUGMENT(jax.random.key(seed)[None], image, image[..., 0], RANGES)
    np.testing.assert_array_equal(np.asarray(out[..., 0]) >= 0.5, np.asarray(mask) > 0.5)
    assert set(np.unique(mask)) <= {0.0, 1.0}


def test_an_example_does_not_depend_on_the_rest_of_its_batch():
    rng = np.random.default_rng(3)
    images = jnp.asarray(rng.random((4, 16, 16, 1), dtype=np.float32))
    keys = jax.random.split(jax.random.key(5), 4)
    masks = (images[..., 0] > 0.5).astype(jnp.float32)
    batch = AUGMENT(keys, images, masks, RANGES)
    alone = AUGMENT(keys[2:3], images[2:3], masks[2:3], RANGES)
    np.testing.assert_array_equal(batch[0][2], alone[0][0])
    np.testing.assert_array_equal(batch[1][2], alone[1][0])
