"""Losses, and overlap sums that merge exactly over batches and devices."""

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import distance


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


def weighted_cross_entropy(
    logits: jax.Array, truth: jax.Array, weights: jax.Array, positive_weight: float = 1.0
) -> jax.Array:
    """As `binary_cross_entropy`, with a weight for each pixel, float32 [B, H, W]."""
    _check_same_images(logits, truth)
    chex.assert_equal_shape([logits, weights])
    losses = _cross_entropy(logits, truth) * weights
    return (losses * (1.0 + (positive_weight - 1.0) * truth)).mean(axis=(1, 2))


def boundary_weights(mask: jax.Array, *, weight: float, decay_px: float) -> jax.Array:
    """1 + `weight` exp(-d / `decay_px`), d the distance in pixels to the nearest one beyond the boundary.

    Args:
      mask: bool [B, H, W].
      weight: 0 or more.
      decay_px: more than 0.

    Returns:
      float32 [B, H, W]; 1 where an example has no boundary.
    """
    chex.assert_rank(mask, 3)
    if not weight:
        return jnp.ones(mask.shape, jnp.float32)
    pixel = jnp.ones(2, jnp.float32)
    away = jnp.where(mask, distance.distance_mm(~mask, pixel), distance.distance_mm(mask, pixel))
    return 1.0 + weight * jnp.exp(-away / decay_px)


def probability_cross_entropy(probability: jax.Array, truth: jax.Array) -> jax.Array:
    """`binary_cross_entropy` from probabilities, such as a mean over several networks, clipped to 1e-6 from 0 and 1.

    Args:
      probability: float32 [B, H, W] in [0, 1].
      truth: float32 [B, H, W] of 0 and 1.

    Returns:
      float32 [B].
    """
    return binary_cross_entropy(jax.scipy.special.logit(jnp.clip(probability, 1e-6, 1.0 - 1e-6)), truth)


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


def class_cross_entropy(log_probability: jax.Array, truth: jax.Array, positive_weight: float = 1.0) -> jax.Array:
    """Mean cross-entropy of each example over several classes, some of them not known.

    Args:
      log_probability: float32 [B, H, W, K], background first.
      truth: float32 [B, H, W, K + 1], the share of each class in a pixel (`subtypes.class_planes`); the last is that of
        hemorrhage of unknown sub-type, for which any class but the background is right.
      positive_weight: weight of hemorrhage.

    Returns:
      float32 [B].
    """
    _check_classes(log_probability, truth)
    unknown = jax.nn.logsumexp(log_probability[..., 1:], axis=-1, keepdims=True)
    losses = -(truth * jnp.concatenate([log_probability, unknown], axis=-1)).sum(axis=-1)
    return (losses * (1.0 + (positive_weight - 1.0) * (1.0 - truth[..., 0]))).mean(axis=(1, 2))


def class_dice_loss(probability: jax.Array, truth: jax.Array) -> jax.Array:
    """The mean of `soft_dice_loss` over any hemorrhage and each sub-type that an example shows.

    Args and result as `class_cross_entropy`, with probabilities. A share of unknown sub-type counts for none of them.
    """
    _check_classes(probability, truth)
    known = 1.0 - truth[..., -1:]
    predicted = jnp.concatenate([1.0 - probability[..., :1], probability[..., 1:] * known], axis=-1)
    shown = jnp.concatenate([1.0 - truth[..., :1], truth[..., 1:-1]], axis=-1)
    each = jax.vmap(soft_dice_loss, in_axes=-1, out_axes=-1)(predicted, shown)
    counts = (shown.sum(axis=(1, 2)) > 0).at[:, 0].set(True)
    return jnp.where(counts, each, 0.0).sum(axis=-1) / counts.sum(axis=-1)


def soft_overlap(probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Soft intersection and union of each example: float32 [B] each, from float32 [B, H, W].

    The ratio of their sums over examples is the soft Jaccard index that selects the best epoch.
    """
    _check_same_images(probability, truth)
    intersection = (probability * truth).sum(axis=(1, 2))
    return intersection, (probability + truth).sum(axis=(1, 2)) - intersection


def _check_classes(prediction: jax.Array, truth: jax.Array) -> None:
    """Raises AssertionError unless they are [B, H, W, K] and [B, H, W, K + 1]."""
    chex.assert_rank(prediction, 4)
    chex.assert_shape(truth, (*prediction.shape[:3], prediction.shape[3] + 1))


def _check_same_images(prediction: jax.Array, truth: jax.Array) -> None:
    """Raises AssertionError unless both are [B, H, W]: a stray axis would broadcast silently."""
    chex.assert_rank(prediction, 3)
    chex.assert_equal_shape([prediction, truth])
