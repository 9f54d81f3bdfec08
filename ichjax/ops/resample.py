"""In-plane resampling between a scan's grid and the network's, as two small matrix products."""

import chex
import jax
import jax.numpy as jnp


def line_weights(
    size: jax.Array,
    spacing: jax.Array,
    to_size: int,
    to_spacing: jax.typing.ArrayLike,
    padded_size: int,
    *,
    outside: str = "edge",
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


def to_depth(slices: jax.Array, count: jax.Array, *, depth: int) -> jax.Array:
    """Resamples scans linearly along z to a fixed number of slices; weights as `line_weights`.

    Args:
      slices: float32 [B, L, ...], the slices of each scan, then padding.
      count: int32 [B], the slices that are not padding.
      depth: Z.

    Returns:
      float32 [B, Z, ...], which extend as far as the slices that are not padding.
    """
    chex.assert_shape(count, slices.shape[:1])

    def of_scan(scan: jax.Array, size: jax.Array) -> jax.Array:
        size = jnp.maximum(size, 1)  # a padded example has none
        weights = line_weights(size, jnp.float32(1.0), depth, size / depth, len(scan))
        return jnp.einsum("zl,l...->z...", weights, scan, precision=jax.lax.Precision.HIGHEST)

    return jax.vmap(of_scan)(slices, count)


def from_depth(volumes: jax.Array, count: jax.Array, *, length: int) -> jax.Array:
    """The reverse of `to_depth`: values at the slices of each scan, linear between those of the volume.

    Args:
      volumes: float32 [B, Z, ...].
      count: int32 [B], the slices of each scan.
      length: L, at least `count`.

    Returns:
      float32 [B, L, ...]; those from `count` on repeat the last slice of the volume.
    """
    chex.assert_shape(count, volumes.shape[:1])
    depth = volumes.shape[1]

    def of_scan(volume: jax.Array, size: jax.Array) -> jax.Array:
        position = (jnp.arange(length) + 0.5) * (depth / jnp.maximum(size, 1)) - 0.5
        distance = jnp.clip(position, 0.0, depth - 1.0)[:, None] - jnp.arange(depth, dtype=jnp.float32)[None]
        weights = jnp.maximum(0.0, 1.0 - jnp.abs(distance))
        return jnp.einsum("lz,z...->l...", weights, volume, precision=jax.lax.Precision.HIGHEST)

    return jax.vmap(of_scan)(volumes, count)
