"""Lesions: connected components of the truth and of a prediction, which were found, and how large they are.

On the host with SciPy, inside the box that holds both masks: how many components there are depends on the data, and
labelling is a sequential sweep that a CPU does in milliseconds.
"""

import numpy as np
import scipy.ndimage
import scipy.spatial

from ichjax.metrics.overlap import dice
from ichjax.metrics.surface import bounding_box

LEAST_ML = 0.05  # smaller components are no lesions, in the truth or in a prediction
FOUND_SHARE = 0.1  # of a lesion's voxels that must be predicted
ROUNDING = 1e-9
NEIGHBOURS = np.ones((3, 3, 3), bool)  # the 26 that share at least a corner


def find(
    truth: np.ndarray,
    prediction: np.ndarray,
    probability: np.ndarray | None,
    *,
    pixel_ml: np.ndarray,
    pixel_mm: tuple[float, float],
) -> tuple[dict, np.ndarray]:
    """The lesions of a scan and the predicted components, and the diameter of the truth in each slice.

    Args:
      truth, prediction: bool [D, H, W].
      probability: uint8 [D, H, W], 255 is 1; None where there is none.
      pixel_ml: float [D], the volume of a pixel of each slice.
      pixel_mm: between rows and between columns.

    Returns:
      ({'truth': [{'ml', 'diameter_mm', 'covered', 'found', 'score', 'dice'}], 'predicted': [{'ml', 'score',
      'false_positive'}]}, float [D] diameters in mm), components of at least `LEAST_ML` only.
      Of a lesion: 'diameter_mm' is the largest in-plane Feret diameter of its sections; 'covered' the share of its
      voxels that are predicted, and it is 'found' from `FOUND_SHARE` on; 'dice' compares it with the predicted
      components (of any size) that overlap it; 'score' is the highest score that the predicted components could be
      held to with the lesion still found, None where it is not found.
      A predicted component's 'score' is its largest probability in [0, 1] (1.0 without probabilities); it is a
      'false_positive' where it overlaps no true voxel at all.
    """
    diameters_mm = np.zeros(len(truth))
    box = bounding_box(truth | prediction)
    truth, prediction, ml = truth[box], prediction[box], np.asarray(pixel_ml, dtype=np.float64)[box[0]]
    true_labels, n_true = _labels(truth, NEIGHBOURS)
    labels, n_predicted = _labels(prediction, NEIGHBOURS)
    lesion, component = true_labels[truth], labels[prediction]  # of each voxel
    scores = np.ones(n_predicted + 1)
    if probability is not None and n_predicted:
        levels = np.zeros(n_predicted + 1, np.uint8)
        np.maximum.at(levels, component, probability[box][prediction])
        scores[1:] = levels[1:] / 255.0
    both = truth & prediction
    pairs, voxels = np.unique(true_labels[both].astype(np.int64) * (n_predicted + 1) + labels[both], return_counts=True)
    pairs = np.stack(np.divmod(pairs, n_predicted + 1))
    predicted_ml = np.bincount(component, weights=_voxels_ml(prediction, ml), minlength=n_predicted + 1)
    false_positive = np.bincount(pairs[1], minlength=n_predicted + 1) == 0
    predicted = [
        {"ml": float(predicted_ml[i]), "score": float(scores[i]), "false_positive": bool(false_positive[i])}
        for i in np.flatnonzero(predicted_ml >= LEAST_ML - ROUNDING)
    ]
    section_voxels, section_mm = sections(truth, pixel_mm)
    np.maximum.at(diameters_mm[box[0]], section_voxels[:, 0], section_mm)
    lesions = _found(lesion, pairs, voxels, np.bincount(component, minlength=n_predicted + 1), scores)
    diameter_mm = np.zeros(n_true + 1)
    np.maximum.at(diameter_mm, true_labels[tuple(section_voxels.T)], section_mm)
    true_ml = np.bincount(lesion, weights=_voxels_ml(truth, ml), minlength=n_true + 1)
    large = np.flatnonzero(true_ml >= LEAST_ML - ROUNDING)
    details = [{"ml": float(true_ml[i]), "diameter_mm": float(diameter_mm[i]), **lesions[i]} for i in large]
    return {"truth": details, "predicted": predicted}, diameters_mm


def _labels(mask: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, int]:
    """(int32 [D, H, W], the component of each voxel from 1 on, 0 outside; how many there are)."""
    labels, box = np.zeros(mask.shape, np.int32), bounding_box(mask)
    return labels, scipy.ndimage.label(mask[box], neighbours, output=labels[box])


def _voxels_ml(mask: np.ndarray, pixel_ml: np.ndarray) -> np.ndarray:
    """float [N]: the volume of each true voxel, in their order."""
    return np.repeat(pixel_ml, [np.count_nonzero(pixels) for pixels in mask])


def _found(
    true_labels: np.ndarray, pairs: np.ndarray, voxels: np.ndarray, predicted_voxels: np.ndarray, scores: np.ndarray
) -> dict[int, dict]:
    """{lesion: {'covered', 'found', 'score', 'dice'}}.

    Args:
      true_labels: int [N], the lesion of each true voxel.
      pairs: int [2, M], lesions and predicted components that overlap; `voxels` int [M], in how many voxels.
      predicted_voxels: int [P + 1]; `scores` float [P + 1], of the predicted components.
    """
    found = {}
    for lesion, size in enumerate(np.bincount(true_labels)[1:], start=1):
        mine = pairs[0] == lesion
        parts, overlap = pairs[1, mine], voxels[mine]
        order = np.argsort(-scores[parts], kind="stable")
        enough = np.cumsum(overlap[order]) / size >= FOUND_SHARE - ROUNDING
        covered = overlap.sum() / size
        found[lesion] = {
            "covered": float(covered),
            "found": bool(enough.any()),
            "score": float(scores[parts][order][enough.argmax()]) if enough.any() else None,
            "dice": float(dice(size, predicted_voxels[parts].sum(), overlap.sum(), empty=np.nan)),
        }
    return found


def sections(mask: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(int [M, 3] a voxel of each connected section of a slice, float [M] its largest Feret diameter in mm).

    Args:
      mask: bool [D, H, W].
      pixel_mm: between rows and between columns.
    """
    in_plane = NEIGHBOURS.copy()
    in_plane[[0, 2]] = False
    labels, n = _labels(mask, in_plane)
    voxels, diameters_mm = np.zeros((n, 3), int), np.zeros(n)
    for i, box in enumerate(scipy.ndimage.find_objects(labels) if n else ()):
        section = labels[box][0] == i + 1
        voxels[i] = [edge.start for edge in box]
        voxels[i, 2] += section[0].argmax()
        diameters_mm[i], _ = axes_mm(section, pixel_mm)
    return voxels, diameters_mm


def axes_mm(section: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    """(the largest Feret diameter, the width across it), both in mm.

    The diameter is the longest line between two points of the section's pixels, taken as rectangles, so that one pixel
    has the length of its diagonal.

    Args:
      section: bool [H, W], at least one pixel.
      pixel_mm: between rows and between columns.
    """
    rows = np.flatnonzero(section.any(axis=1))
    first = section[rows].argmax(axis=1)
    last = section.shape[1] - section[rows, ::-1].argmax(axis=1)
    corners = [np.stack([rows + side, column], axis=1) for side in (0, 1) for column in (first, last)]
    corners = np.concatenate(corners) * np.asarray(pixel_mm, dtype=np.float64)
    hull = corners[scipy.spatial.ConvexHull(corners).vertices]
    apart = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(hull))
    one, other = np.unravel_index(apart.argmax(), apart.shape)
    along = (hull[other] - hull[one]) / apart[one, other]
    across = hull @ np.array([-along[1], along[0]])
    return float(apart[one, other]), float(np.ptp(across))
