"""Random affine augmentation: the parameters are drawn first, then image and mask are warped alike.

The ranges are the paper's (section 4): rotation up to 20 degrees, shifts up to 10 % of the side, shear, zoom up to
0.2 on each axis, nearest fill, no flips. The shear of the authors' Keras code, 0.1, is in degrees.
"""

import typing

import jax
import jax.numpy as jnp


class AffineRange(typing.NamedTuple):
    """How far the random transform may go, each to both sides of none."""

    rotation_degrees: float = 20.0
    shift: float = 0.1  # of the patch side, along each axis
    shear_degrees: float = 0.1
    zoom: float = 0.2  # a factor in [1 - zoom, 1 + zoom] on each axis


def draw(key: jax.Array, side: int, ranges: AffineRange) -> jax.Array:
    """Draws one transform.

    Args:
      key: a PRNG key.
      side: P, pixels: shifts are a share of it.
      ranges: see `AffineRange`.

    Returns:
      float32 [2, 3]: takes centred output coordinates (row, column, 1) to centred input coordinates; rotation,
      then shift, shear and zoom, composed as Keras does.
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
    """Warps images by bilinear interpolation; outside the image the nearest edge pixel is repeated.

    Args:
      images: float32 [B, P, P, C].
      transforms: float32 [B, 2, 3], from `draw`.

    Returns:
      float32 [B, P, P, C].
    """
    return jax.vmap(_warp_one)(images, transforms)


def _warp_one(image: jax.Array, transform: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] - centre_row
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] - centre_column
    (a, b, down), (c, d, right) = transform
    source_row = jnp.clip(a * rows + b * columns + (down + centre_row), 0, height - 1)
    source_column = jnp.clip(c * rows + d * columns + (right + centre_column), 0, width - 1)
    top = jnp.clip(jnp.floor(source_row), 0, height - 2)
    left = jnp.clip(jnp.floor(source_column), 0, width - 2)
    down_part, right_part = (source_row - top)[..., None], (source_column - left)[..., None]
    corner = top.astype(jnp.int32) * width + left.astype(jnp.int32)
    flat = image.reshape(height * width, channels)
    pixel = lambda offset: flat.at[corner + offset].get(mode="promise_in_bounds")  # noqa: E731
    upper = pixel(0) * (1 - right_part) + pixel(1) * right_part
    lower = pixel(width) * (1 - right_part) + pixel(width + 1) * right_part
    return upper * (1 - down_part) + lower * down_part


def augment(keys: jax.Array, images: jax.Array, masks: jax.Array, ranges: AffineRange) -> tuple:
    """Warps each image and its mask by one random transform.

    Args:
      keys: PRNG keys [B], one an example, so that an example's transform does not depend on its neighbours.
      images: float32 [B, P, P, C], windowed.
      masks: float32 [B, P, P] of 0 and 1.
      ranges: see `AffineRange`.

    Returns:
      (images float32 [B, P, P, C], masks float32 [B, P, P] of 0 and 1, binarised at 0.5).
    """
    transforms = jax.vmap(lambda key: draw(key, images.shape[1], ranges))(keys)
    both = warp(jnp.concatenate([images, masks[..., None]], axis=-1), transforms)
    return both[..., :-1], (both[..., -1] >= 0.5).astype(masks.dtype)
