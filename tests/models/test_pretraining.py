"""Slice labels train the encoder of a U-Net, with the names of its parameters; weak labels reach the pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ichjax.models.pretraining import EncoderClassifier
from ichjax.models.recurrent_unet import RecurrentUNet
from ichjax.models.residual_unet import ResidualUNet
from ichjax.models.sequence_network import UNKNOWN, SequenceNetwork

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
    assert encoder
    for name in encoder:
        assert jax.tree.map(lambda x: x.shape, ours[name]) == jax.tree.map(lambda x: x.shape, alone[name])


def test_the_loss_is_the_weighted_log_loss_of_both_heads_over_known_labels():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (2, 3, 6)).astype(np.uint8)
    each, gradient = loss_of(CLASSIFIER, weights(), labels, np.zeros(2, np.uint8))
    decoded, _ = CLASSIFIER._decoded(weights(), CLASSIFIER.images(stack()), jnp.array([3, 2]))
    expected = np.zeros(2)
    for logits in (decoded.slices, *decoded.further_slices):
        values = np.asarray(logits, np.float64).reshape(2, 3, 6)
        log_loss = np.where(labels == 1, np.log1p(np.exp(-values)), np.log1p(np.exp(values)))
        per_slice = (np.where(labels == UNKNOWN, 0, log_loss) * [1, 1, 1, 1, 1, 2]).sum(axis=2) / 7
        expected += [per_slice[0].mean(), per_slice[1, :2].mean()]
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    used = {name: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree)) for name, tree in gradient.items()}
    assert all(used[name] > 0 for name in used if not name.startswith(("decoder", "up", "logit")))


def test_a_sequence_of_labels_is_learned():
    """Whether a slice is brighter than the one below it, which a slice on its own does not tell."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 80, (40, 3))
    images = (level[:, None, None] + rng.normal(0, 2, (40, 16, 16, 3))).astype(np.int16)
    labels = np.full((40, 3, 6), UNKNOWN, np.uint8)
    labels[:, 1:, 5] = level[:, 1:] > level[:, :-1]
    optimizer = optax.adam(2e-2)
    keys = jax.random.split(jax.random.key(0), 40)
    given = {"slices": jnp.full(40, 3), "labels": jnp.asarray(labels), "has_mask": jnp.zeros(40, jnp.uint8)}

    def loss(params):
        seen = CLASSIFIER.images(jnp.asarray(images))
        return CLASSIFIER.loss(params, seen, jnp.zeros(images.shape), dropout_keys=keys, **given).mean()

    @jax.jit
    def train(params):
        def step(carry, _):
            params, moments = carry
            updates, moments = optimizer.update(jax.grad(loss)(params), moments)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=150)[0][0]

    params = train(weights())
    decoded, _ = CLASSIFIER._decoded(params, CLASSIFIER.images(jnp.asarray(images)), jnp.full(40, 3))
    right = (np.asarray(decoded.slices).reshape(40, 3, 6)[:, 1:, 5] > 0) == (labels[:, 1:, 5] == 1)
    own = (np.asarray(decoded.further_slices[0]).reshape(40, 3, 6)[:, 1:, 5] > 0) == (labels[:, 1:, 5] == 1)
    assert right.mean() > 0.9
    assert own.mean() < right.mean()


def test_weak_labels_reach_pixels_and_masks_do_not_where_there_are_none():
    network = SequenceNetwork(RecurrentUNet(UNET, "none", 1), **FIELDS, weak_weight=1.0)
    params = jax.jit(lambda key: network.init(key, 16))(jax.random.key(0))
    labels = np.full((2, 3, 6), UNKNOWN, np.uint8)
    labels[0, :, 5] = [1, 0, UNKNOWN]
    each, gradient = loss_of(network, params, labels, np.array([0, 1], np.uint8))
    decoded, _ = network._decoded(params, network.images(stack()), jnp.array([3, 2]))
    logits = np.asarray(decoded.logits, np.float64).reshape(2, 3, 256)
    highest = logits[0].max(axis=1)
    np.testing.assert_allclose(each[0], (np.log1p(np.exp(-highest[0])) + np.log1p(np.exp(highest[1]))) / 3, rtol=1e-5)
    np.testing.assert_allclose(each[1], np.log1p(np.exp(logits[1, :2])).mean(), rtol=1e-5)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0
