"""Losses and the quantities that training watches, as sums that merge exactly over batches and devices."""

import jax
import jax.numpy as jnp


def binary_cross_entropy(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of each example (paper, section 4).

    Args:
      logits: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.

    Returns:
      float32 [B].
    """
    # log(1 + exp(-|x|)) keeps both tails finite.
    losses = jnp.maximum(logits, 0.0) - logits * truth + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return losses.mean(axis=(1, 2))


def soft_dice_loss(probability: jax.Array, truth: jax.Array) -> jax.Array:
    """1 - soft Dice of each example with a hemorrhage; 0 for one without, which the cross-entropy is left to teach.

    (Asking an empty prediction of the empty ones here too made training fall into predicting nothing anywhere.)

    Args:
      probability: float32 [B, H, W].
      truth: float32 [B, H, W] of 0 and 1.

    Returns:
      float32 [B].
    """
    area = truth.sum(axis=(1, 2))
    both = (probability * truth).sum(axis=(1, 2))
    dice = 2.0 * both / (probability.sum(axis=(1, 2)) + jnp.maximum(area, 1.0))
    return jnp.where(area > 0, 1.0 - dice, 0.0)


def soft_overlap(probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Soft intersection and union of each example: float32 [B] each, from float32 [B, H, W].

    Their sums over examples, divided, are the soft Jaccard index by which the best epoch is chosen.
    """
    intersection = (probability * truth).sum(axis=(1, 2))
    return intersection, (probability + truth).sum(axis=(1, 2)) - intersection
