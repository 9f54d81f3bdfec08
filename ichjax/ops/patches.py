"""Extraction of overlapping patches from slices, and stitching of patches back into slices.

The patch side P is a whole number k of strides S, so a slice is a grid of S x S blocks and a patch is k x k blocks:
both directions are reshapes and slices of that grid, without gathers or loops over patches.
"""

import functools
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ichjax.errors import InputError


def grid_shape(height: int, width: int, *, side: int, stride: int) -> tuple[int, int]:
    """Number of patches (rows, columns): 7 x 7 for 640 and 160/80, and for 512 and 128/64 (paper, section 3.2).

    Raises:
      InputError: the patches do not cover the slice evenly.
    """
    if side <= 0 or stride <= 0 or side % stride:
        raise InputError(f"patch side {side} and stride {stride}; expected a side that is a whole number of strides")
    if min(height, width) < side or (height - side) % stride or (width - side) % stride:
        raise InputError(f"patches of side {side} at stride {stride} do not cover a slice of {height} x {width} evenly")
    return (height - side) // stride + 1, (width - side) // stride + 1


def extract(slices: jax.Array, *, side: int, stride: int) -> jax.Array:
    """Cuts slices into overlapping patches.

    Args:
      slices: any dtype [N, H, W, ...].
      side: P, in pixels, a multiple of `stride`.
      stride: S, in pixels; H - P and W - P are multiples of it.

    Returns:
      [N, rows, columns, P, P, ...]; patch (i, j) starts at pixel (i S, j S).
    """
    count, height, width, *rest = slices.shape
    rows, columns = grid_shape(height, width, side=side, stride=stride)
    k = side // stride
    board = slices.reshape(count, height // stride, stride, width // stride, stride, *rest)
    board = jnp.stack([board[:, i : i + rows] for i in range(k)], axis=2)  # [N, rows, k, S, W / S, S]
    board = jnp.stack([board[:, :, :, :, j : j + columns] for j in range(k)], axis=5)
    board = jnp.moveaxis(board, 4, 2)  # [N, rows, columns, k, S, k, S]
    return board.reshape(count, rows, columns, side, side, *rest)


def cut(
    slices: jax.Array, number: jax.Array, row: jax.Array, column: jax.Array, *, height: int, width: int
) -> jax.Array:
    """Cuts one patch anywhere out of each of B slices.

    Args:
      slices: any dtype [N, H, W].
      number, row, column: int32 [B], the slice and the first pixel of each patch; patches that would reach beyond the
        array are moved inside.
      height, width: of a patch, in pixels.

    Returns:
      [B, height, width].
    """
    chex.assert_rank(slices, 3)
    chex.assert_equal_shape([number, row, column])
    # The slice first: in one step, XLA changes the tiling of all slices of uint8 for each patch on TPUs.
    own = jax.vmap(lambda k: jax.lax.dynamic_index_in_dim(slices, k, keepdims=False))(number)
    return jax.vmap(lambda plane, *start: jax.lax.dynamic_slice(plane, start, (height, width)))(own, row, column)


def min_max_stretch(probability: jax.Array) -> jax.Array:
    """Stretches each patch to [0, 1] by its own minimum and maximum; a constant patch becomes 0.

    The authors' JPEG code does so when it saves patches as images: even an empty patch then has a 'certain' pixel.

    Args:
      probability: float32 [..., P, P].

    Returns:
      float32 [..., P, P].
    """
    lowest = probability.min(axis=(-2, -1), keepdims=True)
    highest = probability.max(axis=(-2, -1), keepdims=True)
    spread = highest - lowest
    stretched = jnp.minimum((probability - lowest) / jnp.where(spread > 0, spread, 1.0), 1.0)
    # A compiler may multiply by 1 / spread instead; the maximum must be exactly 1, or 8 bits truncate it to 254.
    return jnp.where((probability == highest) & (spread > 0), 1.0, stretched)


def stitch_8bit(patches: jax.Array, *, stride: int) -> jax.Array:
    """Stitches through 8-bit images as the authors' code does: truncates to 0 to 255, averages, truncates again.

    Args and result as in `stitch`, but the result is a multiple of 1/256, so that 'above t' means above 256 t grey
    levels, the comparison in their code.
    """
    return jnp.floor(stitch(jnp.floor(patches * 255.0), stride=stride)) / 256.0


def stitch(patches: jax.Array, *, stride: int, gaussian: bool = False) -> jax.Array:
    """Reassembles slices from patches, averaging where they overlap (paper, section 3.2).

    If the side is twice the stride, every pixel is the mean of 1 (corner), 2 (edge) or 4 predictions.

    Args:
      patches: float [N, rows, columns, P, P].
      stride: S, in pixels.
      gaussian: weight the pixels of a patch by a Gaussian of sigma P / 8 at its center, since a network has the least
        context at the edge (nnU-Net: Isensee et al., Nature Methods 2021); the paper's mean is unweighted.

    Returns:
      float [N, H, W].
    """
    count, rows, columns, side, _ = patches.shape
    chex.assert_shape(patches, (..., side, side))
    k = side // stride
    height, width = (rows + k - 1) * stride, (columns + k - 1) * stride
    profile = _gaussian_profile(side) if gaussian else np.ones(side, np.float32)
    if gaussian:
        patches = patches * jnp.asarray(np.outer(profile, profile), patches.dtype)[None, None, None]

    def tiling(i: int, j: int) -> jax.Array:
        """Every k-th patch along both axes, from patch (i, j) on: side by side, padded to the slice."""
        tiles = patches[:, i::k, j::k]
        down, across = tiles.shape[1] * side, tiles.shape[2] * side
        top, left = i * stride, j * stride
        tiles = tiles.swapaxes(2, 3).reshape(count, down, across)
        return jnp.pad(tiles, ((0, 0), (top, height - top - down), (left, width - left - across)))

    total = functools.reduce(operator.add, (tiling(i, j) for i in range(k) for j in range(k)))
    weight = np.outer(_total_weight(rows, profile, stride), _total_weight(columns, profile, stride))
    return total / jnp.asarray(weight, patches.dtype)[None]


def _gaussian_profile(side: int) -> np.ndarray:
    """float32 [P], 1 at the center; at least 1e-3, so that pixels covered by a single patch keep their precision."""
    x = (np.arange(side) - (side - 1) / 2) / (side / 8)
    return np.maximum(np.exp(-(x**2) / 2), 1e-3).astype(np.float32)


def _total_weight(count: int, profile: np.ndarray, stride: int) -> np.ndarray:
    """Sum of the weights of `count` overlapping patches along one axis: float32 [(count + k - 1) S]."""
    total = np.zeros((count - 1) * stride + len(profile), profile.dtype)
    for i in range(count):
        total[i * stride : i * stride + len(profile)] += profile
    return total
