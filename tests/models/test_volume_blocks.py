"""3-D convolution as one of slices, against XLA's in 3-D, with its gradients; pooling of volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models.volume_blocks import VolumeConv, max_around, pool_volume


@pytest.mark.parametrize(
    ("kernel", "stride", "shape"),
    [((3, 3, 3), 1, (2, 5, 6, 7, 3)), ((1, 1, 1), 1, (1, 3, 4, 4, 2)), ((5, 3, 5), 2, (1, 4, 9, 6, 2))],
)
def test_values_and_gradients_are_those_of_a_3d_convolution(kernel, stride, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    model = VolumeConv(4, kernel, stride, norm=False)
    params = model.init(jax.random.key(0), x)["params"]
    params["conv"]["bias"] = jnp.arange(4.0) / 4

    def in_3d(params, x):
        of_slices = params["conv"]["kernel"]  # slices are the first part of its channels
        taps = jnp.moveaxis(of_slices.reshape(*kernel[1:], kernel[0], shape[-1], 4), 2, 0)
        padding = [(side // 2, side // 2) for side in kernel]
        layout = ("NDHWC", "DHWIO", "NDHWC")
        y = jax.lax.conv_general_dilated(x, taps, (1, stride, stride), padding, dimension_numbers=layout)
        return jnp.maximum(y + params["conv"]["bias"].reshape(1, 1, 1, 1, -1), 0.0)

    weight = rng.normal(size=jax.eval_shape(in_3d, params, x).shape).astype(np.float32)
    ours, theirs = (
        jax.jit(jax.grad(lambda params, x, of=of: ((y := of(params, x)) * weight).sum() + (y**2).sum(), (0, 1)))
        for of in (lambda params, x: model.apply({"params": params}, x), in_3d)
    )
    np.testing.assert_allclose(model.apply({"params": params}, x), in_3d(params, x), atol=2e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), ours(params, x), theirs(params, x)
    )


@pytest.mark.parametrize("slices", [True, False])
def test_pooling_takes_the_largest_of_each_block(slices):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 7, 2)).astype(np.float32)
    step = 2 if slices else 1
    expected = [
        [[[x[n, d : d + step, r : r + 2, c : c + 2].max(axis=(0, 1, 2)) for c in range(0, 7, 2)]
          for r in range(0, 6, 2)] for d in range(0, 5, step)] for n in range(2)
    ]  # fmt: skip
    np.testing.assert_array_equal(pool_volume(jnp.asarray(x), slices=slices), expected)


def test_the_maximum_around_each_voxel():
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), (1, 2, 3))
    np.testing.assert_array_equal(max_around(jnp.asarray(x)), windows.max(axis=(-3, -2, -1)))
