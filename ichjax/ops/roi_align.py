"""Regions of maps at a fixed size (RoIAlign; He et al., 2017), and masks of regions back in the image.

Bilinear samples of a box lie on a grid, so that both are two small matrix products, without gathers or scatters.
"""

import chex
import jax
import jax.numpy as jnp


def align(maps: jax.Array, boxes: jax.Array, *, size: int, samples: int = 2) -> jax.Array:
    """The mean of `samples` x `samples` bilinear samples in each of `size` x `size` equal parts of each box.

    Args:
      maps: float [B, H, W, C]; samples beyond the centers of the outermost pixels are those at these.
      boxes: float32 [B, R, 4], (top, left, bottom, right) in pixels of the maps.
      size: S.
      samples: per part and axis.

    Returns:
      float [B, R, S, S, C].
    """
    chex.assert_rank(maps, 4)
    chex.assert_shape(boxes, (len(maps), None, 4))
    rows = _sample_weights(boxes[..., 0], boxes[..., 2], size, samples, maps.shape[1]).astype(maps.dtype)
    columns = _sample_weights(boxes[..., 1], boxes[..., 3], size, samples, maps.shape[2]).astype(maps.dtype)
    return jnp.einsum("brjw,briwc->brijc", columns, jnp.einsum("brih,bhwc->briwc", rows, maps))


def paste(masks: jax.Array, boxes: jax.Array, *, height: int, width: int) -> jax.Array:
    """Masks of boxes in their places, linear between their pixels, 0 outside their box.

    Args:
      masks: float32 [R, S, S].
      boxes: float32 [R, 4], (top, left, bottom, right) in pixels of the image.
      height, width: of the image.

    Returns:
      float32 [R, height, width].
    """
    chex.assert_rank(masks, 3)
    chex.assert_shape(boxes, (len(masks), 4))
    rows = _place_weights(boxes[:, 0], boxes[:, 2], masks.shape[1], height)
    columns = _place_weights(boxes[:, 1], boxes[:, 3], masks.shape[2], width)
    return jnp.einsum("rhi,rij,rwj->rhw", rows, masks, columns)


def _sample_weights(start: jax.Array, stop: jax.Array, size: int, samples: int, length: int) -> jax.Array:
    """float32 [..., size, length], from the edges [...] of boxes."""
    at = (jnp.arange(size * samples, dtype=jnp.float32) + 0.5) / (size * samples)
    position = start[..., None] + (stop - start)[..., None] * at.reshape((1,) * start.ndim + (-1,)) - 0.5
    weights = _hat(position, length)
    return weights.reshape(*start.shape, size, samples, length).mean(axis=-2)


def _place_weights(start: jax.Array, stop: jax.Array, size: int, length: int) -> jax.Array:
    """float32 [R, length, size], from the edges [R] of boxes."""
    center = jnp.arange(length, dtype=jnp.float32)[None] + 0.5
    share = (center - start[:, None]) / jnp.maximum(stop - start, 1e-3)[:, None]
    inside = (share >= 0.0) & (share <= 1.0)
    return jnp.where(inside[..., None], _hat(share * size - 0.5, size), 0.0)


def _hat(position: jax.Array, length: int) -> jax.Array:
    """Linear weights [..., length] of the samples next to a position [...], which is kept between first and last."""
    clipped = jnp.clip(position, 0.0, length - 1.0)[..., None]
    index = jnp.arange(length, dtype=jnp.float32).reshape((1,) * position.ndim + (-1,))
    return jnp.maximum(0.0, 1.0 - jnp.abs(clipped - index))
