"""Lesion-wise scores: one-to-one matching by hand and against brute force, recall under 1 mL, HD95 with a penalty."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from ichjax.metrics import lesion_wise, lesions
from ichjax.metrics.per_scan import measure_scan
from ichjax.scan import volume

PIXEL_MM, SLICE_MM = (2.0, 2.0), 5.0  # a voxel has 0.02 mL


def head(shape=(4, 24, 24)):
    affine = np.diag([-PIXEL_MM[1], -PIXEL_MM[0], SLICE_MM, 1.0])
    return volume.from_file_grid(np.full(shape, 30, np.int16).transpose(2, 1, 0), affine, name="made")


def boxes(*ranges, shape=(4, 24, 24)):
    mask = np.zeros(shape, bool)
    for box in ranges:
        mask[tuple(slice(*edges) for edges in box)] = True
    return mask


def score(*pairs):
    """`lesion_wise` of scans given as (truth, prediction)."""
    details = [measure_scan(truth, prediction, None, head(truth.shape), rule_mm2=43.6) for truth, prediction in pairs]
    return lesion_wise.lesion_wise(details, list(range(49, 49 + len(pairs))))


LEFT, RIGHT = ((1, 2), (2, 6), (2, 6)), ((1, 2), (2, 6), (10, 14))  # 16 voxels each, 0.32 mL
BRIDGE = ((1, 2), (3, 4), (6, 10))


def test_two_lesions_under_one_prediction_are_one_hit_and_one_miss():
    got = score((boxes(LEFT, RIGHT), boxes(LEFT, BRIDGE, RIGHT)))
    assert (got["true_positives"], got["false_negatives"], got["false_positives"]) == (1, 1, 0)
    assert got["f1"]["value"] == pytest.approx(2 / 3)
    assert (got["recall"]["value"], got["precision"]["value"]) == (0.5, 1.0)


def test_one_lesion_under_two_predictions_is_one_hit_and_one_false_positive():
    got = score((boxes(LEFT, BRIDGE, RIGHT), boxes(LEFT, RIGHT)))
    assert (got["true_positives"], got["false_negatives"], got["false_positives"]) == (1, 0, 1)
    assert got["f1"]["value"] == pytest.approx(2 / 3)
    assert (got["recall"]["value"], got["precision"]["value"]) == (1.0, 0.5)


def test_as_many_pairs_as_possible_even_if_a_larger_overlap_is_given_up():
    """The long prediction overlaps the left lesion most, but the left lesion has another partner as well."""
    truth = boxes(((1, 2), (2, 6), (2, 8)), ((1, 2), (2, 6), (10, 14)))
    prediction = boxes(((1, 2), (2, 6), (4, 11)), ((1, 2), (2, 6), (2, 3)))
    got = score((truth, prediction))
    assert (got["true_positives"], got["false_negatives"], got["false_positives"]) == (2, 0, 0)


def test_voxels_that_share_a_corner_are_one_lesion():
    truth = boxes(((0, 1), (2, 6), (2, 6)), ((1, 2), (6, 10), (6, 10)))  # touch at one corner, across slices
    got = score((truth, truth))
    assert (got["true_positives"], got["f1"]["value"]) == (1, 1.0)


def test_a_tenth_of_the_lesion_must_be_covered_and_specks_are_ignored():
    truth = boxes(((1, 2), (2, 6), (2, 12)))  # 40 voxels
    for covered, hits in ((3, 0), (4, 1)):
        got = score((truth, boxes(((1, 2), (2, 3), (12 - covered, 18)))))
        assert (got["true_positives"], got["false_positives"]) == (hits, 1 - hits)
    speck = boxes(((3, 4), (20, 21), (20, 22)))  # 0.04 mL
    for pair in ((truth | speck, truth), (truth, truth | speck)):
        assert (score(pair)["f1"]["value"], score(pair)["f1"]["n"]) == (1.0, 2)


def brute_force(truth, prediction):
    """(pairs, true lesions, predicted lesions) of the best of all one-to-one pairings."""
    names = [scipy.ndimage.label(mask, np.ones((3, 3, 3))) for mask in (truth, prediction)]
    true, predicted = ([labels == k for k in range(1, n + 1)] for labels, n in names)
    true, predicted = ([c for c in components if c.sum() * 0.02 > 0.0499] for components in (true, predicted))
    can = [[(t & p).sum() >= 0.1 * t.sum() - 1e-6 for p in predicted] for t in true]
    slots = [*range(len(predicted)), *[None] * len(true)]
    best = 0
    for chosen in itertools.permutations(slots, len(true)):
        best = max(best, sum(p is not None and can[t][p] for t, p in enumerate(chosen)))
    return best, len(true), len(predicted)


@given(st.integers(0, 10**6), st.floats(0.05, 0.35))
def test_the_number_of_pairs_agrees_with_brute_force(seed, share):
    """Random runs of three voxels, 0.06 mL, in 2 slices of 8 x 12."""
    starts = np.random.default_rng(seed).random((2, 2, 8, 4)) < share
    truth, prediction = np.repeat(starts, 3, axis=3)
    prediction = np.roll(prediction, 1, axis=2)
    pairs, n_true, n_predicted = brute_force(truth, prediction)
    matched, _ = lesions.match_lesions(truth, prediction, None, pixel_ml=np.full(2, 0.02), pixel_mm=PIXEL_MM)
    assert sum(lesion["matched"] for lesion in matched["truth"]) == pairs
    assert sum(lesion["matched"] for lesion in matched["predicted"]) == pairs
    assert (len(matched["truth"]), len(matched["predicted"])) == (n_true, n_predicted)


def test_recall_under_1_ml():
    """Lesions of 0.98 and 1.00 mL: only the first is under 1 mL. 0.32 mL is missed."""
    under, one = ((0, 1), (0, 7), (0, 7)), ((2, 3), (10, 15), (10, 20))
    got = score((boxes(under, one, ((0, 1), (16, 20), (16, 20))), boxes(under, one)))
    assert got["recall_under_1_ml"] == {"value": 0.5, "ci95": None, "n": 2}
    assert got["recall"]["value"] == pytest.approx(2 / 3)
    assert score((boxes(one), boxes(one)))["recall_under_1_ml"] == {"value": None, "ci95": None, "n": 0}


def test_rates_are_over_all_scans_and_f1_per_scan_over_those_with_a_lesion():
    none, left, both = boxes(), boxes(LEFT), boxes(LEFT, RIGHT)
    got = score((both, both), (left, none), (none, left), (none, none))
    assert (got["true_positives"], got["false_negatives"], got["false_positives"]) == (2, 1, 1)
    assert got["f1"] == {"value": pytest.approx(4 / 6), "ci95": None, "n": 6}
    assert (got["f1_per_scan"]["mean"], got["f1_per_scan"]["n"]) == (pytest.approx(1 / 3), 3)
    assert [scan["f1"] for scan in got["subjects"]] == [1.0, 0.0, 0.0, None]
    assert [scan["subject"] for scan in got["subjects"]] == [49, 50, 51, 52]


def test_hd95_counts_a_penalty_where_one_mask_is_empty_and_0_where_both_are():
    """The diagonal of 4 x 24 x 24 voxels of 5 x 2 x 2 mm."""
    none, left, both = boxes(), boxes(LEFT), boxes(LEFT, RIGHT)
    diagonal = np.sqrt(20**2 + 48**2 + 48**2)
    got = score((left, left), (both, none), (none, left), (none, none))["hd95_mm"]
    assert [got[name] for name in ("misses", "false_alarms", "both_empty")] == [1, 1, 1]
    assert got["penalty_mm"] == pytest.approx([diagonal, diagonal])
    assert (got["hemorrhage"]["mean"], got["hemorrhage"]["n"]) == (pytest.approx(diagonal / 2), 2)
    assert (got["all_scans"]["mean"], got["all_scans"]["n"]) == (pytest.approx(diagonal / 2), 4)
    moved = score((left, boxes(((1, 2), (2, 6), (5, 9)))))  # by 3 pixels of 2 mm
    assert moved["hd95_mm"]["hemorrhage"]["mean"] == pytest.approx(6.0)
    assert moved["subjects"][0]["hd95_mm"] == pytest.approx(6.0)


def test_intervals_resample_scans():
    left, none = boxes(LEFT), boxes()
    got = score(*[(left, left)] * 6, *[(left, none)] * 4)
    low, high = got["recall"]["ci95"]
    assert low < got["recall"]["value"] == 0.6 < high
    assert got["recall"]["n"] == got["recall_under_1_ml"]["n"] == 10


def test_details_of_an_older_version_give_none():
    details = measure_scan(boxes(LEFT), boxes(LEFT), None, head(), rule_mm2=43.6)
    del details["diagonal_mm"]
    assert lesion_wise.lesion_wise([details], [1]) is None
