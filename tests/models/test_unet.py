"""The U-Net: layers and size against the paper's, values against NumPy and flax."""

import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax import config
from ichjax.models import residual_unet, unet


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
def test_logits_are_float32_and_of_the_size_of_the_images(norm, dtype):
    model = unet.UNet(base_width=4, depth=2, norm=norm, dtype=dtype)
    images = jax.ShapeDtypeStruct((3, 16, 24, 2), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    logits = jax.eval_shape(model.apply, params, images)
    assert (logits.shape, logits.dtype) == ((3, 16, 24), jnp.dtype("float32"))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_the_layer_table_describes_the_papers_network():
    table = unet.layer_table(config.default())
    assert len(table) == 24
    assert sum(row["parameters"] for row in table) == 31_031_685
    rows = {row["name"]: row for row in table}
    assert rows["encoder1_conv1"] == {
        "name": "encoder1_conv1", "kernel": "3 x 3", "output_shape": [160, 160, 64], "parameters": 640,
        "receptive_field_px": 3,
    }  # fmt: skip
    assert rows["bottleneck_conv2"]["output_shape"] == [10, 10, 1024]
    assert rows["bottleneck_conv2"]["parameters"] == 9 * 1024 * 1024 + 1024
    assert rows["bottleneck_conv2"]["receptive_field_px"] == 140  # by hand
    assert (rows["up4"]["kernel"], rows["logit"]["output_shape"]) == ("2 x 2", [160, 160, 1])


@pytest.mark.parametrize("norm", ["none", "group"])
def test_the_layer_table_adds_up_for_any_network(tiny_config, norm):
    made = tiny_config(**{"model.norm": norm, "windows": ((40.0, 120.0), (60.0, 60.0))})
    model = unet.from_config(made)
    table = unet.layer_table(made)
    images = jnp.zeros((1, 16, 16, 2))
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    assert sum(row["parameters"] for row in table) == unet.count_parameters(params)
    assert {row["name"] for row in table} == set(params)
    assert table[-1]["output_shape"] == [16, 16, 1]


@pytest.mark.parametrize(("depth", "head"), [(1, "paper"), (2, "plain"), (3, "plain")])
def test_the_receptive_field_is_as_far_as_gradients_reach(tiny_config, depth, head):
    """With positive weights no dependence cancels, so the receptive field is where the gradient is not zero."""
    made = tiny_config(**{"model.depth": depth, "model.norm": "none", "model.base_width": 1, "model.head": head})
    model, side = unet.from_config(made), 32 * 2**depth
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 1)))["params"]
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1.0 / math.prod(leaf.shape[:-1])), shapes)

    # A mean instead of the maximum, whose gradient reaches one pixel only.
    def mean_pool(x):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean(axis=(2, 4))

    def at(image, row):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unet, "max_pool_2x2", mean_pool)
            return model.apply({"params": params}, image)[0, row, side // 2]

    gradient = jax.jit(jax.grad(at))
    reached = []
    for row in range(side // 2, side // 2 + 2**depth):
        rows = np.flatnonzero(np.asarray(gradient(jnp.ones((1, side, side, 1)), row))[0].any(axis=(1, 2)))
        reached.append(rows[-1] - rows[0] + 1)
    assert unet.layer_table(made)[-1]["receptive_field_px"] == max(reached)


def conv(x, kernel, bias):
    """A 'same' convolution in NumPy; the extra padding of an even kernel is at the end, as in Keras."""
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


def test_dropout_keeps_the_mean_and_depends_on_the_key_of_its_example():
    x = jnp.ones((4, 32, 32, 8))
    keys = jax.random.split(jax.random.key(0), 4)
    dropped = unet.dropout(x, keys, 0.5, salt=0)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_allclose(dropped.mean(axis=(1, 2, 3)), 1.0, atol=0.05)
    np.testing.assert_array_equal(unet.dropout(x[2:3], keys[2:3], 0.5, salt=0)[0], dropped[2])
    assert (unet.dropout(x, keys, 0.5, salt=1) != dropped).any()
    assert unet.dropout(x, None, 0.5, salt=0) is x


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_a_blank_patch_has_a_small_gradient(tiny_config, encoder, norm):
    """Air, as a rotated patch at the edge can be: at first all channels are 0, and normalization divided by 0.001."""
    fields = {
        "model.encoder": encoder,
        "model.norm": norm,
        "model.base_width": 8,
        "model.depth": 2,
        "model.head": "plain",
    }
    made = tiny_config(**fields)
    network = (unet if encoder == "plain" else residual_unet).network_from_config(made)
    params = network.init(jax.random.key(0), 16)
    air = jnp.full((1, 16, 16), -1000, jnp.int16)
    keys = jax.random.split(jax.random.key(1), 1)

    @jax.jit
    def gradient(hu):
        return jax.grad(lambda p: network.loss(p, network.images(hu), jnp.zeros(hu.shape), dropout_keys=keys).sum())(
            params
        )

    head = air.at[:, 4:12, 4:12].set(jnp.asarray(np.random.default_rng(0).integers(0, 80, (1, 8, 8)), jnp.int16))
    of_air, of_head = (max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient(hu))) for hu in (air, head))
    assert 0 < of_air < 1
    assert 0 < of_head < 10


@pytest.mark.parametrize("channels", [4, 12, 16])
def test_group_normalization_agrees_with_flax(channels):
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 6, 10, channels)), jnp.float32)
    theirs = flax.linen.GroupNorm(num_groups=math.gcd(unet.MAX_GROUPS, channels))
    params = theirs.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + jnp.linspace(0.0, 1.0, channels), params)
    np.testing.assert_allclose(unet.GroupNorm().apply(params, x), theirs.apply(params, x), atol=1e-4)


def test_pooling_and_its_gradient_agree_with_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 3)).round(), jnp.float32)  # with ties
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3, 3)), jnp.float32)
    theirs = jax.value_and_grad(lambda x: (flax.linen.max_pool(x, (2, 2), (2, 2)) * weights).sum())(x)
    ours = jax.value_and_grad(lambda x: (unet.max_pool_2x2(x) * weights).sum())(x)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="'batch'"):
        unet.UNet(base_width=4, depth=1, norm="batch").init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
