"""Lesion matching and Feret diameters, by hand and against SciPy and OpenCV."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial
from hypothesis import given
from hypothesis import strategies as st

from ichjax.metrics import lesions

SHAPE = (4, 12, 16)
PIXEL_ML = np.array([0.05, 0.05, 0.05, 0.1])  # the last slice is twice as thick
PIXEL_MM = (2.0, 1.0)


def box(*ranges, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def match(truth, prediction, probability=None):
    return lesions.match_lesions(truth, prediction, probability, pixel_ml=PIXEL_ML, pixel_mm=PIXEL_MM)


def test_by_hand():
    truth = box((0, 2), (0, 2), (0, 5)) | box((3, 4), (8, 10), (8, 13))  # 20 voxels at the border; 10 in the top slice
    prediction = box((0, 1), (0, 1), (3, 7)) | box((2, 3), (5, 6), (0, 1))  # two of its 4 voxels on the first; a speck
    probability = np.zeros(SHAPE, np.uint8)
    probability[prediction] = 128
    probability[0, 0, 6] = 255
    got, diameters_mm = match(truth, prediction, probability)
    first, second = got["truth"]
    assert first == {
        "ml": pytest.approx(1.0),
        "diameter_mm": pytest.approx(np.hypot(4, 5)),  # 2 rows of 2 mm, 5 columns of 1 mm
        "covered": pytest.approx(0.1),
        "found": True,  # 10 % is enough
        "score": 1.0,
        "dice": pytest.approx(2 * 2 / (20 + 4)),
        "matched": True,
    }
    assert second["ml"] == pytest.approx(1.0)  # half the voxels at twice the thickness
    assert (second["covered"], second["found"], second["score"], second["dice"]) == (0.0, False, None, 0.0)
    assert second["matched"] is False
    assert got["predicted"] == [
        {"ml": pytest.approx(0.2), "score": 1.0, "false_positive": False, "matched": True},
        {"ml": pytest.approx(0.05), "score": pytest.approx(128 / 255), "false_positive": True, "matched": False},
    ]
    np.testing.assert_allclose(diameters_mm, [np.hypot(4, 5), np.hypot(4, 5), 0, np.hypot(4, 5)])


def test_empty_masks():
    none, some = np.zeros(SHAPE, bool), box((1, 2), (3, 5), (3, 5))
    assert match(none, none)[0] == {"truth": [], "predicted": []}
    missed, diameters_mm = match(some, none)
    assert missed["predicted"] == []
    assert missed["truth"][0]["found"] is False
    assert diameters_mm.tolist() == [0, pytest.approx(np.hypot(4, 2)), 0, 0]
    invented, diameters_mm = match(none, some)
    false = {"ml": pytest.approx(0.2), "score": 1.0, "false_positive": True, "matched": False}
    assert invented == {"truth": [], "predicted": [false]}
    assert not diameters_mm.any()


def test_components_below_the_minimum_volume_are_not_lesions_but_still_overlap():
    """Below 0.05 mL a true component is not counted, and a predicted component that overlaps it is not false."""
    truth = box((0, 1), (0, 1), (0, 1))
    pixel_ml = np.full(4, 0.04)
    prediction = box((0, 1), (0, 1), (0, 2))
    got, diameters_mm = lesions.match_lesions(truth, prediction, None, pixel_ml=pixel_ml, pixel_mm=PIXEL_MM)
    without_partner = {"ml": pytest.approx(0.08), "score": 1.0, "false_positive": False, "matched": False}
    assert got == {"truth": [], "predicted": [without_partner]}
    assert diameters_mm[0] == pytest.approx(np.hypot(2, 1))  # one pixel: its diagonal


def test_voxels_that_share_a_corner_are_one_lesion():
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True  # share a corner
    mask[1, 1, 2] = mask[1, 2, 3] = mask[2, 3, 3] = True  # a side; an edge in the slice; an edge across slices
    assert len(match(mask, mask)[0]["truth"]) == 1


def test_score_is_the_highest_at_which_enough_is_still_covered():
    truth = box((0, 1), (0, 2), (0, 15))  # 30 voxels: 3 are enough
    prediction = box((0, 1), (0, 1), (0, 2)) | box((0, 1), (0, 1), (5, 6)) | box((0, 1), (0, 1), (9, 14))
    probability = np.zeros(SHAPE, np.uint8)
    probability[0, 0, :3], probability[0, 0, 5], probability[0, 0, 9:14] = 250, 200, 100
    (lesion,) = match(truth, prediction, probability)[0]["truth"]
    assert lesion["score"] == pytest.approx(200 / 255)  # 2 voxels at 250, and the third at 200
    assert lesion["covered"] == pytest.approx(8 / 30)


def largest_section_mm(mask):
    """The longest distance between pixel corners of one section, from OpenCV's labels of each slice."""
    longest = 0.0
    for pixels in mask[mask.any(axis=(1, 2))]:
        n, labels = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
        for i in range(1, n):
            rows, columns = np.nonzero(labels == i)
            ys, xs = (np.add.outer(side, (0, 1)) * mm for side, mm in zip((rows, columns), PIXEL_MM, strict=True))
            corners = np.stack([ys[:, [0, 0, 1, 1]], xs[:, [0, 1, 0, 1]]], axis=-1).reshape(-1, 2)
            longest = max(longest, scipy.spatial.distance.pdist(corners).max())
    return longest


def test_agrees_with_scipy_on_random_masks():
    """Every lesion and component as a mask of its own, on 210 pairs of masks."""
    rng, shape = np.random.default_rng(26), (4, 6, 8)
    element = scipy.ndimage.generate_binary_structure(3, 3)
    for _ in range(210):
        truth, prediction = (rng.random(shape) < rng.choice([0.05, 0.15, 0.3]) for _ in range(2))
        probability = rng.integers(1, 256, shape).astype(np.uint8)
        got, diameters_mm = match(truth, prediction, probability)
        labels, n = scipy.ndimage.label(truth, element)
        others, n_others = scipy.ndimage.label(prediction, element)
        by_slice = [largest_section_mm(pixels[None]) for pixels in truth]
        np.testing.assert_allclose(diameters_mm, by_slice)
        expected = []
        for mine in (labels == i for i in range(1, n + 1)):
            touching, covered = np.isin(others, others[mine & prediction]) & prediction, prediction[mine].mean()
            dice = 2 * (mine & touching).sum() / (mine.sum() + touching.sum())
            expected.append([volume_ml(mine), covered, covered >= 0.1, dice, largest_section_mm(mine)])
        assert_rows(got["truth"], ("ml", "covered", "found", "dice", "diameter_mm"), expected)
        each = [others == i for i in range(1, n_others + 1)]
        expected = [[volume_ml(mine), probability[mine].max() / 255, not truth[mine].any()] for mine in each]
        assert_rows(got["predicted"], ("ml", "score", "false_positive"), expected)


def volume_ml(mask):
    return (mask * PIXEL_ML[:, None, None]).sum()


def assert_rows(rows, keys, expected):
    assert len(rows) == len(expected)
    np.testing.assert_allclose([[row[key] for key in keys] for row in rows], expected)


@given(seed=st.integers(0, 10_000), pixel_mm=st.sampled_from([(1.0, 1.0), (0.42, 0.42), (2.0, 0.7)]))
def test_diameter_agrees_with_opencv(seed, pixel_mm):
    """Every pair of pixel corners on OpenCV's outline, on ten sections per example."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        labels, _ = scipy.ndimage.label(rng.random((9, 11)) < 0.5, np.ones((3, 3)))
        section = labels == max(1, rng.integers(labels.max() + 1))
        outlines, _ = cv2.findContours(section.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = np.concatenate(outlines)[:, 0, ::-1]
        corners = np.concatenate([np.add(points, (a, b)) for a in (0, 1) for b in (0, 1)]) * pixel_mm
        expected = np.linalg.norm(corners[:, None] - corners[None], axis=-1).max()
        assert lesions.axes_mm(section, pixel_mm)[0] == pytest.approx(expected)
