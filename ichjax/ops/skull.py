"""The inside of the skull, where a hemorrhage can be intracranial.

Slices are divided into blocks of about 2 mm; a block that contains bone is a wall. On blocks:

1. `clearance` is the distance to the next wall, `escape` the clearance at the narrowest point of the widest path to the
   air at the edge of the image. Where the clearance exceeds the escape, every path leads through a gap in a wall.
2. Tissue behind gaps is enclosed; air and fat are not tissue. Gaps may be narrow, and wider above the largest slice,
   where an infant's fontanelles are and no other space is near.
3. The inside is tracked from the largest slice to both ends of the scan: what is connected, in its slice, to the inside
   of the last one. Downwards, parts narrower than a fossa soon end, and all (the spinal canal) where no fossa is left.
4. Upwards, where much of the ring is missing (a craniectomy), the broad parts of the tissue around the last inside are
   the inside. Other slices without a ring get what the next rings above and below have in common.
5. Holes (calcifications, metal, air) are filled. Where bone and brain share a slice's thickness near the vertex, the
   inside grows up to half the HU of the bone; next to the inside, pixels below it belong to it.

All but the tracking treats every slice at once, and each slice independently. `scan.skull` is the same on the host.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ichjax.ops import morphology

MIN_BONE_HU = 200  # above clotted blood, below the skull even of an infant
MAX_EDGE_HU = 500  # of a pixel that is less than half bone
MIN_TISSUE_HU, OUTSIDE_AIR_HU = -5, -300  # means of a block: with fat it is below the first, with air below the second
MAX_BLOCKS = 128  # along an axis of a slice
MAX_STEPS = 14  # of a distance in blocks; even
BONE_STEPS = 5  # within which bone is compared
BELOW_STEPS = 2  # by which brain extends beyond the inside of the slice below, as bone shares its thickness too
NARROW_MM, WIDE_MM = 6.0, 15.0  # half widths of gaps that are closed
RECESS_MM, OPENING_MM = 2.5, 4.0  # half widths of the narrowest space between bones alone, and with fat or air
BROAD_MM = 13.0  # half width that a fossa has, and a spinal canal and the scalp have not
NARROW_END_MM = 10.0  # height of narrow parts below a broad one
GROWTH, GROWTH_MM = 0.7, 2.0  # of the inside from slice to slice: mm per mm of their spacing, and mm besides
RAMP_MM = 12.0  # width of the zone near the vertex in which bone and brain share a slice's thickness
MIN_SHARE = 4  # a slice with less than 1/4 of the last one's inside has lost the ring
BRIDGE_MM = 60.0  # largest distance of two rings
MIN_CAVITY_CM2 = 30.0  # inside of the largest slice, even of a newborn


def inside_skull(hu: jax.Array, spacing_mm: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Segments the cranial cavity down to the foramen magnum.

    Args:
      hu: int16 [D, H, W]; axis 0 to the head. Slices of air may follow the scan's own.
      spacing_mm: float32 [3], of slices, rows and columns.

    Returns:
      (bool [D, H, W], bool [], whether a closed skull was found; all True if not).
    """
    side = -(-max(hu.shape[1:]) // MAX_BLOCKS)
    slice_mm, row_mm, column_mm = jnp.asarray(spacing_mm, jnp.float32)
    block_mm = side * (row_mm + column_mm) / 2
    blocks = _blocks(hu, side)
    highest = blocks.max(axis=(2, 4)).astype(jnp.int32)
    total = blocks.sum(axis=(2, 4), dtype=jnp.int32)
    highest, total = jax.lax.optimization_barrier((highest, total))
    wall, tissue = highest > MIN_BONE_HU, total >= MIN_TISSUE_HU * side * side
    clearance = _distance(wall)
    escape = _reconstruct(
        jnp.where(_edge(wall.shape) & (total < OUTSIDE_AIR_HU * side * side), clearance, 0), clearance
    )
    narrow = _enclosed(clearance, escape, _steps(NARROW_MM, block_mm)) & tissue & ~wall
    area = narrow.sum(axis=(1, 2))
    start = area.argmax()
    wide = _enclosed(clearance, escape, _steps(WIDE_MM, block_mm)) & tissue & ~wall
    above = (jnp.arange(hu.shape[0]) > start)[:, None, None]
    space = jnp.where(above, wide, narrow)
    depth = _distance(~space)
    recess, opening = _steps(RECESS_MM, block_mm), _steps(OPENING_MM, block_mm)
    fatty = _components_with(~wall, ~tissue)
    space = _grow(depth > jnp.where(fatty, opening, recess), space, opening + 1)
    broad = _components_with(space, space & (depth > _steps(BROAD_MM, block_mm)))
    found = (area[start].astype(jnp.float32) * block_mm * block_mm >= MIN_CAVITY_CM2 * 100) & broad[start].any()
    found &= wall[start].any()
    inside = _fill_holes(_track(space, broad, tissue & ~wall, start, slice_mm, block_mm) & ~wall)
    # Twice the HU at which a pixel or a block is half bone: of the bone nearby; or of that around the largest slice,
    # which is denser than the mean of what partial volume shows, but hardly denser than the bone nearby.
    densest = morphology.dilate(highest, side=2 * BONE_STEPS + 1)
    around = wall[start] & (_distance(inside[start][None])[0] <= BONE_STEPS)
    mean = 6 * jnp.where(around, highest[start], 0).sum() // (5 * jnp.maximum(around.sum(), 1))
    skull = jnp.minimum(mean, 3 * densest // 2)
    local, general = (jnp.clip(bone, 2 * MIN_BONE_HU, 2 * MAX_EDGE_HU) for bone in (densest, skull))
    below = _grow(jnp.roll(inside, 1, axis=0), jnp.broadcast_to(above, inside.shape), jnp.int32(BELOW_STEPS))
    ramp = below & wall & (2 * total < general * (side * side))
    cavity = _grow(inside, inside | ramp, _steps(RAMP_MM, block_mm))
    border = _dilate_square(cavity) & (wall | cavity)
    below_edge = 2 * hu.astype(jnp.int32) < _pixels(jnp.where(cavity & below, general, local), hu.shape, side)
    result = _pixels(inside, hu.shape, side) | (_pixels(border, hu.shape, side) & below_edge)
    return result | ~found, found


def _blocks(array: jax.Array, side: int) -> jax.Array:
    """[D, H, W] as [D, H / side, side, W / side, side]; the last rows and columns are repeated to fill the blocks."""
    depth, height, width = array.shape
    padded = jnp.pad(array, ((0, 0), (0, -height % side), (0, -width % side)), mode="edge")
    return padded.reshape(depth, padded.shape[1] // side, side, padded.shape[2] // side, side)


def _pixels(blocks: jax.Array, shape: tuple[int, ...], side: int) -> jax.Array:
    """Blocks as pixels [D, H, W]."""
    depth, rows, columns = blocks.shape
    blocks = jax.lax.optimization_barrier(blocks)  # fused, each pixel would compute its block anew
    repeated = jnp.broadcast_to(blocks[:, :, None, :, None], (depth, rows, side, columns, side))
    return repeated.reshape(depth, rows * side, columns * side)[:, : shape[1], : shape[2]]


def _steps(mm: jax.Array | float, block_mm: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(mm / block_mm), 0, MAX_STEPS).astype(jnp.int32)


def _edge(shape: tuple[int, ...]) -> jax.Array:
    """bool [1, H, W]: the blocks at the edge of slices [D, H, W]."""
    return jnp.ones((1, *shape[1:]), bool).at[:, 1:-1, 1:-1].set(False)


def _neighbors(mask: jax.Array, axis: int) -> jax.Array:
    """Dilates by one block to both sides along an axis."""
    size = mask.shape[axis]
    padded = jnp.pad(mask, [(1, 1) if k == axis % mask.ndim else (0, 0) for k in range(mask.ndim)])
    before, after = (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in (0, 2))
    return mask | before | after


def _dilate_square(mask: jax.Array) -> jax.Array:
    return _neighbors(_neighbors(mask, -1), -2)


def _dilate(mask: jax.Array, step: jax.Array) -> jax.Array:
    """One step of a distance: crosses and squares alternate, which gives octagons."""
    along_row = _neighbors(mask, -1)
    return jnp.where(step % 2 == 1, along_row | _neighbors(mask, -2), _neighbors(along_row, -2))


def _grow(markers: jax.Array, mask: jax.Array, steps: jax.Array) -> jax.Array:
    """Dilates markers within a mask."""
    return jax.lax.fori_loop(1, steps + 1, lambda step, grown: _dilate(grown, step) & mask, markers & mask)


def _broad_parts(mask: jax.Array, steps: jax.Array) -> jax.Array:
    """Morphological opening within a mask."""
    return _grow(~_grow(~mask, jnp.ones(mask.shape, bool), steps), mask, steps + 1)


def _distance(mask: jax.Array) -> jax.Array:
    """Steps from each block to `mask`, int8 [D, H, W]; `MAX_STEPS` + 1 for all that are further away."""

    def advance(step: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reached, distance = state
        return _dilate(reached, step), distance + ~reached

    _, distance = jax.lax.fori_loop(1, MAX_STEPS + 2, advance, (mask, jnp.zeros(mask.shape, jnp.int8)))
    return distance


def _enclosed(clearance: jax.Array, escape: jax.Array, steps: jax.Array) -> jax.Array:
    """What is separated from the air outside but for gaps of at most `steps` to either side."""

    def widen(index: jax.Array, enclosed: jax.Array) -> jax.Array:
        step = steps - index
        return _dilate(enclosed | ((clearance > step) & (escape <= step)), step)

    enclosed = jax.lax.fori_loop(0, steps, widen, jnp.zeros(clearance.shape, bool))
    return enclosed | ((clearance > 0) & (escape <= 0))


def _components_with(mask: jax.Array, markers: jax.Array) -> jax.Array:
    """The components of each slice that contain a marker; blocks connect at their sides."""
    return _reconstruct((mask & markers).astype(jnp.int8), mask.astype(jnp.int8)) > 0


def _fill_holes(mask: jax.Array) -> jax.Array:
    return ~_components_with(~mask, _edge(mask.shape))


def _reconstruct(markers: jax.Array, mask: jax.Array) -> jax.Array:
    """Grey-level reconstruction by dilation in each slice: from each block, the best of the worst on paths to markers.

    One pass carries values along whole rows and columns, in both directions, so a few passes suffice.

    Args:
      markers, mask: int8 [D, H, W], markers <= mask.
    """

    def sweep(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        values, _ = state
        swept = values
        for axis, reverse in ((1, False), (1, True), (2, False), (2, True)):
            usual, on_gpu = (functools.partial(f, axis=axis, reverse=reverse) for f in (_line_by_line, _by_halves))
            swept = jax.lax.platform_dependent(swept, mask, cuda=on_gpu, rocm=on_gpu, default=usual)
        return swept, (swept != values).any()

    return jax.lax.while_loop(lambda state: state[1], sweep, (markers, jnp.bool_(True)))[0]


def _line_by_line(values: jax.Array, mask: jax.Array, *, axis: int, reverse: bool) -> jax.Array:
    """`values` carried along an axis, below `mask`."""

    def advance(before: jax.Array, line: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, limit = line
        reached = jnp.minimum(limit, jnp.maximum(value, before))
        return reached, reached

    lines = jnp.moveaxis(values, axis, 0), jnp.moveaxis(mask, axis, 0)
    _, reached = jax.lax.scan(advance, jnp.zeros_like(lines[0][0]), lines, reverse=reverse)
    return jnp.moveaxis(reached, 0, axis)


def _by_halves(values: jax.Array, mask: jax.Array, *, axis: int, reverse: bool) -> jax.Array:
    """The same in a few large steps: on a GPU, starting a step takes longer than the step.

    What a line does to a value, min(limit, max(value, before)), is of the same form for several lines together.
    """

    def then(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, limit = second
        carried, limited = (jnp.minimum(limit, jnp.maximum(value, each)) for each in first)
        return carried, limited

    return jax.lax.associative_scan(then, (values, mask), reverse=reverse, axis=axis)[0]


class _Track(NamedTuple):
    """State of the tracking upwards and downwards, the first axis of everything."""

    last: jax.Array  # bool [2, H, W], the last inside that was a whole ring
    last_broad: jax.Array  # bool [2, H, W]
    narrow: jax.Array  # int32 [2, H, W], slices since a broad part was near
    lost: jax.Array  # int32 [2], slices since `last`


def _track(
    space: jax.Array, broad: jax.Array, soft: jax.Array, start: jax.Array, slice_mm: jax.Array, block_mm: jax.Array
) -> jax.Array:
    """Tracks the inside from the slice `start` to both ends of the scan, through slices without a ring of bone."""
    growth = _steps(GROWTH * slice_mm + GROWTH_MM, block_mm)
    max_lost, max_narrow = (jnp.floor(mm / slice_mm).astype(jnp.int32) for mm in (BRIDGE_MM, NARROW_END_MM))
    downwards = jnp.array([False, True])[:, None, None]
    index = jnp.arange(space.shape[0])
    order = jnp.stack([start + 1 + index, start - 1 - index], axis=1)  # [D, 2]
    real = ((order >= 0) & (order < space.shape[0]))[:, :, None, None]
    order = jnp.clip(order, 0, space.shape[0] - 1)

    def step(state: _Track, planes: tuple[jax.Array, ...]) -> tuple[_Track, tuple[jax.Array, ...]]:
        space, broad, soft = planes
        alive = state.lost <= max_lost
        kept = _grow(state.last, space, growth)
        near = _grow(state.last_broad, space, growth) & broad
        narrow = jnp.where(near, 0, state.narrow + 1)
        any_near = near.any(axis=(1, 2), keepdims=True)
        kept &= (~downwards | ((narrow <= max_narrow) & any_near)) & alive[:, None, None]
        around = _grow(state.last, jnp.ones(soft.shape, bool), jnp.int32(MAX_STEPS))
        bridge = _broad_parts(soft & around, _steps(BROAD_MM, block_mm))
        count, bridge_count, last_count = (plane.sum(axis=(1, 2)) for plane in (kept, bridge, state.last))
        open_ring = (MIN_SHARE * bridge_count >= last_count) & (3 * bridge_count > 4 * count)
        kept = jnp.where(~downwards & alive[:, None, None] & open_ring[:, None, None], bridge, kept)
        count = kept.sum(axis=(1, 2))
        ring = (count > 0) & (count * MIN_SHARE >= last_count)
        following = _Track(
            jnp.where(ring[:, None, None], kept, state.last),
            jnp.where(any_near, near, state.last_broad),
            narrow,
            jnp.where(ring, 0, state.lost + 1),
        )
        return following, (kept, state.last, ring)

    begin = jnp.broadcast_to(broad[start], (2, *broad.shape[1:]))
    state = _Track(begin, begin, jnp.zeros(begin.shape, jnp.int32), jnp.zeros(2, jnp.int32))
    _, (kept, last, ring) = jax.lax.scan(step, state, tuple(planes[order] & real for planes in (space, broad, soft)))
    # A slice without a ring, between two rings, gets what they have in common.
    following = jax.lax.cummin(jnp.where(ring, index[:, None], space.shape[0]), axis=0, reverse=True)
    next_ring = kept[jnp.clip(following, 0, space.shape[0] - 1), jnp.arange(2)]
    kept |= ((following < space.shape[0]) & ~ring)[:, :, None, None] & next_ring & last
    upwards = kept[jnp.clip(index - start - 1, 0, space.shape[0] - 1), 0]
    down = kept[jnp.clip(start - 1 - index, 0, space.shape[0] - 1), 1]
    above, here = (index > start)[:, None, None], (index == start)[:, None, None]
    return jnp.where(here, broad, jnp.where(above, upwards, down))
