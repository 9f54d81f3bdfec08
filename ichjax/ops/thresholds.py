"""Exact grid search over pairs of grey-level thresholds (experiment 1 of the paper), from cumulative histograms.

The predicted and the correctly predicted pixels of a slice between two grey levels are differences of two cumulative
histograms, so all 5,106 pairs cost 256 additions per slice each, and no mask is formed.
"""

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import hu as hu_ops

LOWER = tuple(range(100, 211))  # grey levels searched (paper, section 4): 111 x 46 = 5,106 pairs
UPPER = tuple(range(210, 256))
LEVELS = 256


def cumulative_histograms(hu: jax.Array, mask: jax.Array) -> jax.Array:
    """Counts the pixels of each slice below each grey level of the brain window.

    Args:
      hu: int16 [N, H, W].
      mask: integer or bool [N, H, W], the true mask.

    Returns:
      int32 [N, 2, 257]: of all pixels, and of the true ones; entry g counts pixels with a grey level below g.
    """
    chex.assert_equal_shape([hu, mask])

    def histogram_of_slice(hu: jax.Array, mask: jax.Array) -> jax.Array:
        grey = hu_ops.grey_levels(hu).ravel()
        weights = jnp.stack([jnp.ones_like(grey), (mask.ravel() > 0).astype(jnp.int32)], axis=1)
        counts = jnp.zeros((LEVELS, 2), jnp.int32).at[grey].add(weights, mode="promise_in_bounds")
        return jnp.pad(jnp.cumsum(counts, axis=0), ((1, 0), (0, 0))).T

    return jax.lax.map(lambda pair: histogram_of_slice(*pair), (hu, mask))


def mean_jaccard_of_pairs(histograms: jax.Array) -> jax.Array:
    """Mean Jaccard index over the slices with a hemorrhage, for every pair of thresholds.

    Args:
      histograms: int32 [N, 2, 257] from `cumulative_histograms`; slices without a true pixel do not count.

    Returns:
      float32 [111, 46], by lower and upper threshold; pixels from the lower to the upper level, both included, are
      positive. All NaN if no slice has a hemorrhage.
    """
    chex.assert_shape(histograms, (None, 2, LEVELS + 1))
    lower, upper = jnp.array(LOWER), jnp.array(UPPER) + 1

    def add_slice(total: jax.Array, histogram: jax.Array) -> tuple[jax.Array, None]:
        between = histogram[:, None, upper] - histogram[:, lower, None]  # [2, 111, 46]
        predicted, intersection = between[0], between[1]
        truth = histogram[1, -1]
        jaccard = intersection / jnp.maximum(predicted + truth - intersection, 1)
        return total + jnp.where(truth > 0, jaccard, 0.0), None

    total, _ = jax.lax.scan(add_slice, jnp.zeros((len(LOWER), len(UPPER))), histograms)
    slices = (histograms[:, 1, -1] > 0).sum()
    return jnp.where(slices > 0, total / jnp.maximum(slices, 1), jnp.nan)


def between(hu: jax.Array, lower: jax.Array | int, upper: jax.Array | int) -> jax.Array:
    """bool [...]: whether the grey level of each HU is in [lower, upper]; both bounds are scalars."""
    chex.assert_rank([lower, upper], 0)
    grey = hu_ops.grey_levels(hu)
    return (grey >= lower) & (grey <= upper)


def grey_histograms(grey: jax.Array, inside: jax.Array) -> jax.Array:
    """int32 [N, 256]: how often each grey level 0 to 255 of int32 [N, ...] occurs where bool `inside` is True."""
    chex.assert_equal_shape([grey, inside])

    def of_item(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        grey, inside = (x.ravel() for x in pair)
        return jnp.zeros(LEVELS, jnp.int32).at[grey].add(inside.astype(jnp.int32), mode="drop")

    return jax.lax.map(of_item, (grey, inside))


def otsu(counts: jax.Array) -> jax.Array:
    """Otsu's threshold (IEEE Trans. Syst. Man Cybern. 1979) of histograms [N, 256]: the highest level of the darker
    class, with the largest variance between the classes, the lowest of equals; 0 with fewer than two levels in use.

    Returns:
      int32 [N].
    """
    chex.assert_rank(counts, 2)
    cumulative = jnp.cumsum(counts, axis=1)
    pixels = cumulative[:, -1:]
    scale = jnp.maximum(pixels, 1).astype(jnp.float32)
    below = cumulative / scale
    first = jnp.cumsum(counts / scale * jnp.arange(counts.shape[1], dtype=jnp.float32)[None], axis=1)
    between = (first[:, -1:] * below - first) ** 2 / jnp.maximum(below * (1.0 - below), 1e-12)
    between = jnp.where((cumulative > 0) & (cumulative < pixels), between, 0.0)
    return jnp.argmax(between, axis=1).astype(jnp.int32)
