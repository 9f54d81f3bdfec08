"""Convolutions and their gradients on a CPU against those of flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models.convolution import Conv


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize(("inputs", "features"), [(1, 16), (16, 2), (5, 3), (3, 5), (4, 4), (2, 1)])
def test_values_and_gradients_agree_with_flax(size, inputs, features):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 7, inputs)).astype(np.float32)
    params = {"kernel": rng.normal(size=(*size, inputs, features)), "bias": rng.normal(size=features)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    weight = rng.normal(size=(2, 5, 7, features)).astype(np.float32)

    def loss(model):
        def of(params, x):
            out = model.apply({"params": params}, x)
            return (out * weight).sum(), out

        return jax.jit(jax.grad(of, argnums=(0, 1), has_aux=True))

    result = loss(Conv(features, size))(params, x)
    expected = loss(nn.Conv(features, size))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), result, expected)


def test_initial_parameters_have_the_shapes_of_flax_and_he_variance():
    x = jnp.zeros((1, 4, 4, 64))
    ours = Conv(128, (3, 3), -4.0).init(jax.random.key(0), x)["params"]
    theirs = nn.Conv(128, (3, 3)).init(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    assert float(ours["kernel"].std()) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)  # He et al. (2015)
    assert set(np.asarray(ours["bias"]).tolist()) == {-4.0}


def test_bfloat16_computes_with_float32_parameters():
    x = jnp.ones((2, 4, 4, 3), jnp.float32)
    model = Conv(5, (3, 3), dtype=jnp.bfloat16)
    params = model.init(jax.random.key(0), x)
    gradient = jax.grad(lambda params: model.apply(params, x).astype(jnp.float32).sum())(params)
    assert model.apply(params, x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((params, gradient))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(gradient["params"]["bias"], 32.0)
