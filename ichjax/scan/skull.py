"""The inside of the skull on the host: where a hemorrhage can be intracranial. `ops.skull` is the same on the device.

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
"""

import numpy as np
from scipy import ndimage

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

CROSS = ndimage.generate_binary_structure(2, 1)[np.newaxis]
SQUARE = np.ones((1, 3, 3), bool)


def inside_skull(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, bool]:
    """Segments the cranial cavity down to the foramen magnum.

    Args:
      hu: int16 [D, H, W]; axis 0 to the head.
      spacing_mm: of slices, rows and columns.

    Returns:
      (bool [D, H, W], whether a closed skull was found; all True if not).
    """
    side = block_side(hu.shape)
    slice_mm, row_mm, column_mm = np.asarray(spacing_mm, np.float32)
    block_mm = np.float32(side) * (row_mm + column_mm) / np.float32(2)
    highest = _blocks(hu, side).max(axis=(2, 4)).astype(np.int32)
    total = _blocks(hu, side).sum(axis=(2, 4), dtype=np.int32)
    wall, tissue = highest > MIN_BONE_HU, total >= MIN_TISSUE_HU * side * side
    clearance = _distance(wall)
    escape = _escape(clearance, total < OUTSIDE_AIR_HU * side * side)
    narrow = _enclosed(clearance, escape, _steps(NARROW_MM, block_mm)) & tissue & ~wall
    area = narrow.sum(axis=(1, 2))
    start = int(area.argmax())
    found = np.float32(area[start]) * block_mm * block_mm >= np.float32(MIN_CAVITY_CM2 * 100) and wall[start].any()
    wide = _enclosed(clearance, escape, _steps(WIDE_MM, block_mm)) & tissue & ~wall
    above = (np.arange(len(hu)) > start)[:, np.newaxis, np.newaxis]
    space = np.where(above, wide, narrow)
    depth = _distance(~space)
    recess, opening = _steps(RECESS_MM, block_mm), _steps(OPENING_MM, block_mm)
    fatty = _components_with(~wall, ~tissue)
    space = _grow(depth > np.where(fatty, opening, recess), space, opening + 1)
    broad = _components_with(space, depth > _steps(BROAD_MM, block_mm))
    if not (found and broad[start].any()):
        return np.ones(hu.shape, bool), False
    inside = _track(space, broad, tissue & ~wall, start, slice_mm, block_mm) & ~wall
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in inside])
    # Twice the HU at which a pixel or a block is half bone: of the bone nearby; or of that around the largest slice,
    # which is denser than the mean of what partial volume shows, but hardly denser than the bone nearby.
    densest = ndimage.maximum_filter(highest, (1, 2 * BONE_STEPS + 1, 2 * BONE_STEPS + 1), mode="nearest")
    around = wall[start] & (_distance(inside[start : start + 1])[0] <= BONE_STEPS)
    skull = np.minimum(6 * highest[start][around].sum() // (5 * max(around.sum(), 1)), 3 * densest // 2)
    local, general = (np.clip(bone, 2 * MIN_BONE_HU, 2 * MAX_EDGE_HU) for bone in (densest, skull))
    below = _grow(np.roll(inside, 1, axis=0), above, BELOW_STEPS)
    ramp = below & wall & (2 * total < general * (side * side))
    cavity = _grow(inside, inside | ramp, _steps(RAMP_MM, block_mm))
    border = ndimage.binary_dilation(cavity, SQUARE) & (wall | cavity)
    half_bone = np.where(cavity & below, general, local)
    below_edge = 2 * hu.astype(np.int32) < _pixels(half_bone, hu.shape)
    return _pixels(inside, hu.shape) | (_pixels(border, hu.shape) & below_edge), True


def block_side(shape: tuple[int, ...]) -> int:
    """Side in pixels of the blocks of slices [..., H, W]."""
    return -(-max(shape[-2:]) // MAX_BLOCKS)


def _blocks(array: np.ndarray, side: int) -> np.ndarray:
    """[D, H, W] as [D, H / side, side, W / side, side]; the last rows and columns are repeated to fill the blocks."""
    depth, height, width = array.shape
    padded = np.pad(array, ((0, 0), (0, -height % side), (0, -width % side)), mode="edge")
    return padded.reshape(depth, padded.shape[1] // side, side, padded.shape[2] // side, side)


def _pixels(blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Blocks as pixels [D, H, W]."""
    side = block_side(shape)
    return blocks.repeat(side, axis=1).repeat(side, axis=2)[:, : shape[1], : shape[2]]


def _steps(mm: float | np.float32, block_mm: np.float32) -> int:
    return int(np.clip(np.round(np.float32(mm) / block_mm), 0, MAX_STEPS))


def _dilate(mask: np.ndarray, step: int) -> np.ndarray:
    """One step of a distance: crosses and squares alternate, which gives octagons."""
    return ndimage.binary_dilation(mask, CROSS if step % 2 else SQUARE)


def _grow(markers: np.ndarray, mask: np.ndarray, steps: int) -> np.ndarray:
    """Dilates markers within a mask."""
    grown = markers & mask
    for step in range(1, steps + 1):
        grown = _dilate(grown, step) & mask
    return grown


def _broad_parts(mask: np.ndarray, steps: int) -> np.ndarray:
    """Morphological opening within a mask."""
    return _grow(~_grow(~mask, np.ones_like(mask), steps), mask, steps + 1)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Steps from each block to `mask`, int8 [D, H, W]; `MAX_STEPS` + 1 for all that are further away."""
    distance, reached = np.where(mask, 0, MAX_STEPS + 1).astype(np.int8), mask
    for step in range(1, MAX_STEPS + 1):
        wider = _dilate(reached, step)
        distance[wider & ~reached] = step
        reached = wider
    return distance


def _components_with(mask: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """The components of each slice that contain a marker; blocks connect at their sides."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = CROSS[0]
    labels, _ = ndimage.label(mask, structure)
    return mask & np.isin(labels, np.unique(labels[mask & markers]))


def _escape(clearance: np.ndarray, air: np.ndarray) -> np.ndarray:
    """The largest clearance at which each block is connected to air at the edge of its slice; 0 if it is not."""
    edge = air.copy()
    edge[:, 1:-1, 1:-1] = False
    escape = np.zeros_like(clearance)
    for least in range(1, int(clearance.max()) + 1):
        escape[_components_with(clearance >= least, edge)] = least
    return escape


def _enclosed(clearance: np.ndarray, escape: np.ndarray, steps: int) -> np.ndarray:
    """What is separated from the air outside but for gaps of at most `steps` to either side."""
    enclosed = np.zeros(clearance.shape, bool)
    for step in range(steps, -1, -1):
        enclosed |= (clearance > step) & (escape <= step)
        enclosed = _dilate(enclosed, step) if step else enclosed
    return enclosed


def _track(
    space: np.ndarray, broad: np.ndarray, soft: np.ndarray, start: int, slice_mm: np.float32, block_mm: np.float32
) -> np.ndarray:
    """Tracks the inside from the slice `start` to both ends of the scan, through slices without a ring of bone."""
    growth = _steps(np.float32(GROWTH) * slice_mm + np.float32(GROWTH_MM), block_mm)
    max_lost, max_narrow = (int(np.floor(np.float32(mm) / slice_mm)) for mm in (BRIDGE_MM, NARROW_END_MM))
    inside, everywhere = np.zeros_like(space), np.ones((1, *space.shape[1:]), bool)
    inside[start] = broad[start]
    for direction, stop in ((1, len(space)), (-1, -1)):
        last = last_broad = broad[start]
        narrow, skipped = np.zeros(last.shape, int), list[int]()
        for k in range(start + direction, stop, direction):
            kept = _grow(last[np.newaxis], space[k : k + 1], growth)[0]
            if direction < 0:
                near = _grow(last_broad[np.newaxis], space[k : k + 1], growth)[0] & broad[k]
                narrow = np.where(near, 0, narrow + 1)
                kept &= (narrow <= max_narrow) & near.any()
                last_broad = near if near.any() else last_broad
            else:
                bridge = _broad_parts(
                    soft[k] & _grow(last[np.newaxis], everywhere, MAX_STEPS), _steps(BROAD_MM, block_mm)
                )[0]
                if MIN_SHARE * bridge.sum() >= last.sum() and 3 * bridge.sum() > 4 * kept.sum():
                    kept = bridge
            inside[k] = kept
            if kept.any() and kept.sum() * MIN_SHARE >= last.sum():
                inside[skipped] |= kept & last
                last, skipped = kept, []
            elif len(skipped) < max_lost:
                skipped = [*skipped, k]
            else:
                break
    return inside
