"""The network for sub-types: its input, its loss in NumPy, blank priors, and hemorrhage as 1 - background."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data.classes import UNKNOWN_SUBTYPE
from ichjax.models import class_network, residual_unet, unet
from ichjax.models.residual_unet import ResidualUNet
from tests.models.test_residual_unet import FIELDS

TWO_WINDOWS = {"windows": ((40.0, 80.0), (600.0, 1400.0))}
FIELDS = FIELDS | TWO_WINDOWS | {"model.depth": 3, "model.deep_supervision": True, "model.blocks": (1,) * 4}
FIELDS |= {"train.dice_weight": 0.5, "train.positive_weight": 2.0}


@pytest.fixture(scope="module")
def made(tiny_config):
    """(network, parameters, images, classes) of two examples, with known and unknown hemorrhage in the first."""
    network = class_network.network_from_config(tiny_config(**FIELDS), prior_blank=0.0)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    images = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3)), jnp.float32)
    classes = np.zeros((2, 16, 16), np.uint8)
    classes[0, 3:9, 4:7], classes[0, 10:13, 2:], classes[0, 14, 5:9] = 1, UNKNOWN_SUBTYPE, 4
    return network, params, images, classes


def test_the_prior_is_the_last_channel_and_not_windowed(made, tiny_config):
    network = made[0]
    hu = np.random.default_rng(0).integers(-500, 1500, (2, 8, 8, 2)).astype(np.int16)
    hu[..., -1] = np.abs(hu[..., -1]) % 1001
    hu[1, :, :4, -1] = -1024  # as padding is
    images = network.images(hu)
    binary = residual_unet.network_from_config(tiny_config(**FIELDS))
    np.testing.assert_array_equal(images[..., :2], binary.images(hu[..., 0]))
    np.testing.assert_allclose(images[..., 2], np.maximum(hu[..., -1], 0) / 1000, rtol=1e-6)
    marked = network.mark_corner(images)
    np.testing.assert_array_equal(marked[..., 2], images[..., 2])


def test_it_has_the_parameters_of_the_binary_network_but_for_its_input_and_logits(made, tiny_config):
    shapes, binary = (
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        for params in (made[1], residual_unet.network_from_config(tiny_config(**FIELDS)).shapes(16))
    )
    assert shapes.keys() == binary.keys()
    differ = {name for name in shapes if shapes[name] != binary[name]}
    assert differ == {
        f"['{layer}']['{kind}']"
        for layer, kind in [("encoder1_block1_conv1", "kernel"), ("encoder1_block1_shortcut", "kernel")]
        + [(f"logit{level}", kind) for level in (1, 2) for kind in ("kernel", "bias")]
    }
    assert shapes["['logit1']['kernel']"][-1] == 6


def log_softmax(logits):
    """In float64, with the background's offset as documented: 5 equal sub-types together have PRIOR_LOGIT."""
    logits = np.asarray(logits, np.float64) + np.log(5) * np.eye(6)[0] - unet.PRIOR_LOGIT * np.eye(6)[0]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def expected_loss(log_p, truth):
    """Cross-entropy and Dice of one level, from float64 [B, H, W, 6] and shares [B, H, W, 7]."""
    p = np.exp(log_p)
    cross = -(truth[..., :6] * log_p).sum(-1) - truth[..., 6] * np.log(p[..., 1:].sum(-1))
    loss = (cross * (2 - truth[..., 0])).mean(axis=(1, 2))
    for b in range(len(p)):
        pairs = [(1 - p[b, ..., 0], 1 - truth[b, ..., 0])]
        known = 1 - truth[b, ..., 6]
        pairs += [(p[b, ..., k] * known, truth[b, ..., k]) for k in range(1, 6) if truth[b, ..., k].any()]
        loss[b] += 0.5 * np.mean([1 - (2 * (x * y).sum() + 1) / (x.sum() + y.sum() + 1) for x, y in pairs])
    return loss


def test_the_loss_agrees_with_numpy_at_every_level(made):
    network, params, images, classes = made
    keys = jax.random.split(jax.random.key(0), 2)
    loss = jax.jit(network.loss)(params, images, (classes > 0).astype(np.float32), dropout_keys=keys, classes=classes)
    truth = np.eye(7)[np.where(classes == UNKNOWN_SUBTYPE, 6, classes)]
    levels = network.module.apply({"params": params}, images, every_level=True)
    assert len(levels) == 2
    half = truth.reshape(2, 8, 2, 8, 2, 7).mean(axis=(2, 4))
    expected = [expected_loss(log_softmax(z), t) for z, t in zip(levels, (truth, half), strict=True)]
    np.testing.assert_allclose(loss, (expected[0] + expected[1] / 2) / 1.5, rtol=1e-4)


def test_hemorrhage_is_one_minus_background(made):
    network, params, images, classes = made
    masks = (classes > 0).astype(np.float32)
    p = np.exp(log_softmax(network.logits(params, images)))
    subtypes, scores = jax.jit(network.predict)(params, images)
    assert scores is None
    np.testing.assert_allclose(subtypes, p[..., 1:], atol=1e-6)
    loss, probability = jax.jit(network.validate)(params, images, masks)
    np.testing.assert_allclose(probability, 1 - p[..., 0], atol=1e-6)
    np.testing.assert_allclose(network.probability(params, images), 1 - p[..., 0], atol=1e-6)
    cross = -np.where(masks > 0, np.log(1 - p[..., 0]), np.log(p[..., 0]))
    np.testing.assert_allclose(loss, cross.mean(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("blank", [0.0, 0.5, 1.0])
def test_blank_priors_are_drawn_by_example(made, blank):
    count, module = 64, ResidualUNet(1, 1, 1, (1, 1), norm="none", outputs=6)
    network = class_network.ClassNetwork(module, ((40.0, 80.0),), prior_blank=blank)
    images, classes = (jnp.asarray(np.repeat(x[:1], count, axis=0)) for x in (made[2][..., 1:], made[3]))
    keys = jax.random.split(jax.random.key(3), count)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    losses = functools.partial(jax.jit(network.loss), params, masks=classes > 0, dropout_keys=keys, classes=classes)
    drawn, without = np.asarray(losses(images)), np.asarray(losses(images.at[..., -1].set(0.0)))
    share = (drawn == without).mean()
    assert share == blank if blank in (0, 1) else 0.3 < share < 0.7
