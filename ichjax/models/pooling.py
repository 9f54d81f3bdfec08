"""Poolings of 3 x 3 pixels, and a mean of 2 x 2."""

import functools

import jax
import jax.numpy as jnp


def max_pool_3x3(x: jax.Array, stride: int = 1) -> jax.Array:
    """The maximum of each pixel's 3 x 3 neighbors inside the map: [B, H, W, C] to [B, ceil(H / stride), ...].

    Along rows, then columns; of tied values the first gets the gradient. As selections, as in `unet.max_pool_2x2`.
    """
    return _largest_of_three(_largest_of_three(x, 1, stride), 2, stride)


def mean_pool_3x3(x: jax.Array) -> jax.Array:
    """The mean of each pixel's 3 x 3 neighbors, with zeros outside of the map: [B, H, W, C]."""
    for axis in (1, 2):
        x = sum(_neighbors(x, axis, 0.0)[1:], start=_neighbors(x, axis, 0.0)[0]) / 3.0
    return x


def mean_pool_2x2(x: jax.Array) -> jax.Array:
    """The mean of blocks of 2 x 2 pixels: [B, H, W, C], of even sides, to [B, H / 2, W / 2, C]."""
    count, height, width, channels = x.shape
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _largest_of_three(x: jax.Array, axis: int, stride: int) -> jax.Array:
    """The maximum of each value and both neighbors along an axis, of every value or every second one."""
    return _choose(x, axis, stride)[0]


def _choose(x: jax.Array, axis: int, stride: int) -> tuple[jax.Array, tuple[jax.Array, int]]:
    first, second, third = (
        jax.lax.slice_in_dim(part, 0, None, stride, axis) for part in _neighbors(x, axis, float(jnp.finfo(x.dtype).min))
    )
    larger = jnp.where(first >= second, first, second)
    chosen = jnp.where(larger >= third, jnp.where(first >= second, 0, 1), 2).astype(jnp.int8)
    return jnp.where(larger >= third, larger, third), (chosen, x.shape[axis])


def _to_chosen(axis: int, stride: int, residuals: tuple[jax.Array, int], gradient: jax.Array) -> tuple[jax.Array]:
    chosen, length = residuals
    end = (gradient.shape[axis] - 1) * stride + 1
    total = jnp.zeros((), gradient.dtype)
    for k in range(3):
        padding = [(0, 0, 0)] * gradient.ndim
        padding[axis] = (k - 1, length - end - (k - 1), stride - 1)
        part = jnp.where(chosen == k, gradient, jnp.zeros((), gradient.dtype))
        total += jax.lax.pad(part, jnp.zeros((), gradient.dtype), padding)
    return (total,)


_largest_of_three.defvjp(_choose, _to_chosen)


def _neighbors(x: jax.Array, axis: int, outside: float) -> list[jax.Array]:
    """x moved by -1, 0 and 1 along an axis."""
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding, constant_values=outside)
    return [jax.lax.slice_in_dim(padded, k, k + x.shape[axis], axis=axis) for k in range(3)]
