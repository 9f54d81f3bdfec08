"""Intensity windows: HU to network input in [0, 1], and to 8-bit grey levels."""

import jax
import jax.numpy as jnp

BRAIN_LEVEL_HU, BRAIN_WIDTH_HU = 40.0, 120.0  # -20 to 100 HU (paper, section 3.1)


def window(hu: jax.Array, *, level: float, width: float) -> jax.Array:
    """Maps HU linearly to [0, 1] through one window, clipped at both ends.

    Args:
      hu: integer or float [...], HU.
      level: center of the window, HU.
      width: width of the window, HU.

    Returns:
      float32 [...].
    """
    low = level - width / 2
    return jnp.clip((hu.astype(jnp.float32) - low) / width, 0.0, 1.0)


def windows(hu: jax.Array, levels_and_widths: tuple[tuple[float, float], ...]) -> jax.Array:
    """Maps HU through several windows: [...] to float32 [..., C], one channel per window."""
    return jnp.stack([window(hu, level=level, width=width) for level, width in levels_and_widths], axis=-1)


def mark_corner(images: jax.Array) -> jax.Array:
    """Sets the last pixel of each windowed patch, float [..., P, P, C] in [0, 1], to 1.

    The authors' JPEG code does so to keep the grey levels of a saved patch.
    """
    return jnp.asarray(images).at[..., -1, -1, :].set(1.0)


def grey_levels(hu: jax.Array) -> jax.Array:
    """Maps HU to the 8-bit grey levels of the paper's images: [...] to int32 [...], 0 to 255, rounded."""
    level, width = BRAIN_LEVEL_HU, BRAIN_WIDTH_HU
    # A single exact factor, 2.125, so that halves round the same way on every device.
    grey = (hu.astype(jnp.float32) - (level - width / 2)) * (255.0 / width)
    return jnp.round(jnp.clip(grey, 0.0, 255.0)).astype(jnp.int32)
