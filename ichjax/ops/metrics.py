"""Pixel counts of predicted and true masks on the device, from which every overlap score follows exactly."""

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import morphology

STRIP = 128  # rows per strip: a uint8 holds the count of one column of a strip


def count_pixels(mask: jax.Array) -> jax.Array:
    """Counts the pixels of each slice: bool [..., H, W] to int32 [...].

    Sums in uint8 first, since a CPU adds many bytes per instruction.
    """
    *slices, height, width = mask.shape
    mask = jnp.pad(mask, [(0, 0)] * len(slices) + [(0, -height % STRIP), (0, 0)])
    strips = mask.reshape(*slices, -1, STRIP, width).sum(axis=-2, dtype=jnp.uint8)
    return strips.sum(axis=(-2, -1), dtype=jnp.int32)


def levels(probability: jax.Array, thresholds: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """Encodes the post-processed masks at all thresholds as one grey-level image.

    A pixel's level is the number of thresholds below its probability. Closing and opening with flat kernels commute
    with thresholding (Maragos and Ziff, 1990), so cleaning the levels once cleans the mask at every threshold.

    Args:
      probability: float32 [..., H, W].
      thresholds: float32 [T], in any order; a pixel is positive above the threshold.
      closing, opening: kernel sides in pixels, 0 for none.

    Returns:
      uint8 [..., H, W] (uint16 for more than 255 thresholds): positive at threshold k where it is at least `ranks`[k].
    """
    chex.assert_rank(thresholds, 1)
    dtype = jnp.uint8 if thresholds.size < 256 else jnp.uint16
    above = probability[None] > thresholds.reshape(-1, *[1] * probability.ndim)
    return morphology.clean(above.sum(axis=0, dtype=dtype), closing=closing, opening=opening)


def ranks(thresholds: jax.Array) -> jax.Array:
    """int32 [T]: the lowest level that is positive at each threshold, float32 [T] in any order."""
    return (thresholds[None, :] <= thresholds[:, None]).sum(axis=1, dtype=jnp.int32)


def masks_at(probability: jax.Array, thresholds: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """Post-processed masks at several thresholds.

    Args:
      probability: float32 [D, H, W].
      thresholds: float32 [T]; a pixel is positive above the threshold.
      closing, opening: kernel sides in pixels, 0 for none.

    Returns:
      bool [T, D, H, W].
    """
    level = levels(probability, thresholds, closing=closing, opening=opening)
    return level[None] >= ranks(thresholds).astype(level.dtype)[:, None, None, None]


def counts_at(level: jax.Array, thresholds: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counts the pixels of each slice at every threshold.

    Args:
      level: [..., H, W], from `levels`.
      thresholds: float32 [T], the same as for `levels`.
      truth: bool [..., H, W].

    Returns:
      (truth int32 [...], predicted int32 [..., T], intersection int32 [..., T]).
    """
    chex.assert_equal_shape([level, truth])
    lowest = jnp.unstack(ranks(thresholds).astype(level.dtype))
    predicted = [count_pixels(level >= rank) for rank in lowest]
    intersection = [count_pixels((level >= rank) & truth) for rank in lowest]
    return count_pixels(truth), jnp.stack(predicted, axis=-1), jnp.stack(intersection, axis=-1)


def class_counts(predicted: jax.Array, truth: jax.Array, *, classes: int, unknown: int) -> tuple[jax.Array, ...]:
    """Counts the voxels of each class of a scan.

    Args:
      predicted: uint8 [D, H, W], 0 for the background.
      truth: uint8 [D, H, W], 0 for the background.
      classes: K; classes 1 to K are counted.
      unknown: voxels of this class in the truth are left out, in the prediction too.

    Returns:
      (truth int32 [K], predicted int32 [K], intersection int32 [K], left out int32 []).
    """
    chex.assert_equal_shape([predicted, truth])
    predicted = jnp.where(truth == unknown, 0, predicted)
    masks = [(truth == k, predicted == k) for k in range(1, classes + 1)]
    counted = [[a, b, a & b] for a, b in masks]
    counts = jnp.stack([jnp.stack([count_pixels(mask).sum() for mask in of_class]) for of_class in counted], axis=1)
    return *counts, count_pixels(truth == unknown).sum()


def score(
    probability: jax.Array, truth: jax.Array, thresholds: jax.Array, *, closing: int, opening: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel counts of a scan at every threshold, slice by slice, so that the working set fits a CPU's cache.

    Args:
      probability: float32 [D, H, W].
      truth: bool [D, H, W].
      thresholds, closing, opening: as in `masks_at`.

    Returns:
      (truth int32 [D], predicted int32 [T, D], intersection int32 [T, D]).
    """

    def score_slice(pixels: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        probability, truth = pixels
        level = levels(probability, thresholds, closing=closing, opening=opening)
        return counts_at(level, thresholds, truth)

    truth_px, predicted, intersection = jax.lax.map(score_slice, (probability, truth))
    return truth_px, predicted.T, intersection.T
