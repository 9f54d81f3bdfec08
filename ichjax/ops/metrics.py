"""Overlap of masks: pixel counts on the device, from which every convention's score follows exactly."""

import jax
import jax.numpy as jnp

from ichjax.ops import morphology


def overlap_counts(predicted: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counts pixels of each slice.

    Args:
      predicted: bool [..., H, W].
      truth: bool [..., H, W].

    Returns:
      (truth, predicted, both): int32 [...] each.
    """
    count = lambda mask: mask.sum(axis=(-2, -1), dtype=jnp.int32)  # noqa: E731
    return count(truth), count(predicted), count(predicted & truth)


def dice(truth_px: jax.Array, predicted_px: jax.Array, both_px: jax.Array) -> jax.Array:
    """Dice coefficient 2 |A and B| / (|A| + |B|) (paper, equation 2) of counts; NaN where both are empty."""
    total = (truth_px + predicted_px).astype(jnp.float32)
    return jnp.where(total > 0, 2.0 * both_px / jnp.where(total > 0, total, 1.0), jnp.nan)


def jaccard(truth_px: jax.Array, predicted_px: jax.Array, both_px: jax.Array) -> jax.Array:
    """Jaccard index |A and B| / |A or B| (paper, equation 1) of counts; NaN where both are empty."""
    union = (truth_px + predicted_px - both_px).astype(jnp.float32)
    return jnp.where(union > 0, both_px / jnp.where(union > 0, union, 1.0), jnp.nan)


def masks_at(probability: jax.Array, thresholds: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """Masks at several thresholds at once, cleaned at each.

    Args:
      probability: float32 [D, H, W].
      thresholds: float32 [T]; a pixel is positive above it.
      closing, opening: kernel sides in pixels, 0 for none.

    Returns:
      bool [T, D, H, W].
    """
    positive = probability[None] > thresholds[:, None, None, None]
    return morphology.clean(positive, closing=closing, opening=opening)


def score(
    probability: jax.Array, truth: jax.Array, thresholds: jax.Array, *, closing: int, opening: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counts of a scan at every threshold, one threshold in memory at a time.

    Args:
      probability: float32 [D, H, W].
      truth: bool [D, H, W].
      thresholds, closing, opening: as `masks_at`.

    Returns:
      (truth int32 [D], predicted int32 [T, D], both int32 [T, D]).
    """

    def at(threshold):
        mask = masks_at(probability, threshold[None], closing=closing, opening=opening)[0]
        return overlap_counts(mask, truth)[1:]

    predicted, both = jax.lax.map(at, thresholds)
    return truth.sum(axis=(-2, -1), dtype=jnp.int32), predicted, both
