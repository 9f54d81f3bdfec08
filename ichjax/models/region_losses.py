"""Losses of anchors and boxes against the true boxes of a slice; each function is for one slice."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ichjax.ops import boxes as box_ops
from ichjax.ops import roi_align
from ichjax.ops.component_boxes import ComponentBoxes

ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.5, 0.3  # overlap with a true box; anchors between them are ignored
REGION_POSITIVE = 0.5
NEGATIVES_EACH = 3  # of the hardest negatives, for each positive
MIN_NEGATIVES = 4
SMOOTH = 1.0  # where smooth L1 becomes linear
TINY = 1e-6


class Match(NamedTuple):
    """Which true box each of N boxes belongs to.

    Attributes:
      number: int32 [N], of the true box with the largest overlap.
      positive, negative: bool [N].
    """

    number: jax.Array
    positive: jax.Array
    negative: jax.Array


def match(boxes: jax.Array, truth: ComponentBoxes, *, positive: float, negative: float, best: bool) -> Match:
    """Matches float32 [N, 4] with the true boxes by overlap.

    Args:
      boxes: float32 [N, 4].
      truth: of the slice.
      positive: overlap from which a box is positive.
      negative: overlap below which it is negative.
      best: whether the boxes with the largest overlap with a true box are positive, however small it is.
    """
    overlap = jnp.where((truth.classes > 0)[None], box_ops.overlap(boxes, truth.boxes), 0.0)
    largest = overlap.max(axis=1)
    positives = largest >= positive
    if best:
        of_truth = overlap.max(axis=0, keepdims=True)
        positives |= ((overlap >= of_truth - TINY) & (of_truth > TINY)).any(axis=1)
    return Match(overlap.argmax(axis=1).astype(jnp.int32), positives, (largest < negative) & ~positives)


def with_hard_negatives(losses: jax.Array, matched: Match) -> jax.Array:
    """The mean of losses [N] over all positives and the hardest negatives, `NEGATIVES_EACH` for each positive."""
    count = matched.positive.sum()
    wanted = jnp.maximum(NEGATIVES_EACH * count, MIN_NEGATIVES)
    # Which ones are the hardest must not be differentiated.
    order = jnp.argsort(jnp.where(matched.negative, jax.lax.stop_gradient(losses), -jnp.inf), descending=True)
    rank = jnp.zeros(len(losses), jnp.int32).at[order].set(jnp.arange(len(losses)))
    chosen = matched.positive | (matched.negative & (rank < wanted))
    return jnp.where(chosen, losses, 0.0).sum() / jnp.maximum(chosen.sum(), 1)


def box_loss(deltas: jax.Array, boxes: jax.Array, truth: ComponentBoxes, matched: Match) -> jax.Array:
    """Smooth L1 of the deltas [N, 4] of positive boxes [N, 4]; 0 without a positive one."""
    target = box_ops.encode(truth.boxes[matched.number], boxes)
    error = jnp.abs(deltas - target)
    smooth = jnp.where(error < SMOOTH, 0.5 * error**2 / SMOOTH, error - 0.5 * SMOOTH).sum(axis=1)
    return _mean_over(matched.positive, smooth)


def anchor_loss(logits: jax.Array, deltas: jax.Array, anchors: jax.Array, truth: ComponentBoxes) -> jax.Array:
    """Cross-entropy of hemorrhage and the loss of boxes, of anchors [N, 4] with logits [N] and deltas [N, 4]."""
    matched = match(anchors, truth, positive=ANCHOR_POSITIVE, negative=ANCHOR_NEGATIVE, best=True)
    entropy = jax.nn.softplus(logits) - logits * matched.positive
    return with_hard_negatives(entropy, matched) + box_loss(deltas, anchors, truth, matched)


def class_loss(logits: jax.Array, truth: ComponentBoxes, matched: Match) -> jax.Array:
    """Cross-entropy of the classes of boxes, from logits [N, K + 1]; of an unknown class, K + 1, that of any."""
    log_probability = jax.nn.log_softmax(logits)
    known = logits.shape[-1] - 1
    kind = jnp.where(matched.positive, truth.classes[matched.number], 0)
    own = jnp.take_along_axis(log_probability, jnp.minimum(kind, known)[:, None], axis=1)[:, 0]
    any_class = jax.nn.logsumexp(log_probability[:, 1:], axis=1)
    return with_hard_negatives(-jnp.where(kind > known, any_class, own), matched)


def mask_loss(
    logits: jax.Array, boxes: jax.Array, planes: jax.Array, truth: ComponentBoxes, matched: Match
) -> jax.Array:
    """Cross-entropy of the masks of positive boxes.

    Args:
      logits: float32 [N, S, S].
      boxes: float32 [N, 4], where the masks lie.
      planes: float32 [H, W, K + 1], the mask of each class and of hemorrhage of unknown class.
      truth: of the slice; the true mask of a box is that of its true box's class in it.
      matched: of the boxes.
    """
    target = roi_align.align(planes[None], boxes[None], size=logits.shape[-1])[0]
    plane = jnp.maximum(truth.classes[matched.number] - 1, 0)
    target = jnp.take_along_axis(target, plane[:, None, None, None], axis=-1)[..., 0]
    entropy = (jax.nn.softplus(logits) - logits * target).mean(axis=(1, 2))
    return _mean_over(matched.positive, entropy)


def _mean_over(positive: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.where(positive, values, 0.0).sum() / jnp.maximum(positive.sum(), 1)
