"""Blocks of the networks of the literature against XLA's own convolutions and pooling."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models.blocks import CLASSIFIER_GROUP, ConvBlock, JointGroupNorm, groups_of
from ichjax.models.pooling import max_pool_3x3

LAYOUT = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_stride_and_dilation_are_those_of_xla(size, stride, dilation):
    rng = np.random.default_rng(size)
    block = ConvBlock(4, (size, size), stride, dilation, norm=False, relu=False)
    for plane in ((8, 9), (5, 6)):
        x = jnp.asarray(rng.normal(size=(2, *plane, 3)), jnp.float32)
        params = block.init(jax.random.key(0), x)["params"]
        bias = jnp.asarray(rng.normal(size=4), jnp.float32)
        reach = [(size // 2 * dilation,) * 2] * 2
        expected = jax.lax.conv_general_dilated(
            x, params["kernel"], (stride, stride), reach, rhs_dilation=(dilation, dilation), dimension_numbers=LAYOUT
        )
        got = block.apply({"params": params | {"bias": bias}}, x)
        np.testing.assert_allclose(got, expected + bias[None, None, None], atol=2e-5)


def test_normalized_and_positive():
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 6, 7, 8)), jnp.float32)
    block = ConvBlock(16)
    params = block.init(jax.random.key(0), x)["params"]
    assert set(params) == {"kernel", "norm"}  # a bias would be subtracted by the normalization
    plain = ConvBlock(16, relu=False).apply({"params": params}, x)
    groups = np.asarray(plain).reshape(2, 42, 8, 2)
    np.testing.assert_allclose(groups.mean(axis=(1, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(groups.std(axis=(1, 3)), 1.0, atol=1e-3)
    np.testing.assert_array_equal(block.apply({"params": params}, x), jnp.maximum(plain, 0.0))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("plane", [(8, 9), (7, 6), (1, 2)])
def test_pooling_and_its_gradient(plane, stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *plane, 3)), jnp.float32)

    def of_xla(x):
        padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)

    expected, of_expected = jax.vjp(of_xla, x)
    got, of_got = jax.vjp(lambda x: max_pool_3x3(x, stride), x)
    np.testing.assert_array_equal(got, expected)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=got.shape), jnp.float32)
    np.testing.assert_allclose(of_got(weights)[0], of_expected(weights)[0], atol=1e-6)


def test_of_tied_values_one_gets_the_gradient_of_pooling():
    gradient = jax.grad(lambda x: max_pool_3x3(x, 2).sum())(jnp.zeros((1, 6, 6, 1)))
    assert gradient.sum() == 9
    assert set(np.unique(gradient)) == {0, 1}


def test_layers_normalized_together_equal_layers_normalized_apart():
    layers = (4, 24, 8, 12)  # 1, 3, 1 and 1 groups
    x = jnp.asarray(np.random.default_rng(0).normal(2, 3, size=(2, 5, 6, sum(layers))), jnp.float32)
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    scale, bias = np.random.default_rng(2).normal(size=(2, sum(layers))).astype(np.float32)

    def together(x):
        return JointGroupNorm(layers=layers).apply({"params": {"scale": scale, "bias": bias}}, x)

    def apart(x):
        ends = np.cumsum(layers)
        parts = []
        for end, layer in zip(ends, layers, strict=True):
            own = slice(end - layer, end)
            params = {"scale": scale[own], "bias": bias[own]}
            module = flax.linen.GroupNorm(groups_of(layer, CLASSIFIER_GROUP))
            parts.append(module.apply({"params": params}, x[..., own]))
        return jnp.concatenate(parts, axis=-1)

    np.testing.assert_allclose(together(x), apart(x), atol=1e-5)
    got, expected = (jax.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (together, apart))
    np.testing.assert_allclose(got, expected, atol=1e-5)
