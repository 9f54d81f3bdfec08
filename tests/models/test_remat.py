"""With `train.remat` the gradient is the same, and fewer maps are kept for it."""

import chex
import jax
import jax.numpy as jnp
import pytest

from ichjax.models import residual_unet, unet

SMALL = {"model.depth": 1, "model.base_width": 2}
SHAPES = {
    "unet": {**SMALL, "model.norm": "none", "model.dropout": 0.2},
    "residual_unet": {**SMALL, "model.encoder": "residual", "model.norm": "instance", "model.blocks": (1, 1)},
}
FAMILIES = {"unet": unet, "residual_unet": residual_unet}


def gradient(network, params, images, masks):
    keys = jax.random.split(jax.random.key(2), len(images))
    return jax.value_and_grad(lambda params: network.loss(params, images, masks, dropout_keys=keys).mean())(params)


@pytest.fixture(params=list(SHAPES), scope="module")
def pair(request, tiny_config):
    """(the network, the same with remat, its parameters, images, masks)."""
    usual, less = (
        FAMILIES[request.param].network_from_config(tiny_config(**SHAPES[request.param], **{"train.remat": remat}))
        for remat in (False, True)
    )
    chex.assert_trees_all_equal_shapes(usual.shapes(16), less.shapes(16))
    params = jax.jit(usual.init, static_argnums=1)(jax.random.key(1), 16)
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    return usual, less, params, images, (images[..., 0] > 0.5).astype(jnp.float32)


def test_the_same_loss_and_gradient(pair):
    usual, less, *arguments = pair
    expected, found = (jax.jit(gradient, static_argnums=0)(network, *arguments) for network in (usual, less))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)  # sums may be in another order


@pytest.mark.faults
def test_fewer_maps_are_kept(pair):
    usual, less, params, images, masks = pair

    def kept(network):
        """Elements that the gradient needs of the forward pass."""
        _, pullback = jax.vjp(lambda params: network.loss(params, images, masks, dropout_keys=None).mean(), params)
        return sum(leaf.size for leaf in jax.tree.leaves(pullback) if leaf.ndim == 4 and leaf.shape[0] == len(images))

    assert kept(less) < 0.75 * kept(usual)
