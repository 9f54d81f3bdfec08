"""Median of the 3 x 3 neighbors, by minima and maxima alone."""

import functools

import jax
import jax.numpy as jnp


def median_3x3(image: jax.Array) -> jax.Array:
    """Median of each pixel and its 8 neighbors in the slice, [..., H, W]; beyond the edge its pixels are repeated.

    The median of nine is that of three numbers: the largest of the columns' minima, the median of their medians, and
    the least of their maxima.
    """
    pad = [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)]
    padded = jnp.pad(image, pad, mode="edge")
    height, width = image.shape[-2:]
    rows = [padded[..., k : k + height, :] for k in range(3)]
    of_columns = functools.reduce(jnp.minimum, rows), _median(*rows), functools.reduce(jnp.maximum, rows)
    of_columns = jax.lax.optimization_barrier(of_columns)  # once for each column, not for each pixel
    lows, middles, highs = ([values[..., k : k + width] for k in range(3)] for values in of_columns)
    return _median(functools.reduce(jnp.maximum, lows), _median(*middles), functools.reduce(jnp.minimum, highs))


def _median(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), c))
