"""Slice labels train the encoder of a U-Net, with the names of its parameters; weak labels reach the pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.models.pretraining import EncoderClassifier
from ichjax.models.recurrent_unet import RecurrentUNet
from ichjax.models.residual_unet import ResidualUNet
from ichjax.models.sequence_network import SequenceNetwork

UNET = ResidualUNet(4, 8, 1, (1, 1))
WINDOWS = ((40.0, 120.0),)
FIELDS = {"windows": WINDOWS, "side_multiple": 2, "stack": 3}
CLASSIFIER = SequenceNetwork(EncoderClassifier(UNET, 3), **FIELDS, slice_head_weight=1.0, segments=False)


@functools.cache
def weights():
    params = jax.jit(lambda key: CLASSIFIER.init(key, 16))(jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params)


def stack(seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(-40, 130, (2, 16, 16, 3)), jnp.int16)


def loss_of(network, params, labels, has_mask, masks=None, slices=(3, 2)):
    """float32 [2], and the gradient of its sum."""
    keys = jax.random.split(jax.random.key(0), 2)
    masks = jnp.zeros((2, 16, 16, 3)) if masks is None else masks

    @jax.jit
    def run(params):
        given = {"labels": jnp.asarray(labels), "has_mask": jnp.asarray(has_mask)}
        images = network.images(stack())
        each = network.loss(params, images, masks, dropout_keys=keys, slices=jnp.asarray(slices), **given)
        return each.sum(), each

    (_, each), gradient = jax.value_and_grad(run, has_aux=True)(params)
    return np.asarray(each), gradient


def test_its_encoder_is_that_of_the_unet():
    alone = jax.eval_shape(lambda: UNET.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"])
    ours = jax.eval_shape(lambda: CLASSIFIER.init(jax.random.key(0), 16))
    encoder = {name for name in alone if name.startswith(("encoder", "bottleneck"))}
    assert set(ours) == encoder | {"own_head", "scan_recurrence", "scan_head"}
    for name in encoder:
        assert jax.tree.map(lambda x: x.shape, ours[name]) == jax.tree.map(lambda x: x.shape, alone[name])


def test_the_loss_is_the_weighted_log_loss_of_both_heads_over_known_labels():
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 2, (2, 3, 6)).astype(np.int8)
    each, gradient = loss_of(CLASSIFIER, weights(), labels, np.zeros(2, np.uint8))
    decoded, _ = CLASSIFIER.decoded(weights(), CLASSIFIER.images(stack()), jnp.array([3, 2]))
    expected = np.zeros(2)
    for logits in (decoded.slices, *decoded.further_slices):
        values = np.asarray(logits, np.float64).reshape(2, 3, 6)
        log_loss = np.where(labels == 1, np.log1p(np.exp(-values)), np.log1p(np.exp(values)))
        per_slice = (np.where(labels == -1, 0, log_loss) * [1, 1, 1, 1, 1, 2]).sum(axis=2) / 7
        expected += [per_slice[0].mean(), per_slice[1, :2].mean()]
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    used = {name: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree)) for name, tree in gradient.items()}
    assert all(largest > 0 for largest in used.values())


def test_weak_labels_reach_pixels_and_masks_do_not_where_there_are_none():
    network = SequenceNetwork(RecurrentUNet(UNET, "none", 1), **FIELDS, weak_weight=1.0)
    params = jax.jit(lambda key: network.init(key, 16))(jax.random.key(0))
    labels = np.full((2, 3, 6), -1, np.int8)
    labels[0, :, 5] = [1, 0, -1]
    each, gradient = loss_of(network, params, labels, np.array([0, 1], np.uint8))
    decoded, _ = network.decoded(params, network.images(stack()), jnp.array([3, 2]))
    logits = np.asarray(decoded.logits, np.float64).reshape(2, 3, 256)
    highest = logits[0].max(axis=1)
    np.testing.assert_allclose(each[0], (np.log1p(np.exp(-highest[0])) + np.log1p(np.exp(highest[1]))) / 3, rtol=1e-5)
    np.testing.assert_allclose(each[1], np.log1p(np.exp(logits[1, :2])).mean(), rtol=1e-5)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0


def test_slices_without_labels_do_not_select_an_epoch():
    """Of a stack with one known slice, validation has the loss of that slice alone, and no probability of others."""
    labels = -np.ones((2, 3, 6), np.int8)
    labels[0, 1], labels[1] = 1, 0
    slices = jnp.array([3, 2])
    images, masks = CLASSIFIER.images(stack()), jnp.zeros((2, 16, 16, 3))
    validate = jax.jit(lambda labels: CLASSIFIER.validate(weights(), images, masks, slices=slices, labels=labels))
    loss, probability = validate(jnp.asarray(labels))
    logits = np.asarray(CLASSIFIER.decoded(weights(), images, slices)[0].slices).reshape(2, 3, 6)[..., -1]
    expected = [np.logaddexp(0, -logits[0, 1]), np.logaddexp(0, logits[1, :2]).mean()]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    known = np.array([[False, True, False], [True, True, False]])
    np.testing.assert_allclose(probability[:, 0, 0], np.where(known, 1 / (1 + np.exp(-logits)), 0), rtol=1e-5)
    assert CLASSIFIER.validation_truth(masks, labels=jnp.asarray(labels)).sum() == 1
