"""The head's mid-plane, and slices mirrored about it.

By whole pixels, in the direction of the columns, where `scan.midplane` estimated the plane on the host; or about the
plane of a turned, shifted and rolled head, which `find` estimates on the device.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import augment

MAX_TURN_DEGREES, TURN_STEP_DEGREES = 20.0, 2.0  # searched on pixels of 4 x 4
MAX_ROLL_PX, ROLL_STEP_PX = 16.0, 4.0  # shift of the last slice relative to the middle one
FINER = 4  # the second search, on pixels of 2 x 2: steps this much smaller, as many to each side
MAX_SHIFT = 0.25  # share of the width
LITTLE_BONE = 0.1  # of the slices' mean


def mirrored_patches(
    rows: jax.Array, left: jax.Array, column_sum: jax.Array, width: jax.Array, *, side: int, outside: int
) -> jax.Array:
    """Cuts patches out of mirrored rows, as `scan.midplane.mirrored_patch` does.

    Args:
      rows: [B, P, W], the rows of each patch over the whole slice.
      left: int32 [B], the first column of each patch.
      column_sum: int32 [B], see `scan.midplane`.
      width: int32 [B], columns of the slice; those after it are padding.
      side: P, in pixels.
      outside: value of columns whose mirror image is beyond the slice.

    Returns:
      [B, P, side].
    """
    chex.assert_rank([rows, left], [3, 1])
    chex.assert_equal_shape([left, column_sum, width])
    columns = (column_sum - left)[:, None] - jnp.arange(side)[None]
    inside = (columns >= 0) & (columns < width[:, None])
    taken = jnp.take_along_axis(rows, jnp.clip(columns, 0, rows.shape[2] - 1)[:, None], axis=2)
    return jnp.where(inside[:, None], taken, jnp.asarray(outside, rows.dtype))


def with_mirrored(slices: jax.Array, column_sum: jax.Array, *, outside: float) -> jax.Array:
    """Appends the middle slice of each stack with left and right swapped, moved by whole pixels.

    Args:
      slices: [N, H, W, S], S odd.
      column_sum: int32 [], see `scan.midplane`: column x takes the values of column `column_sum` - x.
      outside: value of columns whose mirror image is beyond the slice.

    Returns:
      [N, H, W, S + 1].
    """
    chex.assert_rank([slices, column_sum], [4, 0])
    width = slices.shape[2]
    columns = column_sum - jnp.arange(width)
    inside = (columns >= 0) & (columns < width)
    middle = jnp.asarray(slices)[..., slices.shape[3] // 2]
    taken = middle.at[:, :, jnp.clip(columns, 0, width - 1)].get(mode="promise_in_bounds")
    mirrored = jnp.where(inside[None, None], taken, jnp.asarray(outside, slices.dtype))
    return jnp.concatenate([slices, mirrored[..., None]], axis=-1)


class Midplane(NamedTuple):
    """A line in each slice, the same direction in all.

    Attributes:
      turn_degrees: float32 [], between the line and the columns; positive if lower rows are at lower columns.
      shift_px: float32 [D], distance of the line from the middle of the slice, positive to higher columns.
    """

    turn_degrees: jax.Array
    shift_px: jax.Array


def find(bone: jax.Array) -> Midplane:
    """Finds the plane about which bone is most like its mirror image.

    Turns, shifts and rolls (shifts that change evenly from slice to slice) are compared on a grid, first on coarse
    pixels, then in finer steps around the best; a parabola gives the fractions of a step. The score is the sum over
    slices of the correlation of bone and mirrored bone, relative to the bone's own: slices count alike, but those with
    hardly any bone less.

    Args:
      bone: bool [D, H, W], of square pixels of about 1 mm.

    Returns:
      The plane; the middle column if there is no bone.
    """
    chex.assert_rank(bone, 3)
    turns = jnp.arange(-MAX_TURN_DEGREES, MAX_TURN_DEGREES + 1, TURN_STEP_DEGREES)
    rolls = jnp.arange(-MAX_ROLL_PX, MAX_ROLL_PX + 1, ROLL_STEP_PX)
    turn, _, roll = _most_symmetric(bone, turns, rolls, side=4)
    near = jnp.arange(-FINER, FINER + 1) / FINER
    turn, shift, roll = _most_symmetric(bone, turn + TURN_STEP_DEGREES * near, roll + ROLL_STEP_PX * near, side=2)
    some = bone.any()
    return Midplane(jnp.where(some, turn, 0.0), jnp.where(some, shift + roll * _height(len(bone)), 0.0))


def offset_px(plane: Midplane, *, shape: tuple[int, int]) -> jax.Array:
    """Distance of each pixel of slices [H, W] from the plane, positive to higher columns: float32 [D, H, W]."""
    (row, column), (down, right) = _centered(*shape), _normal(plane.turn_degrees)
    return (row * down + column * right)[None] - plane.shift_px[:, None, None]


def along_px(plane: Midplane, *, shape: tuple[int, int]) -> jax.Array:
    """Position of each pixel of slices [H, W] along the plane, from the middle to higher rows: float32 [H, W]."""
    (row, column), (down, right) = _centered(*shape), _normal(plane.turn_degrees)
    return row * right - column * down


def mirror(slices: jax.Array, plane: Midplane, *, outside: float) -> jax.Array:
    """Mirrors float32 [D, H, W] about the plane, bilinearly; `outside` where the mirror image is beyond the slice."""
    chex.assert_rank(slices, 3)
    chex.assert_shape(plane.shift_px, slices.shape[:1])
    height, width = slices.shape[1:]
    (row, column), (down, right) = _centered(height, width), _normal(plane.turn_degrees)
    twice = 2 * offset_px(plane, shape=(height, width))
    rows = (row + (height - 1) / 2)[None] - twice * down
    columns = (column + (width - 1) / 2)[None] - twice * right
    taken = jax.vmap(augment.bilinear)(slices[..., None], rows, columns)[..., 0]
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    return jnp.where(inside, taken, outside)


def _normal(turn_degrees: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The unit vector across the plane, to higher columns: (rows, columns)."""
    turn = jnp.deg2rad(turn_degrees)
    return jnp.sin(turn), jnp.cos(turn)


def _centered(height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Rows and columns [H, W] from the middle of a slice."""
    rows, columns = jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2
    return jnp.broadcast_to(rows[:, None], (height, width)), jnp.broadcast_to(columns[None], (height, width))


def _height(depth: int) -> jax.Array:
    """Position of slices [D], from -1 to 1."""
    return jnp.linspace(-1.0, 1.0, depth) if depth > 1 else jnp.zeros(1)


def _most_symmetric(
    bone: jax.Array, turns: jax.Array, rolls: jax.Array, *, side: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(turn, shift, roll) of the best score among the given ones and all shifts, on pixels of `side` x `side`."""
    depth, height, width = bone.shape
    padded = jnp.pad(bone, ((0, 0), (0, -height % side), (0, -width % side))).astype(jnp.float32)
    blocks = padded.reshape(depth, padded.shape[1] // side, side, padded.shape[2] // side, side).mean(axis=(2, 4))
    channels = jnp.moveaxis(jnp.pad(blocks, ((0, 0), (1, 1), (1, 1))), 0, 2)  # beyond the edge is no bone
    row, column = _centered(*channels.shape[:2])
    last = 2 * column.shape[1] - 2  # sum of two columns, of a column and its mirror image

    def scores(turn: jax.Array) -> jax.Array:
        """[rolls, sums of columns]"""
        down, right = _normal(turn)
        rows, columns = row * right + column * down, column * right - row * down
        turned = augment.bilinear(channels, rows - row[0, 0], columns - column[0, 0])
        spectrum = jnp.fft.rfft(turned, last + 1, axis=1)
        overlap = jnp.fft.irfft(jnp.square(spectrum).sum(axis=0), last + 1, axis=0)  # [sums of columns, D]
        own = jnp.square(turned).sum(axis=(0, 1))
        share = (overlap / (own + LITTLE_BONE * own.mean() + 1e-6)[None]).T
        moved = 2 * rolls[:, None] / side * _height(depth)[None]  # of the sum
        return jax.vmap(_moved_sum, (None, 0))(share, moved)

    all_scores = jax.lax.map(scores, turns)
    # Padding to whole blocks, at the high end alone, moved the middle.
    shifts = (jnp.arange(last + 1) - last / 2) / 2 * side + (padded.shape[2] - width) / 2
    all_scores = jnp.where(jnp.abs(shifts) <= MAX_SHIFT * width, all_scores, -1.0)
    turn, roll, shift = jnp.unravel_index(all_scores.argmax(), all_scores.shape)
    return (
        _peak(turns, all_scores[:, roll, shift], turn),
        _peak(shifts, all_scores[turn, roll], shift),
        _peak(rolls, all_scores[turn, :, shift], roll),
    )


def _moved_sum(overlap: jax.Array, moved: jax.Array) -> jax.Array:
    """Sum of rows [D, N], each read `moved` [D] further on, linearly interpolated: [N]."""
    length = overlap.shape[1]
    whole = jnp.floor(moved)
    start = jnp.arange(length)[None] + whole.astype(jnp.int32)[:, None]
    low, high = (jnp.take_along_axis(overlap, jnp.clip(start + k, 0, length - 1), axis=1) for k in (0, 1))
    return (low + (high - low) * (moved - whole)[:, None]).sum(axis=0)


def _peak(positions: jax.Array, scores: jax.Array, best: jax.Array) -> jax.Array:
    """Position of the peak of evenly spaced scores [N], by the parabola through the best one and its neighbors."""
    inner = (best > 0) & (best < len(scores) - 1)
    before, at, behind = (scores[jnp.clip(best + k, 0, len(scores) - 1)] for k in (-1, 0, 1))
    bend = before - 2 * at + behind
    fraction = jnp.where(inner & (bend < 0), 0.5 * (before - behind) / jnp.minimum(bend, -1e-12), 0.0)
    return positions[best] + fraction * (positions[1] - positions[0])
