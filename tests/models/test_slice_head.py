"""The second head: its labels and its loss by hand, its logits against NumPy, and the networks that have it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ichjax.data.label_tables import SUBTYPES
from ichjax.models import residual_unet, slice_head, unet
from tests.models.test_residual_unet import FIELDS

FAMILIES = {
    "paper": (unet, {"model.dropout": 0.0}),
    "supervised": (residual_unet, FIELDS | {"model.depth": 3, "model.deep_supervision": True}),
}


def test_there_is_a_logit_for_every_sub_type_and_one_for_any():
    assert len(slice_head.LABEL_WEIGHTS) == len(SUBTYPES) + 1


class TestLabels(chex.TestCase):
    @chex.all_variants(with_pmap=False)
    def test_by_hand(self):
        classes = np.zeros((5, 2, 2), np.uint8)
        classes[1, 0] = 2, 5  # two sub-types
        classes[2, 0] = 3, 255  # one of them unknown
        classes[3, 1, 1] = 255
        classes[4, 1, 1] = 255
        masks = (classes > 0).astype(np.float32)
        masks[4] = 0  # moved out of the patch
        truth, known = self.variant(slice_head.slice_labels)(classes, masks)
        expected = [[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1], [0] * 6]
        np.testing.assert_array_equal(truth, np.array(expected, bool), strict=True)
        expected = [[1] * 6, [1] * 6, [0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1], [1] * 6]
        np.testing.assert_array_equal(known, np.array(expected, bool), strict=True)


def test_the_loss_by_hand():
    """Of 1/2, 1/4 and 3/4 for labels of weight 1, 1 and 2 of 7; the others are not known."""
    logits = np.log(np.array([[1, 1 / 3, 9, 9, 9, 3]], np.float32))
    truth = np.array([[0, 1, 0, 0, 1, 1]], bool)
    known = np.array([[1, 1, 0, 0, 0, 1]], bool)
    expected = -(np.log(1 / 2) + np.log(1 / 4) + 2 * np.log(3 / 4)) / 7
    np.testing.assert_allclose(slice_head.slice_loss(logits, truth, known), [expected], rtol=1e-6)


def test_the_gradient_where_training_starts():
    truth, known = np.array([[0, 1, 0, 0, 0, 1]], bool), np.array([[1, 1, 0, 1, 1, 1]], bool)
    gradient = jax.grad(lambda z: slice_head.slice_loss(z, truth, known).sum())(jnp.zeros((1, 6)))
    np.testing.assert_allclose(gradient * 7, [[0.5, -0.5, 0, 0.5, 0.5, -1]], rtol=1e-6)


@given(
    arrays.arrays(np.float32, (3, 6), elements=st.floats(-50, 50, width=32)), arrays.arrays(bool, (3, 6)),
    arrays.arrays(bool, (3, 6)),
)  # fmt: skip
def test_the_loss_equals_that_of_optax(logits, truth, known):
    expected = np.average(optax.sigmoid_binary_cross_entropy(logits, truth) * known, axis=1, weights=[1] * 5 + [2])
    np.testing.assert_allclose(slice_head.slice_loss(logits, truth, known), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def made(tiny_config):
    """made(family): (a network with the head, one without, parameters of the former, images)."""

    @functools.cache
    def make(family):
        module, fields = FAMILIES[family]
        configs = [tiny_config(**fields | {"train.slice_head_weight": weight}) for weight in (0.5, 0.0)]
        network, plain = (module.network_from_config(config) for config in configs)
        rng = np.random.default_rng(0)
        params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
        params["slice_head"] = jax.tree.map(lambda x: jnp.float32(rng.normal(0, 0.1, x.shape)), params["slice_head"])
        return network, plain, params, jnp.asarray(rng.random((2, 16, 16, 1)), jnp.float32)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_the_mask_and_of_the_slice(made, family):
    """The other parameters, and the loss of the mask, are those of the network without a head."""
    network, plain, params, images = made(family)
    classes = np.zeros((2, 16, 16), np.uint8)
    classes[0, 3:9, 4:7], classes[0, 10:12], classes[1, 5, 5:9] = 1, 255, 4
    masks = (classes > 0).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    rest = {name: value for name, value in params.items() if name != "slice_head"}
    chex.assert_trees_all_equal_shapes_and_dtypes(rest, plain.shapes(16))
    both = jax.jit(network.loss)(params, images, masks, dropout_keys=keys, classes=classes)
    mask_loss = jax.jit(plain.loss)(rest, images, masks, dropout_keys=keys)
    probability, scores = jax.jit(network.predict)(params, images)
    assert (probability.shape, scores.shape) == ((2, 16, 16), (2, 6))
    scores = np.asarray(scores, np.float64)
    truth = np.array([[1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 1]], bool)
    known = np.array([[1, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]])  # next to unknown hemorrhage only what is present
    losses = -np.where(truth, np.log(scores), np.log(1 - scores)) * known
    expected = 0.5 * np.average(losses, axis=1, weights=[1, 1, 1, 1, 1, 2])
    np.testing.assert_allclose(both - mask_loss, expected, rtol=1e-4)


def test_the_head_pools_the_bottleneck(made):
    """Against NumPy, from the features before the first up-convolution."""
    network, _, params, images = made("paper")
    _, state = network.module.apply(
        {"params": params}, images, capture_intermediates=lambda module, _: module.name == "bottleneck_norm2"
    )
    features = np.maximum(np.asarray(state["intermediates"]["bottleneck_norm2"]["__call__"][0]), 0)
    pooled = np.concatenate([features.mean(axis=(1, 2)), features.max(axis=(1, 2))], axis=1)
    head = jax.device_get(params["slice_head"])
    expected = pooled @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(network.apply(params, images)[1], expected, atol=1e-5)


def test_the_layer_table_lists_the_network_without_the_head(tiny_config):
    fields = [{"train.slice_head_weight": weight} for weight in (0.0, 1.0)]
    plain, headed = (unet.layer_table(tiny_config(**one)) for one in fields)
    assert plain == headed
