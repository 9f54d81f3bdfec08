"""Losses, and overlap sums that merge exactly over batches and devices."""

import chex
import jax
import jax.numpy as jnp


def binary_cross_entropy(logits: jax.Array, truth: jax.Array, positive_weight: float = 1.0) -> jax.Array:
    """Mean binary cross-entropy of each example (paper, section 4).

    Args:
      logits: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.
      positive_weight: weight of hemorrhage pixels; 1 in the paper.

    Returns:
      float32 [B].
    """
    _check_same_images(logits, truth)
    losses = _cross_entropy(logits, truth)
    return (losses * (1.0 + (positive_weight - 1.0) * truth)).mean(axis=(1, 2))


def focal_loss(logits: jax.Array, truth: jax.Array, *, gamma: float, positive_weight: float = 1.0) -> jax.Array:
    """Mean focal loss of each example: the cross-entropy of each pixel times |truth - probability| ** gamma.

    Lin et al. (2017) for a truth of 0 and 1; Li et al. (2020) for values between. Arguments and result as
    `binary_cross_entropy`, and gamma, 1 or more.
    """
    _check_same_images(logits, truth)
    losses = _cross_entropy(logits, truth)
    far = jnp.abs(truth - jax.nn.sigmoid(logits)) ** gamma
    return (losses * far * (1.0 + (positive_weight - 1.0) * truth)).mean(axis=(1, 2))


def _cross_entropy(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """Cross-entropy of each pixel; finite in both tails, with the right gradient at a logit of exactly 0 too."""
    return jax.nn.softplus(logits) - logits * truth


def soft_dice_loss(probability: jax.Array, truth: jax.Array) -> jax.Array:
    """1 - soft Dice of each example, smoothed by one pixel so that an empty truth rewards an empty prediction.

    Args:
      probability: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.

    Returns:
      float32 [B].
    """
    _check_same_images(probability, truth)
    intersection = (probability * truth).sum(axis=(1, 2))
    return 1.0 - (2.0 * intersection + 1.0) / (probability.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)) + 1.0)


def soft_overlap(probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Soft intersection and union of each example: float32 [B] each, from float32 [B, H, W].

    The ratio of their sums over examples is the soft Jaccard index that selects the best epoch.
    """
    _check_same_images(probability, truth)
    intersection = (probability * truth).sum(axis=(1, 2))
    return intersection, (probability + truth).sum(axis=(1, 2)) - intersection


def _check_same_images(prediction: jax.Array, truth: jax.Array) -> None:
    """Raises AssertionError unless both are [B, H, W]: a stray axis would broadcast silently."""
    chex.assert_rank(prediction, 3)
    chex.assert_equal_shape([prediction, truth])
