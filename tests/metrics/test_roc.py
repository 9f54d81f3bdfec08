"""Slice scores, ROC, precision-recall and FROC curves, by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ichjax.metrics import roc, slice_detection
from tests.expected import SLICE_RULE_MM2


def test_slice_scores_by_hand():
    probability = np.zeros((3, 2, 3), np.uint8)
    probability[0] = [[255, 200, 100], [100, 51, 0]]
    probability[1, 1, 2] = 255  # one pixel in a corner
    assert roc.slice_scores(probability, 1).tolist() == [1.0, 1.0, 0.0]
    assert roc.slice_scores(probability, 2) == pytest.approx([200 / 255, 0.0, 0.0])
    assert roc.slice_scores(probability, 4) == pytest.approx([100 / 255, 0.0, 0.0])  # a tie
    assert roc.slice_scores(probability, 7).tolist() == [0.0, 0.0, 0.0]  # more than there are


def test_slice_scores_agree_with_sorting_on_random_slices():
    rng = np.random.default_rng(0)
    for _ in range(50):
        probability = (rng.random((4, 7, 9)) ** 3 * 255).astype(np.uint8)
        n = int(rng.integers(1, 63))
        expected = np.sort(probability.reshape(4, -1), axis=1)[:, -n] / 255
        np.testing.assert_array_equal(roc.slice_scores(probability, n), expected)


@given(
    rule_mm2=st.sampled_from([SLICE_RULE_MM2, 0.0, 1.0, 43.56, 100.0]) | st.floats(0, 200),
    side_mm=st.sampled_from([0.33, 0.419, 1.0, 6.0]) | st.floats(0.1, 8),
    threshold=st.integers(0, 255),
    seed=st.integers(0, 1000),
)
def test_slice_score_matches_the_area_rule_at_every_threshold(rule_mm2, side_mm, threshold, seed):
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, 256, (3, 20, 25)).astype(np.uint8)
    pixel_mm2 = side_mm * side_mm
    above_px = (probability / 255.0 > threshold / 255.0).sum(axis=(1, 2))
    predicted_positive = slice_detection.exceeds_rule(above_px, pixel_mm2, rule_mm2=rule_mm2)
    scores = roc.slice_scores(probability, roc.min_pixels_above(rule_mm2, pixel_mm2))
    np.testing.assert_array_equal(scores > threshold / 255.0, predicted_positive)


def test_detection_by_hand():
    got = roc.detection_curves(np.array([0.9, 0.7, 0.7, 0.2]), np.array([True, True, False, False]))
    assert got["roc"] == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]
    assert got["area"] == pytest.approx(0.875)
    assert got["precision_recall"] == [[0, 1], [0.5, 1], [1, pytest.approx(2 / 3)], [1, 0.5]]
    assert got["average_precision"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert (got["positives"], got["negatives"]) == (2, 2)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_no_curve_with_one_class(positive):
    assert roc.detection_curves(np.linspace(0, 1, len(positive)), np.array(positive, bool)) is None


def test_detection_agrees_with_scikit_learn():
    """200 random sets, most with many ties; thinned curves lie on the full ones."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        n = int(rng.integers(2, 700))
        positive = rng.random(n) < rng.uniform(0.1, 0.9)
        positive[:2] = True, False
        scores = rng.normal(positive * 1.0)
        levels = rng.choice([1, 4, 50, 0])
        scores = np.round(scores * levels) if levels else scores
        got = roc.detection_curves(scores, positive)
        assert got["area"] == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)
        assert got["average_precision"] == pytest.approx(metrics.average_precision_score(positive, scores), abs=1e-12)
        whole = list(zip(*metrics.roc_curve(positive, scores, drop_intermediate=False)[:2], strict=True))
        precision, recall, _ = metrics.precision_recall_curve(positive, scores)
        assert_on(got["roc"], np.array(whole))
        assert_on(got["precision_recall"], np.stack([recall, precision], axis=1)[::-1])


def assert_on(points, whole):
    """The points are all of the full curve up to 200, else evenly spaced points of it with both ends."""
    assert len(points) <= 200
    if len(whole) <= 200:
        np.testing.assert_allclose(points, whole, atol=1e-12)
    else:
        distance = np.abs(np.array(points)[:, None] - whole[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-12
        np.testing.assert_allclose([points[0], points[-1]], [whole[0], whole[-1]], atol=1e-12)
        length = (np.abs(np.diff(whole, axis=0)) / np.ptp(whole, axis=0)).sum()  # as drawn
        assert distance.min(axis=0).max() <= length / 199  # nothing between two points is farther away


def test_free_response_by_hand():
    """Two scans; one of three lesions is never detected; three false positives."""
    got = roc.free_response([0.9, 0.5, None], [0.8, 0.8, 0.4], scans=2)
    assert got["curve"] == [
        [0, 0],
        [0, pytest.approx(1 / 3)],  # at 0.9
        [1, pytest.approx(1 / 3)],  # at 0.8
        [1, pytest.approx(2 / 3)],  # at 0.5
        [1.5, pytest.approx(2 / 3)],  # at 0.4
    ]
    assert got["at"] == {key: pytest.approx(v / 3) for key, v in {"0.5": 1, "1": 2, "2": 2, "4": 2}.items()}
    assert (got["lesions"], got["found"], got["false_positives"]) == (3, 2, 3)


def test_free_response_without_lesions_or_detections():
    none = roc.free_response([], [0.5], scans=3)
    assert (none["curve"], set(none["at"].values()), none["false_positives"]) == ([], {None}, 1)
    missed = roc.free_response([None, None], [], scans=3)
    assert missed["curve"] == [[0, 0]]
    assert set(missed["at"].values()) == {0.0}


@given(seed=st.integers(0, 10_000))
def test_free_response_agrees_with_counting_at_each_threshold(seed):
    rng = np.random.default_rng(seed)
    found = [None if rng.random() < 0.3 else float(rng.integers(0, 10)) for _ in range(rng.integers(1, 20))]
    false = rng.integers(0, 10, rng.integers(0, 20)).astype(float)
    got = np.array(roc.free_response(found, false, scans=4)["curve"])
    levels = [t for t in range(9, -1, -1) if t in found or t in false]
    for (false_a_scan, sensitivity), t in zip(got[1:], levels, strict=True):
        assert false_a_scan == sum(score >= t for score in false) / 4
        assert sensitivity == sum(score is not None and score >= t for score in found) / len(found)
