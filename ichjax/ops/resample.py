"""In-plane resampling as two small matrix products: a slice's own grid to the network's, and back."""

import jax
import jax.numpy as jnp


def line_weights(
    size: jax.Array, spacing: jax.Array, to_size: int, to_spacing: float, at_most: int, *, outside: str = "edge"
) -> jax.Array:
    """Linear interpolation along one axis, both grids centred on each other.

    Where the target is coarser, the hat is as wide as the target's spacing, so that noise does not alias.

    Args:
      size: int32 [], samples of the source; samples from there to `at_most` are padding and get no weight.
      spacing: float32 [], distance of the source's samples, mm.
      to_size, to_spacing: of the target.
      at_most: the padded length of the source.
      outside: 'edge' repeats the source's edge beyond it, 'zero' gives nothing beyond its outermost pixels.

    Returns:
      float32 [to_size, at_most], rows summing to 1 (0 where outside).
    """
    target_mm = (jnp.arange(to_size, dtype=jnp.float32) - (to_size - 1) / 2) * to_spacing
    sought = target_mm / spacing + (size - 1) / 2
    place = jnp.clip(sought, 0.0, size - 1.0)
    reach = jnp.maximum(1.0, to_spacing / spacing)
    index = jnp.arange(at_most, dtype=jnp.float32)
    hat = jnp.maximum(0.0, 1.0 - jnp.abs(place[:, None] - index[None, :]) / reach)
    hat = hat * (index < size)[None, :]
    weights = hat / hat.sum(axis=1, keepdims=True)
    if outside == "zero":
        weights = weights * (jnp.abs(sought - place) <= 0.5)[:, None]
    return weights


def resample(slices: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Resamples float32 [N, H, W] by weights [H', H] and [W', W] from `line_weights` to [N, H', W']."""
    precise = jax.lax.Precision.HIGHEST
    return jnp.einsum("ah,nhw,bw->nab", rows, slices, columns, precision=precise)
