"""The forms of layers for CPUs, GPUs and TPUs compute the same values and gradients, whatever the number of channels.

All run on the CPU here; what the chips' compilers make of them is measured by benchmarks/ahead_of_time.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax import xla
from ichjax.models import convolution, tpu, unet, up_convolution

PLATFORMS = ("gpu", "tpu")
close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


def value_and_gradients(platform, function, *arguments):
    """The function's result, and the gradients of its sum with random weights."""

    def run(*arguments):
        value, pull = jax.vjp(function, *arguments)
        weights = np.random.default_rng(1).normal(size=value.shape).astype(value.dtype)
        return value, pull(jnp.asarray(weights))

    with xla.compile_for(platform):
        return jax.jit(run)(*arguments)  # not `xla.jit`: the options of another platform are unknown here


def check(function, *arguments):
    expected = value_and_gradients("cpu", function, *arguments)
    for platform in PLATFORMS:
        jax.tree.map(close, value_and_gradients(platform, function, *arguments), expected)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def test_the_platform_is_the_default_backend_unless_another_is_named():
    assert xla.platform() == jax.default_backend() == "cpu"
    with xla.compile_for("tpu"):
        assert xla.platform() == "tpu"
        assert xla.options() is None
        with xla.compile_for("gpu"):
            assert xla.platform() == "gpu"
        assert xla.platform() == "tpu"
    assert xla.platform() == "cpu"


@pytest.mark.parametrize(
    ("width", "channels", "skip", "features", "side", "relu"),
    [
        (8, 1, 0, 64, 3, True),  # the first layer: pairs of columns
        (8, 64, 64, 64, 3, True),  # a decoder's
        (8, 16, 1, 2, 3, False),  # groups of eight
        (6, 3, 0, 8, 2, True),  # a kernel of even size
        (10, 130, 0, 1, 3, False),  # more channels than lanes
        (4, 2, 0, 1, 1, False),  # the last layer
        (5, 3, 2, 4, 3, True),  # an odd width: nothing to fold
    ],
)
def test_convolutions(width, channels, skip, features, side, relu):
    maps = [normal(1, 4, width, channels)] + ([normal(1, 4, width, skip, seed=1)] if skip else [])
    kernel = normal(side, side, channels + skip, features) / np.sqrt(side * side * (channels + skip))
    check(lambda m, k, b: convolution.convolve_with_bias(m, k, b, relu=relu), maps, kernel, normal(features))


@pytest.mark.parametrize(("width", "channels", "skip"), [(8, 1, 0), (4, 64, 64), (2, 3, 0), (5, 3, 2)])
def test_two_convolutions_with_a_margin_between_them(width, channels, skip):
    maps = [normal(1, 4, width, channels)] + ([normal(1, 4, width, skip, seed=1)] if skip else [])
    first = normal(3, 3, channels + skip, 64) / np.sqrt(9 * (channels + skip))
    second, biases = normal(3, 3, 64, 64) / 24, normal(2, 64)
    with_margin = {}

    def both(maps, first, second, biases):
        margin = with_margin[xla.platform()] = convolution.margin_between(maps, 64)
        x = convolution.convolve_with_bias(maps, first, biases[0], relu=True, margins=(0, margin))
        assert x.shape[2] == width + 2 * margin
        return convolution.convolve_with_bias([x], second, biases[1], relu=True, margins=(margin, 0))

    check(both, maps, first, second, biases)
    assert with_margin == {"cpu": 0, "gpu": 0, "tpu": int(width % 2 == 0)}


@pytest.mark.parametrize(("width", "channels", "features"), [(4, 5, 64), (1, 130, 3), (5, 2, 130)])
def test_up_convolutions(width, channels, features):
    layer = up_convolution.UpConv(features, relu=True)
    x = normal(2, 3, width, channels)
    kernel, bias = normal(2, 2, channels, features) / np.sqrt(4 * channels), normal(features)
    check(lambda p, x: layer.apply({"params": p}, x), {"kernel": kernel, "bias": bias}, x)


@pytest.mark.parametrize("values", [2, 10_000])  # with few, most windows have ties
@pytest.mark.parametrize(("width", "channels"), [(2, 3), (6, 64), (4, 128)])
def test_pooling_gives_the_gradient_to_the_first_of_tied_pixels(width, channels, values):
    rng = np.random.default_rng([width, channels, values])
    check(unet.max_pool_2x2, jnp.asarray(rng.integers(-values, values, (2, 4, width, channels)), jnp.float32))


def test_relu_where_the_input_is_zero_or_not_a_number():
    x = jnp.asarray([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan])
    check(convolution.relu_of, x[:-1])
    with xla.compile_for("gpu"):
        assert np.isnan(convolution.relu_of(x)[-1])


def test_the_loss_of_a_whole_network_and_its_gradient(tiny_config):
    network = unet.network_from_config(tiny_config(**{"model.base_width": 4, "model.depth": 1, "model.norm": "none"}))
    rng = np.random.default_rng(0)
    images, masks = rng.random((2, 8, 8, 1), np.float32), (rng.random((2, 8, 8)) < 0.3).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 2)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 8)
    check(lambda p: network.loss(p, jnp.asarray(images), jnp.asarray(masks), dropout_keys=keys), params)


@pytest.mark.parametrize(
    ("width", "channels", "columns"),
    [(160, (64,), 2), (160, (64, 32), 2), (160, (128,), 1), (160, (1, 64), 2), (160, (16,), 8), (160, (2,), 8),
     (162, (16,), 2), (161, (16,), 1), (80, (130,), 1)],
)  # fmt: skip
def test_as_many_columns_are_folded_as_the_lanes_hold(width, channels, columns):
    assert tpu.columns_per_group(width, *channels) == columns


def test_a_folded_kernel_by_hand():
    """Taps 1, 2, 3 on pairs of columns: the left one of a pair is reached by the right one of the pair before."""
    folded, groups = tpu.fold_kernel(jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1), 2, 1)
    assert groups == (1, 1)
    # [group, column of the input's group, column of the output's group]
    np.testing.assert_array_equal(folded[0], [[[0, 0], [1, 0]], [[2, 1], [3, 2]], [[0, 3], [0, 0]]])
    x = normal(1, 2, 8, 3)
    np.testing.assert_array_equal(tpu.unfold(tpu.fold(x, 4), 4), x)
