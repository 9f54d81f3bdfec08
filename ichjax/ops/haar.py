"""Haar wavelets of slices: a decomposition into two levels, its inverse, and removal of noise by soft thresholds."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

LEVELS_OF_DETAIL = 2
MEDIAN_OF_NORMAL = 0.6745  # of the absolute value of a normal variable, in standard deviations


class Wavelets(NamedTuple):
    """Coefficients of [N, H, W] with sides padded to multiples of 4, h and w a quarter of them.

    Attributes:
      approximation: float32 [N, h, w].
      details: by level, finest first: float32 [N, 3, 2h, 2w] and [N, 3, h, w]; differences along columns, along rows,
        and along both.
    """

    approximation: jax.Array
    details: tuple[jax.Array, ...]


def decompose(image: jax.Array) -> Wavelets:
    """The orthonormal two-level decomposition of [N, H, W]; sides that are no multiple of 4 repeat their last pixels.

    The sum of squares is that of the padded image.
    """
    chex.assert_rank(image, 3)
    _, height, width = image.shape
    multiple = 1 << LEVELS_OF_DETAIL
    rest = jnp.pad(image.astype(jnp.float32), ((0, 0), (0, -height % multiple), (0, -width % multiple)), mode="edge")
    details = []
    for _ in range(LEVELS_OF_DETAIL):
        a, b, c, d = (rest[:, row::2, column::2] for row in (0, 1) for column in (0, 1))
        details.append(jnp.stack([a - b + c - d, a + b - c - d, a - b - c + d], axis=1) / 2)
        rest = (a + b + c + d) / 2
    return Wavelets(rest, tuple(details))


def reconstruct(wavelets: Wavelets, *, height: int, width: int) -> jax.Array:
    """The inverse of `decompose`: float32 [N, height, width]."""
    image = wavelets.approximation
    for details in wavelets.details[::-1]:
        columns, rows, both = details[:, 0], details[:, 1], details[:, 2]
        quarters = (
            image + columns + rows + both,
            image - columns + rows - both,
            image + columns - rows - both,
            image - columns - rows + both,
        )
        count, h, w = image.shape
        image = jnp.stack(quarters, axis=-1).reshape(count, h, w, 2, 2).swapaxes(2, 3).reshape(count, 2 * h, 2 * w) / 2
    return image[:, :height, :width]


def denoise(image: jax.Array, inside: jax.Array) -> jax.Array:
    """Removes noise: soft thresholds on all details (Donoho and Johnstone, Biometrika 1994).

    The threshold is sigma sqrt(2 ln n) for n pixels inside; sigma is the median of the absolute finest differences
    along both axes, of blocks of 2 x 2 pixels that are all inside, divided by 0.6745.

    Args:
      image: float32 [N, H, W].
      inside: bool [N, H, W].

    Returns:
      float32 [N, H, W]; a slice without such a block is unchanged.
    """
    chex.assert_equal_shape([image, inside])
    _, height, width = image.shape
    approximation, details = decompose(image)
    padded = jnp.pad(inside, ((0, 0), (0, -height % 2), (0, -width % 2)))
    blocks = padded[:, ::2, ::2] & padded[:, 1::2, ::2] & padded[:, ::2, 1::2] & padded[:, 1::2, 1::2]
    finest = jnp.abs(details[0][:, 2, : blocks.shape[1], : blocks.shape[2]])
    sigma = _median(finest, blocks) / MEDIAN_OF_NORMAL
    count = inside.sum(axis=(1, 2)).astype(jnp.float32)
    cut = (sigma * jnp.sqrt(2.0 * jnp.log(jnp.maximum(count, 1.0)))).reshape(-1, 1, 1, 1)
    soft = tuple(jnp.sign(level) * jnp.maximum(jnp.abs(level) - cut, 0.0) for level in details)
    return reconstruct(Wavelets(approximation, soft), height=height, width=width)


def _median(values: jax.Array, valid: jax.Array) -> jax.Array:
    """[N]: the median of the valid values of each slice [N, h, w], 0 without any."""
    ordered = jnp.sort(jnp.where(valid, values, math.inf).reshape(len(values), -1), axis=1)
    count = valid.sum(axis=(1, 2))
    middle = jnp.stack([jnp.maximum(count - 1, 0) // 2, count // 2], axis=1)
    both = jnp.take_along_axis(ordered, jnp.minimum(middle, ordered.shape[1] - 1), axis=1)
    return jnp.where(count > 0, both.mean(axis=1), 0.0)
