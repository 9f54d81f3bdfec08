"""Losses at a logit of exactly 0, where a dead network starts, in both tails, and the weights of a boundary."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ichjax.ops import losses


@pytest.mark.parametrize("logit", [-3.0, -1e-6, 0.0, 1e-6, 3.0])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_the_gradient_of_the_cross_entropy_is_probability_less_truth(logit, truth):
    shape = (1, 1, 1)
    gradient = jax.grad(lambda z: losses.binary_cross_entropy(z, jnp.full(shape, truth)).sum())(jnp.full(shape, logit))
    np.testing.assert_allclose(gradient.item(), 1 / (1 + np.exp(-logit)) - truth, rtol=1e-5, atol=1e-6)


def test_the_cross_entropy_is_finite_in_both_tails():
    logits = jnp.array([-1e4, 1e4]).reshape(2, 1, 1)
    wrong = losses.binary_cross_entropy(logits, jnp.array([1.0, 0.0]).reshape(2, 1, 1))
    np.testing.assert_allclose(wrong, 1e4)


def test_weights_of_the_boundary_agree_with_scipy():
    mask = np.random.default_rng(0).random((3, 17, 12)) < np.array([0.05, 0.5, 0.0]).reshape(3, 1, 1)
    found = jax.jit(functools.partial(losses.boundary_weights, weight=5.0, decay_px=3.0))(mask)
    for one, weights in zip(mask[:2], found, strict=False):
        away = ndimage.distance_transform_edt(one) + ndimage.distance_transform_edt(~one)
        np.testing.assert_allclose(weights, 1 + 5 * np.exp(-away / 3), rtol=1e-5)
    np.testing.assert_array_equal(found[2], 1.0)  # no boundary
    np.testing.assert_array_equal(losses.boundary_weights(mask, weight=0.0, decay_px=3.0), np.ones(mask.shape))
