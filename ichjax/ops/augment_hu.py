"""Random changes of HU before the windows, each (key, image, mask) -> (image, mask) of one example.

Scanners differ in calibration, noise, sharpness, sampling, beam hardening and slice thickness. Nothing is clipped, so
that the operations chain; masks do not change. Every operation is drawn with a probability, and otherwise returns
exactly its input. Images are float32 [H, W, S]: S neighboring slices, 1 without neighbors.
"""

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import resample

SOFT_BONE_HU, DENSE_BONE_HU = 300.0, 1000.0  # the share of bone in a pixel rises from 0 to 1 between them
MIN_SIGMA_PX = 1e-3  # of a Gaussian, which then is one pixel


def shift_and_scale(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, shift_hu: float, scale: float
) -> tuple[jax.Array, jax.Array]:
    """Another calibration: multiplies HU by a factor in [1 - scale, 1 + scale] and adds up to +-`shift_hu`.

    Args:
      key: a PRNG key.
      image: float32 [H, W, S], HU.
      mask: float32 [H, W] of 0 and 1.
      probability: of the change.
      shift_hu, scale: largest shift, in HU, and change of the factor.

    Returns:
      (image float32 [H, W, S], the mask).
    """
    chance, shift, factor = jax.random.uniform(key, (3,))
    changed = image * (1.0 + scale * (2.0 * factor - 1.0)) + shift_hu * (2.0 * shift - 1.0)
    return jnp.where(chance < probability, changed, image), mask


def noise(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, std_hu: float, correlation_px: float
) -> tuple[jax.Array, jax.Array]:
    """Adds Gaussian noise, whose neighboring pixels are correlated as by a smooth reconstruction kernel.

    Args:
      key, image, mask, probability: as in `shift_and_scale`.
      std_hu: largest standard deviation of a pixel.
      correlation_px: largest sigma of the Gaussian that white noise is filtered with.
    """
    height, width, slices = image.shape
    scalars, field = jax.random.split(key)
    chance, level, sigma = jax.random.uniform(scalars, (3,))
    white = jax.random.normal(field, (height, width, slices))
    rows, columns = (_gaussian(size, correlation_px * sigma) for size in (height, width))
    unit = lambda weights: weights / jnp.linalg.norm(weights, axis=1, keepdims=True)  # noqa: E731
    added = std_hu * level * _along_both(unit(rows), white, unit(columns))
    return jnp.where(chance < probability, image + added, image), mask


def blur(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, sigma_px: float
) -> tuple[jax.Array, jax.Array]:
    """Filters with a Gaussian of sigma up to `sigma_px`; other arguments as in `shift_and_scale`."""
    height, width, _ = image.shape
    chance, sigma = jax.random.uniform(key, (2,))
    changed = _along_both(_gaussian(height, sigma_px * sigma), image, _gaussian(width, sigma_px * sigma))
    return jnp.where(chance < probability, changed, image), mask


def low_resolution(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, lowest: float
) -> tuple[jax.Array, jax.Array]:
    """Resamples to `lowest` to 1 times as many pixels per side, and back; other arguments as in `shift_and_scale`."""
    chance, share = jax.random.uniform(key, (2,))
    pixel = 1.0 / (lowest + (1.0 - lowest) * share)  # of the coarse grid, in pixels of the image

    def there_and_back(size: int) -> jax.Array:
        coarse = resample.line_weights(jnp.int32(size), jnp.float32(1), size, pixel, size)
        fine = resample.line_weights(jnp.int32(size), pixel, size, jnp.float32(1), size)
        return jnp.matmul(fine, coarse, precision=jax.lax.Precision.HIGHEST)

    changed = _along_both(there_and_back(image.shape[0]), image, there_and_back(image.shape[1]))
    return jnp.where(chance < probability, changed, image), mask


def cupping(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, bias_hu: float, bone_px: float
) -> tuple[jax.Array, jax.Array]:
    """Adds what beam hardening leaves: a radial bias, and a rise near bone.

    Args:
      key, image, mask, probability: as in `shift_and_scale`.
      bias_hu: largest difference between the center and the middle of an edge, in either direction, and largest rise.
      bone_px: sigma of the Gaussian that the rise fades with.
    """
    height, width, _ = image.shape
    chance, radial, rise, down, right = jax.random.uniform(key, (5,))
    row = jnp.linspace(-1.0, 1.0, height)[:, None] - (0.5 * down - 0.25)
    column = jnp.linspace(-1.0, 1.0, width)[None, :] - (0.5 * right - 0.25)
    bowl = (2.0 * radial - 1.0) * (row**2 + column**2 - 0.5)
    bone = jnp.clip((image - SOFT_BONE_HU) / (DENSE_BONE_HU - SOFT_BONE_HU), 0.0, 1.0)
    near_bone = _along_both(_gaussian(height, bone_px), bone, _gaussian(width, bone_px))
    changed = image + bias_hu * (bowl[..., None] + rise * near_bone)
    return jnp.where(chance < probability, changed, image), mask


def average_slices(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, others: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Thicker slices: mixes each slice with the mean of itself and its two neighbors; a single slice does not change.

    Arguments as in `shift_and_scale`. At the ends of the stack the end slice stands for its missing neighbor. The last
    `others` channels are no slices of the stack, and do not change.
    """
    count = image.shape[-1] - others
    if count == 1:
        return image, mask
    chance, share = jax.random.uniform(key, (2,))
    stack = image[..., :count]
    padded = jnp.concatenate([stack[..., :1], stack, stack[..., -1:]], axis=-1)
    mean = (padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]) / 3.0
    changed = jnp.concatenate([stack + share * (mean - stack), image[..., count:]], axis=-1)
    return jnp.where(chance < probability, changed, image), mask


def _gaussian(size: int, sigma: jax.Array | float) -> jax.Array:
    """float32 [size, size]: a filter along a line of pixels as a matrix; rows sum to 1, at the ends too."""
    pixels = jnp.arange(size, dtype=jnp.float32)
    distance = (pixels[:, None] - pixels[None, :]) / jnp.maximum(sigma, MIN_SIGMA_PX)
    weights = jnp.exp(-0.5 * distance**2)
    return weights / weights.sum(axis=1, keepdims=True)


def _along_both(rows: jax.Array, image: jax.Array, columns: jax.Array) -> jax.Array:
    """rows [A, H] and columns [B, W] applied to [H, W, S]: [A, B, S]."""
    chex.assert_rank(image, 3)
    return jnp.einsum("ah,hws,bw->abs", rows, image, columns, precision=jax.lax.Precision.HIGHEST)
