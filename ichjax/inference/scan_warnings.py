"""Quality checks of an input scan: cut field of view, missing slices, implausible HU, wrong orientation.

The limits were set on phantoms (one lies too low: its skull is cut) and on one real series.
"""

import numpy as np

from ichjax.data.regrid import same_pixels
from ichjax.metrics.overlap import dice
from ichjax.scan.volume import Volume

BONE_HU, SKIN_HU = 300, -200  # a voxel above the first is bone; above the second, part of the head
BRAIN_MEDIAN_HU = (15.0, 50.0)  # of the median inside the skull
MIN_CUT_SLICES = 2  # with bone at the edge of the image
MISSING_RATIO = 1.7  # of a gap to both of its neighbors: a slice is missing; a change of spacing differs from one only
MAX_WIDTH_RATIO = 1.05  # of width to length; inside 56 phantoms and a real head it is 0.74 to 0.89
MAX_TOP_RATIO = 1.3  # of the area in the top slices to the bottom ones: heads are smallest at the vertex
MIN_SYMMETRY = 0.75  # Dice of the outline with its mirror image
END_SHARE = 0.2  # of the slices, at each end


def find_warnings(
    volume: Volume, inside: np.ndarray, *, trained_pixel_mm: tuple[float, float] | None = None
) -> list[str]:
    """One sentence for each check that fails.

    Args:
      volume: the scan.
      inside: bool [D, H, W], the inside of the skull (`calibration.intracranial`).
      trained_pixel_mm: (rows, columns) of the scans that the network was trained on; None skips that check.
    """
    warnings = _check_field_of_view(volume) + _check_gaps(volume) + _check_hu(volume, inside)
    warnings += _check_orientation(volume, inside)
    if trained_pixel_mm is not None and not same_pixels(volume.pixel_mm, trained_pixel_mm):
        own, trained = (f"{rows:.2f} x {columns:.2f} mm" for rows, columns in (volume.pixel_mm, trained_pixel_mm))
        warnings.append(f"pixels of {own}; the network was trained on {trained}")
    return warnings


def _check_field_of_view(volume: Volume) -> list[str]:
    bone = volume.hu > BONE_HU
    at_edge = bone[:, [0, -1]].any(axis=(1, 2)) | bone[:, :, [0, -1]].any(axis=(1, 2))
    if at_edge.sum() < MIN_CUT_SLICES:
        return []
    return [f"bone reaches the edge of {at_edge.sum()} slices: the field of view may cut the head"]


def _check_gaps(volume: Volume) -> list[str]:
    gaps = np.diff(volume.positions_mm)
    warnings = []
    for k, gap in enumerate(gaps):
        neighbors = [gaps[i] for i in (k - 1, k + 1) if 0 <= i < len(gaps)]
        if neighbors and gap > MISSING_RATIO * max(neighbors):
            warnings.append(f"{gap:.1f} mm between slices {k + 1} and {k + 2}: slices may be missing")
    return warnings


def _check_hu(volume: Volume, inside: np.ndarray) -> list[str]:
    if not inside.any():
        return ["no closed skull was found"]
    median, (low, high) = float(np.median(volume.hu[inside])), BRAIN_MEDIAN_HU
    if low <= median <= high:
        return []
    return [f"the median inside the skull is {median:.0f} HU; expected {low:.0f} to {high:.0f}"]


def _check_orientation(volume: Volume, inside: np.ndarray) -> list[str]:
    """Whether the head contradicts the orientation in the file; a swap of left and right cannot be detected."""
    head = volume.hu > SKIN_HU
    areas = head.sum(axis=(1, 2))
    if not areas.any():
        return []
    warnings = []
    if inside.any():  # not of the head, to which head holders and ears belong
        length, width = np.multiply(_outline(inside).shape, volume.pixel_mm)
        if width > MAX_WIDTH_RATIO * length:
            size = f"{width:.0f} mm wide and {length:.0f} mm long"
            warnings.append(f"the inside of the skull is {size}: rows and columns may be swapped")
    outline = _outline(head)
    symmetry = float(dice(outline.sum(), outline.sum(), (outline & outline[:, ::-1]).sum(), empty=np.nan))
    if symmetry < MIN_SYMMETRY:
        warnings.append(f"the head is asymmetric: Dice {symmetry:.2f} with its mirror image")
    count = max(int(END_SHARE * len(areas)), 1)
    bottom, top = areas[:count].mean(), areas[-count:].mean()
    if len(areas) >= 5 and top > MAX_TOP_RATIO * bottom:
        warnings.append("the head is larger in the top slices than in the bottom ones: the scan may be upside down")
    return warnings


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool [rows, columns]: the union of the third of the slices with the largest areas, cut to its bounding box."""
    areas = mask.sum(axis=(1, 2))
    union = np.any(mask[np.argsort(areas)[-max(len(mask) // 3, 1) :]], axis=0)
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    return union[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
