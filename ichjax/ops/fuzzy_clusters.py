"""Fuzzy c-means with exponent 2 (Bezdek 1981): of histograms, and of slices with spatial information.

The membership of a value in a cluster is its inverse squared distance to the cluster's center, divided by the sum over
all clusters; a center is the mean of the values weighted by their squared membership. Both are repeated until no
membership changes by `MEMBERSHIP_TOLERANCE`, at most `MAX_ITERATIONS` times. The start is deterministic, and each item
of a batch gets the result that it would get alone.

On a histogram the result is exactly that of all values, at the cost of its bins. The spatial form (Chuang et al. 2006)
multiplies each membership by its sum over the pixel's neighborhood before it is normalized, so that single noisy
pixels follow their neighbors.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops.local_moments import box_sum

MAX_ITERATIONS = 100
MEMBERSHIP_TOLERANCE = 1e-5  # largest change of a membership at which the iteration ends
STILL = 1e-2  # in units of the values: while a center moves further, memberships change, so they are not compared
NEIGHBORS_PX = 5  # side of the neighborhood in the slice
TINY_DISTANCE = 1e-9  # squared, in units of the values: a value at a center belongs to it alone


class Clusters(NamedTuple):
    """Centers float32 [N, K], ascending in the histogram form, and membership float32 [N, K, ...], 0 without data."""

    centers: jax.Array
    membership: jax.Array


def of_histogram(counts: jax.Array, *, clusters: int) -> Clusters:
    """Clusters the values of each histogram; the values are the numbers of the bins.

    The start is halfway between evenly spaced quantiles and evenly spaced levels from the lowest to the highest value,
    so that no two centers are equal unless all values are.

    Args:
      counts: [N, B] integer or float, how often each value occurs; a weight, so any scale.
      clusters: K.

    Returns:
      Centers [N, K], all 0 for an empty histogram, and membership [N, K, B] of every bin, empty ones included.
    """
    chex.assert_rank(counts, 2)
    weights = counts.astype(jnp.float32)
    weights /= jnp.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    levels = jnp.arange(counts.shape[1], dtype=jnp.float32)
    result = _iterate(
        levels[None],
        weights,
        lambda centers: _memberships(levels[None, None], centers[:, :, None]),
        _start(weights, levels, clusters),
    )
    order = jnp.argsort(result.centers, axis=1)
    return Clusters(*(jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), 1) for x in result))


def spatial(
    values: jax.Array, inside: jax.Array, centers: jax.Array, *, max_iterations: int = MAX_ITERATIONS
) -> Clusters:
    """Clusters pixels by value and by the memberships of the 5 x 5 pixels around them.

    Args:
      values: float32 [N, H, W].
      inside: bool [N, H, W]; other pixels have no membership and count for no neighbor.
      centers: float32 [N, K], to start from, for example those of `of_histogram`.
      max_iterations: limit of the iterations.

    Returns:
      Centers [N, K], in the order of the start, and membership [N, K, H, W]: sums to 1 inside, 0 elsewhere. Slices
      without a pixel inside keep the centers of the start.
    """
    chex.assert_rank([values, centers], [3, 2])
    chex.assert_equal_shape([values, inside])
    values, weights = values.astype(jnp.float32), inside.astype(jnp.float32)

    return _iterate(
        values,
        weights,
        lambda centers: _spatial_memberships(values, weights, centers),
        centers.astype(jnp.float32),
        max_iterations,
    )


def _start(weights: jax.Array, levels: jax.Array, clusters: int) -> jax.Array:
    """The centers to start from, [N, K], of normalized weights [N, B]."""
    share = (jnp.arange(clusters) + 0.5) / clusters
    cumulative = jnp.cumsum(weights, axis=1)
    quantiles = (cumulative[:, None] < share[None, :, None]).sum(axis=2)
    lowest = jnp.argmax(weights > 0, axis=1)
    highest = jnp.maximum(levels.size - 1 - jnp.argmax(weights[:, ::-1] > 0, axis=1), lowest)
    even = lowest[:, None] + share[None] * (highest - lowest)[:, None]
    empty = (weights == 0).all(axis=1, keepdims=True)
    return jnp.where(empty, 0.0, (jnp.minimum(quantiles, levels.size - 1) + even) / 2)


def _memberships(values: jax.Array, centers: jax.Array) -> jax.Array:
    """Inverse squared distances, normalized over axis 1; equal centers share equally."""
    closeness = 1.0 / jnp.maximum((values - centers) ** 2, TINY_DISTANCE)
    return closeness * (1.0 / closeness.sum(axis=1, keepdims=True))


def _spatial_memberships(values: jax.Array, weights: jax.Array, centers: jax.Array) -> jax.Array:
    """[N, K, H, W] of values and weights (1 inside, else 0) [N, H, W]: memberships times their sums over the
    neighborhood, normalized. A map for each cluster, as XLA on a CPU takes a fifth longer for all in one array."""
    closeness = [
        1.0 / jnp.maximum((values - center[:, None, None]) ** 2, TINY_DISTANCE)
        for center in jnp.unstack(centers, axis=1)
    ]
    scale = weights / functools.reduce(operator.add, closeness)
    joint = [near * box_sum(near * scale, (1, NEIGHBORS_PX, NEIGHBORS_PX)) for near in closeness]
    scale = weights / jnp.maximum(functools.reduce(operator.add, joint), 1e-30)
    return jnp.stack([part * scale for part in joint], axis=1)


def _iterate(
    values: jax.Array,
    weights: jax.Array,
    memberships: Callable[[jax.Array], jax.Array],
    centers: jax.Array,
    max_iterations: int = MAX_ITERATIONS,
) -> Clusters:
    """Finds centers and memberships in turn, until no membership of an item with a weight changes by the tolerance.

    Args:
      values, weights: [N or 1, ...].
      memberships: from centers [N, K] to [N, K, ...].
      centers: [N, K], to start from.
      max_iterations: limit of the iterations.
    """
    axes = tuple(range(1, values.ndim))

    def changes(old: Clusters, new: Clusters) -> jax.Array:
        """The largest change of a membership of each item [N]."""
        change = jnp.abs(new.membership - old.membership).max(axis=1)
        return jnp.where(weights > 0, change, 0.0).max(axis=axes)

    def body(state: tuple[jax.Array, jax.Array, Clusters]) -> tuple[jax.Array, jax.Array, Clusters]:
        iteration, active, old = state
        squares = [membership * membership * weights for membership in jnp.unstack(old.membership, axis=1)]
        total = jnp.stack([square.sum(axis=axes) for square in squares], axis=1)
        means = jnp.stack([(square * values).sum(axis=axes) for square in squares], axis=1) / jnp.maximum(total, 1e-30)
        # A finished item keeps its centers, and with them its memberships; so does a cluster without weight.
        centers = jnp.where(active[:, None] & (total > 0), means, old.centers)
        new = Clusters(centers, memberships(centers))
        moving = jnp.abs(new.centers - old.centers).max(axis=1) > STILL
        change = jax.lax.cond((moving | ~active).all(), jnp.ones_like, lambda _: changes(old, new), moving * 1.0)
        return iteration + 1, active & (moving | (change >= MEMBERSHIP_TOLERANCE)), new

    def running(state: tuple[jax.Array, jax.Array, Clusters]) -> jax.Array:
        return (state[0] < max_iterations) & state[1].any()

    active = jnp.ones(len(centers), bool)
    return jax.lax.while_loop(running, body, (jnp.int32(0), active, Clusters(centers, memberships(centers))))[2]
