"""The C++ convolutions as differentiable JAX functions; all maps are float32 [B, H, W, C]."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ichjax.native import library

MAX_KERNEL_SIDE = 3
MIN_OUTPUT_CHANNELS = 8  # below, a kernel's gradient is computed with the roles of input and output swapped
MIN_WEIGHTS = 16  # below, a convolution is hardly more than a copy
MIN_PIXELS_PER_CHANNEL = 8  # below, XLA's matrix products are faster (benchmarks/NOTES.md)


def should_use(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether the C++ convolution of x [B, H, W, C] with [h, w, C, F] is available and faster than XLA's."""
    if library.xla_only():  # first, as the sizes below cannot be compared where B is symbolic
        return False
    if x.dtype != jnp.float32 or max(kernel.shape[:2]) > MAX_KERNEL_SIDE or not x.size:
        return False
    if kernel.size < MIN_WEIGHTS:
        return False
    if x.shape[0] * x.shape[1] * x.shape[2] < MIN_PIXELS_PER_CHANNEL * max(kernel.shape[2:]):
        return False
    return library.is_available()


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def convolve(x: jax.Array, skip: jax.Array | None, kernel: jax.Array, bias: jax.Array, relu: bool) -> jax.Array:
    """'Same' convolution with a bias of x [B, H, W, C], concatenated with `skip` [B, H, W, D] if there is one.

    Args:
      kernel: [h, w, C + D, F], sides of at most `MAX_KERNEL_SIDE`.
      bias: [F].
      relu: whether to apply a ReLU.

    Returns:
      [B, H, W, F].
    """
    second = jnp.zeros((0, 1, 1, 1), jnp.float32) if skip is None else skip
    return _call("convolve", [(*x.shape[:3], kernel.shape[3])], x, second, kernel, bias, relu=relu)[0]


def _forward(x: jax.Array, skip: jax.Array | None, kernel: jax.Array, bias: jax.Array, relu: bool) -> tuple[Any, Any]:
    y = convolve(x, skip, kernel, bias, relu)
    return y, (x, skip, kernel, y)


def _backward(relu: bool, residuals: tuple, gradient: jax.Array) -> tuple:
    x, skip, kernel, y = residuals
    flipped = _flip(kernel)
    inputs = x.shape[3]
    (dx,) = _call("input_gradient", [x.shape], gradient, y, flipped[..., :inputs], relu=relu)
    dkernel, dbias = _kernel_gradient(x, gradient, y, kernel.shape[:2], relu)
    if skip is None:
        return dx, None, dkernel, dbias
    (dskip,) = _call("input_gradient", [skip.shape], gradient, y, flipped[..., inputs:], relu=relu)
    dkernel_skip, _ = _kernel_gradient(skip, gradient, y, kernel.shape[:2], relu)
    return dx, dskip, jnp.concatenate([dkernel, dkernel_skip], axis=2), dbias


convolve.defvjp(_forward, _backward)


def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, y: jax.Array, size: tuple[int, ...], relu: bool
) -> tuple[jax.Array, jax.Array]:
    """Gradients of a kernel [*size, C, F] and of a bias [F]."""
    inputs, features = x.shape[3], gradient.shape[3]
    if features < MIN_OUTPUT_CHANNELS <= inputs and size[0] % 2 and size[1] % 2:
        # With the roles of input and output swapped, the larger number of channels fills the vector registers.
        gradient = jnp.where(y > 0, gradient, 0) if relu else gradient
        shapes = [(*size, features, inputs), (inputs,)]
        dkernel, _ = _call("kernel_gradient", shapes, gradient, x, x, relu=False)
        rows = gradient.reshape(-1, gradient.shape[2] * features).sum(axis=0)
        return _flip(dkernel), rows.reshape(-1, features).sum(axis=0)
    dkernel, dbias = _call("kernel_gradient", [(*size, inputs, features), (features,)], x, gradient, y, relu=relu)
    return dkernel, dbias


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def up_convolve(x: jax.Array, kernels: tuple[jax.Array, ...], bias: jax.Array, relu: bool) -> jax.Array:
    """Interleaves four convolutions of x [B, H, W, C] into [B, 2 H, 2 W, F].

    Args:
      kernels: [1, 1, C, F], [1, 2, C, F], [2, 1, C, F], [2, 2, C, F], for the output pixels in (even, even),
        (even, odd), (odd, even) and (odd, odd) rows and columns.
      bias: [F].
      relu: whether to apply a ReLU.
    """
    shape = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], kernels[0].shape[3])
    return _call("up_convolve", [shape], x, *kernels, bias, relu=relu)[0]


def _up_forward(x: jax.Array, kernels: tuple[jax.Array, ...], bias: jax.Array, relu: bool) -> tuple[Any, Any]:
    y = up_convolve(x, kernels, bias, relu)
    return y, (x, kernels, y)


def _up_backward(relu: bool, residuals: tuple, gradient: jax.Array) -> tuple:
    x, kernels, y = residuals
    (dx,) = _call("up_input_gradient", [x.shape], gradient, y, *map(_flip, kernels), relu=relu)
    shapes = [*(kernel.shape for kernel in kernels), kernels[0].shape[3:]]
    *dkernels, dbias = _call("up_kernel_gradient", shapes, x, gradient, y, relu=relu)
    return dx, tuple(dkernels), dbias


up_convolve.defvjp(_up_forward, _up_backward)


def _flip(kernel: jax.Array) -> jax.Array:
    """The kernel of the transposed convolution: mirrored, input and output channels swapped."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _call(name: str, shapes: Sequence[tuple[int, ...]], *arguments: jax.Array, relu: bool) -> list[jax.Array]:
    """Calls one of `library.CALLS`; one output for each shape."""
    outputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return list(jax.ffi.ffi_call(f"ichjax_{name}", outputs)(*arguments, relu=relu))
