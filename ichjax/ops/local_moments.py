"""Statistics of each pixel's neighborhood inside a mask: moments in a box, means in a box and under a Gaussian.

Neighbors outside the mask, and outside the volume, do not count. Moments are those of differences from the mean, which
is itself found from differences to the pixel's own value, so float32 suffices for values of any offset.
"""

import itertools
from collections.abc import Iterator
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
    neighbors = list(zip(_shifted(values, box), _shifted(mask, box), strict=True))

    def total(terms: Iterator[jax.Array]) -> jax.Array:
        return sum(terms, jnp.zeros(values.shape, jnp.float32))

    count = jnp.maximum(total(inside.astype(jnp.float32) for _, inside in neighbors), 1.0)
    offset = total(jnp.where(inside, value - values, 0.0) for value, inside in neighbors) / count
    mean = values + offset
    deviations = [jnp.where(inside, (value - values) - offset, 0.0) for value, inside in neighbors]
    sd = jnp.sqrt(total(d**2 for d in deviations) / count)
    scale = jnp.where(sd < MIN_SD, 0.0, 1.0 / jnp.maximum(sd, MIN_SD))
    skew = total((d * scale) ** 3 for d in deviations) / count
    kurtosis = total((d * scale) ** 4 for d in deviations) / count
    return Moments(*(jnp.where(mask, moment, 0.0) for moment in (mean, sd, skew, kurtosis)))


def box_mean(values: jax.Array, mask: jax.Array, *, box: tuple[int, int, int] = BOX_PX) -> jax.Array:
    """The mean of the neighbors in the mask; arguments as in `local_moments`.

    Returns:
      float32 [D, H, W], 0 outside the mask.
    """
    chex.assert_equal_shape([values, mask])
    inside = mask.astype(jnp.float32)
    total, count = _box_sum(jnp.where(mask, values, 0.0).astype(jnp.float32), box), _box_sum(inside, box)
    return jnp.where(mask, total / jnp.maximum(count, 1.0), 0.0)


def masked_gaussian(values: jax.Array, mask: jax.Array, spacing_mm: jax.Array, *, sigma_mm: float) -> jax.Array:
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


def _shifted(array: jax.Array, box: tuple[int, int, int]) -> Iterator[jax.Array]:
    """The array moved to each position in the box, with zeros from outside."""
    if not all(side % 2 for side in box):
        raise ValueError(f"a box of {box} pixels has no middle; expected odd sides")
    padded = jnp.pad(array, [(side // 2, side // 2) for side in box])
    for start in itertools.product(*(range(side) for side in box)):
        yield padded[tuple(slice(first, first + size) for first, size in zip(start, array.shape, strict=True))]


def _box_sum(array: jax.Array, box: tuple[int, int, int]) -> jax.Array:
    """The sum over the box around each pixel, axis by axis."""
    for axis, side in enumerate(box):
        line = [1, 1, 1]
        line[axis] = side
        array = sum(_shifted(array, (line[0], line[1], line[2])), jnp.zeros_like(array))
    return array


def _gaussian_matrix(size: int, step: jax.Array) -> jax.Array:
    """float32 [size, size]: weights of a Gaussian between samples that are `step` standard deviations apart."""
    index = jnp.arange(size, dtype=jnp.float32)
    return jnp.exp(-0.5 * ((index[:, None] - index[None, :]) * step) ** 2)
