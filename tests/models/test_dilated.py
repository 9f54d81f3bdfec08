"""The dilated residual network and ensembles of it: parameters as in the source, stride, gradients, disagreement."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import dilated
from ichjax.models.network import count_parameters

CLASSES = 1000
PUBLISHED = 26_501_912  # of DRN-D-38 with a 1 x 1 convolution to the classes (osmr/imgclsmob; its structure: fyu/drn)


def shapes(module, side=64):
    """(shape of the output, shapes of the parameters) for an image of three channels, not compiled."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    output, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), images)
    return output.shape, variables["params"]


def test_parameters_are_as_many_as_in_the_source():
    shape, params = shapes(dilated.DilatedResidual())
    assert shape == (1, 8, 8, 512)
    assert count_parameters(params) + CLASSES * (512 + 1) == PUBLISHED


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_the_features_have_the_stride(stride):
    assert shapes(dilated.DilatedResidual(width=1, blocks=(1,) * 8, stride=stride), 48)[0] == (
        1,
        48 // stride,
        48 // stride,
        32,
    )


class TwoMembers(nn.Module):
    """Two linear maps of the channels of a pixel."""

    @nn.compact
    def __call__(self, images, *, dropout_keys=None):
        return jnp.stack([nn.Dense(1, name=f"member{n}")(images)[..., 0] for n in (1, 2)], axis=-1)


@pytest.fixture(scope="module")
def two():
    """(network, parameters, images, masks)"""
    network = dilated.EnsembleNetwork(TwoMembers(), ((40.0, 120.0),), neighbors=1)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.random((2, 16, 16, 3)), jnp.float32)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    return network, params, images, jnp.asarray(rng.random((2, 16, 16)) < 0.3, jnp.float32)


def gradient_of(network, params, images, masks):
    keys = jax.random.split(jax.random.key(0), 2)
    loss = jax.jit(jax.value_and_grad(lambda p: network.loss(p, images, masks, dropout_keys=keys).sum()))
    return loss(params)


def test_every_parameter_has_a_gradient(two):
    module = dilated.PatchEnsemble(1, width=1, blocks=(0, 1, 1, 0, 1, 0, 0, 0), stride=4)
    network = dataclasses.replace(two[0], module=module)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    loss, gradient = gradient_of(network, params, *two[2:])
    assert np.isfinite(loss)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_each_member_learns_by_its_own_loss(two):
    network, params, images, masks = two
    loss, gradient = gradient_of(network, params, images, masks)
    other = params | {"member2": jax.tree.map(lambda x: x + 1.0, params["member2"])}
    changed, changed_gradient = gradient_of(network, other, images, masks)
    assert changed != loss
    jax.tree.map(np.testing.assert_array_equal, changed_gradient["member1"], gradient["member1"])


def test_disagreement_is_the_entropy_that_the_mean_has_more(two):
    network, params, images, masks = two
    fields = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)}
    disagreement = dilated.DisagreementNetwork(**fields)

    @jax.jit
    def predict(params):
        return (
            network.logits(params, images),
            disagreement.predict(params, images)[0],
            network.predict(params, images)[0],
        )

    def entropy(p):
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    logits, found, mean = predict(params)
    each = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    np.testing.assert_allclose(mean, each.mean(-1), atol=1e-6)
    np.testing.assert_allclose(found, entropy(each.mean(-1)) - entropy(each).mean(-1), atol=1e-6)
    assert float(found.max()) > 0.01
    np.testing.assert_allclose(predict(params | {"member2": params["member1"]})[1], 0.0, atol=1e-6)
    chex.assert_trees_all_close(network.validate(params, images, masks)[1], mean, atol=1e-6)
