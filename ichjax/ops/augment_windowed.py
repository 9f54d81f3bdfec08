"""Random changes of windowed images, each (key, image, mask) -> (image, mask) of one example; masks do not change.

Nothing is clipped, so that the operations chain. Every operation is drawn with a probability, and otherwise returns
exactly its input.
"""

import chex
import jax
import jax.numpy as jnp


def gamma(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, strength: float
) -> tuple[jax.Array, jax.Array]:
    """Raises each channel to a power in [1 / (1 + strength), 1 + strength], uniform in its logarithm.

    Args:
      key: a PRNG key.
      image: float32 [H, W, C], windowed; the sign of values below 0 is kept.
      mask: float32 [H, W] of 0 and 1.
      probability: of the change.
      strength: 0 for powers of 1 alone.

    Returns:
      (image float32 [H, W, C], the mask).
    """
    chex.assert_rank(image, 3)
    draw = jax.random.uniform(key, (1 + image.shape[-1],))
    power = jnp.exp(jnp.log1p(strength) * (2.0 * draw[1:] - 1.0))
    changed = jnp.sign(image) * jnp.abs(image) ** power[None, None]
    return jnp.where(draw[0] < probability, changed, image), mask


def blank(
    key: jax.Array,
    image: jax.Array,
    mask: jax.Array,
    *,
    probability: float,
    count: int,
    smallest: float,
    largest: float,
) -> tuple[jax.Array, jax.Array]:
    """Fills 1 to `count` random rectangles with the mean of each channel.

    Args:
      key, image, mask, probability: as in `gamma`.
      count: of rectangles, at most.
      smallest, largest: of their sides, as fractions of the image's.
    """
    chex.assert_rank(image, 3)
    draw = jax.random.uniform(key, (2 + 4 * count,))
    row_side, column_side, top, left = draw[2:].reshape(4, count, 1)
    used = jnp.arange(count)[:, None] < 1 + jnp.floor(draw[1] * count)

    def covered(size: int, side: jax.Array, start: jax.Array) -> jax.Array:
        """bool [count, size]: the pixels of a line that each rectangle covers."""
        length = (smallest + (largest - smallest) * side) * size
        pixel = jnp.arange(size, dtype=jnp.float32)[None] + 0.5 - start * (size - length)
        return (pixel >= 0) & (pixel < length)

    rows, columns = covered(image.shape[0], row_side, top) & used, covered(image.shape[1], column_side, left)
    inside = (rows[:, :, None] & columns[:, None, :]).any(axis=0) & (draw[0] < probability)
    return jnp.where(inside[..., None], image.mean(axis=(0, 1))[None, None], image), mask
