"""A second head of a network: which sub-types a slice shows, and whether it shows any hemorrhage.

Trained on patches, with the sub-types that are in a patch as its labels. The weights of its loss are those of the RSNA
2019 challenge: any hemorrhage counts twice.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

SLICE_HEAD = "slice_head"  # its parameters
LABEL_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)  # five sub-types in the order of `label_tables.SUBTYPES`, and any


def slice_logits(x: jax.Array) -> jax.Array:
    """float32 [B, 6] from the mean and the maximum of the bottleneck [B, H, W, C]; called in a compact method."""
    pixels = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
    # The gradient of jnp.max divides by the number of pixels that equal it, which a compiler that computes them twice
    # can round to none: it gave NaN.
    highest = jnp.arange(pixels.shape[1])[None, :, None] == pixels.argmax(axis=1)[:, None]
    pooled = jnp.concatenate([pixels.mean(axis=1), jnp.where(highest, pixels, 0.0).sum(axis=1)], axis=-1)
    # Features that are not normalized can be large: the scores start at 1/2.
    return nn.Dense(len(LABEL_WEIGHTS), kernel_init=nn.initializers.zeros, name=SLICE_HEAD)(pooled)


def slice_labels(classes: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The labels of patches.

    A sub-type is present if one of its pixels is in the patch as it was read: the random transforms change the mask
    alone. What they move out of the patch completely is not there.

    Args:
      classes: uint8 [B, H, W], 0 or 1 + the sub-type's index; higher numbers are hemorrhage of unknown sub-type.
      masks: float32 [B, H, W] of 0 and 1, after random transforms.

    Returns:
      (truth, known): bool [B, 6]. Next to hemorrhage of unknown sub-type only the sub-types that are present are known.
    """
    chex.assert_rank(classes, 3)
    chex.assert_equal_shape([classes, masks])
    count = len(LABEL_WEIGHTS) - 1
    bleeding = (masks > 0).any(axis=(1, 2))[:, None]
    numbers = jnp.arange(1, count + 1, dtype=classes.dtype)[None, None, None]
    present = (classes[..., None] == numbers).any(axis=(1, 2)) & bleeding
    unknown = (classes > count).any(axis=(1, 2))[:, None] & bleeding
    truth = jnp.concatenate([present, bleeding], axis=1)
    return truth, truth | ~unknown | (jnp.arange(count + 1) == count)[None]


def slice_loss(logits: jax.Array, truth: jax.Array, known: jax.Array) -> jax.Array:
    """Weighted log-loss of each example: float32 [B], from float32 [B, 6] and bool [B, 6].

    The mean over the labels with `LABEL_WEIGHTS`, in which labels that are not known count as 0.
    """
    chex.assert_shape([logits, truth, known], (len(logits), len(LABEL_WEIGHTS)))
    losses = jax.nn.softplus(logits) - logits * truth  # its gradient is right at 0, where the scores start
    weights = jnp.array(LABEL_WEIGHTS)[None] / sum(LABEL_WEIGHTS)
    return jnp.where(known, losses * weights, 0.0).sum(axis=1)
