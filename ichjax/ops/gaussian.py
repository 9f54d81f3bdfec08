"""Gaussian filter of slices, equal to SciPy's with repeated edges."""

import math

import chex
import jax
import jax.numpy as jnp


def smooth(image: jax.Array, *, sigma_px: float, radii: float = 4.0) -> jax.Array:
    """Filters each slice with a Gaussian.

    Args:
      image: float32 [N, H, W]; beyond the edge its outermost pixels are repeated.
      sigma_px: standard deviation, > 0.
      radii: the kernel ends at this many sigma, rounded to whole pixels.

    Returns:
      float32 [N, H, W].

    Raises:
      ValueError: `sigma_px` is not positive.
    """
    chex.assert_rank(image, 3)
    if sigma_px <= 0:
        raise ValueError(f"a Gaussian of sigma {sigma_px}; expected more than 0 pixels")
    radius = int(radii * sigma_px + 0.5)
    taps = [math.exp(-0.5 * (k / sigma_px) ** 2) for k in range(-radius, radius + 1)]
    total = sum(taps)
    for axis in (1, 2):
        size = image.shape[axis]
        pad = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
        padded = jax.lax.optimization_barrier(jnp.pad(image, pad, mode="edge"))  # once, and not for each tap
        terms = (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) * (tap / total) for k, tap in enumerate(taps))
        image = sum(terms, start=jnp.zeros((), image.dtype))
    return image
