"""The fused up-convolution against upsampling and a plain convolution: values, gradients and parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models.up_convolution import UpConv


class Plain(nn.Module):
    """As in the authors' code: repeat the pixels, then convolve."""

    @nn.compact
    def __call__(self, x):
        up = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return nn.Conv(5, (2, 2), padding="SAME", kernel_init=nn.initializers.he_normal())(up)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 1, 1, 3), (1, 5, 1, 3)])
def test_values_and_gradients_agree_with_an_upsampled_map(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    params = {"kernel": rng.normal(size=(2, 2, 3, 5)), "bias": rng.normal(size=5)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    weight = rng.normal(size=(shape[0], 2 * shape[1], 2 * shape[2], 5)).astype(np.float32)

    def ours(params, x):
        return (UpConv(5).apply({"params": params}, x) * weight).sum(), UpConv(5).apply({"params": params}, x)

    def theirs(params, x):
        out = Plain().apply({"params": {"Conv_0": params}}, x)
        return (out * weight).sum(), out

    result, expected = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))(params, x) for f in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), result, expected)


def test_initial_parameters_are_the_same():
    x = jnp.zeros((1, 4, 4, 3))
    ours = UpConv(5).init(jax.random.key(3), x)["params"]
    theirs = Plain().init(jax.random.key(3), x)["params"]["Conv_0"]
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    assert abs(float(ours["kernel"].std()) - np.sqrt(2 / 12)) < 0.15
    assert not ours["bias"].any()


def test_bfloat16_computes_with_float32_parameters():
    x = jnp.ones((1, 4, 4, 3), jnp.bfloat16)
    model = UpConv(5, jnp.bfloat16)
    params = model.init(jax.random.key(0), x)
    assert model.apply(params, x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
