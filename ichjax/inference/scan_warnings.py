"""What about a scan speaks against trusting a prediction of it: looked for in its pixels and positions, said in words.

Limits were set by looking at phantoms (one of them lies too low: its skull is cut) and at one real series.
"""

import numpy as np

from ichjax.data.regrid import same_pixels
from ichjax.metrics import calibration
from ichjax.metrics.overlap import dice
from ichjax.scan.volume import Volume

BONE_HU, SKIN_HU = 300, -200  # a voxel above the first is bone; above the second, part of the head
BRAIN_MEDIAN_HU = (15.0, 50.0)  # of the median inside the skull
CUT_SLICES = 2  # with bone at the edge of the image
MISSING = 1.7  # times both neighbouring gaps: a slice is missing; a step to another spacing is none
WIDER = 1.05  # times as long: of 56 phantoms and a real head the inside is 0.74 to 0.89 times as wide as long
LARGER = 1.3  # times the area below: heads are smallest at the vertex
MIN_SYMMETRY = 0.75  # Dice of the outline with its mirror image
END_SHARE = 0.2  # of the slices, at each end


def warnings(volume: Volume, *, trained_pixel_mm: tuple[float, float] | None = None) -> list[str]:
    """One sentence for each thing that is odd.

    Args:
      volume: the scan.
      trained_pixel_mm: (rows, columns) of the scans that the network was trained on; None says nothing of it.
    """
    inside = calibration.intracranial(volume)
    found = _field_of_view(volume) + _gaps(volume) + _values(volume, inside) + _orientation(volume, inside)
    if trained_pixel_mm is not None and not same_pixels(volume.pixel_mm, trained_pixel_mm):
        sizes = [f"{rows:.2f} x {columns:.2f} mm" for rows, columns in (volume.pixel_mm, trained_pixel_mm)]
        found.append(f"pixels of {sizes[0]}; the network was trained on {sizes[1]}")
    return found


def _field_of_view(volume: Volume) -> list[str]:
    bone = volume.hu > BONE_HU
    at_edge = bone[:, [0, -1]].any(axis=(1, 2)) | bone[:, :, [0, -1]].any(axis=(1, 2))
    if at_edge.sum() < CUT_SLICES:
        return []
    return [f"bone reaches the edge of {at_edge.sum()} slices: the field of view may cut the head"]


def _gaps(volume: Volume) -> list[str]:
    gaps = np.diff(volume.positions_mm)
    found = []
    for k in range(len(gaps)):
        beside = [gaps[i] for i in (k - 1, k + 1) if 0 <= i < len(gaps)]
        if beside and gaps[k] > MISSING * max(beside):
            found.append(f"{gaps[k]:.1f} mm between slices {k + 1} and {k + 2}: slices may be missing")
    return found


def _values(volume: Volume, inside: np.ndarray) -> list[str]:
    if not inside.any():
        return ["no closed skull was found"]
    median, (low, high) = float(np.median(volume.hu[inside])), BRAIN_MEDIAN_HU
    if low <= median <= high:
        return []
    return [f"the median inside the skull is {median:.0f} HU; expected {low:.0f} to {high:.0f}"]


def _orientation(volume: Volume, inside: np.ndarray) -> list[str]:
    """What contradicts the orientation that the file claims. Left and right cannot be told apart."""
    head = volume.hu > SKIN_HU
    areas = head.sum(axis=(1, 2))
    if not areas.any():
        return []
    found = []
    if inside.any():  # head holders and ears are outside
        length, width = np.multiply(_outline(inside).shape, volume.pixel_mm)
        if width > WIDER * length:
            size = f"{width:.0f} mm wide and {length:.0f} mm long"
            found.append(f"the inside of the skull is {size}: rows and columns may be swapped")
    box = _outline(head)
    mirrored = float(dice(box.sum(), box.sum(), (box & box[:, ::-1]).sum(), empty=np.nan))
    if mirrored < MIN_SYMMETRY:
        found.append(f"the head is not alike on both sides (Dice {mirrored:.2f} with its mirror image)")
    few = max(int(END_SHARE * len(areas)), 1)
    bottom, top = areas[:few].mean(), areas[-few:].mean()
    if len(areas) >= 5 and top > LARGER * bottom:
        found.append("the uppermost slices are larger than the lowest: the scan may be upside down")
    return found


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool [rows, columns]: the union of the third of the slices with the most of it, in its bounding box."""
    areas = mask.sum(axis=(1, 2))
    union = mask[np.argsort(areas)[-max(len(mask) // 3, 1) :]].any(axis=0)
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    return union[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
