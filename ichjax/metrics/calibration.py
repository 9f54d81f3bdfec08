"""Inside the skull: how true the probabilities are, and how near to the bone the false positives lie.

On the host: the region is found by labelling, and only its box is looked at.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage

from ichjax.metrics import components
from ichjax.metrics.surface import bounding_box
from ichjax.scan.volume import Volume

SKULL_HU = 150  # above every soft tissue and blood clot, below the skull even in an infant
COARSE_MM = 1.7  # the grid on which the ring of bone is closed and filled
CLOSING_MM = 3.4  # radius of the disk that closes gaps in the ring: canals, bone thinned by partial volume
WIDE_CLOSING_MM = 15.0  # the same in the vault, where the sutures and fontanelles of an infant leave it open
VAULT_CM2 = 20.0  # no space below the skull base is as large
LEAST_CM2 = 3.0  # smaller spaces between bones hold no brain
TISSUE_HU = (-10.0, 110.0)  # mean of a space that may be brain: not a sinus (air) or an orbit (fat)
BINS = 15
LEAST_LEVEL = 3  # of 255: p > 0.01
BONE_EDGES_MM = (0, 2, 4, 8, 16, 32, 64)


def intracranial(volume: Volume) -> np.ndarray:
    """What lies inside the skull: the ring of bone of each slice, closed and filled, less the bone.

    Spaces that hold air or fat, or are small, are left out; calcifications are filled. A slice in which the bone is
    no closed ring (above the vertex, a large craniectomy, a skull cut by the field of view) has none.

    Args:
      volume: HU. Where the file cannot hold `SKULL_HU` (the 8-bit release), what saturates it is bone.

    Returns:
      bool [D, H, W].
    """
    bone = volume.hu > min(SKULL_HU, volume.hu_range[1] - 1)
    inside = np.zeros(volume.shape, bool)
    box = (slice(None), *bounding_box(bone)[1:])
    if not bone[box].size:
        return inside
    inside[box] = _spaces(bone[box], volume.hu[box], volume.pixel_mm, CLOSING_MM)
    area_cm2 = inside.sum(axis=(1, 2)) * np.prod(volume.pixel_mm) / 100
    # Above the first large space all slices should have one. A wide closing below would fill the face.
    above = np.maximum.accumulate(area_cm2 >= VAULT_CM2)
    again = (np.flatnonzero(above & (area_cm2 < LEAST_CM2) & bone.any(axis=(1, 2))), *box[1:])
    if len(again[0]):
        inside[again] = _spaces(bone[again], volume.hu[again], volume.pixel_mm, WIDE_CLOSING_MM)
    return inside


def _spaces(bone: np.ndarray, hu: np.ndarray, pixel_mm: tuple[float, float], closing_mm: float) -> np.ndarray:
    """bool [D, H, W]: what bone encloses in each slice, where it is large and has the HU of a brain."""
    space = _filled_ring(bone, pixel_mm, closing_mm) & ~bone
    found = components.sections(space)
    where = found.of_pixels()
    pixels = np.bincount(where, minlength=found.n)
    mean_hu = np.bincount(where, weights=hu[space], minlength=found.n) / np.maximum(pixels, 1)
    kept = pixels * np.prod(pixel_mm) >= LEAST_CM2 * 100
    kept &= (mean_hu >= TISSUE_HU[0]) & (mean_hu <= TISSUE_HU[1])
    chosen = kept[found.label]
    return components.filled(components.paint(bone.shape, found.start[chosen], found.stop[chosen]))


def _filled_ring(bone: np.ndarray, pixel_mm: tuple[float, float], closing_mm: float) -> np.ndarray:
    """bool [D, H, W]: what the closed bone encloses, less its outermost rim; found on a coarse grid."""
    steps = [max(1, round(COARSE_MM / side)) for side in pixel_mm]
    radius = max(1, round(closing_mm / (steps[0] * pixel_mm[0])))
    # Room around it: closing must not meet the edge of the array.
    coarse = np.pad(_blocks(bone, steps), ((0, 0), (radius, radius), (radius, radius)))
    reach = np.argwhere(np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius + 0.5) - radius
    closed = ~_dilated(~_dilated(coarse, reach), reach, outside=True)
    # A block holds skin beside the bone, so the filled region gives up its rim; what it loses inside is bone.
    cross = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
    inner = ~_dilated(~components.filled(closed), cross, outside=True)[:, radius:-radius, radius:-radius]
    return inner.repeat(steps[0], axis=1).repeat(steps[1], axis=2)[:, : bone.shape[1], : bone.shape[2]]


def _blocks(mask: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """bool [D, ceil(H / steps[0]), ceil(W / steps[1])]: the blocks of pixels that hold a true one."""
    for axis, step in enumerate(steps, start=1):
        short = -mask.shape[axis] % step
        mask = np.pad(mask, [(0, short if axis == a else 0) for a in range(3)])
        first = [slice(None)] * axis
        # Every step-th line, or'ed: a reduction over an axis of so few would take many times as long.
        mask = np.logical_or.reduce([mask[(*first, slice(i, None, step))] for i in range(step)])
    return mask


def _dilated(mask: np.ndarray, reach: np.ndarray, *, outside: bool = False) -> np.ndarray:
    """bool [D, H, W]: each slice dilated.

    Args:
      mask: bool [D, H, W].
      reach: int [N, 2], steps along rows and columns from a pixel to those that it is spread to, both ways alike.
      outside: what lies beyond the edge.
    """
    height, width = mask.shape[1:]
    most = int(np.abs(reach).max())
    wide = np.pad(mask, ((0, 0), (most, most), (most, most)), constant_values=outside)
    spread = np.zeros_like(mask)
    for row, column in reach + most:
        spread |= wide[:, row : row + height, column : column + width]
    return spread


def histogram(probability: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> dict:
    """Pixels in `BINS` equal bins of probability, where it is above 0.01 inside the skull.

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      truth, inside: bool [D, H, W].

    Returns:
      {'n': [15], 'probability_sum': [15], 'positive': [15]}; a bin holds its upper edge, as in scikit-learn.
    """
    chosen = inside & (probability >= LEAST_LEVEL)
    n = np.bincount(probability[chosen], minlength=256)
    positive = np.bincount(probability[chosen & truth], minlength=256)
    level = np.arange(256)
    bin_of_level = np.maximum((level * BINS - 1) // 255, 0)  # in whole numbers: an edge such as 1/3 is a level
    sums = {"n": n, "probability_sum": n * level / 255.0, "positive": positive}
    return {name: _to_bins(values, bin_of_level).tolist() for name, values in sums.items()}


def _to_bins(values: np.ndarray, bin_of_level: np.ndarray) -> np.ndarray:
    total = np.bincount(bin_of_level, weights=values, minlength=BINS)
    return total if values.dtype.kind == "f" else total.astype(np.int64)


def reliability(histograms: Sequence[Mapping]) -> dict | None:
    """The reliability diagram of a data set, and its expected calibration error (Guo et al., 2017).

    Args:
      histograms: of `histogram`, one a scan.

    Returns:
      {'bins': [{'low', 'high', 'n', 'probability', 'frequency'}], 'expected_calibration_error'}: mean probability
      and share of true pixels of each bin, None where it is empty; the error is the mean of their distance, weighted
      by pixels. None where there is no pixel.
    """
    n, total, positive = (
        np.array([h[key] for h in histograms], dtype=np.float64).reshape(-1, BINS).sum(axis=0)
        for key in ("n", "probability_sum", "positive")
    )
    if not n.sum():
        return None
    probability, frequency = total / np.maximum(n, 1), positive / np.maximum(n, 1)
    bins = [
        {
            "low": i / BINS,
            "high": (i + 1) / BINS,
            "n": int(n[i]),
            "probability": float(probability[i]) if n[i] else None,
            "frequency": float(frequency[i]) if n[i] else None,
        }
        for i in range(BINS)
    ]
    error = float((n * np.abs(probability - frequency)).sum() / n.sum())
    return {"bins": bins, "expected_calibration_error": error}


def to_bone(truth: np.ndarray, prediction: np.ndarray, inside: np.ndarray, pixel_mm: tuple[float, float]) -> dict:
    """How far from the inner table of the skull false positives lie, and the intracranial space as a whole.

    Args:
      truth, prediction, inside: bool [D, H, W].
      pixel_mm: between rows and between columns.

    Returns:
      {'edges_mm', 'predicted_px': [6], 'intracranial_px': [6]}: false positives inside the skull, and all pixels
      there outside the truth, by the distance in their slice to the nearest pixel outside the intracranial space.
      A bin holds its lower edge; the last also holds what is farther.
    """
    box = bounding_box(inside)
    counts = np.zeros((2, len(BONE_EDGES_MM) - 1), np.int64)
    for region, true, predicted in zip(inside[box], truth[box], prediction[box], strict=True):
        near = bounding_box(region[None])[1:]
        region, true, predicted = region[near], true[near], predicted[near]
        around = np.pad(region, 1)  # beyond the array all is outside
        distance_mm = scipy.ndimage.distance_transform_edt(around, sampling=pixel_mm)[1:-1, 1:-1]
        bins = np.sum([distance_mm >= edge for edge in BONE_EDGES_MM[1:-1]], axis=0, dtype=np.uint8)
        for row, chosen in zip(counts, (region & predicted & ~true, region & ~true), strict=True):
            row += np.bincount(bins[chosen], minlength=len(row))
    return {
        "edges_mm": list(BONE_EDGES_MM),
        "predicted_px": counts[0].tolist(),
        "intracranial_px": counts[1].tolist(),
    }
