"""What a reader would note of a predicted mask: each lesion's size, place and side, and the scan's ABC/2."""

import functools
from collections.abc import Callable

import numpy as np
import scipy.ndimage

from ichjax.inference.scan_warnings import BONE_HU
from ichjax.metrics import calibration
from ichjax.metrics.lesions import MIN_LESION_ML, NEIGHBORS, ROUNDING, axes_mm, section_diameters
from ichjax.metrics.slice_detection import exceeds_rule
from ichjax.scan.volume import Volume

MIDLINE_MM = 5.0  # a lesion whose centre is nearer to the middle of the head has no side
# Kothari et al. (1996): a slice counts in full, half or not at all by its share of the largest section's area.
FULL_SHARE, HALF_SHARE = 0.75, 0.25


def describe(volume: Volume, mask: np.ndarray, probability: np.ndarray, *, rule_mm2: float) -> dict:
    """A predicted mask in numbers.

    Args:
      volume: the scan.
      mask: bool or uint8 of 0 and 1 [D, H, W].
      probability: float32 [D, H, W] in [0, 1].
      rule_mm2: a slice counts as positive above this predicted area.

    Returns:
      'volume_ml': of all predicted pixels, by the slices' true positions.
      'abc2_ml': the lesions' ABC/2 (`abc2_ml`), added up.
      'slices', 'positive_slices' (numbers from 1, upwards, by the rule), 'rule_mm2', 'predicted_px' [D],
      'highest_probability'.
      'suspicion': the largest over the slices of the N-th largest probability, N the fewest pixels that exceed the
        rule; worklists are sorted by it.
      'small_components': predicted ones below `MIN_LESION_ML`, which are no lesions.
      'lesions': [{'volume_ml', 'abc2_ml', 'diameter_mm', 'centroid_mm' (right, anterior, superior), 'centroid_voxel'
        (slice, row and column from 0), 'side' ('left', 'right', 'midline' of the patient; 'unknown' without bone),
        'slices' (first and last, from 1), 'to_skull_mm' (least in-plane distance to what is no longer inside the
        skull; None where no inside was found), 'highest_probability'}], the largest first.
    """
    mask = np.asarray(mask, bool)
    pixel_mm2 = float(np.prod(volume.pixel_mm))
    predicted_px = mask.sum(axis=(1, 2))
    found, small = _lesions(volume, mask, probability)
    return {
        "volume_ml": float(predicted_px @ volume.pixel_ml),
        "abc2_ml": float(sum(lesion["abc2_ml"] for lesion in found)),
        "slices": len(mask),
        "positive_slices": (np.flatnonzero(exceeds_rule(predicted_px, pixel_mm2, rule_mm2=rule_mm2)) + 1).tolist(),
        "rule_mm2": float(rule_mm2),
        "predicted_px": predicted_px.tolist(),
        "highest_probability": float(probability.max()),
        "suspicion": suspicion(probability, pixel_mm2, rule_mm2),
        "small_components": small,
        "lesions": found,
    }


def suspicion(probability: np.ndarray, pixel_mm2: float, rule_mm2: float) -> float:
    """The highest threshold at which some slice would still be called positive, about; in [0, 1]."""
    pixels = min(int(rule_mm2 / pixel_mm2) + 1, probability[0].size)
    flat = probability.reshape(len(probability), -1)
    return float(np.partition(flat, -pixels, axis=1)[:, -pixels].max())


def _lesions(volume: Volume, mask: np.ndarray, probability: np.ndarray) -> tuple[list[dict], int]:
    labels, count = scipy.ndimage.label(mask, NEIGHBORS)
    if not count:
        return [], 0
    depth_mm, middle = _depths_mm(volume), midline_column(volume)
    found = []
    for number, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
        voxels = labels[box] == number
        slices = range(box[0].start, box[0].stop)
        ml = float(voxels.sum(axis=(1, 2)) @ volume.pixel_ml[box[0]])
        if ml < MIN_LESION_ML - ROUNDING:
            continue
        center = _centroid(voxels, volume.pixel_ml[box[0]]) + [edge.start for edge in box]
        found.append(
            {
                "volume_ml": ml,
                "abc2_ml": abc2_ml(voxels, volume.pixel_mm, volume.extent_mm[box[0]]),
                "diameter_mm": float(section_diameters(voxels, volume.pixel_mm)[1].max()),
                "centroid_mm": _position(volume, center).round(1).tolist(),
                "centroid_voxel": center.round(1).tolist(),
                "side": _side(center[2], middle, volume.pixel_mm[1]),
                "slices": [slices[0] + 1, slices[-1] + 1],
                "to_skull_mm": _to_skull(voxels, box, depth_mm),
                "highest_probability": float(probability[box][voxels].max()),
            }
        )
    return sorted(found, key=lambda lesion: -lesion["volume_ml"]), count - len(found)


def abc2_ml(voxels: np.ndarray, pixel_mm: tuple[float, float], extent_mm: np.ndarray) -> float:
    """A x B x C / 2 of a lesion (Kothari et al., Stroke 1996; 27: 1304-1305).

    A is the largest diameter in the slice in which the lesion is largest, B the width across it, C the heights of the
    slices, in full from 75 % of the largest area on, half from 25 % on.

    Args:
      voxels: bool [D, H, W], not empty.
      pixel_mm: between rows and between columns.
      extent_mm: [D], the height that each slice stands for.
    """
    areas = voxels.sum(axis=(1, 2))
    longest, across = axes_mm(voxels[areas.argmax()], pixel_mm)
    share = areas / areas.max()
    weight = np.where(share >= FULL_SHARE, 1.0, np.where(share >= HALF_SHARE, 0.5, 0.0))
    return float(longest * across * (weight @ extent_mm) / 2 / 1000)


def midline_column(volume: Volume) -> float:
    """The column in the middle of the skull: the median over slices of the middle between its outermost bone; nan
    without bone."""
    bone = (volume.hu > min(BONE_HU, volume.hu_range[1] - 1)).any(axis=1)
    there = bone.any(axis=1)
    if not there.any():
        return np.nan
    first = bone[there].argmax(axis=1)
    last = bone.shape[1] - 1 - bone[there, ::-1].argmax(axis=1)
    return float(np.median((first + last) / 2))


def _side(column: float, middle: float, pixel_mm: float) -> str:
    """Of the patient: columns grow to the left."""
    if np.isnan(middle):
        return "unknown"
    off_mm = (column - middle) * pixel_mm
    return "midline" if abs(off_mm) < MIDLINE_MM else "left" if off_mm > 0 else "right"


def _centroid(voxels: np.ndarray, pixel_ml: np.ndarray) -> np.ndarray:
    """float [3]: slice, row, column, weighted by volume."""
    where = np.argwhere(voxels)
    return np.average(where, axis=0, weights=pixel_ml[where[:, 0]])


def _position(volume: Volume, center: np.ndarray) -> np.ndarray:
    """float [3], RAS mm, by the slices' own positions."""
    depth = np.arange(len(volume.hu))
    origin = [np.interp(center[0], depth, volume.slice_origins_mm[:, axis]) for axis in range(3)]
    return np.array(origin) + volume.affine[:3, 1:3] @ center[1:]


def _depths_mm(volume: Volume) -> Callable[[int], np.ndarray | None]:
    """For a slice the in-plane distance of each pixel to what is not inside the skull, None where no inside was found;
    each slice is looked at once, however many lesions it has."""
    inside = calibration.intracranial(volume)

    @functools.cache
    def depth_mm(number: int) -> np.ndarray | None:
        plane = inside[number]
        return scipy.ndimage.distance_transform_edt(plane, sampling=volume.pixel_mm) if plane.any() else None

    return depth_mm


def _to_skull(voxels: np.ndarray, box: tuple, depth_mm: Callable[[int], np.ndarray | None]) -> float | None:
    """The least in-plane distance from the lesion's pixels to one that is not inside the skull."""
    found = []
    for number, plane in zip(range(box[0].start, box[0].stop), voxels, strict=True):
        distance = depth_mm(number)
        if plane.any() and distance is not None:
            found.append(distance[box[1:]][plane].min())
    return float(min(found)) if found else None
