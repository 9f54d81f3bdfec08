"""Losses at a logit of exactly 0, where a dead network of the paper's kind starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
