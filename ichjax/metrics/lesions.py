"""Lesion-wise scores: connected components of truth and prediction, which lesions are detected, and their diameters.

It runs on the host with SciPy, inside the bounding box of both masks, since the number of components depends on the
data and a CPU labels them in milliseconds.
"""

import numpy as np
import scipy.ndimage
import scipy.optimize
import scipy.spatial

from ichjax.metrics.overlap import dice
from ichjax.metrics.secondary_records import LesionDetails, LesionMatch, PredictedComponent, TrueLesion
from ichjax.metrics.surface import bounding_box

MIN_LESION_ML = 0.05  # smaller components are not lesions, in truth or prediction
MIN_COVERED = 0.1  # share of a lesion's voxels that must be predicted for it to be detected
ROUNDING = 1e-9
NEIGHBORS = np.ones((3, 3, 3), bool)  # the 26 that share at least a corner


def match_lesions(
    truth: np.ndarray,
    prediction: np.ndarray,
    probability: np.ndarray | None,
    *,
    pixel_ml: np.ndarray,
    pixel_mm: tuple[float, float],
) -> tuple[LesionDetails, np.ndarray]:
    """Matches true lesions with predicted components, and measures the truth's diameter in each slice.

    Args:
      truth, prediction: bool [D, H, W].
      probability: uint8 [D, H, W], 255 is 1; None where there is none.
      pixel_ml: float [D], volume of a pixel of each slice.
      pixel_mm: pixel size (rows, columns).

    Returns:
      (components of at least `MIN_LESION_ML`, float [D] diameters in mm). Of a lesion, `diameter_mm` is the largest
      in-plane Feret diameter of its sections, `covered` the share of its voxels that are predicted, `found` whether
      that is at least `MIN_COVERED`, `dice` compares it with the predicted components (of any size) that overlap it,
      and `score` is the highest threshold on the components' scores at which it is still found, None where it is not.
      A predicted component's `score` is its largest probability (1.0 without probabilities); it is a `false_positive`
      if it overlaps no true voxel. `matched` of both: see `match_one_to_one`.
    """
    diameters_mm = np.zeros(len(truth))
    box = bounding_box(truth | prediction)
    truth, prediction, ml = truth[box], prediction[box], np.asarray(pixel_ml, dtype=np.float64)[box[0]]
    true_labels, n_true = _labels(truth, NEIGHBORS)
    labels, n_predicted = _labels(prediction, NEIGHBORS)
    lesion, component = true_labels[truth], labels[prediction]  # label of each true and each predicted voxel
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
    section_voxels, section_mm = section_diameters(truth, pixel_mm)
    np.maximum.at(diameters_mm[box[0]], section_voxels[:, 0], section_mm)
    matches = _matches(lesion, pairs, voxels, np.bincount(component, minlength=n_predicted + 1), scores)
    diameter_mm = np.zeros(n_true + 1)
    np.maximum.at(diameter_mm, true_labels[tuple(section_voxels.T)], section_mm)
    true_ml = np.bincount(lesion, weights=_voxels_ml(truth, ml), minlength=n_true + 1)
    large = [np.flatnonzero(ml_of >= MIN_LESION_ML - ROUNDING) for ml_of in (true_ml, predicted_ml)]
    matched = match_one_to_one(pairs, voxels, np.bincount(lesion, minlength=n_true + 1), *large)
    lesions: list[TrueLesion] = [
        {
            "ml": float(true_ml[i]),
            "diameter_mm": float(diameter_mm[i]),
            **matches[i - 1],
            "matched": bool(i in matched[0]),
        }
        for i in large[0]
    ]
    predicted: list[PredictedComponent] = [
        {
            "ml": float(predicted_ml[i]),
            "score": float(scores[i]),
            "false_positive": bool(false_positive[i]),
            "matched": bool(i in matched[1]),
        }
        for i in large[1]
    ]
    return {"truth": lesions, "predicted": predicted}, diameters_mm


def _labels(mask: np.ndarray, neighbors: np.ndarray) -> tuple[np.ndarray, int]:
    """(int32 [D, H, W], component of each voxel from 1 on, 0 outside; number of components)."""
    labels, box = np.zeros(mask.shape, np.int32), bounding_box(mask)
    return labels, scipy.ndimage.label(mask[box], neighbors, output=labels[box])


def _voxels_ml(mask: np.ndarray, pixel_ml: np.ndarray) -> np.ndarray:
    """float [N]: volume of each true voxel, in the order of `array[mask]`."""
    return np.repeat(pixel_ml, [np.count_nonzero(pixels) for pixels in mask])


def _matches(
    true_labels: np.ndarray, pairs: np.ndarray, voxels: np.ndarray, predicted_voxels: np.ndarray, scores: np.ndarray
) -> list[LesionMatch]:
    """The match of each lesion, in the order of labels.

    Args:
      true_labels: int [N], the lesion of each true voxel.
      pairs: int [2, M], lesions and predicted components that overlap.
      voxels: int [M], size of each overlap.
      predicted_voxels, scores: int and float [P + 1], size and score of each predicted component by label.
    """
    matches: list[LesionMatch] = []
    for lesion, size in enumerate(np.bincount(true_labels)[1:], start=1):
        components, overlap = pairs[1, pairs[0] == lesion], voxels[pairs[0] == lesion]
        order = np.argsort(-scores[components], kind="stable")
        enough = np.cumsum(overlap[order]) / size >= MIN_COVERED - ROUNDING
        matches.append(
            {
                "covered": float(overlap.sum() / size),
                "found": bool(enough.any()),
                "score": float(scores[components][order][enough.argmax()]) if enough.any() else None,
                "dice": float(dice(size, predicted_voxels[components].sum(), overlap.sum(), empty=np.nan)),
            }
        )
    return matches


def match_one_to_one(
    pairs: np.ndarray, voxels: np.ndarray, true_voxels: np.ndarray, lesions: np.ndarray, components: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs true lesions with predicted components, each at most once.

    A component can be paired with a lesion of which it covers at least `MIN_COVERED`. Of all ways to pair them, one
    with the most pairs is taken, and of these the one with the most common voxels (assignment problem).

    Args:
      pairs: int [2, M], labels of lesions and components that overlap.
      voxels: int [M], size of each overlap.
      true_voxels: int [N + 1], size of each true component by label.
      lesions, components: int, labels of the true and of the predicted components to pair.

    Returns:
      (labels of the lesions, labels of the components) that have a partner, in the order of pairs.
    """
    weight = np.zeros((len(lesions), len(components)))
    row, column = np.searchsorted(lesions, pairs[0]), np.searchsorted(components, pairs[1])
    kept = np.isin(pairs[0], lesions) & np.isin(pairs[1], components)
    kept &= voxels >= (MIN_COVERED - ROUNDING) * true_voxels[pairs[0]]
    # All overlaps together add less than one more pair does.
    weight[row[kept], column[kept]] = 1.0 + voxels[kept] / (voxels.sum() + 1.0)
    row, column = scipy.optimize.linear_sum_assignment(weight, maximize=True)
    paired = weight[row, column] > 0
    return lesions[row[paired]], components[column[paired]]


def section_diameters(mask: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Largest Feret diameter of each section, that is, of each connected component of a slice.

    Args:
      mask: bool [D, H, W].
      pixel_mm: pixel size (rows, columns).

    Returns:
      (int [M, 3], a voxel of each section; float [M], its diameter in mm).
    """
    in_plane = NEIGHBORS.copy()
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
    """(largest Feret diameter, width perpendicular to it) of a section, in mm.

    Pixels are rectangles: the diameter of a single pixel is its diagonal.

    Args:
      section: bool [H, W], at least one pixel.
      pixel_mm: pixel size (rows, columns).
    """
    rows = np.flatnonzero(section.any(axis=1))
    first = section[rows].argmax(axis=1)
    last = section.shape[1] - section[rows, ::-1].argmax(axis=1)
    corners = np.concatenate(
        [np.stack([rows + side, column], axis=1) for side in (0, 1) for column in (first, last)]
    ) * np.asarray(pixel_mm, dtype=np.float64)
    hull = corners[scipy.spatial.ConvexHull(corners).vertices]
    distances = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(hull))
    one, other = np.unravel_index(distances.argmax(), distances.shape)
    along = (hull[other] - hull[one]) / distances[one, other]
    across = hull @ np.array([-along[1], along[0]])
    return float(distances[one, other]), float(np.ptp(across))
