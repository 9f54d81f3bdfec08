"""C++ convolutions and their gradients, against NumPy and against XLA."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.models import convolution, up_convolution
from ichjax.native import calls, library

pytestmark = [pytest.mark.usefixtures("native"), pytest.mark.xdist_group("native")]
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def convolve_in_numpy(x, kernel, bias, relu):
    """In float64; for a kernel of even size there is one more row and column of zero padding at the end."""
    (height, width), x = kernel.shape[:2], x.astype(np.float64)
    pads = [(0, 0), ((height - 1) // 2, height // 2), ((width - 1) // 2, width // 2), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), (height, width), axis=(1, 2))
    y = np.einsum("byxcij,ijcf->byxf", windows, kernel.astype(np.float64)) + bias
    return np.maximum(y, 0) if relu else y


def convolve_by_xla(x, kernel, bias, relu):
    y = convolution.add_bias(convolution.convolve(x, kernel), bias)
    return jax.nn.relu(y) if relu else y


def gradients(function, weight, *arguments):
    """Of the weighted sum of function(*arguments), with respect to each argument."""
    loss = lambda *arguments: (function(*arguments) * weight).sum()  # noqa: E731
    return jax.jit(jax.grad(loss, argnums=tuple(range(len(arguments)))))(*arguments)


def assert_close(result, expected, terms=1.0):
    """Up to the rounding of sums of this many terms of about 1."""
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1.2e-7 * terms + 1e-5)


# Channels that do and do not fill vectors, several chunks of weights and blocks of channels, widths of every remainder,
# maps smaller than the kernel, and pixels that would map to the same cache set.
SHAPES = [
    ((2, 8, 8, 3), (3, 3, 5)),
    ((1, 16, 160, 1), (3, 3, 16)),
    ((2, 20, 20, 16), (3, 3, 2)),
    ((2, 20, 33, 16), (3, 3, 32)),
    ((1, 10, 10, 256), (3, 3, 64)),
    ((3, 7, 5, 130), (2, 2, 48)),
    ((2, 8, 9, 40), (1, 2, 24)),
    ((2, 9, 8, 40), (2, 1, 24)),
    ((2, 8, 8, 2), (1, 1, 1)),
    ((1, 6, 6, 512), (3, 3, 33)),
    ((1, 1, 1, 4), (3, 3, 4)),
    ((1, 1, 7, 4), (3, 2, 17)),
]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("map_shape", "kernel_shape"), SHAPES)
def test_values_agree_with_numpy_and_gradients_with_xla(map_shape, kernel_shape, relu):
    height, width, features = kernel_shape
    x, bias, weight = normal(*map_shape), normal(features), normal(*map_shape[:3], features)
    kernel = normal(height, width, map_shape[3], features) / np.sqrt(height * width * map_shape[3]).astype(np.float32)
    native = jax.jit(lambda x, k, b: calls.convolve(x, None, k, b, relu))
    assert_close(native(x, kernel, bias), convolve_in_numpy(x, kernel, bias, relu), height * width * map_shape[3])
    result = gradients(native, weight, x, kernel, bias)
    expected = gradients(lambda x, k, b: convolve_by_xla(x, k, b, relu), weight, x, kernel, bias)
    pixels = np.prod(map_shape[:3])
    for ours, theirs, terms in zip(result, expected, (height * width * features, pixels, pixels), strict=True):
        assert_close(ours, theirs, terms)


@given(
    batch=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    inputs=st.integers(1, 40),
    features=st.integers(1, 70),
    relu=st.booleans(),
)
def test_any_shape_agrees_with_numpy(batch, sides, size, inputs, features, relu):
    x, bias, kernel = normal(batch, *sides, inputs), normal(features), normal(*size, inputs, features)
    assert_close(
        calls.convolve(x, None, kernel, bias, relu),
        convolve_in_numpy(x, kernel, bias, relu),
        size[0] * size[1] * inputs,
    )


@given(
    sides=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    inputs=st.integers(1, 20),
    features=st.integers(1, 40),
)
def test_a_gradient_is_the_slope_in_a_random_direction(sides, size, inputs, features):
    """<gradient, direction> against the change of the sum, which is linear in each argument without a ReLU."""
    x, kernel, bias = normal(2, *sides, inputs), normal(*size, inputs, features), normal(features)
    weight, (dx, dk, db) = normal(2, *sides, features), (normal(*a.shape) for a in (x, kernel, bias))
    result = gradients(lambda x, k, b: calls.convolve(x, None, k, b, False), weight, x, kernel, bias)
    zero = np.zeros_like(bias)
    changes = (
        convolve_in_numpy(dx, kernel, zero, False),
        convolve_in_numpy(x, dk, zero, False),
        np.broadcast_to(db, weight.shape),
    )
    for gradient, direction, change in zip(result, (dx, dk, db), changes, strict=True):
        expected = (change * weight).sum()
        scale = np.sqrt((change**2 * weight**2).sum()) + 1.0
        assert abs((np.asarray(gradient, np.float64) * direction).sum() - expected) < 1e-4 * scale


def test_a_skip_connection_equals_concatenation():
    x, skip, bias, weight = normal(2, 12, 14, 24), normal(2, 12, 14, 8), normal(20), normal(2, 12, 14, 20)
    kernel = normal(3, 3, 32, 20)
    concatenated = lambda x, skip, k, b: convolve_by_xla(jnp.concatenate([x, skip], -1), k, b, True)  # noqa: E731
    native = lambda x, skip, k, b: calls.convolve(x, skip, k, b, True)  # noqa: E731
    assert_close(native(x, skip, kernel, bias), concatenated(x, skip, kernel, bias), 288)
    result, expected = (gradients(f, weight, x, skip, kernel, bias) for f in (native, concatenated))
    for ours, theirs in zip(result, expected, strict=True):
        assert_close(ours, theirs, 336)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("inputs", "features"), [(32, 16), (5, 3), (64, 40)])
def test_an_up_convolution_agrees_with_xla(inputs, features, relu, monkeypatch):
    x, weight = normal(2, 9, 10, inputs), normal(2, 18, 20, features)
    model = up_convolution.UpConv(features, relu=relu)
    params = model.init(jax.random.key(0), x)
    params["params"]["bias"] = jnp.asarray(normal(features))
    value, expected = model.apply(params, x), gradients(model.apply, weight, params, x)
    monkeypatch.setattr(calls, "should_use", lambda *_: True)
    assert "ichjax_up" in str(jax.make_jaxpr(lambda *arguments: model.apply(*arguments))(params, x))
    assert_close(model.apply(params, x), value, 4 * inputs)
    result = gradients(model.apply, weight, params, x)
    jax.tree.map(lambda a, b: assert_close(a, b, 360), result, expected)


def test_nan_passes_through_the_relu():
    x = normal(1, 8, 8, 4)
    x[0, 4, 4, 0] = np.nan
    y = np.asarray(calls.convolve(x, None, normal(3, 3, 4, 16), normal(16), True))
    assert np.isnan(y[0, 3:6, 3:6]).all()
    assert np.isfinite(np.delete(y[0].reshape(64, 16), [8 * r + c for r in (3, 4, 5) for c in (3, 4, 5)], axis=0)).all()


def test_a_gradient_that_is_not_needed_is_not_computed():
    x, kernel, bias = normal(1, 8, 8, 3), normal(3, 3, 3, 16), normal(16)
    loss = jax.jit(jax.grad(lambda k: calls.convolve(x, None, k, bias, True).sum()))
    text = loss.lower(kernel).compile().as_text()
    assert "ichjax_kernel_gradient" in text
    assert "ichjax_input_gradient" not in text


PROGRAM = """
import hashlib, json
import jax, jax.numpy as jnp, numpy as np
from ichjax.data.regrid import Geometry
from ichjax.methods import slices
from ichjax.models import unet
from ichjax.models.network import Network
from ichjax.native import library
rng = np.random.default_rng(0)
images = jnp.asarray(rng.random((3, 48, 48, 1)), jnp.float32)
truth = jnp.asarray(rng.random((3, 48, 48)) < 0.1, jnp.float32)
model = unet.UNet(base_width=8, depth=1, head="plain")
params = model.init(jax.random.key(0), images)["params"]
def loss(params):
    logits = model.apply({"params": params}, images)
    return jnp.mean(jax.nn.softplus(logits) - truth * logits), logits
(value, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
# As in prediction: shard_map around a loop. As in training with several steps per dispatch: a scan of gradients.
predictor = slices.SlicePredictor(Network(model, ((40.0, 120.0),)), side=32, stride=16, batch_size=4)
hu, grid = rng.integers(-50, 150, (5, 64, 64)).astype(np.int16), Geometry(64, 64, 1.0, 1.0)
probability = predictor(params, hu, grid, grid)
descend = lambda params, _: (jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss, has_aux=True)(params)[0]), 0)
stepped, _ = jax.jit(lambda params: jax.lax.scan(descend, params, length=2))(params)
leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((logits, gradient, probability, stepped))]
digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
norms = [float(np.sqrt((leaf.astype(np.float64) ** 2).sum())) for leaf in leaves]
print(json.dumps({"state": library.backend(), "digest": digest, "loss": float(value), "norms": norms}))
"""


def in_a_process(**environ):
    """Loss and gradients of the same U-Net in another process with one device."""
    inherited = {name: text for name, text in os.environ.items() if name != library.SWITCH}
    flags = " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**inherited, "XLA_FLAGS": flags, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.faults
def test_one_device_uses_the_calls_with_the_same_result_on_any_number_of_threads():
    native, one_thread, xla = (
        in_a_process(PJRT_NPROC="5"),
        in_a_process(PJRT_NPROC="1"),
        in_a_process(ICHJAX_NATIVE="0"),
    )
    assert (native["state"], xla["state"]) == ("C++", "XLA")
    assert native == one_thread  # to the bit
    assert native["digest"] != xla["digest"]  # else both used the same convolutions
    np.testing.assert_allclose(native["loss"], xla["loss"], rtol=1e-5)
    np.testing.assert_allclose(native["norms"], xla["norms"], rtol=1e-3)
