"""The calls of `calls.cc` as JAX functions with gradients. All maps are float32 [B, H, W, C]."""

import functools

import jax
import jax.numpy as jnp

from ichjax.native import library

LARGEST = 3  # side of a kernel
FEW = 8  # output channels below which a kernel's gradient is found from the other side
LEAST_WEIGHTS = 16  # of a kernel, below which it is hardly more than a copy
PIXELS_A_CHANNEL = 8  # of a map, below which XLA's matrix products are faster (benchmarks/NOTES.md)


def suits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether a convolution of x [B, H, W, C] with [h, w, C, F] is faster by these calls, and possible."""
    if x.dtype != jnp.float32 or max(kernel.shape[:2]) > LARGEST or not x.size:
        return False
    if kernel.size < LEAST_WEIGHTS:
        return False
    if x.shape[0] * x.shape[1] * x.shape[2] < PIXELS_A_CHANNEL * max(kernel.shape[2:]):
        return False
    return library.usable()


def convolve(x: jax.Array, beside: jax.Array | None, kernel: jax.Array, bias: jax.Array, relu: bool) -> jax.Array:
    """'Same' convolution of x [B, H, W, C], and of `beside` [B, H, W, D] as its further channels, with a bias.

    Args:
      kernel: [h, w, C + D, F], sides of at most `LARGEST`.
      bias: [F].
      relu: whether a ReLU follows.

    Returns:
      [B, H, W, F].
    """
    return _convolve(x, beside, kernel, bias, relu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _convolve(x, beside, kernel, bias, relu):
    nothing = jnp.zeros((0, 1, 1, 1), jnp.float32)
    further = nothing if beside is None else beside
    return _call("convolve", (*x.shape[:3], kernel.shape[3]), x, further, kernel, bias, relu=relu)


def _forward(x, beside, kernel, bias, relu):
    y = _convolve(x, beside, kernel, bias, relu)
    return y, (x, beside, kernel, y)


def _backward(relu, kept, gradient):
    x, beside, kernel, y = kept
    back = _mirrored(kernel)
    inputs = x.shape[3]
    of_x = _call("of_input", x.shape, gradient, y, back[..., :inputs], relu=relu)
    of_kernel, of_bias = _of_kernel(x, gradient, y, kernel.shape[:2], relu)
    if beside is None:
        return of_x, None, of_kernel, of_bias
    of_beside = _call("of_input", beside.shape, gradient, y, back[..., inputs:], relu=relu)
    of_further, _ = _of_kernel(beside, gradient, y, kernel.shape[:2], relu)
    return of_x, of_beside, jnp.concatenate([of_kernel, of_further], axis=2), of_bias


_convolve.defvjp(_forward, _backward)


def _of_kernel(x, gradient, y, size, relu):
    """The gradients of a kernel [*size, C, F] and of a bias [F]."""
    inputs, features = x.shape[3], gradient.shape[3]
    if features < FEW <= inputs and size[0] % 2 and size[1] % 2:
        # Seen from the other side the many channels fill the processor's vectors.
        gradient = jnp.where(y > 0, gradient, 0) if relu else gradient
        shapes = (*size, features, inputs), (inputs,)
        of_kernel, _ = _call("of_kernel", shapes, gradient, x, x, relu=False)
        rows = gradient.reshape(-1, gradient.shape[2] * features).sum(axis=0)
        return _mirrored(of_kernel), rows.reshape(-1, features).sum(axis=0)
    return _call("of_kernel", ((*size, inputs, features), (features,)), x, gradient, y, relu=relu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def up(x: jax.Array, kernels: tuple[jax.Array, ...], bias: jax.Array, relu: bool) -> jax.Array:
    """Four convolutions of x [B, H, W, C], interleaved: [B, 2 H, 2 W, F].

    Args:
      kernels: [1, 1, C, F], [1, 2, C, F], [2, 1, C, F], [2, 2, C, F], of the output's pixels in even rows and even
        columns, even rows and odd columns, odd and even, odd and odd.
      bias: [F].
      relu: as in `convolve`.
    """
    shape = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], kernels[0].shape[3])
    return _call("up", shape, x, *kernels, bias, relu=relu)


def _up_forward(x, kernels, bias, relu):
    y = up(x, kernels, bias, relu)
    return y, (x, kernels, y)


def _up_backward(relu, kept, gradient):
    x, kernels, y = kept
    of_x = _call("up_of_input", x.shape, gradient, y, *map(_mirrored, kernels), relu=relu)
    shapes = (*(kernel.shape for kernel in kernels), kernels[0].shape[3:])
    *of_kernels, of_bias = _call("up_of_kernel", shapes, x, gradient, y, relu=relu)
    return of_x, tuple(of_kernels), of_bias


up.defvjp(_up_forward, _up_backward)


def _mirrored(kernel):
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _call(name, shapes, *arguments, relu):
    """Calls one of `library.CALLS`, for one output [shape] or for a tuple of them."""
    one = isinstance(shapes[0], int)
    outputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ([shapes] if one else shapes)]
    return jax.ffi.ffi_call(f"ichjax_{name}", outputs[0] if one else outputs)(*arguments, relu=relu)
