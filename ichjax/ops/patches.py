"""Patches of slices on an even grid, and slices put together again from overlapping patches.

A patch side P is a whole number of strides S, so a slice is a board of S x S blocks and a patch is k x k of them
(k = P / S): both directions are reshapes and slices of that board, with no gather and no loop over patches.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.errors import InputError


def grid_shape(height: int, width: int, *, side: int, stride: int) -> tuple[int, int]:
    """How many patches fit (rows, columns): 7 x 7 for 640 and 160/80, for 512 and 128/64 (paper, section 3.2).

    Raises:
      InputError: the patches would not cover the slice evenly.
    """
    if side <= 0 or stride <= 0 or side % stride:
        raise InputError(f"patch side {side} and stride {stride}: the side must be a whole number of strides")
    if min(height, width) < side or (height - side) % stride or (width - side) % stride:
        raise InputError(f"patches of side {side} at stride {stride} do not cover a slice of {height} x {width} evenly")
    return (height - side) // stride + 1, (width - side) // stride + 1


def extract(slices: jax.Array, *, side: int, stride: int) -> jax.Array:
    """Cuts slices into overlapping patches.

    Args:
      slices: any dtype [N, H, W, ...].
      side: P, in pixels, a multiple of `stride`.
      stride: S, in pixels; (H - P) and (W - P) are multiples of it.

    Returns:
      [N, rows, columns, P, P, ...], the patch at (i, j) starting at pixel (i S, j S).
    """
    count, height, width, *rest = slices.shape
    rows, columns = grid_shape(height, width, side=side, stride=stride)
    k = side // stride
    board = slices.reshape(count, height // stride, stride, width // stride, stride, *rest)
    board = jnp.stack([board[:, i : i + rows] for i in range(k)], axis=2)  # [N, rows, k, S, W / S, S]
    board = jnp.stack([board[:, :, :, :, j : j + columns] for j in range(k)], axis=5)
    board = jnp.moveaxis(board, 4, 2)  # [N, rows, columns, k, S, k, S]
    return board.reshape(count, rows, columns, side, side, *rest)


def min_max_stretch(probability: jax.Array) -> jax.Array:
    """Stretches each patch so that its own lowest value becomes 0 and its highest 1, as the authors' JPEG code did
    in saving patches as images: even an empty patch then has a 'certain' pixel. A constant patch becomes 0.

    Args:
      probability: float32 [..., P, P].

    Returns:
      float32 [..., P, P].
    """
    lowest = probability.min(axis=(-2, -1), keepdims=True)
    highest = probability.max(axis=(-2, -1), keepdims=True)
    spread = highest - lowest
    stretched = jnp.minimum((probability - lowest) / jnp.where(spread > 0, spread, 1.0), 1.0)
    # A compiler may divide by multiplying with 1 / spread: the highest must be 1 all the same, or 8 bits cut it to 254.
    return jnp.where((probability == highest) & (spread > 0), 1.0, stretched)


def stitch_8bit(patches: jax.Array, *, stride: int) -> jax.Array:
    """Stitches as the authors' code does, through 8-bit images: each probability truncated to 0 to 255, averaged
    where patches overlap, truncated again.

    Args, returns: as `stitch`, but multiples of 1/256, so that above t means above 256 t levels, as they compare.
    """
    return jnp.floor(stitch(jnp.floor(patches * 255.0), stride=stride)) / 256.0


def stitch(patches: jax.Array, *, stride: int, gaussian: bool = False) -> jax.Array:
    """Puts patches back at their places and averages where they overlap (paper, section 3.2).

    Every pixel gets the mean of its 1 (corner), 2 (edge) or 4 predictions when the side is twice the stride.

    Args:
      patches: float [N, rows, columns, P, P].
      stride: S, in pixels.
      gaussian: weigh each patch's pixels by a bell of P / 8 pixels around its middle, as a network sees least at the
        edge (nnU-Net: Isensee et al., Nature Methods 2021); the paper's mean is flat.

    Returns:
      float [N, H, W].
    """
    count, rows, columns, side, _ = patches.shape
    k = side // stride
    height, width = (rows + k - 1) * stride, (columns + k - 1) * stride
    bell = _bell(side) if gaussian else np.ones(side, np.float32)
    weight = np.outer(bell, bell)
    if gaussian:
        patches = patches * jnp.asarray(weight, patches.dtype)[None, None, None]
    total = None
    for i in range(k):  # every k-th patch along both axes is a tiling of the slice: k x k of them are shifted and added
        for j in range(k):
            tiles = patches[:, i::k, j::k]
            down, across = tiles.shape[1] * side, tiles.shape[2] * side
            tiling = tiles.swapaxes(2, 3).reshape(count, down, across)
            top, left = i * stride, j * stride
            tiling = jnp.pad(tiling, ((0, 0), (top, height - top - down), (left, width - left - across)))
            total = tiling if total is None else total + tiling
    predictions = np.outer(_covered(rows, bell, stride), _covered(columns, bell, stride))
    return total / jnp.asarray(predictions, patches.dtype)[None]


def _bell(side: int) -> np.ndarray:
    """float32 [P], 1 in the middle; never so small that a pixel that one patch alone covers is lost to rounding."""
    place = (np.arange(side) - (side - 1) / 2) / (side / 8)
    return np.maximum(np.exp(-(place**2) / 2), 1e-3).astype(np.float32)


def _covered(patches: int, line: np.ndarray, stride: int) -> np.ndarray:
    """The weights that each pixel along one axis gets of `patches` in a line, added up: float [(patches + k - 1) S]."""
    total = np.zeros((patches - 1) * stride + len(line), line.dtype)
    for i in range(patches):
        total[i * stride : i * stride + len(line)] += line
    return total
