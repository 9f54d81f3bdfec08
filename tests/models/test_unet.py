"""The network's shape and size against the authors' figures, and its layers against NumPy."""

import math

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import unet


def abstract(model, side):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 1)))["params"]


@pytest.mark.parametrize("side", [128, 160])
def test_the_papers_network_has_31_031_685_parameters_in_24_convolutions(side):
    params = abstract(unet.UNet(), side)
    assert unet.count_parameters(params) == 31_031_685
    kernels = [leaf for path, leaf in flax.traverse_util.flatten_dict(params).items() if path[-1] == "kernel"]
    assert len(kernels) == 24
    assert max(kernel.shape[-1] for kernel in kernels) == 1024


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_are_float32_of_the_images_size(norm, dtype):
    model = unet.UNet(base_width=4, depth=2, norm=norm, dtype=dtype)
    images = jnp.ones((3, 16, 24, 2))
    params = model.init(jax.random.key(0), images)
    logits = model.apply(params, images)
    chex.assert_shape(logits, (3, 16, 24))
    chex.assert_type(logits, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def conv(x, kernel, bias):
    """A 'same' convolution in NumPy: an even kernel gets its extra padding at the end, as in Keras."""
    side = kernel.shape[0]
    x = np.pad(x, (((side - 1) // 2, side // 2), ((side - 1) // 2, side // 2), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(0, 1))
    return np.einsum("hwcij,ijco->hwo", view, kernel) + bias


def test_forward_agrees_with_numpy():
    model = unet.UNet(base_width=3, depth=1)
    rng = np.random.default_rng(0)
    image = rng.random((8, 8, 1), dtype=np.float32)
    params = model.init(jax.random.key(1), image[None])["params"]
    layers = {name: (np.asarray(p["kernel"]), np.asarray(p["bias"]) + 0.01) for name, p in params.items()}
    params = {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in layers.items()}
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    level = lambda x, name: relu(conv(relu(conv(x, *layers[name + "_conv1"])), *layers[name + "_conv2"]))  # noqa: E731
    skip = level(image, "encoder1")
    pooled = skip.reshape(4, 2, 4, 2, 3).max(axis=(1, 3))
    deep = level(pooled, "bottleneck")
    up = relu(conv(deep.repeat(2, axis=0).repeat(2, axis=1), *layers["up1"]))
    x = level(np.concatenate([skip, up], axis=-1), "decoder1")
    expected = conv(relu(conv(x, *layers["head"])), *layers["logit"])[..., 0]
    np.testing.assert_allclose(model.apply({"params": params}, image[None])[0], expected, atol=1e-5)


def test_dropout_keeps_the_mean_and_depends_on_the_examples_own_key():
    x = jnp.ones((4, 32, 32, 8))
    keys = jax.random.split(jax.random.key(0), 4)
    dropped = unet.drop(x, keys, 0.5, salt=0)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_allclose(dropped.mean(axis=(1, 2, 3)), 1.0, atol=0.05)
    np.testing.assert_array_equal(unet.drop(x[2:3], keys[2:3], 0.5, salt=0)[0], dropped[2])
    assert (unet.drop(x, keys, 0.5, salt=1) != dropped).any()
    assert unet.drop(x, None, 0.5, salt=0) is x


@pytest.mark.parametrize("channels", [4, 12, 16])
def test_group_normalisation_agrees_with_flax(channels):
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 6, 10, channels)), jnp.float32)
    theirs = flax.linen.GroupNorm(num_groups=math.gcd(unet.GROUPS, channels))
    params = theirs.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + jnp.linspace(0.0, 1.0, channels), params)
    np.testing.assert_allclose(unet.GroupNorm().apply(params, x), theirs.apply(params, x), atol=1e-4)


def test_pooling_and_its_gradient_agree_with_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 3)), jnp.float32)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3, 3)), jnp.float32)
    theirs = jax.value_and_grad(lambda x: (flax.linen.max_pool(x, (2, 2), (2, 2)) * weights).sum())(x)
    ours = jax.value_and_grad(lambda x: (unet.halve(x) * weights).sum())(x)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="'batch'"):
        unet.UNet(base_width=4, depth=1, norm="batch").init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
