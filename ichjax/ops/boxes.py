"""Boxes in an image: overlap, regression targets, anchors, and the suppression of all but the best of similar boxes.

A box is (top, left, bottom, right) in pixels; pixel i reaches from i to i + 1. All shapes are static.
"""

import chex
import jax
import jax.numpy as jnp

MAX_LOG_SCALE = 4.0  # of a decoded height or width, against overflow
MIN_SIDE_PX = 1e-3  # of a box, against division by zero


def overlap(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of every pair of boxes: float32 [N, M] from [N, 4] and [M, 4]; 0 of two empty ones."""
    chex.assert_shape([a, b], (None, 4))
    a, b = jnp.asarray(a), jnp.asarray(b)
    low, high = jnp.maximum(a[:, None, :2], b[None, :, :2]), jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)
    area_a, area_b = (jnp.prod(jnp.maximum(x[:, 2:] - x[:, :2], 0.0), axis=-1) for x in (a, b))
    return shared / jnp.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)


def encode(boxes: jax.Array, anchors: jax.Array) -> jax.Array:
    """What turns anchors into boxes, both float32 [..., 4]: shifts of the center in sides, and log factors of sides."""
    chex.assert_equal_shape([boxes, anchors])
    (center, side), (at, of) = _center_and_side(boxes), _center_and_side(anchors)
    return jnp.concatenate([(center - at) / of, jnp.log(side / of)], axis=-1)


def decode(deltas: jax.Array, anchors: jax.Array) -> jax.Array:
    """Boxes from the result of `encode` and the anchors: float32 [..., 4]."""
    chex.assert_equal_shape([deltas, anchors])
    at, of = _center_and_side(anchors)
    center, half = at + deltas[..., :2] * of, 0.5 * of * jnp.exp(jnp.minimum(deltas[..., 2:], MAX_LOG_SCALE))
    return jnp.concatenate([center - half, center + half], axis=-1)


def clip(boxes: jax.Array, *, height: int, width: int) -> jax.Array:
    """Boxes [..., 4] cut off at the edges of an image."""
    limits = jnp.array([height, width, height, width], jnp.float32).reshape((1,) * (boxes.ndim - 1) + (4,))
    return jnp.clip(jnp.asarray(boxes), 0.0, limits)


def anchor_grid(
    height: int, width: int, *, stride: int, sides_px: tuple[float, ...], ratios: tuple[float, ...]
) -> jax.Array:
    """Boxes of every side and ratio (height by width, at the same area) around the centers of a grid's cells.

    Returns:
      float32 [height width S R, 4]: cells in rows, then sides, then ratios.
    """
    area = jnp.array(sides_px, jnp.float32)[:, None]
    root = jnp.sqrt(jnp.array(ratios, jnp.float32))[None]
    half = 0.5 * jnp.stack([area * root, area / root], axis=-1).reshape(-1, 2)
    rows, columns = (stride * (jnp.arange(size, dtype=jnp.float32) + 0.5) for size in (height, width))
    centers = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    return jnp.concatenate([centers - half[None], centers + half[None]], axis=-1).reshape(-1, 4)


def non_maximum_suppression(
    boxes: jax.Array, scores: jax.Array, *, count: int, max_overlap: float
) -> tuple[jax.Array, jax.Array]:
    """Selects the best boxes of which no two overlap much, one after the other, in a loop of fixed length.

    Args:
      boxes: float32 [N, 4].
      scores: float32 [N]; -inf for a box that must not be selected.
      count: K, to select at most.
      max_overlap: intersection over union, above which the box with the lower score is not selected.

    Returns:
      (indices int32 [K], selected bool [K]), by falling score; of equal scores the first box. An index means nothing
      where nothing was left to select.
    """
    chex.assert_shape(boxes, (None, 4))
    chex.assert_shape(scores, boxes.shape[:1])
    boxes, start = jnp.asarray(boxes), jnp.asarray(scores)

    def select(left: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = left.argmax()
        there = left[best] > -jnp.inf
        similar = overlap(boxes[best][None], boxes)[0] > max_overlap
        return jnp.where(similar, -jnp.inf, left).at[best].set(-jnp.inf), (best.astype(jnp.int32), there)

    return jax.lax.scan(select, start, length=count)[1]


def _center_and_side(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, jnp.maximum(high - low, MIN_SIDE_PX)
