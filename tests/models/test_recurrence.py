"""Recurrence over slices against a loop in NumPy, and padding that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

from ichjax.models.recurrence import GATES, SliceRecurrence


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def convolved(x, kernel):
    """'Same' convolution of [h, w, C] with [k, k, C, F], zero padding."""
    return np.stack(
        [
            sum(correlate(x[..., c], kernel[..., c, f], mode="constant") for c in range(x.shape[-1]))
            for f in range(kernel.shape[-1])
        ],
        axis=-1,
    )


def states_of(slices, params, kind, name):
    """The states after each of the slices [L, h, w, C], in order."""
    kernels = [np.asarray(params[f"{name}_{part}"], np.float64) for part in ("input", "state", "bias")]
    hidden = kernels[1].shape[2]
    state, memory, out = np.zeros((*slices.shape[1:3], hidden)), np.zeros((*slices.shape[1:3], hidden)), []
    for one in slices:
        x = np.split(convolved(one, kernels[0]) + kernels[2], GATES[kind], axis=-1)
        h = np.split(convolved(state, kernels[1]), GATES[kind], axis=-1)
        if kind == "gru":
            reset, update = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
            state = (1 - update) * np.tanh(x[2] + reset * h[2]) + update * state
        else:
            enter, forget, output = (sigmoid(x[k] + h[k]) for k in range(3))
            memory = forget * memory + enter * np.tanh(x[3] + h[3])
            state = output * np.tanh(memory)
        out.append(state)
    return np.stack(out)


@pytest.mark.parametrize(("kind", "kernel"), [("gru", 3), ("gru", 1), ("lstm", 3), ("lstm", 1)])
def test_as_a_loop_in_numpy_and_padding_changes_nothing(kind, kernel):
    rng = np.random.default_rng(0)
    layer = SliceRecurrence(hidden=2, kind=kind, kernel=kernel)
    maps = rng.normal(size=(2, 5, 3, 4, 3))
    depths = np.array([5, 3])
    real = np.arange(5)[None] < depths[:, None]
    params = layer.init(jax.random.key(0), jnp.asarray(maps, jnp.float32), real)["params"]
    out = np.asarray(jax.jit(lambda p, x: layer.apply({"params": p}, x, real))(params, jnp.asarray(maps, jnp.float32)))
    for scan, depth in enumerate(depths):
        slices = maps[scan, :depth]
        expected = [states_of(slices, params, kind, "up"), states_of(slices[::-1], params, kind, "down")[::-1]]
        np.testing.assert_allclose(out[scan, :depth], np.concatenate(expected, axis=-1), atol=2e-6)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="kind 'rnn'; expected one of gru, lstm"):
        SliceRecurrence(2, "rnn").init(jax.random.key(0), jnp.zeros((1, 1, 1, 1, 1)), jnp.ones((1, 1), bool))
