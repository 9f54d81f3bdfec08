"""Overlap of masks: pixel counts on the device, from which every convention's score follows exactly."""

import jax
import jax.numpy as jnp

from ichjax.ops import morphology

STRIP = 128  # rows whose pixels of one column a byte can count


def count_pixels(mask: jax.Array) -> jax.Array:
    """Counts the pixels of each slice: bool [..., H, W] to int32 [...]; in bytes first, of which a CPU adds many at a
    time."""
    *slices, height, width = mask.shape
    mask = jnp.pad(mask, [(0, 0)] * len(slices) + [(0, -height % STRIP), (0, 0)])
    strips = mask.reshape(*slices, -1, STRIP, width).sum(axis=-2, dtype=jnp.uint8)
    return strips.sum(axis=(-2, -1), dtype=jnp.int32)


def levels(probability: jax.Array, thresholds: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """The masks at all thresholds as one grey image, cleaned at once.

    A pixel's level is the number of thresholds below its probability. Closing and opening with flat kernels commute
    with thresholding (Maragos and Ziff, 1990), so cleaning the levels cleans the mask at every threshold.

    Args:
      probability: float32 [..., H, W].
      thresholds: float32 [T], in any order; a pixel is positive above one.
      closing, opening: kernel sides in pixels, 0 for none.

    Returns:
      uint8 [..., H, W] (uint16 above 255 thresholds): positive at threshold k where it is at least `ranks`[k].
    """
    dtype = jnp.uint8 if thresholds.size < 256 else jnp.uint16
    above = probability[None] > thresholds.reshape(-1, *[1] * probability.ndim)
    return morphology.clean(above.sum(axis=0, dtype=dtype), closing=closing, opening=opening)


def ranks(thresholds: jax.Array) -> jax.Array:
    """int32 [T]: the lowest level that is positive at each of the thresholds, float32 [T] in any order."""
    return (thresholds[None, :] <= thresholds[:, None]).sum(axis=1, dtype=jnp.int32)


def masks_at(probability: jax.Array, thresholds: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """Masks at several thresholds at once, cleaned at each.

    Args:
      probability: float32 [D, H, W].
      thresholds: float32 [T]; a pixel is positive above it.
      closing, opening: kernel sides in pixels, 0 for none.

    Returns:
      bool [T, D, H, W].
    """
    level = levels(probability, thresholds, closing=closing, opening=opening)
    return level[None] >= ranks(thresholds).astype(level.dtype)[:, None, None, None]


def counts_at(level: jax.Array, thresholds: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counts pixels of each slice at every threshold.

    Args:
      level: from `levels`, [..., H, W].
      thresholds: float32 [T], those of `levels`.
      truth: bool [..., H, W].

    Returns:
      (truth int32 [...], predicted int32 [..., T], both int32 [..., T]).
    """
    lowest = jnp.unstack(ranks(thresholds).astype(level.dtype))
    predicted = [count_pixels(level >= rank) for rank in lowest]
    both = [count_pixels((level >= rank) & truth) for rank in lowest]
    return count_pixels(truth), jnp.stack(predicted, axis=-1), jnp.stack(both, axis=-1)


def score(
    probability: jax.Array, truth: jax.Array, thresholds: jax.Array, *, closing: int, opening: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counts of a scan at every threshold, slice by slice: what one needs stays in a CPU's cache.

    Args:
      probability: float32 [D, H, W].
      truth: bool [D, H, W].
      thresholds, closing, opening: as `masks_at`.

    Returns:
      (truth int32 [D], predicted int32 [T, D], both int32 [T, D]).
    """

    def of_slice(pixels):
        probability, truth = pixels
        level = levels(probability, thresholds, closing=closing, opening=opening)
        return counts_at(level, thresholds, truth)

    truth_px, predicted, both = jax.lax.map(of_slice, (probability, truth))
    return truth_px, predicted.T, both.T
