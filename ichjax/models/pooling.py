"""3 x 3 poolings of stride 1, which keep the sides of maps."""

import jax
import jax.numpy as jnp


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """The maximum of each pixel's 3 x 3 neighbors inside the map: [B, H, W, C]; as selections, like `blocks.max_pool`."""
    for axis in (1, 2):
        parts = _neighbors(x, axis, jnp.finfo(x.dtype).min)
        larger = jnp.where(parts[0] >= parts[1], parts[0], parts[1])
        x = jnp.where(larger >= parts[2], larger, parts[2])
    return x


def mean_pool_3x3(x: jax.Array) -> jax.Array:
    """The mean of each pixel's 3 x 3 neighbors, with zeros outside of the map: [B, H, W, C]."""
    for axis in (1, 2):
        x = sum(_neighbors(x, axis, 0.0)[1:], start=_neighbors(x, axis, 0.0)[0]) / 3.0
    return x


def mean_pool_2x2(x: jax.Array) -> jax.Array:
    """The mean of blocks of 2 x 2 pixels: [B, H, W, C], of even sides, to [B, H / 2, W / 2, C]."""
    count, height, width, channels = x.shape
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _neighbors(x: jax.Array, axis: int, outside: float) -> list[jax.Array]:
    """x moved by -1, 0 and 1 along an axis."""
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding, constant_values=outside)
    return [jax.lax.slice_in_dim(padded, k, k + x.shape[axis], axis=axis) for k in range(3)]
