"""Texture of regions: co-occurrence of grey levels (Haralick et al., 1973), and histograms with weighted pixels.

Counts are whole numbers, so that their sum has the same bits in whatever order they are added.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

MAX_WEIGHT = 255  # of a pixel in a histogram, in whole steps


class Texture(NamedTuple):
    """Of the neighboring pairs of each region, float32 [K]; 0 where there is none.

    Attributes:
      contrast: mean squared difference of the two levels.
      correlation: of the two levels; 0 where they do not vary.
      energy: sum of squared shares of the pairs of levels.
      homogeneity: mean of 1 / (1 + difference).
    """

    contrast: jax.Array
    correlation: jax.Array
    energy: jax.Array
    homogeneity: jax.Array


def texture(number: jax.Array, level: jax.Array, *, count: int, levels: int) -> Texture:
    """Texture by the pairs of neighbors in a row or column, in both orders, of which both are in the region.

    Args:
      number: int32 [D, H, W], 0 to K - 1 on the pixels of a region, K elsewhere.
      level: int32 [D, H, W], 0 to `levels` - 1.
      count: K.
    """
    chex.assert_equal_shape([number, level])
    pairs = jnp.zeros((count + 1) * levels * levels, jnp.int32)
    for axis in (1, 2):
        size = number.shape[axis] - 1
        first, second = (jax.lax.slice_in_dim(number, k, k + size, axis=axis) for k in (0, 1))
        one, other = (jax.lax.slice_in_dim(level, k, k + size, axis=axis) for k in (0, 1))
        region = jnp.where(first == second, first, count)
        pairs = pairs.at[((region * levels + one) * levels + other).ravel()].add(1, mode="promise_in_bounds")
    table = pairs.reshape(count + 1, levels, levels)[:count]
    table = (table + table.swapaxes(1, 2)).astype(jnp.float32)
    share = table / jnp.maximum(table.sum(axis=(1, 2), keepdims=True), 1.0)
    grey = jnp.arange(levels, dtype=jnp.float32)
    difference = jnp.abs(grey[:, None] - grey[None, :])
    of_level = share.sum(axis=2)  # the same for both of a pair
    mean = (of_level * grey[None]).sum(axis=1)
    deviation = grey[None] - mean[:, None]
    variance = (of_level * deviation**2).sum(axis=1)
    covariance = (share * deviation[:, :, None] * deviation[:, None, :]).sum(axis=(1, 2))
    varied = variance > 1e-6
    return Texture(
        (share * (difference**2)[None]).sum(axis=(1, 2)),
        jnp.where(varied, covariance / jnp.where(varied, variance, 1.0), 0.0),
        (share**2).sum(axis=(1, 2)),
        (share / (1.0 + difference)[None]).sum(axis=(1, 2)),
    )


def weighted_histogram(number: jax.Array, level: jax.Array, weight: jax.Array, *, count: int, levels: int) -> jax.Array:
    """The share of each grey level in the weight of a region.

    Args:
      number, level, count, levels: as in `texture`.
      weight: float32 [D, H, W] in [0, 1], rounded to steps of 1 / `MAX_WEIGHT`.

    Returns:
      float32 [K, levels], rows summing to 1, or 0 where no pixel has a weight.
    """
    chex.assert_equal_shape([number, level, weight])
    steps = jnp.round(jnp.clip(weight, 0.0, 1.0) * MAX_WEIGHT).astype(jnp.int32)
    sums = jnp.zeros((count + 1) * levels, jnp.int32)
    sums = sums.at[(number * levels + level).ravel()].add(steps.ravel(), mode="promise_in_bounds")
    table = sums.reshape(count + 1, levels)[:count].astype(jnp.float32)
    return table / jnp.maximum(table.sum(axis=1, keepdims=True), 1.0)
