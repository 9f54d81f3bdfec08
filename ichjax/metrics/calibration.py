"""Calibration of probabilities inside the skull, and the distance of false positives to bone.

Also segments the intracranial space. Runs on the host, inside the bounding box of the bone.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from ichjax.metrics import components
from ichjax.metrics.secondary_records import CalibrationHistogram, Reliability, ReliabilityBin, ToBoneCounts
from ichjax.metrics.surface import bounding_box
from ichjax.scan.volume import Volume

SKULL_HU = 150  # above soft tissue and clotted blood, below the skull even of an infant
COARSE_MM = 1.7  # grid on which the ring of bone is closed and filled
CLOSING_MM = 3.4  # radius of the disk that closes gaps in the ring: canals, bone thinned by partial volume
WIDE_CLOSING_MM = 15.0  # the same in the vault, where an infant's sutures and fontanelles are open
VAULT_CM2 = 20.0  # larger than any space below the skull base
MIN_CM2 = 3.0  # smaller spaces between bones hold no brain
TISSUE_HU = (-10.0, 110.0)  # range of the mean HU of brain: excludes sinuses (air) and orbits (fat)
BINS = 15
MIN_LEVEL = 3  # of 255: p > 0.01
BONE_EDGES_MM = (0, 2, 4, 8, 16, 32, 64)


def intracranial(volume: Volume) -> np.ndarray:
    """The intracranial space: the ring of bone of each slice, closed and filled, without the bone.

    Small spaces and those that hold air or fat are excluded; calcifications are filled. Slices without a closed ring
    (above the vertex, a large craniectomy, a skull cut by the field of view) have none.

    Args:
      volume: in HU. Where the file cannot represent `SKULL_HU` (the 8-bit release), saturated pixels are bone.

    Returns:
      bool [D, H, W].
    """
    bone = volume.hu > min(SKULL_HU, volume.hu_range[1] - 1)
    inside = np.zeros(volume.shape, bool)
    _, rows, columns = bounding_box(bone)
    box = (slice(None), rows, columns)
    if not bone[box].size:
        return inside
    inside[box] = _spaces(bone[box], volume.hu[box], volume.pixel_mm, CLOSING_MM)
    area_cm2 = inside.sum(axis=(1, 2)) * np.prod(volume.pixel_mm) / 100
    # Every slice above the first large space should have one. Below it a wide closing would fill the face.
    vault = np.maximum.accumulate(area_cm2 >= VAULT_CM2)
    missing = np.flatnonzero(vault & (area_cm2 < MIN_CM2) & bone.any(axis=(1, 2)))
    if len(missing):
        retry = (missing, rows, columns)
        inside[retry] = _spaces(bone[retry], volume.hu[retry], volume.pixel_mm, WIDE_CLOSING_MM)
    return inside


def _spaces(bone: np.ndarray, hu: np.ndarray, pixel_mm: tuple[float, float], closing_mm: float) -> np.ndarray:
    """bool [D, H, W]: the spaces enclosed by bone in each slice that are large and have the mean HU of brain."""
    space = _filled_ring(bone, pixel_mm, closing_mm) & ~bone
    runs = components.label_runs(space)
    label = runs.pixel_labels()
    pixels = np.bincount(label, minlength=runs.n)
    mean_hu = np.bincount(label, weights=hu[space], minlength=runs.n) / np.maximum(pixels, 1)
    brain = pixels * np.prod(pixel_mm) >= MIN_CM2 * 100
    brain &= (mean_hu >= TISSUE_HU[0]) & (mean_hu <= TISSUE_HU[1])
    kept = brain[runs.label]
    return components.fill_holes(components.paint_runs(bone.shape, runs.start[kept], runs.stop[kept]))


def _filled_ring(bone: np.ndarray, pixel_mm: tuple[float, float], closing_mm: float) -> np.ndarray:
    """bool [D, H, W]: the closed bone with its inside, without its outermost rim, computed on a coarse grid."""
    steps = [max(1, round(COARSE_MM / side)) for side in pixel_mm]
    radius = max(1, round(closing_mm / (steps[0] * pixel_mm[0])))
    # A margin, so that the closing does not meet the edge of the array.
    coarse = np.pad(_blocks(bone, steps), ((0, 0), (radius, radius), (radius, radius)))
    disk = np.argwhere(np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius + 0.5) - radius
    closed = ~_dilate(~_dilate(coarse, disk), disk, outside=True)
    # A block of bone may include skin, so the filled region is eroded by one block; within the skull that is bone.
    cross = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
    inner = ~_dilate(~components.fill_holes(closed), cross, outside=True)[:, radius:-radius, radius:-radius]
    return inner.repeat(steps[0], axis=1).repeat(steps[1], axis=2)[:, : bone.shape[1], : bone.shape[2]]


def _blocks(mask: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """bool [D, ceil(H / steps[0]), ceil(W / steps[1])]: blocks of pixels that hold a true one (max pooling)."""
    for axis, step in enumerate(steps, start=1):
        short = -mask.shape[axis] % step
        mask = np.pad(mask, [(0, short if axis == a else 0) for a in range(3)])
        first = [slice(None)] * axis
        # Or over strided views: a reduction over an axis this short would take many times as long.
        mask = np.logical_or.reduce([mask[(*first, slice(i, None, step))] for i in range(step)])
    return mask


def _dilate(mask: np.ndarray, offsets: np.ndarray, *, outside: bool = False) -> np.ndarray:
    """bool [D, H, W]: each slice dilated.

    Args:
      mask: bool [D, H, W].
      offsets: int [N, 2], rows and columns of the structuring element, which is symmetric.
      outside: value beyond the edge.
    """
    height, width = mask.shape[1:]
    margin = int(np.abs(offsets).max())
    padded = np.pad(mask, ((0, 0), (margin, margin), (margin, margin)), constant_values=outside)
    dilated = np.zeros_like(mask)
    for row, column in offsets + margin:
        dilated |= padded[:, row : row + height, column : column + width]
    return dilated


def histogram(probability: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> CalibrationHistogram:
    """Pixels inside the skull with a probability above 0.01, in `BINS` equal bins, which include their upper edge.

    Args:
      probability: uint8 [D, H, W], 255 is 1.
      truth, inside: bool [D, H, W].
    """
    counted = inside & (probability >= MIN_LEVEL)
    n = np.bincount(probability[counted], minlength=256)
    positive = np.bincount(probability[counted & truth], minlength=256)
    level = np.arange(256)
    bin_of_level = np.maximum((level * BINS - 1) // 255, 0)  # in integers, since an edge such as 1/3 is a level

    def to_bins(values: np.ndarray) -> np.ndarray:
        return np.bincount(bin_of_level, weights=values, minlength=BINS)

    return {
        "n": to_bins(n).astype(np.int64).tolist(),
        "probability_sum": to_bins(n * level / 255.0).tolist(),
        "positive": to_bins(positive).astype(np.int64).tolist(),
    }


def histogram_of_scores(scores: np.ndarray, positive: np.ndarray, *, bins: int) -> CalibrationHistogram:
    """Scores, float [N] in [0, 1], and whether they are positive, bool [N], in equal bins with their upper edge."""
    bin_of_score = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    return {
        "n": np.bincount(bin_of_score, minlength=bins).tolist(),
        "probability_sum": np.bincount(bin_of_score, weights=scores, minlength=bins).tolist(),
        "positive": np.bincount(bin_of_score[positive], minlength=bins).tolist(),
    }


def reliability(histograms: Sequence[CalibrationHistogram]) -> Reliability | None:
    """The reliability diagram of a data set, and its expected calibration error (Guo et al., 2017).

    Args:
      histograms: one per scan, all with the same number of equal bins.

    Returns:
      Bins, None in their figures where they are empty; the error is the mean distance of probability and frequency,
      weighted by pixels. None where there is no pixel.
    """
    counts = [(h["n"], h["probability_sum"], h["positive"]) for h in histograms]
    bins_of_all = len(counts[0][0]) if counts else BINS
    n, total, positive = np.array(counts, dtype=np.float64).reshape(-1, 3, bins_of_all).sum(axis=0)
    if not n.sum():
        return None
    probability, frequency = total / np.maximum(n, 1), positive / np.maximum(n, 1)
    bins: list[ReliabilityBin] = [
        {
            "low": i / bins_of_all,
            "high": (i + 1) / bins_of_all,
            "n": int(n[i]),
            "probability": float(probability[i]) if n[i] else None,
            "frequency": float(frequency[i]) if n[i] else None,
        }
        for i in range(bins_of_all)
    ]
    error = float((n * np.abs(probability - frequency)).sum() / n.sum())
    return {"bins": bins, "expected_calibration_error": error}


def distance_to_bone(
    truth: np.ndarray, prediction: np.ndarray, inside: np.ndarray, pixel_mm: tuple[float, float]
) -> ToBoneCounts:
    """Counts intracranial pixels by their distance to the inner table of the skull: false positives, and all.

    Args:
      truth, prediction, inside: bool [D, H, W].
      pixel_mm: pixel size (rows, columns).

    Returns:
      False positives inside the skull, and all pixels there outside the truth, by the in-plane distance to the nearest
      pixel outside the intracranial space. Bins include their lower edge; the last also counts larger distances.
    """
    box = bounding_box(inside)
    counts = np.zeros((2, len(BONE_EDGES_MM) - 1), np.int64)
    for region, true, predicted in zip(inside[box], truth[box], prediction[box], strict=True):
        crop = bounding_box(region[None])[1:]
        region, true, predicted = region[crop], true[crop], predicted[crop]
        padded = np.pad(region, 1)  # beyond the array all is outside
        distance_mm = scipy.ndimage.distance_transform_edt(padded, sampling=pixel_mm)[1:-1, 1:-1]
        bins = np.asarray(sum((distance_mm >= edge).astype(np.uint8) for edge in BONE_EDGES_MM[1:-1]))
        for row, counted in zip(counts, (region & predicted & ~true, region & ~true), strict=True):
            row += np.bincount(bins[counted], minlength=len(row))
    return {
        "edges_mm": list(BONE_EDGES_MM),
        "predicted_px": counts[0].tolist(),
        "intracranial_px": counts[1].tolist(),
    }
