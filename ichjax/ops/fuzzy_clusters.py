"""Fuzzy c-means with exponent 2 (Bezdek 1981): of histograms, and of slices with spatial information.

The membership of a value in a cluster is its inverse squared distance to the cluster's center, divided by the sum over
all clusters; a center is the mean of the values weighted by their squared membership. Both are repeated until no
membership changes by `MEMBERSHIP_TOLERANCE`, at most `MAX_ITERATIONS` times. The start is deterministic, and each item
of a batch gets the result that it would get alone.

On a histogram the result is exactly that of all values, at the cost of its bins. The spatial form (Chuang et al. 2006)
multiplies each membership by its sum over the pixel's neighborhood before it is normalized, so that single noisy
pixels follow their neighbors.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

MAX_ITERATIONS = 100
MEMBERSHIP_TOLERANCE = 1e-5  # largest change of a membership at which the iteration ends
NEIGHBORS_PX = 2  # on each side: 5 x 5 pixels
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
    used = (weights > 0)[:, None]

    def update(state: Clusters) -> Clusters:
        centers = _weighted_means(state.membership, levels[None, None], weights[:, None], state.centers, (2,))
        return Clusters(centers, _memberships(levels[None, None], centers[:, :, None]))

    def change(old: Clusters, new: Clusters) -> jax.Array:
        return jnp.where(used, jnp.abs(new.membership - old.membership), 0.0).max(axis=(1, 2))

    centers = _start(weights, levels, clusters)
    result = _iterate(update, change, Clusters(centers, _memberships(levels[None, None], centers[:, :, None])))
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
    values, inside = values.astype(jnp.float32)[:, None], inside[:, None]
    weights = inside.astype(jnp.float32)

    def update(state: Clusters) -> Clusters:
        centers = _weighted_means(state.membership, values, weights, state.centers, (2, 3))
        return Clusters(centers, _spatial_memberships(values, inside, centers))

    def change(old: Clusters, new: Clusters) -> jax.Array:
        return jnp.abs(new.membership - old.membership).max(axis=(1, 2, 3))

    centers = centers.astype(jnp.float32)
    start = Clusters(centers, _spatial_memberships(values, inside, centers))
    return _iterate(update, change, start, max_iterations)


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
    return closeness / closeness.sum(axis=1, keepdims=True)


def _spatial_memberships(values: jax.Array, inside: jax.Array, centers: jax.Array) -> jax.Array:
    """[N, K, H, W] of values [N, 1, H, W]: memberships times their sums over the neighborhood, normalized."""
    plain = jnp.where(inside, _memberships(values, centers[:, :, None, None]), 0.0)
    joint = plain * _neighborhood_sums(plain)
    return jnp.where(inside, joint / jnp.maximum(joint.sum(axis=1, keepdims=True), 1e-30), 0.0)


def _neighborhood_sums(maps: jax.Array) -> jax.Array:
    """Sums [N, K, H, W] over 5 x 5 pixels, with zeros outside the slice."""
    for axis in (2, 3):
        pad = [(NEIGHBORS_PX, NEIGHBORS_PX) if k == axis else (0, 0) for k in range(4)]
        padded, size = jnp.pad(maps, pad), maps.shape[axis]
        maps = sum(
            (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(1, 2 * NEIGHBORS_PX + 1)),
            start=jax.lax.slice_in_dim(padded, 0, size, axis=axis),
        )
    return maps


def _weighted_means(
    membership: jax.Array, values: jax.Array, weights: jax.Array, previous: jax.Array, axes: tuple[int, ...]
) -> jax.Array:
    """Centers [N, K]: means of the values by squared membership; the previous ones where a cluster has no weight."""
    squares = membership * membership * weights
    total = squares.sum(axis=axes)
    return jnp.where(total > 0, (squares * values).sum(axis=axes) / jnp.maximum(total, 1e-30), previous)


def _iterate(
    update: Callable[[Clusters], Clusters],
    change: Callable[[Clusters, Clusters], jax.Array],
    start: Clusters,
    max_iterations: int = MAX_ITERATIONS,
) -> Clusters:
    """Repeats `update` on each item until its `change` [N] is below the tolerance; finished items stay as they are."""

    def body(state: tuple[jax.Array, jax.Array, Clusters]) -> tuple[jax.Array, jax.Array, Clusters]:
        iteration, active, old = state
        new = update(old)
        new = jax.tree.map(lambda x, y: jnp.where(active.reshape(-1, *[1] * (x.ndim - 1)), y, x), old, new)
        return iteration + 1, active & (change(old, new) >= MEMBERSHIP_TOLERANCE), new

    def running(state: tuple[jax.Array, jax.Array, Clusters]) -> jax.Array:
        return (state[0] < max_iterations) & state[1].any()

    active = jnp.ones(start.centers.shape[0], bool)
    return jax.lax.while_loop(running, body, (jnp.int32(0), active, start))[2]
