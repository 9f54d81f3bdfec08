"""Connected components of a mask in 3-D, and gates that drop components below a volume, extent or probability.

All true pixels of a 2 x 2 x 2 block touch each other, so blocks are labeled in place of pixels: an eighth of the nodes.
Two neighboring blocks are linked if both have pixels on the face, edge or corner that they share. Labels are merged by
neighbors' labels, hooking of roots and pointer jumping (FastSV; Zhang, Azad and Buluc, 2020), which converges in about
log(n) passes whatever the components' shape.
"""

import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# Bit k of a block is its pixel CORNERS[k]; the directions to its 26 neighbors, each with its opposite at 25 - k.
CORNERS = tuple(itertools.product((0, 1), repeat=3))
DIRECTIONS = tuple(d for d in itertools.product((-1, 0, 1), repeat=3) if any(d))


def label(mask: jax.Array) -> jax.Array:
    """Labels the 26-connected components of a mask.

    Args:
      mask: bool [D, H, W].

    Returns:
      int32 [D, H, W]: the same number, 0 or more, on all pixels of a component, and only there; -1 outside the mask.
    """
    blocks = _label_blocks(mask)
    return jnp.where(mask, _to_pixels(blocks, mask.shape), -1)


class Components(NamedTuple):
    """The components of {p > low} and what gates depend on, each [d, h, w] by block: that of the block's component.

    Attributes:
      volume_ml: float32.
      slices: int32, number of slices.
      peak: float32, largest probability; 0 outside.
    """

    volume_ml: jax.Array
    slices: jax.Array
    peak: jax.Array


def measure(probability: jax.Array, slice_pixel_ml: jax.Array, low: jax.Array) -> Components:
    """Measures the 26-connected components of {p > low}.

    Args:
      probability: float32 [D, H, W].
      slice_pixel_ml: float32 [D], volume of a pixel of each slice; any value on slices of probability 0 (padding).
      low: scalar.
    """
    chex.assert_rank(probability, 3)
    chex.assert_shape(slice_pixel_ml, probability.shape[:1])
    mask = probability > low
    blocks = _label_blocks(mask)
    labels, depth = blocks.ravel(), 2 * len(blocks)
    in_slices = _blocks(mask).sum(axis=(3, 5), dtype=jnp.int32)  # pixels of each block's two slices [d, 2, h, w]
    pixel_ml = jnp.pad(slice_pixel_ml, (0, depth - len(mask))).reshape(-1, 2, 1, 1)
    index = jnp.arange(depth).reshape(-1, 2, 1, 1)
    own_ml = (in_slices * pixel_ml).sum(axis=1).ravel()
    own_first = jnp.where(in_slices > 0, index, depth).min(axis=1).ravel()
    own_last = jnp.where(in_slices > 0, index, -1).max(axis=1).ravel()
    own_peak = _blocks(jnp.where(mask, probability, 0.0)).max(axis=(1, 3, 5)).ravel()
    zeros = jnp.zeros(labels.shape, jnp.float32)
    volume_ml = zeros.at[labels].add(own_ml, mode="promise_in_bounds")
    first = jnp.full(labels.shape, depth).at[labels].min(own_first, mode="promise_in_bounds")
    last = jnp.full(labels.shape, -1).at[labels].max(own_last, mode="promise_in_bounds")
    peak = zeros.at[labels].max(own_peak, mode="promise_in_bounds")
    of_labels = volume_ml, last - first + 1, peak  # a connected component skips no slice
    return Components(*(values.at[blocks].get(mode="promise_in_bounds") for values in of_labels))


def apply_gates(
    probability: jax.Array,
    components: Components,
    low: jax.Array,
    *,
    high: jax.Array,
    min_ml: jax.Array,
    min_slices: jax.Array,
) -> jax.Array:
    """As `gate`, of components measured at the same `low`."""
    passes = (components.volume_ml >= min_ml) & (components.slices >= min_slices)
    passes &= components.peak > jnp.maximum(high, low)
    return jnp.where(_to_pixels(passes, probability.shape), probability, jnp.minimum(probability, low))


def gate(
    probability: jax.Array,
    slice_pixel_ml: jax.Array,
    low: jax.Array,
    *,
    high: jax.Array,
    min_ml: jax.Array,
    min_slices: jax.Array,
) -> jax.Array:
    """Lowers the probability of components that are too small, too faint or on too few slices to be reported.

    Hysteresis: a component of {p > low} needs a pixel above `high`, but reaches down to `low`.

    Args:
      probability: float32 [D, H, W].
      slice_pixel_ml: float32 [D], volume of a pixel of each slice; any value on slices of probability 0 (padding).
      low: scalar, the reported threshold.
      high: scalar; at or below `low` it drops nothing.
      min_ml: scalar, smallest volume; 0 drops nothing.
      min_slices: scalar, smallest number of slices; 0 or 1 drops nothing.

    Returns:
      float32 [D, H, W]: min(p, low) on the components that fail a gate, p elsewhere.
    """
    components = measure(probability, slice_pixel_ml, low)
    return apply_gates(probability, components, low, high=high, min_ml=min_ml, min_slices=min_slices)


def _blocks(array: jax.Array) -> jax.Array:
    """[D, H, W] as blocks [D / 2, 2, H / 2, 2, W / 2, 2], padded with zeros."""
    padded = jnp.pad(array, [(0, size % 2) for size in array.shape])
    depth, height, width = padded.shape
    return padded.reshape(depth // 2, 2, height // 2, 2, width // 2, 2)


def _to_pixels(blocks: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Values of blocks [d, h, w] on their pixels, [D, H, W]."""
    blocks = jax.lax.optimization_barrier(blocks)  # fused, each pixel would compute its block anew
    d, h, w = blocks.shape
    repeated = jnp.broadcast_to(blocks[:, None, :, None, :, None], (d, 2, h, 2, w, 2)).reshape(2 * d, 2 * h, 2 * w)
    return repeated[: shape[0], : shape[1], : shape[2]]


def _facing(direction: tuple[int, ...]) -> int:
    """The bits of a block's pixels that touch its neighbor in a direction."""
    return sum(
        1 << bit
        for bit, corner in enumerate(CORNERS)
        if all(step == 0 or side == (step > 0) for side, step in zip(corner, direction, strict=True))
    )


def _neighbor(padded: jax.Array, direction: tuple[int, ...]) -> jax.Array:
    """The neighbors' values [d, h, w], of an array padded by one block on all sides."""
    return padded[tuple(slice(1 + s, n - 1 + s) for s, n in zip(direction, padded.shape, strict=True))]


def _label_blocks(mask: jax.Array) -> jax.Array:
    """int32 [d, h, w]: for each block, the least index of a block of its component; empty blocks have their own."""
    corners = _blocks(mask)
    powers = jnp.array([1 << bit for bit in range(len(CORNERS))], jnp.int32).reshape(2, 2, 2)
    bits = jnp.where(corners, powers[None, :, None, :, None, :], 0).sum(axis=(1, 3, 5), dtype=jnp.int32)
    around = jnp.pad(bits, 1)
    links = jnp.zeros(bits.shape, jnp.int32)  # bit k: linked to the neighbor in DIRECTIONS[k]
    for k, direction in enumerate(DIRECTIONS):
        opposite = DIRECTIONS[len(DIRECTIONS) - 1 - k]
        linked = ((bits & _facing(direction)) != 0) & ((_neighbor(around, direction) & _facing(opposite)) != 0)
        links |= linked.astype(jnp.int32) << k
    links = jax.lax.optimization_barrier(links)
    none = jnp.int32(bits.size)

    def merge(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        parent, _ = state
        grand = parent.at[parent].get(mode="promise_in_bounds")
        padded = jax.lax.optimization_barrier(jnp.pad(grand.reshape(bits.shape), 1, constant_values=none))
        least = grand.reshape(bits.shape)
        for k, direction in enumerate(DIRECTIONS):
            least = jnp.minimum(least, jnp.where((links >> k) & 1 == 1, _neighbor(padded, direction), none))
        least = least.ravel()
        merged = least.at[parent].min(least, mode="promise_in_bounds")  # roots hook onto the least label around
        return merged, (merged != parent).any()

    state = jnp.arange(bits.size, dtype=jnp.int32), jnp.bool_(True)
    return jax.lax.while_loop(lambda state: state[1], merge, state)[0].reshape(bits.shape)
