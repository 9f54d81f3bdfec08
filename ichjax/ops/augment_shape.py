"""Random changes of shape, each (key, image, mask) -> (image, mask) of one example: affine, elastic, mirrored.

The image and its mask get the same transform, by bilinear interpolation with the nearest edge pixel outside; masks are
binarized at 0.5. Every operation is drawn with a probability, and otherwise returns exactly its input.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ichjax.ops import augment

SPLINE_REACH = 2  # control points on each side of a pixel that a cubic B-spline depends on


def affine(
    key: jax.Array,
    image: jax.Array,
    mask: jax.Array,
    *,
    probability: float,
    rotation_degrees: float,
    zoom: float,
    shift: float,
) -> tuple[jax.Array, jax.Array]:
    """Rotates, zooms each axis on its own, and shifts.

    Args:
      key: a PRNG key.
      image: float32 [H, W, C].
      mask: float32 [H, W] of 0 and 1.
      probability: of the transform.
      rotation_degrees: largest angle, in either direction.
      zoom: factors are in [1 / (1 + zoom), 1 + zoom], uniform in their logarithm.
      shift: largest shift, as a fraction of each side.

    Returns:
      (image float32 [H, W, C], mask float32 [H, W] of 0 and 1).
    """
    height, width, _ = image.shape
    draw = jax.random.uniform(key, (6,))
    angle, log_rows, log_columns, down, right = 2.0 * draw[1:] - 1.0
    angle = jnp.deg2rad(rotation_degrees) * angle
    zoom_rows, zoom_columns = (jnp.exp(-jnp.log1p(zoom) * x) for x in (log_rows, log_columns))
    row = jnp.arange(height, dtype=jnp.float32)[:, None] - ((height - 1) / 2 + shift * height * down)
    column = jnp.arange(width, dtype=jnp.float32)[None, :] - ((width - 1) / 2 + shift * width * right)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    from_row = zoom_rows * (cosine * row - sine * column) + (height - 1) / 2
    from_column = zoom_columns * (sine * row + cosine * column) + (width - 1) / 2
    return _resampled(draw[0] < probability, image, mask, from_row, from_column)


def elastic(
    key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float, displacement_px: float, spacing_px: int
) -> tuple[jax.Array, jax.Array]:
    """Displaces every pixel by a smooth random field, a cubic B-spline of random displacements on a coarse grid.

    Args:
      key, image, mask, probability: as in `affine`.
      displacement_px: no pixel moves further along an axis; well below half of `spacing_px`, nothing folds.
      spacing_px: of the control points.
    """
    height, width, _ = image.shape
    rows, columns = _spline(height, spacing_px), _spline(width, spacing_px)
    chance, field = jnp.split(jax.random.uniform(key, (1 + 2 * rows.shape[1] * columns.shape[1],)), [1])
    points = displacement_px * (2.0 * field.reshape(2, rows.shape[1], columns.shape[1]) - 1.0)
    down, right = jnp.einsum("hr,arc,wc->ahw", rows, points, columns, precision=jax.lax.Precision.HIGHEST)
    from_row = jnp.arange(height, dtype=jnp.float32)[:, None] + down
    from_column = jnp.arange(width, dtype=jnp.float32)[None, :] + right
    return _resampled(chance[0] < probability, image, mask, from_row, from_column)


def mirror(key: jax.Array, image: jax.Array, mask: jax.Array, *, probability: float) -> tuple[jax.Array, jax.Array]:
    """Swaps left and right; arguments as in `affine`."""
    chex.assert_equal_shape_prefix([image, mask], 2)
    drawn = jax.random.uniform(key) < probability
    return jnp.where(drawn, image[:, ::-1], image), jnp.where(drawn, mask[:, ::-1], mask)


def _resampled(
    drawn: jax.Array, image: jax.Array, mask: jax.Array, row: jax.Array, column: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Image and mask at the positions if `drawn`, a bool []; else as they are."""
    chex.assert_equal_shape_prefix([image, mask], 2)
    both = augment.bilinear(jnp.concatenate([image, mask[..., None]], axis=-1), row, column)
    warped = (both[..., -1] >= 0.5).astype(mask.dtype)
    return jnp.where(drawn, both[..., :-1], image), jnp.where(drawn, warped, mask)


def _spline(size: int, spacing: int) -> np.ndarray:
    """float32 [size, N]: the weight of each control point at each pixel, from a cubic B-spline; rows sum to 1."""
    at = np.arange(size) / spacing
    points = np.arange(-1, int(at[-1]) + 1 + SPLINE_REACH)
    far = np.abs(at[:, None] - points[None, :])
    near = 2 / 3 - far**2 + far**3 / 2
    return np.where(far < 1, near, np.maximum(2 - far, 0) ** 3 / 6).astype(np.float32)
