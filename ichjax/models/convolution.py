"""Convolutions of stride 1, a bias and a ReLU, as fast as the device at hand allows.

On a GPU or TPU they are XLA's own. On a CPU they are those of `ichjax.native`, where that serves; else XLA's, of which
three things are done otherwise, to the same results but for rounding (what each brings: benchmarks/NOTES.md):

- the gradient of a kernel with more input than output channels: Eigen multiplies faster the more columns it has, and
  correlating the output's gradient with the input, in place of the input with that gradient, makes them the columns;
- the gradient of a bias: summed along rows first, not as XLA's tree of windows;
- a kernel with few output channels is padded with zeros to `LANES` of them.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.native import calls, library

LANES = 16  # float32 numbers that one instruction of a wide CPU works on

# Programs traced inside this context have XLA's convolutions alone: those that leave this process (`export`), or whose
# operations are counted.
by_xla = library.by_xla

Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(nn.Module):
    """A 'same' convolution with a bias; parameters named and shaped as those of `flax.linen.Conv`.

    Attributes:
      features: channels of the output.
      kernel_size: (rows, columns) of the kernel.
      bias_start: where the bias starts.
      dtype: of the computation; parameters stay float32.
      relu: whether a ReLU follows.
    """

    features: int
    kernel_size: tuple[int, int]
    bias_start: float = 0.0
    dtype: Any = jnp.float32
    relu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, beside: jax.Array | None = None) -> jax.Array:
        """Maps [B, H, W, C], and [B, H, W, D] as its further channels, to [B, H, W, features]."""
        maps = [x.astype(self.dtype)] + ([] if beside is None else [beside.astype(self.dtype)])
        shape = (*self.kernel_size, sum(each.shape[-1] for each in maps), self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.constant(self.bias_start), (self.features,)).astype(self.dtype)
        if calls.suits(maps[0], kernel):
            return calls.convolve(maps[0], maps[1] if maps[1:] else None, kernel, bias, self.relu)
        y = add_bias(convolve(jnp.concatenate(maps, axis=-1) if maps[1:] else maps[0], kernel), bias)
        return nn.relu(y) if self.relu else y


def convolved_by() -> str:
    """'C++' where this process has loaded the native convolutions, else 'XLA'."""
    return library.state()


def up_convolve_native(x: jax.Array, kernel: jax.Array, taps: tuple[jax.Array, ...], bias: jax.Array, relu: bool):
    """The up-convolution by `native.calls.up`, or None where XLA is faster or alone; arguments as there, and the 2 x 2
    kernel that the taps are sums of."""
    return calls.up(x, taps, bias, relu) if calls.suits(x, kernel) else None


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """'Same' convolution of float [B, H, W, C] with [h, w, C, F] by XLA: [B, H, W, F].

    A kernel of even size reaches one pixel further to the lower right, as in Keras and flax.
    """
    padding = tuple(((size - 1) // 2, size // 2) for size in kernel.shape[:2])
    if jax.default_backend() == "cpu":
        return _on_cpu(x, kernel, padding)
    return _plain(x, kernel, padding)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a bias [F] to each pixel of float [B, H, W, F]."""
    return _add_on_cpu(x, bias) if jax.default_backend() == "cpu" else x + bias[None, None, None]


def _plain(x, kernel, padding: Padding):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _on_cpu(x, kernel, padding: Padding):
    features = kernel.shape[-1]
    if features == 1 or features >= LANES // 2:
        return _plain(x, kernel, padding)
    padded = jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, LANES - features)))
    return _plain(x, padded, padding)[..., :features]


def _forward(x, kernel, padding):
    return _on_cpu(x, kernel, padding), (x, kernel)


def _backward(padding, kept, gradient):
    x, kernel = kept
    (height, width, inputs, features) = kernel.shape
    # Seen from the other side the kernel is mirrored, and reaches as far as it did not reach before.
    mirrored = tuple(
        (size - 1 - low, size - 1 - high) for size, (low, high) in zip((height, width), padding, strict=True)
    )
    of_x = _plain(gradient, kernel[::-1, ::-1].swapaxes(2, 3), mirrored)
    if inputs > features:
        of_kernel = _of_kernel(gradient, x, kernel.shape[:2], mirrored)[::-1, ::-1].swapaxes(2, 3)
    else:
        of_kernel = _of_kernel(x, gradient, kernel.shape[:2], padding)
    return of_x, of_kernel


def _of_kernel(x, gradient, size, padding):
    """The gradient of a kernel [*size, C, F] by which x [B, H, W, C] was convolved."""
    shape = jax.ShapeDtypeStruct((*size, x.shape[-1], gradient.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel, padding), shape)(gradient)[0]


_on_cpu.defvjp(_forward, _backward)


@jax.custom_vjp
def _add_on_cpu(x, bias):
    return x + bias[None, None, None]


def _sum_pixels(_, gradient):
    rows = gradient.reshape(-1, gradient.shape[2] * gradient.shape[3]).sum(axis=0, dtype=jnp.float32)
    return gradient, rows.reshape(gradient.shape[2:]).sum(axis=0).astype(gradient.dtype)


_add_on_cpu.defvjp(lambda x, bias: (x + bias[None, None, None], None), _sum_pixels)
