"""Losses and the quantities that training watches, as sums that merge exactly over batches and devices."""

import jax
import jax.numpy as jnp


def binary_cross_entropy(logits: jax.Array, truth: jax.Array, positive_weight: float = 1.0) -> jax.Array:
    """Mean binary cross-entropy of each example (paper, section 4).

    Args:
      logits: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.
      positive_weight: factor on the pixels of a hemorrhage; 1 in the paper.

    Returns:
      float32 [B].
    """
    # log(1 + exp(-|x|)) keeps both tails finite.
    losses = jnp.maximum(logits, 0.0) - logits * truth + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return (losses * (1.0 + (positive_weight - 1.0) * truth)).mean(axis=(1, 2))


def soft_dice_loss(probability: jax.Array, truth: jax.Array) -> jax.Array:
    """1 - soft Dice of each example, smoothed by one pixel so that an empty truth asks for an empty prediction.

    Args:
      probability: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.

    Returns:
      float32 [B].
    """
    both = (probability * truth).sum(axis=(1, 2))
    return 1.0 - (2.0 * both + 1.0) / (probability.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)) + 1.0)


def soft_overlap(probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Soft intersection and union of each example: float32 [B] each, from float32 [B, H, W].

    Their sums over examples, divided, are the soft Jaccard index by which the best epoch is chosen.
    """
    intersection = (probability * truth).sum(axis=(1, 2))
    return intersection, (probability + truth).sum(axis=(1, 2)) - intersection
