"""Convolutions of stride 1 with a bias and a ReLU, as fast as the available device allows.

GPUs and TPUs use XLA's. A CPU uses `ichjax.native` where available; otherwise XLA's, with three changes that give the
same results up to rounding (benchmarks/NOTES.md has the effect of each):

- The gradient of a kernel with more input than output channels: Eigen's matrix product is faster with more columns, so
  the output's gradient is correlated with the input, instead of the input with the gradient.
- The gradient of a bias is summed along rows first, not by XLA's tree of reduce-windows.
- A kernel with few output channels is zero-padded to `LANES` of them.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax import xla
from ichjax.models import accelerator, tpu
from ichjax.native import calls, library

LANES = 16  # float32 values per instruction of a wide CPU

# For other packages, which must not import `native`.
xla_convolutions_only = library.xla_convolutions_only
convolution_backend = library.backend

Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(nn.Module):
    """A 'same' convolution with a bias; parameter names and shapes as in `flax.linen.Conv`.

    Attributes:
      features: output channels.
      kernel_size: (rows, columns) of the kernel.
      bias_init: initial value of the bias.
      dtype: of the computation; parameters stay float32.
      relu: whether to apply a ReLU.
      margins: of the maps and of the result, see `margin_between`.
    """

    features: int
    kernel_size: tuple[int, int]
    bias_init: float = 0.0
    dtype: jax.typing.DTypeLike = jnp.float32
    relu: bool = False
    margins: tuple[int, int] = (0, 0)

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array | None = None) -> jax.Array:
        """Maps [B, H, W, C], concatenated with `skip` [B, H, W, D] if there is one, to [B, H, W, features]."""
        maps = [each.astype(self.dtype) for each in (x, skip) if each is not None]
        shape = (*self.kernel_size, sum(each.shape[-1] for each in maps), self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,)).astype(self.dtype)
        return convolve_with_bias(maps, kernel, bias, relu=self.relu, margins=self.margins)


def margin_between(maps: Sequence[jax.Array], features: int) -> int:
    """Columns of zeros to leave on each side of a map between two 3 x 3 convolutions; 0 but for some on a TPU.

    Args:
      maps: float [B, H, W, C], of the first convolution.
      features: of both convolutions' results.
    """
    return tpu.margin_between(maps, features) if xla.platform() == "tpu" else 0


def convolve_with_bias(
    maps: Sequence[jax.Array],
    kernel: jax.Array,
    bias: jax.Array,
    *,
    relu: bool = False,
    margins: tuple[int, int] = (0, 0),
) -> jax.Array:
    """'Same' convolution of one or two maps [B, H, W, C], concatenated, with [h, w, C, F] and a bias [F]."""
    if calls.should_use(maps[0], kernel):
        return calls.convolve(maps[0], maps[1] if maps[1:] else None, kernel, bias, relu)
    if xla.platform() == "tpu":
        return tpu.convolve(maps, kernel, bias, relu=relu, margins=margins)
    y = add_bias(convolve(jnp.concatenate(maps, axis=-1) if maps[1:] else maps[0], kernel), bias)
    return relu_of(y) if relu else y


def native_up_convolve(
    x: jax.Array, kernel: jax.Array, taps: tuple[jax.Array, ...], bias: jax.Array, relu: bool
) -> jax.Array | None:
    """`native.calls.up_convolve` with `taps`, the sums of the 2 x 2 kernel's taps; None where XLA should be used."""
    return calls.up_convolve(x, taps, bias, relu) if calls.should_use(x, kernel) else None


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """'Same' convolution of float [B, H, W, C] with [h, w, C, F] by XLA: [B, H, W, F].

    A kernel of even size reaches one pixel further to the lower right, as in Keras and flax.
    """
    rows, columns = ((size - 1) // 2 for size in kernel.shape[:2])
    padding = ((rows, kernel.shape[0] // 2), (columns, kernel.shape[1] // 2))
    return (_convolve_on_cpu if xla.platform() == "cpu" else _convolve)(x, kernel, padding)


def relu_of(x: jax.Array) -> jax.Array:
    """max(x, 0)."""
    return nn.relu(x) if xla.platform() == "cpu" else accelerator.relu(x)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a bias [F] to each pixel of float [B, H, W, F]."""
    return _add_on_cpu(x, bias) if xla.platform() == "cpu" else x + bias[None, None, None]


def _convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_on_cpu(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    features = kernel.shape[-1]
    if features == 1 or features >= LANES // 2:
        return _convolve(x, kernel, padding)
    padded = jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, LANES - features)))
    return _convolve(x, padded, padding)[..., :features]


def _forward(x: jax.Array, kernel: jax.Array, padding: Padding) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve_on_cpu(x, kernel, padding), (x, kernel)


def _backward(
    padding: Padding, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    (height, width, inputs, features), ((top, bottom), (left, right)) = kernel.shape, padding
    # Padding of the transposed convolution, whose kernel is mirrored.
    transposed = ((height - 1 - top, height - 1 - bottom), (width - 1 - left, width - 1 - right))
    dx = _convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3), transposed)
    if inputs > features:
        swapped = _kernel_gradient(gradient, x, (height, width), transposed)
        return dx, swapped[::-1, ::-1].swapaxes(2, 3)
    return dx, _kernel_gradient(x, gradient, (height, width), padding)


def _kernel_gradient(x: jax.Array, gradient: jax.Array, size: tuple[int, int], padding: Padding) -> jax.Array:
    """Gradient of the kernel [*size, C, F] that convolved x [B, H, W, C]."""
    shape = jax.ShapeDtypeStruct((*size, x.shape[-1], gradient.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _convolve(x, kernel, padding), shape)(gradient)[0]


_convolve_on_cpu.defvjp(_forward, _backward)


@jax.custom_vjp
def _add_on_cpu(x: jax.Array, bias: jax.Array) -> jax.Array:
    return x + bias[None, None, None]


def _sum_over_pixels(_: None, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = gradient.reshape(-1, gradient.shape[2] * gradient.shape[3]).sum(axis=0, dtype=jnp.float32)
    return gradient, rows.reshape(gradient.shape[2:]).sum(axis=0).astype(gradient.dtype)


_add_on_cpu.defvjp(lambda x, bias: (x + bias[None, None, None], None), _sum_over_pixels)
