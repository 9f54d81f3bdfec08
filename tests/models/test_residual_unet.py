"""The residual U-Net: values against NumPy, its layers, its normalization, and the loss at several levels by hand."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import residual_unet, unet
from tests.models.test_unet import conv

FIELDS = {"model.encoder": "residual", "model.norm": "instance", "model.dropout": 0.0}


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def test_forward_agrees_with_numpy():
    model = residual_unet.ResidualUNet(base_width=3, max_width=5, depth=1, blocks=(1, 2), norm="none")
    image = np.random.default_rng(0).random((8, 8, 2), dtype=np.float32)
    params = jax.jit(model.init)(jax.random.key(1), image[None])["params"]
    layers = {name: (np.asarray(p["kernel"]), np.asarray(p["bias"]) + 0.01) for name, p in params.items()}
    params = {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in layers.items()}

    def block(x, name):
        y = conv(leaky(conv(x, *layers[f"{name}_conv1"])), *layers[f"{name}_conv2"])
        return leaky((conv(x, *layers[f"{name}_shortcut"]) if f"{name}_shortcut" in layers else x) + y)

    skip = block(image, "encoder1_block1")
    deep = skip.reshape(4, 2, 4, 2, 3).max(axis=(1, 3))
    deep = block(block(deep, "bottleneck_block1"), "bottleneck_block2")
    up = conv(deep.repeat(2, axis=0).repeat(2, axis=1), *layers["up1"])
    x = leaky(conv(np.concatenate([skip, up], axis=-1), *layers["decoder1_conv1"]))
    expected = conv(x, *layers["logit1"])[..., 0]
    np.testing.assert_allclose(model.apply({"params": params}, image[None])[0], expected, atol=1e-5)
    assert "encoder1_block1_shortcut" in layers
    assert "bottleneck_block2_shortcut" not in layers
    assert layers["bottleneck_block2_conv2"][0].shape == (3, 3, 5, 5)  # `max_width`


@pytest.mark.parametrize("levels", [1, 2])
def test_levels_that_see_each_slice_on_its_own_agree_with_numpy(levels):
    """Three slices in two windows, and a channel that is of no slice."""
    options = {"slices": 3, "extra_channels": 1, "slice_levels": levels}
    model = residual_unet.ResidualUNet(base_width=4, max_width=5, depth=1, blocks=(1, 1), norm="none", **options)
    images = np.random.default_rng(0).random((2, 8, 8, 7), dtype=np.float32)
    params = jax.jit(model.init)(jax.random.key(1), images)["params"]
    np.testing.assert_array_equal(params["merge"]["kernel"].T, [[0, 1, 0]] * (4 if levels == 1 else 5))
    params = jax.tree.map(lambda p: p + 0.01 * np.arange(p.size).reshape(p.shape) % 0.07, params)
    layers = {name: tuple(np.asarray(p[k]) for k in ("kernel", "bias") if k in p) for name, p in params.items()}

    def block(x, name):
        y = conv(leaky(conv(x, *layers[f"{name}_conv1"])), *layers[f"{name}_conv2"])
        return leaky(conv(x, *layers[f"{name}_shortcut"]) + y)

    def on_each_slice(stack, name):
        kernel, bias = layers[f"{name}_slices"]
        stack = np.stack([block(x, f"{name}_block1") for x in stack])
        padded = np.pad(stack, ((1, 1), (0, 0), (0, 0), (0, 0)))
        return leaky(stack + sum(padded[k : k + 3] @ kernel[k, 0] for k in range(3)) + bias)

    def merged(stack):
        return (stack * layers["merge"][0][:, None, None]).sum(axis=0)

    def logit(image):
        stack = np.stack([image[..., [0, 1, 6]], image[..., [2, 3, 6]], image[..., [4, 5, 6]]])
        stack = on_each_slice(stack, "encoder1")
        if levels == 1:
            skip = merged(stack)
            deep = block(skip.reshape(4, 2, 4, 2, 4).max(axis=(1, 3)), "bottleneck_block1")
        else:
            skip = stack[1]
            deep = merged(on_each_slice(stack.reshape(3, 4, 2, 4, 2, 4).max(axis=(2, 4)), "bottleneck"))
        up = conv(deep.repeat(2, axis=0).repeat(2, axis=1), *layers["up1"])
        x = leaky(conv(np.concatenate([skip, up], axis=-1), *layers["decoder1_conv1"]))
        return conv(x, *layers["logit1"])[..., 0]

    expected = np.stack([logit(image) for image in images])
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.faults  # a gradient operation by operation takes 20 s
def test_the_compiled_gradient_of_stacks_of_slices_is_that_of_the_operations_one_by_one(tiny_config):
    """A compiler that computes a maximum twice, with other rounding, lost a part of the gradient of jnp.maximum."""
    fields = {"model.depth": 1, "model.base_width": 2, "model.neighbors": 1, "model.slice_levels": 2}
    network = residual_unet.network_from_config(tiny_config(**FIELDS | fields | {"model.blocks": (1, 1)}))
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 8)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.random((4, 8, 8, 3)), jnp.float32)
    masks = (rng.random((4, 8, 8)) < 0.3).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 4)
    gradient = jax.grad(lambda params: network.loss(params, images, masks, dropout_keys=keys).mean())
    with jax.disable_jit():
        expected = gradient(params)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), jax.jit(gradient)(params), expected
    )


@pytest.mark.parametrize("norm", ["none", "group", "instance"])
@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("levels", [0, 2])
def test_the_layer_table_adds_up(tiny_config, norm, supervised, levels):
    fields = {"model.depth": 3, "model.neighbors": 1, "model.slice_levels": levels}
    made = tiny_config(**FIELDS | fields | {"model.norm": norm, "model.deep_supervision": supervised})
    network = residual_unet.network_from_config(made)
    table, params = unet.layer_table(made, network.module), network.shapes(16)
    assert sum(row["parameters"] for row in table) == unet.count_parameters(params)
    assert {row["name"] for row in table} == set(params)
    assert table[-1]["output_shape"] == [16, 16, 1]
    assert sum(name.startswith("logit") for name in params) == (2 if supervised else 1)
    assert sum("_block" in name and name.endswith("_conv1") for name in params) == 4 * 2


def test_the_logits_of_every_level_and_those_of_prediction(tiny_config):
    made = tiny_config(**FIELDS | {"model.depth": 3, "model.deep_supervision": True, "model.blocks": (1, 1, 1, 1)})
    network = residual_unet.network_from_config(made)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    images = jnp.asarray(np.random.default_rng(0).random((2, 16, 24, 1)), jnp.float32)
    levels = jax.jit(functools.partial(network.module.apply, every_level=True))({"params": params}, images)
    assert [level.shape for level in levels] == [(2, 16, 24), (2, 8, 12)]
    np.testing.assert_allclose(jax.jit(network.logits)(params, images), levels[0], atol=1e-5)


@pytest.mark.parametrize("focal_gamma", [0.0, 2.0])
def test_the_loss_of_two_levels_by_hand(tiny_config, focal_gamma):
    fields = {"model.depth": 3, "model.deep_supervision": True, "train.focal_gamma": focal_gamma}
    network = residual_unet.network_from_config(tiny_config(**FIELDS | fields | {"train.dice_weight": 0.5}))
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.random((2, 16, 16, 1)), jnp.float32)
    masks = (rng.random((2, 16, 16)) < 0.3).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    levels = jax.jit(functools.partial(network.module.apply, every_level=True))({"params": params}, images)

    def loss(logits, truth):
        p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
        entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)) * abs(truth - p) ** focal_gamma
        dice = (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
        return entropy.mean((1, 2)) + 0.5 * (1 - dice)

    small = masks.astype(np.float64).reshape(2, 8, 2, 8, 2).mean(axis=(2, 4))
    expected = 2 / 3 * loss(levels[0], masks.astype(np.float64)) + 1 / 3 * loss(levels[1], small)
    ours = jax.jit(lambda: network.loss(params, images, masks, dropout_keys=keys))()
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("channels", [4, 7])
def test_instance_normalization_agrees_with_flax(channels):
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 6, 10, channels)), jnp.float32)
    theirs = flax.linen.GroupNorm(num_groups=None, group_size=1)
    params = jax.tree.map(lambda p: p + jnp.linspace(0.0, 1.0, channels), theirs.init(jax.random.key(0), x))
    ours = unet.make_norm("instance", "norm")
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-4)


def test_bfloat16_computes_with_float32_parameters_and_losses(tiny_config):
    network = residual_unet.network_from_config(tiny_config(**FIELDS | {"model.dtype": "bfloat16"}))
    params = network.shapes(16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.float32)
    logits = jax.eval_shape(network.logits, params, images)
    assert (logits.shape, logits.dtype) == ((2, 16, 16), jnp.dtype("float32"))
    assert "bf16" in str(jax.make_jaxpr(network.logits)(params, images))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_leaky_relu_and_its_gradient_are_those_of_jax_to_the_last_bit(dtype):
    x = jnp.concatenate([jnp.array([0.0, -0.0]), jax.random.normal(jax.random.key(0), (1000,))]).astype(dtype)
    for ours, theirs in zip(
        jax.vjp(residual_unet.leaky_relu, x), jax.vjp(lambda x: jax.nn.leaky_relu(x, 0.01), x), strict=True
    ):
        ours, theirs = (each if isinstance(each, jax.Array) else each(x)[0] for each in (ours, theirs))
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)
