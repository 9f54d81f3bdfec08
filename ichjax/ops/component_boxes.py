"""The boxes of the connected components of a slice's classes, in a fixed number."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import components


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
    numbers = jnp.arange(1, class_count + 1, dtype=jnp.int32)
    planes = jnp.asarray(classes)[None] == numbers[:, None, None].astype(classes.dtype)
    # Every second plane is empty, so that components in 3-D are those of one plane.
    apart = jnp.stack([planes, jnp.zeros_like(planes)], axis=1).reshape(-1, *classes.shape)
    labels = components.label(apart)[::2]
    labels = jnp.where(labels < 0, labels.size, labels).ravel()  # the last number is that of the background
    rows, columns = (jax.lax.broadcasted_iota(jnp.int32, planes.shape, axis).ravel() for axis in (1, 2))
    of_plane = jnp.broadcast_to(numbers[:, None, None], planes.shape).ravel()
    values = jnp.stack([rows, columns, -rows - 1, -columns - 1, of_plane], axis=1)
    lowest = jnp.full((labels.size + 1, 5), jnp.iinfo(jnp.int32).max).at[labels].min(values)
    area = jnp.zeros(labels.size + 1, jnp.int32).at[labels].add(1)[:-1]
    largest, index = jax.lax.top_k(area, count)
    top, left, bottom, right, kind = jnp.where(largest[:, None] > 0, lowest[index], 0).T
    return ComponentBoxes(jnp.stack([top, left, -bottom, -right], axis=1).astype(jnp.float32), kind)
