"""The form of the networks for other runtimes computes the same, with a symbolic batch and on blank patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.methods import registry
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.portable import portable_form
from ichjax.models.unet import GroupNorm

KINDS = {
    "paper": {"model.head": "paper", "model.norm": "none"},
    "group": {"model.norm": "group"},
    "residual": {"model.encoder": "residual", "model.norm": "instance", "model.deep_supervision": True},
    "second head": {"model.norm": "instance", "train.slice_head_weight": 0.5},
}


def normalized(x, groups, scale, bias):
    """Group normalization of [B, H, W, C] in float64 NumPy."""
    split = x.astype(np.float64).reshape(*x.shape[:3], groups, -1)
    mean, variance = split.mean((1, 2, 4), keepdims=True), split.var((1, 2, 4), keepdims=True)
    return ((split - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * scale + bias


@pytest.mark.parametrize(("max_groups", "groups"), [(4, 4), (0, 8), (1, 1)])
def test_two_passes_give_the_normalization(max_groups, groups):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (2, 6, 5, 8)).astype(np.float32)
    scale, bias = rng.normal(1, 0.2, 8).astype(np.float32), rng.normal(0, 1, 8).astype(np.float32)
    norm, variables = GroupNorm(max_groups), {"params": {"scale": scale, "bias": bias}}
    with portable_form():
        portable = norm.apply(variables, x)
    np.testing.assert_allclose(portable, normalized(x, groups, scale, bias), atol=2e-6)
    np.testing.assert_allclose(portable, norm.apply(variables, x), atol=2e-6)
    assert not np.array_equal(portable, norm.apply(variables, x))  # of the other form


def test_in_two_passes_rounding_of_a_mean_does_not_show_in_a_constant_channel(monkeypatch):
    """As it does in one pass, with means that are wrong by as much as those of other runtimes."""
    over_groups = GroupNorm.over_groups
    monkeypatch.setattr(GroupNorm, "over_groups", lambda self, means: over_groups(self, means) * (1 - 1e-5))
    x = jnp.full((1, 16, 16, 2), 0.7)
    norm, variables = GroupNorm(0), {"params": {"scale": jnp.ones(2), "bias": jnp.array([0.0, 5.0])}}
    one = norm.apply(variables, x)
    with portable_form():
        two = norm.apply(variables, x)
    expected = np.broadcast_to([0.0, 5.0], x.shape)
    assert np.abs(one - expected).max() > 1e-3
    np.testing.assert_allclose(two, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_can_be_traced_for_any_number_of_patches(tiny_config, kind):
    small = {"model.depth": 1, "model.base_width": 2}
    network = registry.make("unet", tiny_config(**small, **KINDS[kind])).network
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    hu = np.random.default_rng(0).uniform(-50, 150, (3, 16, 16)).astype(np.float32)

    def probability(hu):
        return network.probability(params, network.images(hu))

    with portable_form():
        shape = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), 16, 16), jnp.float32)
        exported = jax.export.export(jax.jit(probability))(shape)
    with xla_convolutions_only():
        np.testing.assert_allclose(exported.call(hu), jax.jit(probability)(hu), atol=1e-5)
