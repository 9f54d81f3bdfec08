"""Exact Euclidean distance to a mask, in mm, in 2-D or 3-D.

Axis by axis (Felzenszwalb and Huttenlocher, 2012): along columns, the nearest True pixel on each side; then along each
further axis the minimum over all lines of the squared distance so far plus that between the lines. All pairs of lines
are compared, which costs more operations than the lower envelope of parabolas but has no data-dependent branch.
"""

import chex
import jax
import jax.numpy as jnp


def distance_mm(mask: jax.Array, spacing_mm: jax.Array) -> jax.Array:
    """Distance from each pixel to the nearest True pixel, over the last axes.

    Args:
      mask: bool [..., H, W], or [..., D, H, W].
      spacing_mm: float32 [2], of rows and columns: slice by slice; or [3], of slices, rows and columns.

    Returns:
      float32 [..., H, W] in mm, 0 on the mask; infinity where the slice (with three spacings, the scan) has none.
    """
    chex.assert_rank(spacing_mm, 1)
    axes = len(spacing_mm)
    if axes not in (2, 3) or mask.ndim < axes:
        raise ValueError(f"{axes} spacings for a mask of {mask.ndim} axes; expected 2 or 3, and at least as many axes")
    squared = _along_columns(mask, spacing_mm[-1])
    for axis in range(2, axes + 1):
        squared = _along_axis(squared, spacing_mm[-axis], axis=-axis)
    return jnp.sqrt(squared)


def _along_columns(mask: jax.Array, spacing_mm: jax.Array) -> jax.Array:
    """Squared distance to the nearest True pixel of the same row."""
    axis = mask.ndim - 1
    column = jax.lax.broadcasted_iota(jnp.float32, mask.shape, axis)
    before = jax.lax.cummax(jnp.where(mask, column, -jnp.inf), axis=axis)
    behind = jax.lax.cummin(jnp.where(mask, column, jnp.inf), axis=axis, reverse=True)
    return jnp.square(jnp.minimum(column - before, behind - column) * spacing_mm)


def _along_axis(squared: jax.Array, spacing_mm: jax.Array, *, axis: int) -> jax.Array:
    """The least squared distance by way of any line along an axis."""
    lines = jnp.moveaxis(squared, axis, -2)
    line = jnp.arange(lines.shape[-2], dtype=jnp.float32)
    between = jnp.square((line[:, None] - line[None]) * spacing_mm)
    by_way = lines[..., None, :, :] + between[:, :, None].reshape((1,) * (lines.ndim - 2) + (*between.shape, 1))
    return jnp.moveaxis(by_way.min(axis=-2), -2, axis)
