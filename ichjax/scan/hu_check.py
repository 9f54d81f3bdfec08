"""Whether the values of a scan are HU of a head CT: range, padding, offset, slope, missing skull."""

import dataclasses

import numpy as np
from scipy import ndimage

from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU, HU_RANGE, Volume

MAX_CT_HU = 3071  # of 12 bits; at a corner of the image it is padding, which may be -2000 that wrapped around
SOFT_HU = (-15, 100)  # cerebrospinal fluid, brain, blood, muscle
HEAD_HU = -300  # above air
BLOCK_MM, MIN_BLOCK_PX = 8.0, 4  # blocks that are wider than bone; of fewer pixels they say nothing
MAX_BLOCK_SD_HU = 40.0  # within one tissue, with the noise of thin slices
# Limits between heads with right and wrong HU: of blocks measured on 14 phantoms (an infant too) and a real head
MIN_SOFT_SHARE = 0.3  # of the head's voxels
MIN_SOFT_BLOCKS = 0.1  # blocks of soft tissue, of the head's area: about 0.34 to 0.54, but at most 0.04 if HU are wrong
MIN_SHIFTED = 0.02  # blocks around 1024 HU among those above air: 0 in true HU, many if HU are 1024 too high
RAISED_HU, LOWERED_HU = (950, 1130), (-1020, -900)  # of soft tissue that is off by 1000 or 1024
MIN_STRIPPED = 0.95  # of the voxels within 200 HU of 0, where the background is 0 and only calcifications are bright


def read_padding_as_air(volume: Volume) -> Volume:
    """Returns the volume with air in place of padding, as `padding_as_air`."""
    hu = padding_as_air(volume.hu)
    return volume if hu is volume.hu else dataclasses.replace(volume, hu=hu)


def padding_as_air(hu: np.ndarray) -> np.ndarray:
    """HU [D, H, W] with air in place of padding of `MAX_CT_HU` or more, connected to a corner of its slice.

    `hu` itself if there is none.
    """
    corners = np.ix_(range(len(hu)), (0, -1), (0, -1))
    if not (hu[corners] >= MAX_CT_HU).any():
        return hu
    high = hu >= MAX_CT_HU
    in_plane = ndimage.generate_binary_structure(2, 1)[np.newaxis]
    labels, _ = ndimage.label(high, np.pad(in_plane, ((1, 1), (0, 0), (0, 0))))
    padding = np.isin(labels, np.setdiff1d(labels[corners], 0))
    return np.where(padding, np.int16(AIR_HU), hu)


def check_hu(volume: Volume) -> Volume:
    """Returns the volume; raises InputError unless its values are plausible HU of a head CT.

    A head CT in HU holds air (below -200) and bone (above 200). If `hu_range` does not cover both (the jpeg release),
    the values only have to lie in it.
    """
    low, high = int(volume.hu.min()), int(volume.hu.max())
    if low == high:
        raise InputError(f"{volume.name}: every voxel is {low}; expected a head CT in HU")
    if _covers_air_and_bone(volume):
        if low > -200 or high < 200:
            hint = f" ({guess})" if (guess := _guess(volume, low, high)) else ""
            raise InputError(
                f"{volume.name}: values lie in {low} to {high}{hint}; expected HU with air below -200 and "
                f"bone above 200"
            )
    elif low < volume.hu_range[0] or high > volume.hu_range[1]:
        raise InputError(f"{volume.name}: values lie in {low} to {high}; expected {volume.hu_range} HU of this source")
    return volume


def offset_warnings(volume: Volume) -> list[str]:
    """One sentence if soft tissue is not where HU put it: an offset of about +-1024, or a wrong slope.

    Bone is thin, so blocks of 8 mm of one tissue show air or soft tissue, whatever the offset. The lowest and the
    highest value, of padding and metal, do not show it.
    """
    if not _covers_air_and_bone(volume):
        return []
    mean = _uniform_blocks(volume)
    head_px, soft_px, raised_px = (
        _between(volume.hu, limits).sum() for limits in ((HEAD_HU, HU_RANGE[1]), SOFT_HU, RAISED_HU)
    )
    raised = _between(mean, RAISED_HU).sum() > MIN_SHIFTED * (mean > HEAD_HU).sum() or raised_px > head_px / 2
    if raised and volume.hu.max() > RAISED_HU[1]:  # air of inverted values is there too, but nothing is above it
        return ["HU are off by about +1024 (without their offset?): soft tissue is not where it belongs"]
    soft_block_px = _between(mean, SOFT_HU).sum() * _block_side(volume) ** 2
    if soft_px > MIN_SOFT_SHARE * head_px or soft_block_px > MIN_SOFT_BLOCKS * head_px:
        return []
    cause = "the slope or the offset is wrong, or the values are inverted"
    if _between(mean, LOWERED_HU).sum() > MIN_SHIFTED * mean.size:
        cause = "HU are off by about -1024 (the offset subtracted twice?)"
    return [f"soft tissue is not where it belongs, few voxels lie in {SOFT_HU[0]} to {SOFT_HU[1]} HU: {cause}"]


def _covers_air_and_bone(volume: Volume) -> bool:
    return volume.hu_range[0] <= -200 and volume.hu_range[1] >= 200


def _guess(volume: Volume, low: int, high: int) -> str:
    """What values without air or without bone may be; '' for no guess."""
    if low >= 0 and high <= 10:
        return "a mask, or a normalized image?"
    if (low <= -200 or high > 255) and (warnings := offset_warnings(volume)):
        return warnings[0]
    if high <= 255 or _between(volume.hu, (-200, 200)).mean() > MIN_STRIPPED:
        return "the skull is missing: skull-stripped, or an 8-bit image?"
    return "without the offset of -1024, Cormack units, or MR?" if low >= 0 else ""


def _block_side(volume: Volume) -> int:
    return max(round(BLOCK_MM / float(np.mean(volume.pixel_mm))), 1)


def _uniform_blocks(volume: Volume) -> np.ndarray:
    """float32 [n], the mean HU of each square block of a slice that has one tissue; none where pixels are too large."""
    side, (_, rows, columns) = _block_side(volume), volume.shape
    if side < MIN_BLOCK_PX:
        return np.zeros(0, np.float32)
    down, across = rows // side, columns // side
    uniform = []
    for plane in volume.hu[:, : down * side, : across * side]:  # one by one, to save memory
        blocks = plane.reshape(down, side, across, side).astype(np.float32)
        uniform.append(blocks.mean(axis=(1, 3))[blocks.std(axis=(1, 3)) < MAX_BLOCK_SD_HU])
    return np.concatenate(uniform)


def _between(values: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    return (values > limits[0]) & (values < limits[1])
