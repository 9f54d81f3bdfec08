"""With `train.remat` the gradient is the same, and fewer maps are kept for it."""

import chex
import jax
import jax.numpy as jnp
import pytest

from ichjax.models import residual_unet, unet
from ichjax.train import state as states

SHAPES = {
    "unet": {"model.norm": "none", "model.dropout": 0.2},
    "residual_unet": {"model.encoder": "residual", "model.norm": "instance", "model.deep_supervision": True},
}
FAMILIES = {"unet": unet, "residual_unet": residual_unet}


def gradient(network, params, images, masks):
    keys = jax.random.split(jax.random.key(2), len(images))
    return jax.value_and_grad(lambda params: network.loss(params, images, masks, dropout_keys=keys).mean())(params)


@pytest.fixture(params=list(SHAPES))
def pair(request, tiny_config):
    """(the network, the same with remat, its parameters, images, masks)."""
    usual, less = (tiny_config(**SHAPES[request.param], **{"train.remat": remat}) for remat in (False, True))
    networks = [FAMILIES[request.param].network_from_config(config) for config in (usual, less)]
    params = [states.create(network, usual, fold=0).params for network in networks]
    chex.assert_trees_all_equal(*params)
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    return *networks, params[0], images, (images[..., 0] > 0.5).astype(jnp.float32)


def test_the_same_loss_and_gradient(pair):
    usual, less, *arguments = pair
    expected, found = (jax.jit(gradient, static_argnums=0)(network, *arguments) for network in (usual, less))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)  # sums may be in another order


def test_fewer_maps_are_kept(pair):
    usual, less, params, images, masks = pair

    def kept(network):
        """Elements that the gradient needs of the forward pass."""
        _, pullback = jax.vjp(lambda params: network.loss(params, images, masks, dropout_keys=None).mean(), params)
        return sum(leaf.size for leaf in jax.tree.leaves(pullback) if leaf.ndim == 4 and leaf.shape[0] == len(images))

    assert kept(less) < 0.75 * kept(usual)
