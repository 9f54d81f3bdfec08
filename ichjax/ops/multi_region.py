"""Several regions of a slice with costs of their pixels and contours: a convex relaxation of the Potts model.

Minimized is sum_k <u_k, D_k> + sum_k sum_x g |grad u_k| over shares u of regions, which are 0 or more and sum to 1 in
each pixel, with the primal-dual method of Chambolle and Pock (2011); |grad u| is the Euclidean norm of the differences
to the next row and column. Repeated with costs that depend on where the regions were before, it moves contours as far
as the costs allow (time-implicit evolution: Ukwatta et al., 2013; Rajchl et al., 2014).
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import distance

PRIMAL_DUAL_STEP = 1 / math.sqrt(8.0)  # of both variables; the squared norm of the differences is at most 8
HISTOGRAM_BINS = 64  # of the histograms of an image from 0 to 1
EDGE_SLOPE = 20.0  # per unit of the image's slope, by which a contour costs less
MIN_PROBABILITY = 1e-4
FORBIDDEN = 1e3  # cost of a pixel outside the domain for any region but the first


class Relaxed(NamedTuple):
    """A state of the minimization.

    Attributes:
      shares: float32 [K, H, W].
      flux: float32 [2, K, H, W], along rows and columns, of length g at most: the dual variable.
    """

    shares: jax.Array
    flux: jax.Array


def from_labels(labels: jax.Array, *, regions: int) -> Relaxed:
    """A state to start from: int32 [H, W] of the regions' numbers, below K = `regions`."""
    chex.assert_rank(labels, 2)
    numbers = jnp.arange(regions, dtype=labels.dtype)[:, None, None]
    shares = (labels[None] == numbers).astype(jnp.float32)
    return Relaxed(shares, jnp.zeros((2, *shares.shape), jnp.float32))


def minimize(start: Relaxed, costs: jax.Array, length: jax.Array, *, steps: int) -> Relaxed:
    """Takes a fixed number of primal-dual steps towards the minimum of the energy.

    Args:
      start: where to start.
      costs: float32 [K, H, W], of each region's pixels.
      length: float32 [H, W], of a contour's pixel, g.
      steps: number of steps.

    Returns:
      The state after them; its shares are feasible after any number of steps.
    """
    chex.assert_equal_shape([start.shares, costs])
    chex.assert_shape(length, costs.shape[1:])

    def step(_: int, state: tuple[Relaxed, jax.Array]) -> tuple[Relaxed, jax.Array]:
        (shares, flux), ahead = state
        rows, columns = (flux[k] + PRIMAL_DUAL_STEP * part for k, part in enumerate(_differences(ahead)))
        factor = length[None] / jnp.maximum(jnp.sqrt(rows * rows + columns * columns), jnp.maximum(length, 1e-12)[None])
        flux = jnp.stack([rows * factor, columns * factor])
        moved = _onto_simplex(shares - PRIMAL_DUAL_STEP * (costs - _divergence(flux)))
        return Relaxed(moved, flux), 2.0 * moved - shares

    return jax.lax.fori_loop(0, steps, step, (start, start.shares))[0]


def energy(shares: jax.Array, costs: jax.Array, length: jax.Array) -> jax.Array:
    """The energy of float32 [K, H, W] with the costs of `minimize`: float32 []."""
    chex.assert_equal_shape([shares, costs])
    rows, columns = _differences(shares)
    return (shares * costs).sum() + (length[None] * jnp.sqrt(rows**2 + columns**2)).sum()


def evolve(
    probability: jax.Array,
    image: jax.Array,
    labels: jax.Array,
    domain: jax.Array,
    *,
    b: jax.Array | float,
    c: jax.Array | float,
    smoothness: jax.Array | float,
    outer: int,
    inner: int,
) -> jax.Array:
    """Moves the contours of the regions of one slice.

    A pixel of region k costs -log p_k - b log h_k(I) + c d, where h_k is the histogram of the image in region k as it
    is at the time, and d the distance to that region in pixels. A pixel of a contour costs
    `smoothness` / (1 + 20 |grad I|).

    Args:
      probability: float32 [K, H, W] of each region, the first of which is the background.
      image: float32 [H, W], from 0 to 1.
      labels: int32 [H, W], the regions to start from.
      domain: bool [H, W], outside which all is background; histograms are of its pixels.
      b, c, smoothness: see above.
      outer: number of times that the costs are computed.
      inner: steps after each.

    Returns:
      float32 [K, H, W], the shares of the regions.
    """
    chex.assert_equal_shape([image, labels, domain])
    chex.assert_shape(probability, (len(probability), *image.shape))
    rows, columns = _differences(image[None])
    length = smoothness / (1.0 + EDGE_SLOPE * jnp.sqrt(rows**2 + columns**2))[0]
    given = -jnp.log(jnp.maximum(probability, MIN_PROBABILITY))
    level = jnp.clip((image * HISTOGRAM_BINS).astype(jnp.int32), 0, HISTOGRAM_BINS - 1)
    first = (jnp.arange(len(probability)) == 0)[:, None, None]

    def again(_: int, state: tuple[jax.Array, Relaxed]) -> tuple[jax.Array, Relaxed]:
        now, relaxed = state
        inside = from_labels(now, regions=len(probability)).shares > 0.5
        costs = given + b * _unlikely(level, inside & domain[None]) + c * _distances(inside)
        costs = jnp.where(domain[None], costs, jnp.where(first, 0.0, FORBIDDEN))
        relaxed = minimize(relaxed, costs, length, steps=inner)
        return relaxed.shares.argmax(axis=0).astype(labels.dtype), relaxed

    start = from_labels(labels, regions=len(probability))
    return jax.lax.fori_loop(0, outer, again, (labels, start))[1].shares


def _unlikely(level: jax.Array, inside: jax.Array) -> jax.Array:
    """-log of the share of each pixel's level among the pixels inside each region, float32 [K, H, W].

    Histograms are smoothed by 1/4, 1/2, 1/4, and one more pixel is added to each level, so that none is empty.
    """
    counts = jax.vmap(lambda one: jnp.zeros(HISTOGRAM_BINS).at[level.ravel()].add(one.ravel().astype(jnp.float32)))(
        inside
    )
    padded = jnp.pad(counts, ((0, 0), (1, 1)), mode="edge")
    smooth = (padded[:, :-2] + 2.0 * counts + padded[:, 2:]) / 4.0 + 1.0
    table = -jnp.log(smooth / smooth.sum(axis=1, keepdims=True))
    return table.at[:, level].get(mode="promise_in_bounds")


def _distances(inside: jax.Array) -> jax.Array:
    """Distance to each region in pixels, float32 [K, H, W]; that to a region without pixels is their largest sum."""
    return jnp.minimum(distance.distance_mm(inside, jnp.ones(2)), float(sum(inside.shape[1:])))


def _differences(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """To the next row and to the next column of [K, H, W]; 0 from the last one."""
    rows = jnp.pad(maps[:, 1:] - maps[:, :-1], ((0, 0), (0, 1), (0, 0)))
    return rows, jnp.pad(maps[:, :, 1:] - maps[:, :, :-1], ((0, 0), (0, 0), (0, 1)))


def _divergence(flux: jax.Array) -> jax.Array:
    """The negative adjoint of `_differences`: [K, H, W] from [2, K, H, W]."""
    rows, columns = flux
    before = jnp.pad(rows[:, :-1], ((0, 0), (1, 0), (0, 0)))
    left = jnp.pad(columns[:, :, :-1], ((0, 0), (0, 0), (1, 0)))
    return rows - before + columns - left


def _onto_simplex(values: jax.Array) -> jax.Array:
    """The nearest shares that are 0 or more and sum to 1 over the first axis (Michelot, 1986)."""
    active = jnp.ones(values.shape, bool)
    excess = jnp.zeros(values.shape[1:])[None]
    for _ in range(len(values)):
        count = active.sum(axis=0, keepdims=True)
        excess = (jnp.where(active, values, 0.0).sum(axis=0, keepdims=True) - 1.0) / count
        active &= values > excess
    return jnp.maximum(values - excess, 0.0)
