"""Statistics of each pixel's neighborhood inside a mask: moments in a box, means in a box and under a Gaussian.

Neighbors outside the mask, and outside the volume, do not count. Moments are those of differences from the mean, which
is itself found from differences to the pixel's own value, so float32 suffices for values of any offset.
"""

import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

BOX_PX = (3, 3, 3)  # slices, rows and columns
MIN_SD = 1e-3  # HU; a neighborhood with less has no shape, only rounding


class Moments(NamedTuple):
    """Moments of the pixels of a neighborhood that are in the mask, each float32 [D, H, W], 0 outside the mask.

    Attributes:
      mean: their mean.
      sd: their standard deviation, with the number of pixels as divisor.
      skew: their third central moment, divided by sd ** 3; 0 where sd is below `MIN_SD`.
      kurtosis: their fourth central moment, divided by sd ** 4 (3 for a normal distribution); 0 likewise.
    """

    mean: jax.Array
    sd: jax.Array
    skew: jax.Array
    kurtosis: jax.Array


def local_moments(values: jax.Array, mask: jax.Array, *, box: tuple[int, int, int] = BOX_PX) -> Moments:
    """Computes the first four moments of each pixel's neighborhood.

    Args:
      values: float32 [D, H, W].
      mask: bool [D, H, W].
      box: sides of the neighborhood in slices, rows and columns, odd.
    """
    chex.assert_equal_shape([values, mask])
    values = jnp.where(mask, values, 0.0).astype(jnp.float32)
    inside = mask.astype(jnp.float32)
    starts = _starts(box)
    padded, padded_inside = (jnp.pad(array, [(side // 2, side // 2) for side in box]) for array in (values, inside))

    def sums(start: jax.Array, powers: tuple[int, ...], offset: jax.Array | float) -> list[jax.Array]:
        """What one neighbor adds to the sums of powers of its difference from the own value plus an offset."""
        value, weight = (jax.lax.dynamic_slice(array, start, mask.shape) for array in (padded, padded_inside))
        deviation = (value - values) - offset
        return [weight * deviation**power for power in powers]

    def total(powers: tuple[int, ...], offset: jax.Array | float) -> list[jax.Array]:
        """Sums over all neighbors, one after the other: unrolled, they take minutes to compile."""

        def add(k: jax.Array, so_far: list[jax.Array]) -> list[jax.Array]:
            return [one + other for one, other in zip(so_far, sums(starts[k], powers, offset), strict=True)]

        return jax.lax.fori_loop(0, len(starts), add, [jnp.zeros_like(values)] * len(powers))

    count, first = total((0, 1), 0.0)
    count = jnp.maximum(count, 1.0)
    offset = first / count
    second, third, fourth = (power / count for power in total((2, 3, 4), offset))
    sd = jnp.sqrt(second)
    scale = jnp.where(sd < MIN_SD, 0.0, 1.0 / jnp.maximum(sd, MIN_SD))
    moments = values + offset, sd, third * scale**3, fourth * scale**4
    return Moments(*(jnp.where(mask, moment, 0.0) for moment in moments))


def box_mean(values: jax.Array, mask: jax.Array, *, box: tuple[int, int, int] = BOX_PX) -> jax.Array:
    """The mean of the neighbors in the mask; arguments as in `local_moments`.

    Returns:
      float32 [D, H, W], 0 outside the mask.
    """
    chex.assert_equal_shape([values, mask])
    inside = mask.astype(jnp.float32)
    total, count = _box_sum(jnp.where(mask, values, 0.0).astype(jnp.float32), box), _box_sum(inside, box)
    return jnp.where(mask, total / jnp.maximum(count, 1.0), 0.0)


def masked_gaussian(
    values: jax.Array, mask: jax.Array, spacing_mm: jax.Array, *, sigma_mm: jax.Array | float
) -> jax.Array:
    """Smooths by a Gaussian of a width in mm, normalized over the pixels of the mask.

    As three matrix products, since a kernel of 20 mm is about as long as the axes.

    Args:
      values: float32 [D, H, W].
      mask: bool [D, H, W].
      spacing_mm: float32 [3], of slices, rows and columns.
      sigma_mm: standard deviation of the Gaussian.

    Returns:
      float32 [D, H, W], 0 outside the mask.
    """
    chex.assert_equal_shape([values, mask])
    chex.assert_shape(spacing_mm, (3,))
    inside = mask.astype(jnp.float32)
    level = jnp.where(mask, values, 0.0).sum() / jnp.maximum(inside.sum(), 1.0)  # smoothed values are near it
    planes = jnp.stack([jnp.where(mask, values - level, 0.0), inside])
    kernels = [_gaussian_matrix(size, spacing_mm[axis] / sigma_mm) for axis, size in enumerate(values.shape)]
    smoothed = jnp.einsum("ca,nabw->ncbw", kernels[0], planes, precision=jax.lax.Precision.HIGHEST)
    smoothed = jnp.einsum("hb,ncbw->nchw", kernels[1], smoothed, precision=jax.lax.Precision.HIGHEST)
    smoothed = jnp.einsum("vw,nchw->nchv", kernels[2], smoothed, precision=jax.lax.Precision.HIGHEST)
    total, weight = smoothed
    return jnp.where(mask, level + total / jnp.where(mask, weight, 1.0), 0.0)


def _starts(box: tuple[int, int, int]) -> jax.Array:
    """int32 [n, 3]: where each position in the box begins in an array that is padded by half the box."""
    if not all(side % 2 for side in box):
        raise ValueError(f"a box of {box} pixels has no middle; expected odd sides")
    return jnp.array(list(itertools.product(*(range(side) for side in box))), jnp.int32)


def _box_sum(array: jax.Array, box: tuple[int, int, int]) -> jax.Array:
    """The sum over the box around each pixel, axis by axis."""
    _starts(box)
    for axis, side in enumerate(box):
        pad, size = [(0, 0)] * 3, array.shape[axis]
        pad[axis] = (side // 2, side // 2)
        padded = jnp.pad(array, pad)
        array = sum((jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(side)), jnp.zeros_like(array))
    return array


def _gaussian_matrix(size: int, step: jax.Array) -> jax.Array:
    """float32 [size, size]: weights of a Gaussian between samples that are `step` standard deviations apart."""
    index = jnp.arange(size, dtype=jnp.float32)
    return jnp.exp(-0.5 * ((index[:, None] - index[None, :]) * step) ** 2)
