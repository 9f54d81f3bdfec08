"""Quality checks of an input scan: cut field of view, missing slices, implausible HU, wrong orientation or size.

The limits were set on phantoms (one lies too low: its skull is cut) and on one real series.
"""

import numpy as np

from ichjax.data.regrid import same_pixels
from ichjax.metrics.overlap import dice
from ichjax.metrics.surface import bounding_box
from ichjax.scan.head_check import MAX_INSIDE_MM, MIN_IMAGE_MM
from ichjax.scan.hu_check import offset_warnings
from ichjax.scan.volume import Volume

BONE_HU, SKIN_HU = 300, -200  # a voxel above the first is bone; above the second, part of the head
BRAIN_MEDIAN_HU = (15.0, 50.0)  # of the median inside the skull
MIN_BONE_SHARE = 0.01  # of the head's voxels; in 82 phantoms at least 0.049 (a newborn), in a real head 0.16
MIN_CUT_SLICES = 2  # with bone at the edge of the image
MISSING_RATIO = 1.7  # of a gap to both of its neighbors: a slice is missing; a change of spacing differs from one only
MAX_WIDTH_RATIO = 1.05  # of width to length; inside 56 phantoms and a real head it is 0.74 to 0.89
MAX_TOP_RATIO = 1.3  # of the area in the top slices to the bottom ones: heads are smallest at the vertex
MAX_TOP_RATIO_BRAIN = 2.0  # the same of a scan that may begin at a slender jaw: there is more brain in the top slices
MIN_SYMMETRY = 0.75  # Dice of the outline with its mirror image
MORE_BRAIN = 0.3  # of the share of brain in these slices
END_SHARE = 0.2  # of the slices, at each end
MAX_SINUS_HU = -400  # a voxel below is air, in the nose and its sinuses
MIN_SINUS_ML = 1.0  # of air between bones: less does not tell front from back
MIN_BEHIND = 0.75  # share of that air in the back half of the skull; in 94 phantoms and a real head 0 to 0.15
LENGTH_MM, WIDTH_MM = (60, 230), (50, 200)  # of the inside of the skull; in 94 phantoms 105 to 187 and 84 to 149 mm
HEIGHT_MM = (35, MAX_INSIDE_MM)  # the same, 75 to 180 mm; the lower limit only of a skull that ends within the scan
MIN_HEIGHT_SLICES = 8  # for that limit: of a steep slab or a skull with a large defect, few slices are recognized
MIN_DOME_RATIO = 0.25  # of the height in which the inside narrows to half, to its radius; in 82 phantoms at least 0.54
MIN_DOME_SLICES = 3  # for that limit: where the skull is not recognized on a slice, the inside seems to end
NOMINAL_WARNING = (
    "the images have no pixel size and no slice distance: nominal ones are used, so all mm and mL are nominal"
)


def find_warnings(
    volume: Volume, inside: np.ndarray, *, trained_pixel_mm: tuple[float, float] | None = None
) -> list[str]:
    """One sentence for each check that fails.

    Args:
      volume: the scan.
      inside: bool [D, H, W], the inside of the skull (`calibration.intracranial`).
      trained_pixel_mm: (rows, columns) of the scans that the network was trained on; None skips that check.
    """
    warnings = [NOMINAL_WARNING] if volume.nominal_spacing else []
    warnings += _check_field_of_view(volume) + _check_gaps(volume) + _check_hu(volume, inside)
    warnings += _check_size(volume, inside) + _check_orientation(volume, inside) + _check_front(volume, inside)
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
    warnings = offset_warnings(volume) + _check_bone(volume)
    if not inside.any():
        return [*warnings, "no closed skull was found"]
    median, (low, high) = float(np.median(volume.hu[inside])), BRAIN_MEDIAN_HU
    if low <= median <= high:
        return warnings
    return [*warnings, f"the median inside the skull is {median:.0f} HU; expected {low:.0f} to {high:.0f}"]


def _check_bone(volume: Volume) -> list[str]:
    """Whether there is any skull: a rim that brain extraction leaves can look like a thin one."""
    if volume.hu_range[1] <= BONE_HU or (volume.hu > BONE_HU).sum() > MIN_BONE_SHARE * (volume.hu > SKIN_HU).sum():
        return []
    return [f"almost no bone (above {BONE_HU} HU): the skull is missing (skull-stripped?), or high values are clipped"]


def _check_orientation(volume: Volume, inside: np.ndarray) -> list[str]:
    """Whether the head contradicts the orientation in the file: a quarter turn, half a head, upside down."""
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
    bottom, top = areas[:count].sum(), areas[-count:].sum()
    brain = inside.sum(axis=(1, 2))
    more_brain = brain[-count:].sum() / max(top, 1) - brain[:count].sum() / max(bottom, 1) > MORE_BRAIN
    if len(areas) >= 5 and top > (MAX_TOP_RATIO_BRAIN if more_brain else MAX_TOP_RATIO) * bottom:
        warnings.append("the head is larger in the top slices than in the bottom ones: the scan may be upside down")
    return warnings


def _check_front(volume: Volume, inside: np.ndarray) -> list[str]:
    """Whether the nose and its sinuses lie behind; a mirror image, left for right, cannot be detected."""
    if not inside.any():
        return []
    _, rows, columns = bounding_box(_union(inside)[None])
    middle, quarter = (rows.start + rows.stop) // 2, (columns.stop - columns.start) // 4
    central = slice(columns.start + quarter, columns.stop - quarter)  # without the mastoid cells
    front = behind = 0.0
    for hu, brain, slice_mm in zip(volume.hu, inside, volume.extent_mm, strict=True):
        air = ((hu < MAX_SINUS_HU) & ~brain & _between(hu > BONE_HU))[:, central]
        front += air[:middle].sum() * slice_mm
        behind += air[middle:].sum() * slice_mm
    if (front + behind) * np.prod(volume.pixel_mm) / 1000 < MIN_SINUS_ML or behind < MIN_BEHIND * (front + behind):
        return []
    where = "the nose and its sinuses are where the header says the back is"
    return [f"the head lies turned, its front to the back: {where}, and left and right may be swapped too"]


def _between(bone: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels with bone on all four sides, in their row and in their column, at any distance."""
    before = [np.logical_or.accumulate(bone, axis=axis) for axis in (0, 1)]
    after = [np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis) for axis in (0, 1)]
    return np.logical_and.reduce(before + after)


def _check_size(volume: Volume, inside: np.ndarray) -> list[str]:
    """Whether the image or the inside of the skull has a size that no head has, from newborn to adult."""
    problem = "no head has this size, so the axes, the voxel sizes or the affine may be wrong"
    length, width = np.multiply(volume.shape[1:], volume.pixel_mm)
    if min(length, width) < MIN_IMAGE_MM:
        return [f"the image is {width:.0f} mm wide and {length:.0f} mm long: {problem}"]
    if not inside.any():
        return []
    length, width = np.multiply(_outline(inside).shape, volume.pixel_mm)
    slices = np.flatnonzero(inside.any(axis=(1, 2)))
    height = float(volume.extent_mm[slices[0] : slices[-1] + 1].sum())
    complete = slices[0] > 0 and slices[-1] < len(inside) - 1 and len(slices) >= MIN_HEIGHT_SLICES
    lowest = HEIGHT_MM[0] if complete else 0
    limits = (LENGTH_MM, WIDTH_MM, (lowest, HEIGHT_MM[1]))
    if not all(low <= size <= high for size, (low, high) in zip((length, width, height), limits, strict=True)):
        size = f"{width:.0f} mm wide, {length:.0f} mm long and {height:.0f} mm high"
        return [f"the inside of the skull is {size}: {problem}"]
    return _check_dome(volume, inside)


def _check_dome(volume: Volume, inside: np.ndarray) -> list[str]:
    """Whether the skull narrows toward the vertex as a head does, which a wrong slice distance changes."""
    areas = inside.sum(axis=(1, 2))
    largest = int(areas.argmax())
    (narrow,) = np.nonzero(areas[largest:] < areas[largest] / 2)
    if not len(narrow) or narrow[0] < MIN_DOME_SLICES:
        return []
    height_mm = float(volume.positions_mm[largest + narrow[0]] - volume.positions_mm[largest])
    radius_mm = float(np.sqrt(areas[largest] * np.prod(volume.pixel_mm) / np.pi))
    if height_mm >= MIN_DOME_RATIO * radius_mm:
        return []
    return [f"the skull narrows to half within {height_mm:.0f} mm of height: the distance of the slices may be wrong"]


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool [rows, columns]: the union of the largest slices, cut to its bounding box."""
    union = _union(mask)
    return union[bounding_box(union[None])[1:]]


def _union(mask: np.ndarray) -> np.ndarray:
    """bool [H, W]: the union of the third of the slices with the largest areas."""
    areas = mask.sum(axis=(1, 2))
    return np.any(mask[np.argsort(areas)[-max(len(mask) // 3, 1) :]], axis=0)
