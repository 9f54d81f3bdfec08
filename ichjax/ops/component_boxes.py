"""The boxes of the connected components of a slice's classes, in a fixed number."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import components

FAR = 2**30  # beyond all rows and columns


class ComponentBoxes(NamedTuple):
    """The largest components, by falling area.

    Attributes:
      boxes: float32 [T, 4], (top, left, bottom, right) in pixels; zeros where there is no component.
      classes: int32 [T], the class of each; 0 where there is none.
    """

    boxes: jax.Array
    classes: jax.Array


def component_boxes(classes: jax.Array, *, class_count: int, count: int) -> ComponentBoxes:
    """Boxes around the 8-connected components of each class of a slice.

    Args:
      classes: uint8 [H, W], 0 for the background.
      class_count: K, the highest class.
      count: T; smaller components than the T largest are left out.
    """
    chex.assert_rank(classes, 2)
    padded = jnp.pad(jnp.asarray(classes), [(0, size % 2) for size in classes.shape])
    numbers = jnp.arange(1, class_count + 1, dtype=jnp.int32)
    planes = padded[None] == numbers[:, None, None].astype(padded.dtype)
    # Every second plane is empty, so that components in 3-D are those of one plane.
    apart = jnp.stack([planes, jnp.zeros_like(planes)], axis=1).reshape(-1, *padded.shape)
    # All pixels of a class in a block of 2 x 2 touch each other: a quarter of the values to scatter. As labels are
    # those of blocks, they are below the number of blocks, which stands for the background.
    labels = _blocks(components.label(apart)[::2]).max(axis=(2, 4))
    count_of_labels = labels.size
    labels = jnp.where(labels < 0, count_of_labels, labels).ravel()
    rows, columns = (jax.lax.broadcasted_iota(jnp.int32, planes.shape, axis) for axis in (1, 2))
    edges = [_lowest(planes, each).ravel() for each in (rows, columns, -rows - 1, -columns - 1)]
    of_plane = jnp.repeat(numbers, count_of_labels // class_count)
    lowest = jnp.full((count_of_labels + 1, 5), FAR).at[labels].min(jnp.stack([*edges, of_plane], axis=1))
    area = jnp.zeros(count_of_labels + 1, jnp.int32).at[labels].add(_blocks(planes).sum(axis=(2, 4)).ravel())
    largest, index = jax.lax.top_k(area[:-1], count)
    top, left, bottom, right, kind = jnp.where(largest[:, None] > 0, lowest[index], 0).T
    return ComponentBoxes(jnp.stack([top, left, -bottom, -right], axis=1).astype(jnp.float32), kind)


def _blocks(planes: jax.Array) -> jax.Array:
    """[K, H, W] as [K, H / 2, 2, W / 2, 2]."""
    count, height, width = planes.shape
    return planes.reshape(count, height // 2, 2, width // 2, 2)


def _lowest(planes: jax.Array, values: jax.Array) -> jax.Array:
    """The lowest value of the pixels of each block that are in its plane: int32 [K, H / 2, W / 2]."""
    return _blocks(jnp.where(planes, values, FAR)).min(axis=(2, 4))
