"""Measurements of a predicted mask: volume, ABC/2, and each lesion's size, position, side and distance to the skull."""

import functools
from collections.abc import Callable

import numpy as np
import scipy.ndimage

from ichjax.data.label_tables import SUBTYPES
from ichjax.inference.records import Findings, Lesion, Side
from ichjax.inference.scan_warnings import BONE_HU
from ichjax.metrics.lesions import MIN_LESION_ML, NEIGHBORS, ROUNDING, axes_mm, section_diameters
from ichjax.metrics.slice_detection import exceeds_rule
from ichjax.scan.volume import Volume

MIDLINE_MM = 5.0  # a lesion whose centroid is nearer to the middle of the head is on neither side
# Kothari et al. (1996): a slice counts in full, half or not at all by its share of the largest section's area.
FULL_SHARE, HALF_SHARE = 0.75, 0.25


def describe(
    volume: Volume,
    mask: np.ndarray,
    probability: np.ndarray,
    *,
    inside: np.ndarray,
    rule_mm2: float,
    classes: np.ndarray | None = None,
) -> Findings:
    """Measures a predicted mask.

    Args:
      volume: the scan.
      mask: bool or uint8 of 0 and 1 [D, H, W].
      probability: float32 [D, H, W] in [0, 1].
      inside: bool [D, H, W], the inside of the skull (`calibration.intracranial`).
      rule_mm2: a slice is positive above this predicted area.
      classes: uint8 [D, H, W], the sub-type of each pixel of the mask, for the lesions' 'subtype_ml'; None for none.

    Returns:
      The fields as in docs/prediction.md, except that a lesion's 'centroid_voxel' is its slice, row and column from 0
      in the volume. 'to_skull_mm' is None where no slice of the lesion has an inside of the skull.
    """
    mask = np.asarray(mask, bool)
    pixel_mm2 = float(np.prod(volume.pixel_mm))
    predicted_px = mask.sum(axis=(1, 2))
    lesions, small_components = _measure_lesions(volume, mask, probability, inside, classes)
    return {
        "volume_ml": float(predicted_px @ volume.pixel_ml),
        "abc2_ml": float(sum(lesion["abc2_ml"] for lesion in lesions)),
        "slices": len(mask),
        "positive_slices": (np.flatnonzero(exceeds_rule(predicted_px, pixel_mm2, rule_mm2=rule_mm2)) + 1).tolist(),
        "rule_mm2": float(rule_mm2),
        "predicted_px": predicted_px.tolist(),
        "highest_probability": float(probability.max()),
        "suspicion": suspicion(probability, pixel_mm2, rule_mm2),
        "small_components": small_components,
        "lesions": lesions,
    }


def suspicion(probability: np.ndarray, pixel_mm2: float, rule_mm2: float) -> float:
    """The highest threshold, in [0, 1], at which some slice would still be positive before closing and opening.

    It is the maximum over the slices of the N-th largest probability, N the fewest pixels that exceed the rule.
    """
    pixels = min(int(rule_mm2 / pixel_mm2) + 1, probability[0].size)
    flat = probability.reshape(len(probability), -1)
    return float(np.partition(flat, -pixels, axis=1)[:, -pixels].max())


def subtype_volumes_ml(classes: np.ndarray, pixel_ml: np.ndarray) -> dict[str, float]:
    """The volume of each sub-type, 0 for those absent.

    Args:
      classes: uint8 [D, H, W], 0 and 1 + the sub-type's index in `SUBTYPES`.
      pixel_ml: float [D], volume of a pixel of each slice.
    """
    return {name: float((classes == k).sum(axis=(1, 2)) @ pixel_ml) for k, name in enumerate(SUBTYPES, start=1)}


def _measure_lesions(
    volume: Volume, mask: np.ndarray, probability: np.ndarray, inside: np.ndarray, classes: np.ndarray | None
) -> tuple[list[Lesion], int]:
    """(the components of at least `MIN_LESION_ML`, the largest first; the number of smaller ones)."""

    @functools.cache  # a slice may cross several lesions
    def skull_distance_mm(index: int) -> np.ndarray:
        return scipy.ndimage.distance_transform_edt(inside[index], sampling=volume.pixel_mm)

    labels, count = scipy.ndimage.label(mask, NEIGHBORS)
    if not count:
        return [], 0
    middle = midline_column(volume)
    lesions: list[Lesion] = []
    for number, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
        voxels = labels[box] == number
        ml = float(voxels.sum(axis=(1, 2)) @ volume.pixel_ml[box[0]])
        if ml < MIN_LESION_ML - ROUNDING:
            continue
        centroid = _centroid(voxels, volume.pixel_ml[box[0]]) + [edge.start for edge in box]
        lesions.append(
            {
                "volume_ml": ml,
                "abc2_ml": abc2_ml(voxels, volume.pixel_mm, volume.extent_mm[box[0]]),
                "diameter_mm": float(section_diameters(voxels, volume.pixel_mm)[1].max()),
                "centroid_mm": _to_ras_mm(volume, centroid).round(1).tolist(),
                "centroid_voxel": centroid.round(1).tolist(),
                "side": _side(centroid[2], middle, volume.pixel_mm[1]),
                "slices": [box[0].start + 1, box[0].stop],
                "to_skull_mm": _to_skull_mm(voxels, box, inside, skull_distance_mm),
                "highest_probability": float(probability[box][voxels].max()),
            }
        )
        if classes is not None:
            by_subtype = subtype_volumes_ml(np.where(voxels, classes[box], 0), volume.pixel_ml[box[0]])
            lesions[-1]["subtype_ml"] = {name: volume_ml for name, volume_ml in by_subtype.items() if volume_ml}
    return sorted(lesions, key=lambda lesion: -lesion["volume_ml"]), count - len(lesions)


def abc2_ml(voxels: np.ndarray, pixel_mm: tuple[float, float], extent_mm: np.ndarray) -> float:
    """A x B x C / 2 of a lesion (Kothari et al., Stroke 1996; 27: 1304-1305).

    A is the largest diameter in the slice in which the lesion is largest, B the width perpendicular to it, C the sum
    of the slices' heights: in full from 75 % of the largest area on, half from 25 % on.

    Args:
      voxels: bool [D, H, W], not empty.
      pixel_mm: between rows and between columns.
      extent_mm: float [D], the height that each slice stands for.
    """
    areas = voxels.sum(axis=(1, 2))
    longest, across = axes_mm(voxels[areas.argmax()], pixel_mm)
    share = areas / areas.max()
    weight = np.where(share >= FULL_SHARE, 1.0, np.where(share >= HALF_SHARE, 0.5, 0.0))
    return float(longest * across * (weight @ extent_mm) / 2 / 1000)


def midline_column(volume: Volume) -> float:
    """The column in the middle of the skull: the median over slices of the middle between the outermost bone on the
    left and right; NaN without bone."""
    bone = np.any(volume.hu > min(BONE_HU, volume.hu_range[1] - 1), axis=1)
    bone = bone[bone.any(axis=1)]
    if not len(bone):
        return np.nan
    first = bone.argmax(axis=1)
    last = bone.shape[1] - 1 - bone[:, ::-1].argmax(axis=1)
    return float(np.median((first + last) / 2))


def _side(column: float, middle: float, column_mm: float) -> Side:
    """The patient's side; columns grow to the left."""
    if np.isnan(middle):
        return "unknown"
    off_mm = (column - middle) * column_mm
    return "midline" if abs(off_mm) < MIDLINE_MM else "left" if off_mm > 0 else "right"


def _centroid(voxels: np.ndarray, pixel_ml: np.ndarray) -> np.ndarray:
    """float64 [3]: slice, row, column, weighted by volume."""
    indices = np.argwhere(voxels)
    return np.average(indices, axis=0, weights=pixel_ml[indices[:, 0]])


def _to_ras_mm(volume: Volume, index: np.ndarray) -> np.ndarray:
    """float64 [3]: RAS mm of a fractional (slice, row, column), from the slices' true positions."""
    depth = np.arange(len(volume.hu))
    origin = [np.interp(index[0], depth, volume.slice_origins_mm[:, axis]) for axis in range(3)]
    return np.array(origin) + volume.affine[:3, 1:3] @ index[1:]


def _to_skull_mm(
    voxels: np.ndarray, box: tuple[slice, ...], inside: np.ndarray, skull_distance_mm: Callable[[int], np.ndarray]
) -> float | None:
    """The smallest in-plane distance from a lesion's pixels to one outside the skull's inside; None where its slices
    have no inside."""
    distances_mm = [
        skull_distance_mm(index)[box[1:]][pixels].min()
        for index, pixels in enumerate(voxels, start=box[0].start)
        if inside[index].any()
    ]
    return float(min(distances_mm)) if distances_mm else None
