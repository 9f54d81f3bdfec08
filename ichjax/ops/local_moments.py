"""Statistics of each pixel's neighborhood inside a mask: moments in a box, means in a box and under a Gaussian.

Neighbors outside the mask, and outside the volume, do not count. Moments are those of differences from the mean, so
float32 suffices for values of any offset.
"""

import functools
import operator
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
    inside = mask.astype(jnp.float32)
    level = jnp.where(mask, values, 0.0).sum() / jnp.maximum(inside.sum(), 1.0)  # means are near it
    values = jnp.where(mask, values - level, 0.0).astype(jnp.float32)
    _require_middle(box)
    pad = [(side // 2, side // 2) for side in box]
    sums = _Sums(jnp.pad(inside, pad), jnp.pad(values, pad), *[jnp.zeros((), values.dtype)] * 3)
    for axis, side in enumerate(box):
        sums = _merge([_shifted(sums, k, values.shape[axis], axis) for k in range(side)])
    second, third, fourth = (total / jnp.maximum(sums.number, 1.0) for total in sums[2:])
    sd = jnp.sqrt(second)
    scale = jnp.where(sd < MIN_SD, 0.0, 1.0 / jnp.maximum(sd, MIN_SD))
    moments = level + sums.mean, sd, third * scale**3, fourth * scale**4
    return Moments(*(jnp.where(mask, moment, 0.0) for moment in moments))


def box_mean(values: jax.Array, mask: jax.Array, *, box: tuple[int, int, int] = BOX_PX) -> jax.Array:
    """The mean of the neighbors in the mask; arguments as in `local_moments`.

    Returns:
      float32 [D, H, W], 0 outside the mask.
    """
    chex.assert_equal_shape([values, mask])
    inside = mask.astype(jnp.float32)
    total, count = box_sum(jnp.where(mask, values, 0.0).astype(jnp.float32), box), box_sum(inside, box)
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


class _Sums(NamedTuple):
    """Number of pixels, mean, sums of the powers 2 to 4 of differences from it: [D, H, W], or [] for 0."""

    number: jax.Array
    mean: jax.Array
    second: jax.Array
    third: jax.Array
    fourth: jax.Array


def _merge(parts: list[_Sums]) -> _Sums:
    """The sums of the union of sets of pixels: Pebay, Sandia report SAND2008-6212, 2008, equation 2.1 for each power.

    Unlike sums of powers of the values themselves, no difference of large numbers. A box is merged axis by axis.
    """
    count = functools.reduce(operator.add, (part.number for part in parts))
    mean = functools.reduce(operator.add, (part.number * part.mean for part in parts)) / jnp.maximum(count, 1.0)
    second = third = fourth = jnp.zeros_like(mean)
    for part in parts:
        offset = part.mean - mean
        square = offset * offset
        second += part.second + part.number * square
        third += part.third + offset * (3 * part.second + part.number * square)
        fourth += part.fourth + offset * 4 * part.third + square * (6 * part.second + part.number * square)
    return _Sums(count, mean, second, third, fourth)


def _shifted(sums: _Sums, start: int, size: int, axis: int) -> _Sums:
    """`size` pixels of an axis; of a single pixel, the sums of powers are 0."""
    return _Sums(*(jax.lax.slice_in_dim(x, start, start + size, axis=axis) if x.ndim else x for x in sums))


def _require_middle(box: tuple[int, int, int]) -> None:
    if not all(side % 2 for side in box):
        raise ValueError(f"a box of {box} pixels has no middle; expected odd sides")


def box_sum(array: jax.Array, box: tuple[int, int, int]) -> jax.Array:
    """The sum over the box around each pixel, with zeros outside the volume: float32 [D, H, W], as the argument.

    Raises:
      ValueError: a side of the box is even.
    """
    _require_middle(box)
    shape = array.shape
    array = jnp.pad(array, [(side // 2, side // 2) for side in box])  # once: a CPU takes six times as long by axis
    for axis, (side, size) in enumerate(zip(box, shape, strict=True)):
        shifted = [jax.lax.slice_in_dim(array, k, k + size, axis=axis) for k in range(side)]
        array = functools.reduce(operator.add, shifted)
    return array


def _gaussian_matrix(size: int, step: jax.Array) -> jax.Array:
    """float32 [size, size]: weights of a Gaussian between samples that are `step` standard deviations apart."""
    index = jnp.arange(size, dtype=jnp.float32)
    return jnp.exp(-0.5 * ((index[:, None] - index[None, :]) * step) ** 2)
