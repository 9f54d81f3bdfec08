"""In-plane resampling between a scan's grid and the network's, as two small matrix products."""

import chex
import jax
import jax.numpy as jnp


def line_weights(
    size: jax.Array, spacing: jax.Array, to_size: int, to_spacing: float, padded_size: int, *, outside: str = "edge"
) -> jax.Array:
    """Linear interpolation weights along one axis; both grids share their center.

    Where the target grid is coarser, the hat kernel is as wide as the target spacing, to avoid aliasing noise.

    Args:
      size: int32 [], samples of the source; samples from there to `padded_size` are padding and get no weight.
      spacing: float32 [], sample spacing of the source, mm.
      to_size, to_spacing: of the target.
      padded_size: length of the source including padding.
      outside: 'edge' repeats the source's edge sample outside, 'zero' gives 0 beyond its outermost pixels.

    Returns:
      float32 [to_size, padded_size], rows summing to 1 (0 where outside).
    """
    chex.assert_rank([size, spacing, to_spacing], 0)
    target_mm = (jnp.arange(to_size, dtype=jnp.float32) - (to_size - 1) / 2) * to_spacing
    position = target_mm / spacing + (size - 1) / 2
    clipped = jnp.clip(position, 0.0, size - 1.0)
    reach = jnp.maximum(1.0, to_spacing / spacing)
    index = jnp.arange(padded_size, dtype=jnp.float32)
    hat = jnp.maximum(0.0, 1.0 - jnp.abs(clipped[:, None] - index[None, :]) / reach)
    hat = hat * (index < size)[None, :]
    weights = hat / hat.sum(axis=1, keepdims=True)
    if outside == "zero":
        weights = weights * (jnp.abs(position - clipped) <= 0.5)[:, None]
    return weights


def resample(slices: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Resamples float32 [N, H, W] to [N, H', W'] with weights [H', H] and [W', W] from `line_weights`."""
    return jnp.einsum("ah,nhw,bw->nab", rows, slices, columns, precision=jax.lax.Precision.HIGHEST)
