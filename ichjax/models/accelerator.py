"""Layers for GPUs and TPUs: the same functions as on a CPU, in fewer and larger operations.

Chosen by compiling them for an H100 and a v5e (benchmarks/ahead_of_time.py). Gradients are defined by hand where JAX's
own would store or copy more than necessary.
"""

from typing import cast

import jax
import jax.numpy as jnp

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0). The gradient follows from the result, so that x need not be kept, and libraries can apply it in a
    convolution."""
    return jnp.maximum(x, 0)


def _relu_backward(y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    # Not y > 0, which XLA simplifies to x > 0: then x has a second use, and no library can apply the ReLU.
    return (jnp.where(y != 0, gradient, 0),)


relu.defvjp(lambda x: (relu(x),) * 2, _relu_backward)


@jax.custom_vjp
def up_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """'Same' convolution of x [B, H, W, C], upsampled 2 x by repeating pixels, with [2, 2, C, F]: [B, 2 H, 2 W, F].

    As one convolution of x with zeros between its pixels and a 3 x 3 kernel. Of its nine taps, one, two, two or four
    meet a pixel and not a zero: sums of the 2 x 2 kernel's taps, made in the kernel's dtype. It is written as the
    gradient of a convolution with stride 2, which is what libraries have it as.
    """
    return _transpose(x, _wide(kernel, x.dtype))


def _wide(kernel: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """The 3 x 3 kernel, mirrored, with output channels first: [3, 3, F, C]."""
    rows = jnp.stack([kernel[1], kernel.sum(axis=0), kernel[0]])
    return jnp.stack([rows[:, 1], rows.sum(axis=1), rows[:, 0]], axis=1).swapaxes(2, 3).astype(dtype)


def _strided(x: jax.Array, wide: jax.Array) -> jax.Array:
    """A convolution with stride 2: [B, 2 H, 2 W, F] to [B, H, W, C].

    The last row and column of zeros are never read; with them the padding is symmetric, and no padded copy is made.
    """
    return jax.lax.conv_general_dilated(x, wide, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


def _transpose(x: jax.Array, wide: jax.Array) -> jax.Array:
    shape = (len(x), 2 * x.shape[1], 2 * x.shape[2], wide.shape[2])
    like = jax.ShapeDtypeStruct(shape, x.dtype)
    return cast(jax.Array, jax.linear_transpose(lambda y: _strided(y, wide), like)(x)[0])


def _up_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return up_convolve(x, kernel), (x, kernel)


def _up_backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    wide, of_wide = jax.vjp(lambda kernel: _wide(kernel, x.dtype), kernel)
    (dwide,) = jax.linear_transpose(lambda wide: _strided(gradient, wide), wide)(x)
    return _strided(gradient, wide), of_wide(dwide)[0]


up_convolve.defvjp(_up_forward, _up_backward)


@jax.custom_vjp
def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2 x 2 max-pooling of [B, H, W, C]; of tied values the first gets the gradient.

    Which pixel that is follows from x alone, in the gradient, so no map of choices is kept; and however the compiler
    rounds x when it computes it again, one of the four has the gradient.
    """
    a, b, c, d = _corners(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _corners(x: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))


def _pool_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    a, b, c, d = _corners(x)
    left_above, left_below = a >= b, c >= d
    above = jnp.where(left_above, a, b) >= jnp.where(left_below, c, d)
    zero = jnp.zeros((), gradient.dtype)
    chosen = (above & left_above, above & ~left_above, ~above & left_below, ~above & ~left_below)
    parts = [jnp.where(choice, gradient, zero) for choice in chosen]
    rows = [jnp.stack(parts[:2], axis=3), jnp.stack(parts[2:], axis=3)]
    return (jnp.stack(rows, axis=2).reshape(x.shape),)


max_pool_2x2.defvjp(lambda x: (max_pool_2x2(x), x), _pool_backward)
