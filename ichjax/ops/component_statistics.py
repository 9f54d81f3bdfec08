"""Statistics of the largest connected components of a mask: place, shape, and the values of maps on them.

The K largest components are numbered, the rest counted; so all shapes are static. Sums over components are products
with a one-hot matrix, slice by slice, so they have the same bits in every run; a scatter has not on GPUs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import components

HIGHEST = jax.lax.Precision.HIGHEST
Reduced = tuple[jax.Array, ...]


class Largest(NamedTuple):
    """The K largest components, the largest first.

    Attributes:
      number: int32 [D, H, W], 0 to K - 1 on the pixels of a component, K elsewhere.
      volume_ml: float32 [K], 0 where there are fewer than K.
      dropped: int32 [], components that are not among them.
    """

    number: jax.Array
    volume_ml: jax.Array
    dropped: jax.Array


class Shapes(NamedTuple):
    """Place and shape of components; axes in the order slices, rows, columns. 0 where there is no component.

    Attributes:
      pixels, slices: int32 [K].
      centroid_mm: float32 [K, 3], from the center of the grid.
      extent_mm: float32 [K, 3], of the bounding box, from outer edge to outer edge.
      axes_mm: float32 [K, 3], SD along the principal axes, the longest first. A pixel counts as a box, not as a point,
        so no axis is 0.
      longest_axis: float32 [K, 3], unit vector of the longest principal axis, up to its sign.
    """

    pixels: jax.Array
    slices: jax.Array
    centroid_mm: jax.Array
    extent_mm: jax.Array
    axes_mm: jax.Array
    longest_axis: jax.Array


class Values(NamedTuple):
    """A map's values on components, float32 [K] each; 0 where there is no component."""

    mean: jax.Array
    sd: jax.Array
    least: jax.Array
    largest: jax.Array


def largest(mask: jax.Array, slice_pixel_ml: jax.Array, *, count: int) -> Largest:
    """Numbers the largest 26-connected components by volume.

    Args:
      mask: bool [D, H, W].
      slice_pixel_ml: float32 [D], volume of a pixel of each slice.
      count: K.
    """
    chex.assert_rank(mask, 3)
    chex.assert_shape(slice_pixel_ml, mask.shape[:1])
    labels = components.label(mask)
    nodes = jnp.maximum(labels, 0)
    pixel_ml = jnp.where(mask, slice_pixel_ml[:, None, None], 0.0)
    blocks = math.prod(-(-size // 2) for size in mask.shape)  # labels are less than this
    of_label = jnp.zeros(max(blocks, count), jnp.float32).at[nodes].add(pixel_ml, mode="promise_in_bounds")
    volume_ml, label = jax.lax.top_k(of_label, count)
    number_of_label = jnp.full(of_label.shape, count).at[label].set(jnp.where(volume_ml > 0, jnp.arange(count), count))
    number = jnp.where(mask, number_of_label.at[nodes].get(mode="promise_in_bounds"), count)
    total = (of_label > 0).sum()
    return Largest(number.astype(jnp.int32), volume_ml, total - (volume_ml > 0).sum())


def shapes(number: jax.Array, spacing_mm: jax.Array, *, count: int) -> Shapes:
    """Measures place and shape of components.

    Args:
      number: int32 [D, H, W] from `largest`; K outside a mask as well to measure the parts inside it (a contact).
      spacing_mm: float32 [3], of slices, rows and columns.
      count: K.
    """
    chex.assert_rank(number, 3)
    chex.assert_shape(spacing_mm, (3,))
    positions = [(jnp.arange(n) - (n - 1) / 2) * mm for n, mm in zip(number.shape, spacing_mm, strict=True)]

    def sums(member: jax.Array) -> Reduced:
        """Of one slice's members [K, H, W]: pixels by row [K, H] and by column [K, W]."""
        return member.sum(axis=2), member.sum(axis=1)

    by_row, by_column = _each_slice(number, count, sums)  # [D, K, H], [D, K, W]
    by_slice = by_row.sum(axis=2)
    profiles = (by_slice.T, by_row.sum(axis=0), by_column.sum(axis=0))  # pixels of each component by coordinate
    pixels = by_slice.sum(axis=0)
    weight = 1.0 / jnp.maximum(pixels, 1.0)
    centroid = jnp.stack(
        [(p * at[None]).sum(axis=1) * weight for p, at in zip(profiles, positions, strict=True)], axis=1
    )
    extent = jnp.stack([_occupied(p) * mm for p, mm in zip(profiles, spacing_mm, strict=True)], axis=1)
    dz, dy, dx = (at[None] - mean[:, None] for at, mean in zip(positions, centroid.T, strict=True))

    def products(member: jax.Array) -> Reduced:
        """Of one slice's members: the sum of dy * dx [K]."""
        return (jnp.einsum("khw,kh,kw->k", member, dy, dx, precision=HIGHEST),)

    (mixed,) = _each_slice(number, count, products)
    row_sums, column_sums = (by_row * dy[None]).sum(axis=2), (by_column * dx[None]).sum(axis=2)  # [D, K]
    moments = {
        (0, 0): (profiles[0] * dz**2).sum(axis=1),
        (1, 1): (profiles[1] * dy**2).sum(axis=1),
        (2, 2): (profiles[2] * dx**2).sum(axis=1),
        (0, 1): (row_sums * dz.T).sum(axis=0),
        (0, 2): (column_sums * dz.T).sum(axis=0),
        (1, 2): mixed.sum(axis=0),
    }
    covariance = jnp.stack([jnp.stack([moments[min(i, j), max(i, j)] for j in range(3)], -1) for i in range(3)], -2)
    of_box = jnp.diag(spacing_mm**2 / 12)[None]
    variance, vectors = jnp.linalg.eigh(covariance * weight[:, None, None] + of_box)
    there = (pixels > 0)[:, None]
    axes = jnp.where(there, jnp.sqrt(jnp.maximum(variance[:, ::-1], 0.0)), 0.0)
    slices = (by_slice > 0).sum(axis=0, dtype=jnp.int32)
    return Shapes(pixels.astype(jnp.int32), slices, centroid, extent, axes, jnp.where(there, vectors[:, :, 2], 0.0))


def values(number: jax.Array, image: jax.Array, *, count: int) -> Values:
    """Mean, SD, least and largest value of a map on each component.

    The mean of a mask is the share of the component in it.

    Args:
      number: int32 [D, H, W] from `largest`.
      image: float32 [D, H, W], finite on components, anything elsewhere.
      count: K.
    """
    chex.assert_equal_shape([number, image])
    image = jnp.where(number < count, image, 0.0)

    def first(member: jax.Array, image: jax.Array) -> Reduced:
        return member.sum(axis=(1, 2)), jnp.einsum("khw,hw->k", member, image, precision=HIGHEST)

    pixels, total = (of_slice.sum(axis=0) for of_slice in _each_slice(number, count, first, image))
    weight = 1.0 / jnp.maximum(pixels, 1.0)
    mean = total * weight
    squares = jnp.square(image - to_pixels(number, mean, outside=0.0))
    variance = _each_slice(number, count, first, squares)[1].sum(axis=0) * weight
    low, high = jnp.full(count + 1, jnp.inf), jnp.full(count + 1, -jnp.inf)
    low = low.at[number].min(image, mode="promise_in_bounds")[:count]
    high = high.at[number].max(image, mode="promise_in_bounds")[:count]
    return Values(mean, jnp.sqrt(variance), *(jnp.where(pixels > 0, limit, 0.0) for limit in (low, high)))


def to_pixels(number: jax.Array, of_component: jax.Array, *, outside: float | jax.Array) -> jax.Array:
    """Values [K] of components on their pixels, and `outside` elsewhere: [D, H, W]."""
    chex.assert_rank(of_component, 1)
    table = jnp.append(of_component, jnp.asarray(outside, of_component.dtype))
    return table.at[number].get(mode="promise_in_bounds")


def _occupied(profile: jax.Array) -> jax.Array:
    """Number of positions from the first to the last with pixels, from pixels by position [K, N]; 0 without any."""
    filled = profile > 0
    length = profile.shape[1]
    first, last = filled.argmax(axis=1), length - 1 - filled[:, ::-1].argmax(axis=1)
    return jnp.where(filled.any(axis=1), last - first + 1, 0).astype(jnp.float32)


def _each_slice(number: jax.Array, count: int, reduce: Callable[..., Reduced], *images: jax.Array) -> Reduced:
    """Applies `reduce` to the members [K, H, W] (0 or 1) of each slice, and to its part of the images."""

    def of_slice(planes: Reduced) -> Reduced:
        member = planes[0][None] == jnp.arange(count)[:, None, None]
        return reduce(member.astype(jnp.float32), *planes[1:])

    return jax.lax.map(of_slice, (number, *images))
