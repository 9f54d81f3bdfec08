"""Removes cupping: the rise of HU towards the skull that beam hardening and the blur of bone leave in brain."""

import chex
import jax
import jax.numpy as jnp

LOW_HU, HIGH_HU = -20, 120  # of the histograms; what is beyond counts as their ends
NARROW_BINS, WIDE_BIN_MM, WIDE_BINS = 12, 4.0, 2  # bins of depth: of 1 mm, then wider ones, then all that is deeper
USUAL = 0.4  # quantile that stands for normal tissue; below the median, as blood is brighter
MIN_PIXELS = 30  # in a bin that has a trend of its own
SMALL_SLICE = 0.45  # share of the largest slice below which a slice has no tissue far from bone


def flatten(hu: jax.Array, depth_mm: jax.Array, mask: jax.Array) -> jax.Array:
    """Subtracts, in each slice, by how much tissue at the same depth is brighter than the scan's deep tissue.

    The usual HU at a depth is a quantile over the pixels of the slice there, so blood that covers less than half of a
    depth hardly changes it. Nothing is subtracted deep inside but in small slices, which have bone above or below, and
    nothing is ever added.

    Args:
      hu: float32 [D, H, W], without much noise.
      depth_mm: float32 [D, H, W], distance from the inner table, 0 or more.
      mask: bool [D, H, W], tissue; padding is outside.

    Returns:
      float32 [D, H, W]; unchanged outside the mask.
    """
    chex.assert_rank(hu, 3)
    chex.assert_equal_shape([hu, depth_mm, mask])
    bins = NARROW_BINS + WIDE_BINS + 1
    beyond = NARROW_BINS + (depth_mm - NARROW_BINS) / WIDE_BIN_MM
    position = jnp.minimum(jnp.where(depth_mm < NARROW_BINS, depth_mm, beyond), bins - 0.5)
    levels = HIGH_HU - LOW_HU
    level = jnp.clip(jnp.floor(hu) - LOW_HU, 0, levels - 1).astype(jnp.int32)
    planes = jax.lax.broadcasted_iota(jnp.int32, hu.shape, 0)
    counts = jnp.zeros((len(hu), bins, levels), jnp.int32)
    counts = counts.at[planes, position.astype(jnp.int32), level].add(mask.astype(jnp.int32))
    deep = _quantile(counts[:, -1].sum(axis=0))
    deep = jnp.where(counts[:, -1].sum() >= MIN_PIXELS, deep, _quantile(counts.sum(axis=(0, 1))))
    excess = jnp.where(counts.sum(axis=2) >= MIN_PIXELS, jnp.maximum(_quantile(counts) - deep, 0.0), -jnp.inf)
    pixels = counts.sum(axis=(1, 2))
    near_bone = pixels < SMALL_SLICE * pixels.max()  # with bone above or below, all of the slice is brighter
    excess = excess.at[:, -1].set(jnp.where(near_bone & jnp.isfinite(excess[:, -1]), excess[:, -1], 0.0))
    excess = _from_deeper(excess)  # [D, bins]
    between = jnp.clip(position - 0.5, 0, bins - 1)
    low = jnp.floor(between)
    first = excess.at[planes, low.astype(jnp.int32)].get(mode="promise_in_bounds")
    second = excess.at[planes, jnp.minimum(low + 1, bins - 1).astype(jnp.int32)].get(mode="promise_in_bounds")
    return jnp.where(mask, hu - (first + (second - first) * (between - low)), hu)


def _quantile(counts: jax.Array) -> jax.Array:
    """The usual HU of histograms [..., levels]."""
    below = jnp.cumsum(counts, axis=-1)
    return LOW_HU + 0.5 + (below < USUAL * below[..., -1:]).sum(axis=-1)


def _from_deeper(excess: jax.Array) -> jax.Array:
    """[D, bins], where -infinity is replaced by the next deeper value."""
    index = jnp.where(jnp.isfinite(excess), jnp.arange(excess.shape[1])[None], excess.shape[1] - 1)
    following = jax.lax.cummin(index, axis=1, reverse=True)
    return jnp.take_along_axis(excess, following, axis=1)
