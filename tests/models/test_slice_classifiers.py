"""Classifiers of slices: attention, interpolation of slices, recurrence and masks, with small networks, by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models.densenet import DenseNet
from ichjax.models.recurrence import SliceRecurrence
from ichjax.models.sequence_classifier import (
    MaskedRecurrentClassifier,
    MaskedSequenceNetwork,
    RecurrentClassifier,
    merged,
)
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.models.slice_classifier import SHARPNESS, Classifier, Ensemble, SliceClassifier, attention, log_mean_exp
from ichjax.models.slice_interpolation import DEGREE, InterpolatedClassifier, interpolate
from ichjax.ops import losses

WINDOWS = ((40.0, 80.0), (175.0, 50.0))


class Tiny(nn.Module):
    """A convolution of stride 2 and a ReLU."""

    @nn.compact
    def __call__(self, images):
        return nn.relu(nn.Conv(4, (3, 3), strides=2)(images))


def perturbed(init, seed=0):
    """Parameters from a function of a key, all different, as some start at 0."""
    leaves, tree = jax.tree.flatten(jax.jit(init)(jax.random.key(0)))
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


def random_hu(*shape):
    return jnp.asarray(np.random.default_rng(3).integers(0, 200, shape), jnp.int16)


def assert_all_learn(gradient):
    """Fails where the gradient of an array of parameters is not finite, or 0."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.asarray(leaf).any(), path


def test_the_log_mean_exp_is_near_the_mean_and_near_the_maximum():
    maps = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.log(np.exp(SHARPNESS * maps).mean(axis=(1, 2))) / SHARPNESS
    np.testing.assert_allclose(log_mean_exp(maps), expected, rtol=1e-5)
    np.testing.assert_allclose(log_mean_exp(1e-3 * maps), 1e-3 * maps.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(log_mean_exp(1e3 * maps), 1e3 * maps.max(axis=(1, 2)), rtol=2e-3)


def test_attention_is_relative_to_its_highest_value():
    maps = jnp.asarray([[[-1.0, 0.5], [2.0, 1.0]], [[-1.0, -2.0], [-3.0, 0.0]]])
    got = np.asarray(attention(maps, (2, 2)))
    np.testing.assert_allclose(got, [[[0, 0.25], [1, 0.5]], [[0, 0], [0, 0]]])


def test_an_ensemble_is_the_mean_of_its_members():
    module = Ensemble((Classifier(Tiny(), (0,)), Classifier(Tiny(), (1,))))
    network = SliceClassifier(module, WINDOWS)
    hu = random_hu(3, 8, 8)
    params, images = perturbed(lambda key: network.init(key, 8)), network.images(hu)
    predict, apply = jax.jit(network.predict), jax.jit(module.apply)
    probability, scores = predict(params, images)
    logits, maps = apply({"params": params}, images)
    np.testing.assert_allclose(scores, (nn.sigmoid(logits[0]) + nn.sigmoid(logits[1])) / 2, atol=1e-6)
    own = [nn.sigmoid(one[:, -1])[:, None, None] * attention(m, (8, 8)) for one, m in zip(logits, maps, strict=True)]
    np.testing.assert_allclose(probability, (own[0] + own[1]) / 2, atol=1e-6)
    other = apply({"params": params}, images.at[..., 1].set(0.0))[0]
    np.testing.assert_allclose(other[0], logits[0], atol=1e-6)  # the second member sees the second window alone
    assert not np.allclose(other[1], logits[1])


def test_slices_are_mixed_with_their_neighbors():
    images = jnp.arange(24.0).reshape(2, 1, 2, 6)
    got = np.asarray(interpolate(images, jnp.asarray([0.0, 0.25])))
    below, own, above = (np.asarray(images)[..., k : k + 2] for k in (0, 2, 4))
    np.testing.assert_allclose(got[0], own[0])
    np.testing.assert_allclose(got[1], 0.25 * below[1] + 0.5 * own[1] + 0.25 * above[1])


def test_the_degree_is_random_in_training_and_fixed_afterwards():
    network = InterpolatedClassifier(Ensemble((Classifier(Tiny()),)), WINDOWS, neighbors=1, max_degree=0.3)
    hu = jnp.broadcast_to(random_hu(1, 8, 8, 3), (4, 8, 8, 3))
    params = perturbed(lambda key: network.init(key, 8))
    images, masks = network.images(hu), jnp.zeros((4, 8, 8))
    assert images.shape == (4, 8, 8, 6)
    classes = jnp.zeros((4, 8, 8), jnp.uint8)
    keys = jax.random.split(jax.random.key(1), 4)
    loss = jax.jit(lambda keys: network.loss(params, images, masks, dropout_keys=keys, classes=classes))
    each = np.asarray(loss(keys))
    assert len(np.unique(each)) == 4  # of the same slice
    np.testing.assert_allclose(loss(keys[::-1]), each[::-1], rtol=1e-5)
    predict, plain = jax.jit(network.predict), jax.jit(SliceClassifier(network.module, WINDOWS).predict)
    for degree in (0.0, 0.2):
        scores = predict(params | {DEGREE: jnp.float32(degree)}, images)[1]
        np.testing.assert_allclose(scores, plain(params, interpolate(images, jnp.full(4, degree)))[1], atol=1e-6)
    half = predict(params | {DEGREE: jnp.float32(0.15)}, images)[1]
    np.testing.assert_allclose(predict(params, images)[1], half, atol=1e-6)


@pytest.fixture(scope="module")
def recurrent():
    """(network, parameters, module) of a small recurrent classifier."""
    module = RecurrentClassifier(Tiny(), 3, "gru", 0.5)
    own = {"scan_weight": 0.5, "segments": False, "stack": 4, "slice_head_weight": 1.0}
    network = SequenceNetwork(module, WINDOWS, **own)
    return network, perturbed(lambda key: network.init(key, 8)), module


@pytest.mark.parametrize("kind", ["gru", pytest.param("lstm", marks=pytest.mark.faults)])
def test_the_gradient_of_a_detached_recurrence_is_that_of_each_slices_own_output(kind):
    maps = jax.random.normal(jax.random.key(2), (1, 5, 1, 1, 2))
    real = jnp.ones((1, 5), bool)
    whole, detached = (SliceRecurrence(3, kind, 1, detached=flag) for flag in (False, True))
    params = perturbed(lambda key: whole.init(key, maps, real))
    jacobian = jax.jit(jax.jacobian(lambda x: whole.apply(params, x, real).sum(axis=(2, 3, 4))[0]))(maps)[:, 0, :, 0, 0]
    own = np.stack([np.asarray(jacobian)[k, k] for k in range(5)])
    got = jax.jit(jax.grad(lambda x: detached.apply(params, x, real).sum()))(maps)[0, :, 0, 0]
    np.testing.assert_allclose(got, own, atol=1e-6)
    assert not np.allclose(np.asarray(jacobian).sum(axis=0), own)


def test_grad_cam_weights_features_by_the_gradient_of_the_slices_logit(recurrent):
    network, params, module = recurrent
    images = network.slice_images(random_hu(4, 8, 8))
    variables = {"params": params}
    mean, (features, _) = jax.jit(lambda x: module.apply(variables, x, method="encode"))(images)

    def logits(mean):
        states = module.apply(variables, mean[None], jnp.ones((1, 4), bool), method="mix")[0, :, 0, 0, :6]
        return states @ params["head"]["kernel"][:, -1]

    jacobian = np.asarray(jax.jit(jax.jacobian(logits))(mean))[:, :, 0, 0]
    maps = jnp.stack([features[k] @ jacobian[k, k] for k in range(4)])
    mixed = jax.jit(network.mix)(params, mean[None], jnp.ones((1, 4), bool))[0]
    probability, scores = jax.jit(network.decode)(params, images, mixed)
    scale = jnp.abs(maps).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(probability, attention(maps / scale, (8, 8)) * scores[:, -1, None, None], atol=1e-5)
    together = jax.jit(module.apply)(variables, images, jnp.ones((1, 4), bool))
    np.testing.assert_allclose(scores, nn.sigmoid(together.slices), atol=1e-6)


def stack_loss(network, params, count=3, seed=0):
    """The loss of a stack of 4 slices, `count` of them real."""
    hu = random_hu(1, 8, 8, 4)
    masks = jnp.zeros((1, 8, 8, 4)).at[0, 2:4, 2:4, 1].set(1.0)
    classes = jnp.zeros((1, 8, 8, 4), jnp.uint8).at[0, 2:4, 2:4, 1].set(2)
    keys = jax.random.split(jax.random.key(seed), 1)
    slices = jnp.full(1, count, jnp.int32)
    return network.loss(
        params, network.images(hu), masks, dropout_keys=keys, slices=slices, classes=classes
    ).sum()  # fmt: skip


def test_every_parameter_of_a_recurrent_classifier_learns(recurrent):
    network, params, _ = recurrent
    assert_all_learn(jax.jit(jax.grad(lambda p: stack_loss(network, p)))(params))


def test_masks_are_learned_one_by_one_and_merged_afterwards():
    module = MaskedRecurrentClassifier(DenseNet(4, 1), 3, "lstm")
    network = MaskedSequenceNetwork(module, WINDOWS, gated=True, segments=False, stack=4, slice_head_weight=1.0)
    params = perturbed(lambda key: network.init(key, 8))
    assert_all_learn(jax.jit(jax.grad(lambda p: stack_loss(network, p)))(params))
    masks = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 3)), jnp.float32)
    truth = (masks[..., 0] > 0).astype(jnp.float32)
    each = [losses.binary_cross_entropy(masks[..., k], truth) for k in range(3)]
    np.testing.assert_allclose(network.loss_of_logits(masks, truth), np.sum(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(nn.sigmoid(merged(masks)), nn.sigmoid(masks).mean(axis=-1), atol=1e-6)
    far = merged(jnp.full((1, 1, 1, 3), 200.0))
    assert np.isfinite(far).all()
    assert float(far[0, 0, 0]) > 50
