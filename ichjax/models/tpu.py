"""Layers for TPUs: maps with few channels have neighboring columns as further channels.

A TPU keeps channels in lanes of 128 and multiplies matrices of 128 x 128, so a map of 64 channels takes twice the
memory, and its convolution four times the time per operation. Here two columns of 64 channels are one of 128
('folded'), and a kernel covers groups of columns, with zeros where it does not reach. The functions are those of the
plain layers on maps [B, H, W, C]: each folds its input and unfolds its result, and between two layers the compiler
drops both.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.models import accelerator

TPU_LANES = 128
MAX_COLUMNS = 8  # in a group: with more, a kernel is mostly zeros


def columns_per_group(width: int, *channels: int) -> int:
    """How many columns of maps of that width to fold: a power of two; 1 if all their lanes are used already."""
    columns = 1
    while 2 * columns * max(channels) <= TPU_LANES and 2 * columns <= MAX_COLUMNS and width % (2 * columns) == 0:
        columns *= 2
    return columns


def fold(x: jax.Array, columns: int) -> jax.Array:
    """[B, H, W, C] to [B, H, W / columns, columns C]."""
    count, height, width, channels = x.shape
    return x.reshape(count, height, width // columns, columns * channels)


def unfold(x: jax.Array, columns: int) -> jax.Array:
    """[B, H, W / columns, columns C] to [B, H, W, C]."""
    count, height, groups, channels = x.shape
    return x.reshape(count, height, groups * columns, channels // columns)


def fold_kernel(kernel: jax.Array, columns: int, left: int) -> tuple[jax.Array, tuple[int, int]]:
    """(the kernel for folded maps [h, G, columns C, columns F], groups before and after an output's own).

    A column of a group is reached by the same taps as in the plain map, `left` of which are before it.
    """
    height, width, inputs, features = kernel.shape
    before, after = -(-left // columns), (columns - 1 + width - 1 - left) // columns
    groups = before + 1 + after
    at_columns = []
    for column in range(columns):  # of the output's group
        start = before * columns + column - left
        padding = ((0, 0), (start, groups * columns - width - start), (0, 0), (0, 0))
        at_columns.append(jnp.pad(kernel, padding).reshape(height, groups, columns * inputs, features))
    return jnp.stack(at_columns, axis=3).reshape(height, groups, columns * inputs, -1), (before, after)


def margin_between(maps: Sequence[jax.Array], features: int) -> int:
    """The margin between two 3 x 3 convolutions of maps [B, H, W, C] to [B, H, W, F]: 1 for pairs of columns, else 0.

    A result with a column of zeros on each side has pairs that begin at odd columns of the map. Such a pair is reached
    from two of the even pairs, where an even one is reached from three, and the other way round.
    """
    width, channels = maps[0].shape[2], [each.shape[3] for each in maps]
    return int(columns_per_group(width, features, *channels) == columns_per_group(width, features) == 2)


def convolve(
    maps: Sequence[jax.Array], kernel: jax.Array, bias: jax.Array, *, relu: bool, margins: tuple[int, int] = (0, 0)
) -> jax.Array:
    """'Same' convolution of maps [B, H, W, C], concatenated, with [h, w, C, F] and a bias [F].

    With `margins`, the maps and the result have so many columns of zeros on each side, and W counts without them.
    """
    given, returned = margins
    width, side = maps[0].shape[2] - 2 * given, kernel.shape[0]
    columns = columns_per_group(width, kernel.shape[3], *(each.shape[3] for each in maps))
    starts = [sum(each.shape[3] for each in maps[:k]) for k in range(1, len(maps))]
    left = (kernel.shape[1] - 1) // 2 + returned - given
    parts = [fold_kernel(part, columns, left) for part in jnp.split(kernel, starts, axis=2)]
    before, after = parts[0][1]
    padding = (((side - 1) // 2, side // 2), (before, after + 2 * (returned - given) // columns))
    folded = jnp.concatenate([fold(each, columns) for each in maps], axis=-1)
    wide = jnp.concatenate([part for part, _ in parts], axis=2)
    y = jax.lax.conv_general_dilated(folded, wide, (1, 1), padding, dimension_numbers=accelerator.DIMENSIONS)
    y += jnp.tile(bias, columns)[None, None, None]
    if returned:
        column = np.arange(width + 2 * returned).repeat(kernel.shape[3]).reshape(y.shape[2:])
        y = jnp.where((column >= returned) & (column < width + returned), y, 0)
    return unfold(accelerator.relu(y) if relu else y, columns)


def up_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `accelerator.up_convolve`; where two columns of the result fit into the lanes, in that form.

    From a column of x follow two of the result: the even one through both columns of the kernel, the odd one through
    the first, and through the second from the next column of x.
    """
    if columns_per_group(2 * x.shape[2], kernel.shape[3]) == 1:
        return accelerator.up_convolve(x, kernel)
    rows = jnp.stack([kernel[0], kernel.sum(axis=0), kernel[1]])  # [3, 2, C, F]: of x with zeros between its rows
    here = jnp.concatenate([rows.sum(axis=1), rows[:, 0]], axis=-1)
    following = jnp.concatenate([jnp.zeros_like(rows[:, 0]), rows[:, 1]], axis=-1)
    wide = jnp.stack([here, following], axis=1).astype(x.dtype)
    padding, dimensions = ((1, 2), (0, 1)), accelerator.DIMENSIONS
    y = jax.lax.conv_general_dilated(x, wide, (1, 1), padding, lhs_dilation=(2, 1), dimension_numbers=dimensions)
    return unfold(y, 2)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """As `accelerator.max_pool_2x2`: by a reduction over windows; on folded maps first over their columns."""
    if columns_per_group(x.shape[2], x.shape[3]) == 1:
        return _max_of_windows(x, (1, 2, 2, 1))
    return _max_of_windows(_larger_half(fold(x, 2)), (1, 2, 1, 1))


def _max_of_windows(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


@jax.custom_vjp
def _larger_half(x: jax.Array) -> jax.Array:
    """The larger of both halves of the channels; the first of them gets the gradient if they are equal."""
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.maximum(left, right)


def _larger_half_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    # The other half is brought to each lane: cheaper than to move the halves apart and the gradient together.
    other, lane = jnp.roll(x, x.shape[-1] // 2, axis=-1), jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    chosen = jnp.where(lane < x.shape[-1] // 2, x >= other, x > other)
    return (jnp.where(chosen, jnp.concatenate([gradient, gradient], axis=-1), 0),)


_larger_half.defvjp(lambda x: (_larger_half(x), x), _larger_half_backward)
