"""Mirrors slices about the head's mid-plane, which `scan.midplane` estimates on the host."""

import chex
import jax
import jax.numpy as jnp


def mirrored_patches(
    rows: jax.Array, left: jax.Array, column_sum: jax.Array, width: jax.Array, *, side: int, outside: int
) -> jax.Array:
    """Cuts patches out of mirrored rows, as `scan.midplane.mirrored_patch` does.

    Args:
      rows: [B, P, W], the rows of each patch over the whole slice.
      left: int32 [B], the first column of each patch.
      column_sum: int32 [B], see `scan.midplane`.
      width: int32 [B], columns of the slice; those after it are padding.
      side: P, in pixels.
      outside: value of columns whose mirror image is beyond the slice.

    Returns:
      [B, P, side].
    """
    chex.assert_rank([rows, left], [3, 1])
    chex.assert_equal_shape([left, column_sum, width])
    columns = (column_sum - left)[:, None] - jnp.arange(side)[None]
    inside = (columns >= 0) & (columns < width[:, None])
    taken = jnp.take_along_axis(rows, jnp.clip(columns, 0, rows.shape[2] - 1)[:, None], axis=2)
    return jnp.where(inside[:, None], taken, jnp.asarray(outside, rows.dtype))


def with_mirrored(slices: jax.Array, column_sum: jax.Array, *, outside: float) -> jax.Array:
    """Appends the middle slice of each stack with left and right swapped, moved by whole pixels.

    Args:
      slices: [N, H, W, S], S odd.
      column_sum: int32 [], see `scan.midplane`: column x takes the values of column `column_sum` - x.
      outside: value of columns whose mirror image is beyond the slice.

    Returns:
      [N, H, W, S + 1].
    """
    chex.assert_rank([slices, column_sum], [4, 0])
    width = slices.shape[2]
    columns = column_sum - jnp.arange(width)
    inside = (columns >= 0) & (columns < width)
    middle = jnp.asarray(slices)[..., slices.shape[3] // 2]
    taken = middle.at[:, :, jnp.clip(columns, 0, width - 1)].get(mode="promise_in_bounds")
    mirrored = jnp.where(inside[None, None], taken, jnp.asarray(outside, slices.dtype))
    return jnp.concatenate([slices, mirrored[..., None]], axis=-1)
