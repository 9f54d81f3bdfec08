"""Secondary metrics of one scan, by hand, against SciPy, and on bad input."""

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance

from ichjax.errors import InputError
from ichjax.metrics import slice_detection
from ichjax.metrics.per_scan import measure_scan, measure_seams
from ichjax.scan import volume
from tests.expected import SLICE_RULE_MM2

SIDE = 64
POSITIONS_MM = np.array([0.0, 5.0, 10.0, 20.0])  # the last gap is twice as wide


@pytest.fixture
def head():
    """A round skull in air, [4, 64, 64] of 2 x 2 mm; the slices are not evenly spaced."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    plane = np.select([np.hypot(y, x) < 25, np.hypot(y, x) < 29], [35, 900], -1000)
    hu = np.repeat(plane[None], 4, axis=0)
    affine = np.diag([-2.0, -2.0, 5.0, 1.0])
    origins = np.stack([np.zeros(4), np.zeros(4), POSITIONS_MM], axis=1)
    return volume.from_file_grid(hu.transpose(2, 1, 0), affine, name="head", slice_origins_mm=origins)


def masks(head):
    return np.zeros(head.shape, bool), np.zeros(head.shape, bool), np.zeros(head.shape, np.uint8)


def test_by_hand(head):
    truth, prediction, probability = masks(head)
    truth[2, 30:34, 30:36] = True  # 24 pixels of 4 mm2, x 7.5 mm
    prediction[2, 30:34, 33:39] = True  # half of it, and as much outside
    prediction[3, 20, 20] = True  # one pixel of 4 mm2, x 10 mm: 0.04 mL, below the minimum of a lesion
    probability[prediction] = 204
    probability[2, 32, 35] = 255
    got = measure_scan(truth.astype(np.uint8), prediction, probability, head, rule_mm2=SLICE_RULE_MM2, seams=(32, 16))
    assert got["volume"] == {"truth_ml": pytest.approx(0.72), "predicted_ml": pytest.approx(0.76)}
    assert got["slices"][2] == {
        "truth_px": 24,
        "predicted_px": 24,
        "diameter_mm": pytest.approx(np.hypot(8, 12)),
        "score": 0.8,  # more than 43.6 mm2 are 11 pixels
        "dice": 0.5,
        "called": True,
    }
    assert got["slices"][3] == {
        "truth_px": 0,
        "predicted_px": 1,
        "diameter_mm": 0.0,
        "score": 0.0,
        "dice": None,
        "called": False,
    }
    assert got["scan_score"] == 0.8
    (lesion,), (component,) = got["lesions"]["truth"], got["lesions"]["predicted"]
    assert (lesion["ml"], lesion["covered"], lesion["found"]) == (pytest.approx(0.72), 0.5, True)
    assert component == {"ml": pytest.approx(0.72), "score": 1.0, "false_positive": False, "matched": True}
    assert got["diagonal_mm"] == pytest.approx(np.sqrt(np.square(np.multiply(head.shape, head.spacing_mm)).sum()))
    assert (sum(got["calibration"]["n"]), sum(got["calibration"]["positive"])) == (25, 12)
    assert sum(got["false_positives_to_bone"]["predicted_px"]) == 13
    assert got["surface"]["tolerance_mm"] == 2.0
    assert 0 < got["surface"]["dice"] < 1
    assert got["seams"]["n_across"] > 0
    json.dumps(got, allow_nan=False)


def test_empty_masks(head):
    none, some, probability = masks(head)
    some[1, 30:34, 30:34] = True
    both = measure_scan(none, none, probability, head, rule_mm2=SLICE_RULE_MM2)
    assert both["surface"] == {"dice": None, "hd95_mm": None, "infinite": False, "tolerance_mm": 2.0}
    assert both["volume"] == {"truth_ml": 0.0, "predicted_ml": 0.0}
    assert both["lesions"] == {"truth": [], "predicted": []}
    assert (both["scan_score"], sum(both["calibration"]["n"]), both["seams"]) == (0.0, 0, None)
    missed = measure_scan(some, none, probability, head, rule_mm2=SLICE_RULE_MM2)
    invented = measure_scan(none, some, probability, head, rule_mm2=SLICE_RULE_MM2)
    assert missed["surface"] == invented["surface"] == {**both["surface"], "dice": 0.0, "infinite": True}
    assert [row["dice"] for row in missed["slices"]] == [None, 0.0, None, None]
    assert [row["dice"] for row in invented["slices"]] == [None] * 4
    assert invented["lesions"]["predicted"][0]["false_positive"]
    json.dumps([both, missed, invented], allow_nan=False)


def test_without_probabilities(head):
    truth, prediction, _ = masks(head)
    truth[0, 30, 30] = prediction[0, 30:36, 30:36] = True
    got = measure_scan(truth, prediction, None, head, rule_mm2=SLICE_RULE_MM2, seams=(32, 16))
    assert (got["scan_score"], got["calibration"], got["seams"]) == (None, None, None)
    assert [row["score"] for row in got["slices"]] == [None] * 4
    assert [row["called"] for row in got["slices"]] == [True, False, False, False]
    assert got["lesions"]["predicted"][0]["score"] == 1.0
    json.dumps(got, allow_nan=False)


def test_volumes_and_dice_of_slices_agree_with_scipy(head):
    """54 pairs of random masks: 216 slices. A pixel is 4 mm2; slices are 5, 5, 7.5 and 10 mm thick."""
    rng = np.random.default_rng(2)
    for i in range(54):
        truth, prediction, _ = masks(head)
        for mask in (truth, prediction):
            mask[:, : 5 + i, :9] = rng.random((4, 5 + i, 9)) < rng.choice([0.0, 0.1, 0.9], (4, 1, 1))  # at the corner
        got = measure_scan(truth, prediction, None, head, rule_mm2=SLICE_RULE_MM2)
        for name, mask in (("truth_ml", truth), ("predicted_ml", prediction)):
            by_slice = mask.reshape(4, -1).sum(axis=1) * 4.0 * [5.0, 5.0, 7.5, 10.0] / 1000
            assert got["volume"][name] == pytest.approx(by_slice.sum())
        for true, predicted, row in zip(truth, prediction, got["slices"], strict=True):
            expected = 1 - distance.dice(true.ravel(), predicted.ravel()) if true.any() else None
            assert row["dice"] == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("rule_mm2", [0.0, 4.0, SLICE_RULE_MM2, 120.0])
def test_scores_follow_the_area_rule(head, rule_mm2):
    """A slice's score exceeds t exactly when the area above t exceeds the rule."""
    rng = np.random.default_rng(0)
    truth, prediction, _ = masks(head)
    probability = (rng.random(head.shape) ** [[[400]], [[100]], [[40]], [[3]]] * 255).astype(np.uint8)
    got = measure_scan(truth, prediction, probability, head, rule_mm2=rule_mm2)
    for level in (0, 10, 100, 200, 254):
        above = (probability > level).sum(axis=(1, 2))
        expected = slice_detection.exceeds_rule(above, 4.0, rule_mm2=rule_mm2)
        assert [row["score"] > level / 255 for row in got["slices"]] == expected.tolist()


def test_seams_by_hand():
    """Patches of 4 at stride 2 on 1 x 8 x 8: edges lie before 2, 4 and 6 on both axes."""
    probability = np.zeros((1, 8, 8), np.uint8)
    probability[0, :, 4:] = 51  # one step of 0.2, just at an edge
    got = measure_seams(probability, 4, 2)
    # Columns: 8 pairs across at 4 and 8 at 6, 16 elsewhere; rows: 4 pairs at each of 7 borders, 3 of them edges.
    assert (got["n_across"], got["n_elsewhere"]) == (16 + 12, 16 + 16)
    assert got["across"] == pytest.approx(8 * 0.2 / 28)
    assert got["elsewhere"] == 0.0
    assert measure_seams(np.zeros((1, 8, 8), np.uint8), 4, 2) == {
        "across": None,
        "elsewhere": None,
        "n_across": 0,
        "n_elsewhere": 0,
    }


@given(seed=st.integers(0, 10_000), side=st.integers(2, 6), stride=st.integers(1, 5))
def test_seams_agree_with_a_loop_over_every_pair(seed, side, stride):
    rng = np.random.default_rng(seed)
    probability = (rng.integers(0, 256, (2, 7, 9)) * (rng.random((2, 7, 9)) < 0.3)).astype(np.uint8)
    steps = {True: [], False: []}
    for axis, size in ((1, 7), (2, 9)):
        starts = [s for s in range(0, size, stride) if s + side <= size]
        edges = {*starts, *(s + side for s in starts)}
        for index in np.ndindex(probability.shape):
            before = tuple(i - (a == axis) for a, i in enumerate(index))
            if index[axis] and max(probability[index], probability[before]) > 2.55:
                steps[index[axis] in edges].append(abs(int(probability[index]) - int(probability[before])) / 255)
    got = measure_seams(probability, side, stride)
    assert (got["n_across"], got["n_elsewhere"]) == (len(steps[True]), len(steps[False]))
    for name, values in (("across", steps[True]), ("elsewhere", steps[False])):
        assert got[name] == (pytest.approx(np.mean(values)) if values else None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros((3, SIDE, SIDE), bool)}, "the truth has the shape"),
        ({"prediction": np.zeros((4, SIDE, 9), bool)}, "the prediction has the shape"),
        ({"prediction": np.full((4, SIDE, SIDE), 255, np.uint8)}, "uint8 up to 255; expected a mask of 0 and 1"),
        ({"truth": np.zeros((4, SIDE, SIDE))}, "float64 up to 0.0; expected a mask"),
        ({"probability": np.zeros((4, SIDE, SIDE))}, "expected uint8"),
        ({"probability": np.zeros((4, SIDE, 9), np.uint8)}, "expected uint8"),
        ({"rule_mm2": float("nan")}, "expected an area"),
        ({"seams": (0, 8)}, "expected positive numbers of pixels"),
    ],
)
def test_bad_input(head, change, message):
    truth, prediction, probability = masks(head)
    arguments = {"truth": truth, "prediction": prediction, "probability": probability, "volume": head}
    with pytest.raises(InputError, match=message):
        measure_scan(**{**arguments, "rule_mm2": SLICE_RULE_MM2, **change})


def test_full_size_scan_takes_seconds():
    """38 x 512 x 512 with scattered false positives: the goal is 2 s; the bound leaves room for a busy machine."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:512, :512] - 255.5
    plane = np.select([np.hypot(y, x) < 180, np.hypot(y, x) < 200], [35, 900], -1000).astype(np.int16)
    affine = np.diag([-0.42, -0.42, 5.0, 1.0])
    scan = volume.from_file_grid(np.broadcast_to(plane, (38, 512, 512)).transpose(2, 1, 0), affine, name="large")
    probability = np.zeros(scan.shape, np.uint8)
    for d, row, column in zip(rng.integers(0, 38, 60), *rng.integers(120, 380, (2, 60)), strict=True):
        probability[d, row : row + 20, column : column + 20] = rng.integers(50, 255)
    truth = np.zeros(scan.shape, bool)
    truth[10:25, 200:260, 150:260] = True
    start = time.process_time()
    got = measure_scan(truth, probability > 127, probability, scan, rule_mm2=SLICE_RULE_MM2, seams=(128, 64))
    assert time.process_time() - start < 8
    assert got["lesions"]["truth"][0]["diameter_mm"] == pytest.approx(0.42 * np.hypot(60, 110))
