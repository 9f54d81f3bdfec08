"""Random affine augmentation: sample the transform first, then warp image and mask with it.

The ranges are the paper's (section 4): rotation up to 20 degrees, shifts up to 10 % of the side, shear, zoom up to
0.2 on each axis, nearest fill, no flips. The shear of 0.1 in the authors' Keras code is in degrees.
"""

import typing

import chex
import jax
import jax.numpy as jnp


class AffineRange(typing.NamedTuple):
    """Largest magnitude of each part of the random transform; samples are uniform in [-x, x]."""

    rotation_degrees: float = 20.0
    shift: float = 0.1  # fraction of the patch side, along each axis
    shear_degrees: float = 0.1
    zoom: float = 0.2  # factor in [1 - zoom, 1 + zoom] on each axis


def sample_affine(key: jax.Array, side: int, ranges: AffineRange) -> jax.Array:
    """Samples one transform.

    Args:
      key: a PRNG key.
      side: P, in pixels; shifts are a fraction of it.
      ranges: see `AffineRange`.

    Returns:
      float32 [2, 3]: maps centered output coordinates (row, column, 1) to centered input coordinates; rotation, shift,
      shear and zoom, composed in this order as in Keras.
    """
    angle, down, right, shear, zoom_rows, zoom_columns = jax.random.uniform(key, (6,), minval=-1.0, maxval=1.0)
    angle = jnp.deg2rad(angle * ranges.rotation_degrees)
    shear = jnp.deg2rad(shear * ranges.shear_degrees)
    rotation = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    shift = jnp.array([down, right]) * (ranges.shift * side)
    skew = jnp.array([[1.0, -jnp.sin(shear)], [0.0, jnp.cos(shear)]])
    zoom = jnp.diag(1.0 + ranges.zoom * jnp.array([zoom_rows, zoom_columns]))
    matmul = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    linear = matmul(matmul(rotation, skew), zoom)
    return jnp.concatenate([linear, matmul(rotation, shift)[:, None]], axis=1)


def warp(images: jax.Array, transforms: jax.Array) -> jax.Array:
    """Warps images by bilinear interpolation; coordinates outside the image get the nearest edge pixel.

    Args:
      images: float32 [B, P, P, C].
      transforms: float32 [B, 2, 3], from `sample_affine`.

    Returns:
      float32 [B, P, P, C].
    """
    chex.assert_rank(images, 4)
    chex.assert_shape(transforms, (len(images), 2, 3))
    return jax.vmap(_warp_one)(images, transforms)


def _warp_one(image: jax.Array, transform: jax.Array) -> jax.Array:
    height, width, _ = image.shape
    center_row, center_column = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] - center_row
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] - center_column
    (a, b, down), (c, d, right) = transform
    source_row = a * rows + b * columns + (down + center_row)
    source_column = c * rows + d * columns + (right + center_column)
    return bilinear(image, source_row, source_column)


def bilinear(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Samples an image at given positions; those outside it get the nearest edge pixel.

    Args:
      image: float32 [H, W, C].
      row, column: float32 [P, Q], positions in pixels.

    Returns:
      float32 [P, Q, C].
    """
    chex.assert_rank(image, 3)
    chex.assert_equal_shape([row, column])
    height, width, channels = image.shape
    source_row = jnp.clip(row, 0, height - 1)
    source_column = jnp.clip(column, 0, width - 1)
    top = jnp.clip(jnp.floor(source_row), 0, height - 2)
    left = jnp.clip(jnp.floor(source_column), 0, width - 2)
    row_weight, column_weight = (source_row - top)[..., None], (source_column - left)[..., None]
    corner = top.astype(jnp.int32) * width + left.astype(jnp.int32)
    flat = jnp.asarray(image).reshape(height * width, channels)
    pixel = lambda offset: flat.at[corner + offset].get(mode="promise_in_bounds")  # noqa: E731
    upper = pixel(0) * (1 - column_weight) + pixel(1) * column_weight
    lower = pixel(width) * (1 - column_weight) + pixel(width + 1) * column_weight
    return upper * (1 - row_weight) + lower * row_weight


def augment(keys: jax.Array, images: jax.Array, masks: jax.Array, ranges: AffineRange) -> tuple[jax.Array, jax.Array]:
    """Warps each image and its mask with the same random transform.

    Args:
      keys: PRNG keys [B], one per example, so that an example's transform does not depend on the rest of the batch.
      images: float32 [B, P, P, C], windowed.
      masks: float32 [B, P, P] of 0 and 1.
      ranges: see `AffineRange`.

    Returns:
      (images float32 [B, P, P, C], masks float32 [B, P, P] of 0 and 1, binarized at 0.5).
    """
    transforms = jax.vmap(lambda key: sample_affine(key, images.shape[1], ranges))(keys)
    warped = warp(jnp.concatenate([images, masks[..., None]], axis=-1), transforms)
    return warped[..., :-1], (warped[..., -1] >= 0.5).astype(masks.dtype)
