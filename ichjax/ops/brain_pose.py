"""Where a brain lies, how it is turned and how large it is, from the moments of its mask; and its mirror image.

A stand-in for registration: a similarity transform from the mask alone, without a template.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import augment

MAX_TURN = 0.5  # radians; a longer axis that is turned further is not the one from front to back


class Pose(NamedTuple):
    """A brain's position in mm from the center of the first slice's first pixel; axes are slices, rows, columns.

    Attributes:
      center_mm: float32 [3].
      turn: float32 [], radians by which the long axis in the slices is turned from rows (front to back) to columns.
      size_mm: float32 [], geometric mean of the SDs along both axes in the slices; 1 or more.
    """

    center_mm: jax.Array
    turn: jax.Array
    size_mm: jax.Array


def find(mask: jax.Array, spacing_mm: jax.Array) -> Pose:
    """The pose of a mask.

    Args:
      mask: bool [D, H, W]; empty: the pose of its first pixel.
      spacing_mm: float32 [3], of slices, rows and columns.
    """
    chex.assert_rank(mask, 3)
    chex.assert_shape(spacing_mm, (3,))
    plane = mask.sum(axis=0).astype(jnp.float32)
    pixels = jnp.maximum(plane.sum(), 1.0)
    z, y, x = (jnp.arange(size, dtype=jnp.float32) * mm for size, mm in zip(mask.shape, spacing_mm, strict=True))
    by_slice, by_row, by_column = mask.sum(axis=(1, 2)), plane.sum(axis=1), plane.sum(axis=0)
    center = jnp.stack([(profile * at).sum() for profile, at in ((by_slice, z), (by_row, y), (by_column, x))]) / pixels
    dy, dx = y - center[1], x - center[2]
    rows, columns = (by_row * dy**2).sum() / pixels, (by_column * dx**2).sum() / pixels
    mixed = jnp.einsum("hw,h,w->", plane, dy, dx, precision=jax.lax.Precision.HIGHEST) / pixels
    turn = 0.5 * jnp.arctan2(2 * mixed, rows - columns)
    size_mm = jnp.sqrt(jnp.sqrt(jnp.maximum(rows * columns - mixed**2, 1.0)))
    return Pose(center, jnp.where(jnp.abs(turn) <= MAX_TURN, turn, 0.0), size_mm)


def normalized(pose: Pose, spacing_mm: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
    """Each pixel's position along the brain's own axes, in units of its size.

    Args:
      pose: from `find`.
      spacing_mm: float32 [3].
      shape: D, H, W.

    Returns:
      float32 [3, D, H, W]: upward from the center, along the long axis, and across it.
    """
    lines = (jnp.arange(size) * mm - at for size, mm, at in zip(shape, spacing_mm, pose.center_mm, strict=True))
    z, y, x = jnp.meshgrid(*lines, indexing="ij")
    cosine, sine = jnp.cos(pose.turn), jnp.sin(pose.turn)
    return jnp.stack([z, cosine * y + sine * x, cosine * x - sine * y]) / pose.size_mm


def mirror(values: jax.Array, pose: Pose, spacing_mm: jax.Array) -> jax.Array:
    """Swaps left and right about the long axis through the brain's center, slice by slice, by linear interpolation.

    Args:
      values: float32 [D, H, W]; beyond a slice its outermost pixels are repeated.
      pose: from `find`.
      spacing_mm: float32 [3].

    Returns:
      float32 [D, H, W].
    """
    _, height, width = values.shape
    _, center_y, center_x = pose.center_mm
    dy = (jnp.arange(height) * spacing_mm[1] - center_y)[:, None]
    dx = (jnp.arange(width) * spacing_mm[2] - center_x)[None, :]
    cosine, sine = jnp.cos(2 * pose.turn), jnp.sin(2 * pose.turn)  # a reflection turns by twice the axis's angle
    rows = (center_y + cosine * dy + sine * dx) / spacing_mm[1]
    columns = (center_x + sine * dy - cosine * dx) / spacing_mm[2]
    return jnp.moveaxis(augment.bilinear(jnp.moveaxis(values, 0, 2), rows, columns), 2, 0)
