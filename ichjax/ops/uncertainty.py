"""Disagreement between networks: the Jensen-Shannon divergence of their probabilities, and its highest patches."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp


def jensen_shannon(probabilities: Sequence[jax.Array]) -> jax.Array:
    """How much networks disagree on each pixel: the entropy of their mean less their mean entropy (Kuo et al., 2018).

    Args:
      probabilities: of each network, float32 [...] in [0, 1].

    Returns:
      float32 [...], in nats, 0 to log 2.
    """
    chex.assert_equal_shape(list(probabilities))
    stacked = jnp.stack([jnp.asarray(p) for p in probabilities])
    divergence = _entropy(stacked.mean(axis=0)) - _entropy(stacked).mean(axis=0)
    return jnp.clip(divergence, 0.0, jnp.log(2.0))


def _entropy(p: jax.Array) -> jax.Array:
    return jax.scipy.special.entr(p) + jax.scipy.special.entr(1.0 - p)


def highest_patches(values: jax.Array, *, side: int, count: int) -> jax.Array:
    """The mean over the `count` patches of a scan with the highest means.

    Args:
      values: float32 [D, H, W].
      side: P, pixels of a patch; patches do not overlap, and those at the ends of a slice are padded with 0.
      count: K, at most all patches count.

    Returns:
      float32 [].
    """
    chex.assert_rank(values, 3)
    depth, height, width = values.shape
    padded = jnp.pad(values, ((0, 0), (0, -height % side), (0, -width % side)))
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    means = padded.reshape(depth, rows, side, columns, side).mean(axis=(2, 4)).ravel()
    return jax.lax.top_k(means, min(count, means.size))[0].mean()
