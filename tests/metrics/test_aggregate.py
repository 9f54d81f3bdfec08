"""Secondary metrics of a data set: by hand, against scikit-learn, and against sums over all voxels."""

import json

import numpy as np
import pytest
import scipy.ndimage
from sklearn import metrics

from ichjax.errors import InputError
from ichjax.metrics.aggregate import secondary_metrics
from ichjax.metrics.per_scan import measure_scan
from ichjax.scan import volume
from tests.expected import SLICE_RULE_MM2

SIDE = 48


def head(depth):
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    plane = np.select([np.hypot(y, x) < 19, np.hypot(y, x) < 22], [35, 900], -1000)
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    return volume.from_file_grid(np.repeat(plane[None], depth, axis=0).transpose(2, 1, 0), affine, name="head")


@pytest.fixture(scope="module")
def scans():
    """(volume, truth, prediction, probability) of 20 scans; every third has no hemorrhage."""
    rng, made = np.random.default_rng(3), []
    for i in range(20):
        scan = head(int(rng.integers(3, 7)))
        truth = scipy.ndimage.gaussian_filter(rng.normal(size=scan.shape), (0.7, 2, 2)) > (0.16 if i % 3 else 9)
        truth &= scan.hu == 35
        soft = scipy.ndimage.gaussian_filter(truth + rng.normal(size=scan.shape) * 0.9, (0.5, 1, 1))
        probability = (soft.clip(0, 1) * 255).astype(np.uint8)
        made.append((scan, truth, probability > 127, probability))
    return made


@pytest.fixture(scope="module")
def details(scans):
    return [measure_scan(t, p, q, scan, rule_mm2=SLICE_RULE_MM2, seams=(16, 8)) for scan, t, p, q in scans]


def test_detection_agrees_with_scikit_learn_on_the_voxels(scans, details):
    got = secondary_metrics(details)
    n = next(n for n in range(99) if n * 9.0 > SLICE_RULE_MM2)
    scores = np.concatenate([np.sort(q.reshape(len(q), -1), axis=1)[:, -n] for *_, q in scans])
    truth = np.concatenate([t.any(axis=(1, 2)) for _, t, *_ in scans])
    assert got["slice_roc"]["area"] == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert got["slice_roc"]["average_precision"] == pytest.approx(metrics.average_precision_score(truth, scores))
    owner = np.repeat(np.arange(20), [len(t) for _, t, *_ in scans])
    scan_scores, bleeds = (np.array([v[owner == i].max() for i in range(20)]) for v in (scores, truth))
    assert got["scan_roc"]["area"] == pytest.approx(metrics.roc_auc_score(bleeds, scan_scores))
    assert (got["scan_roc"]["positives"], got["scan_roc"]["negatives"]) == (bleeds.sum(), 20 - bleeds.sum())


def test_sums_agree_with_the_voxels(scans, details):
    got = secondary_metrics(details)
    json.dumps(got, allow_nan=False)
    volumes = [[(m * scan.pixel_ml[:, None, None]).sum() for m in (t, p)] for scan, t, p, _ in scans]
    np.testing.assert_allclose(got["volume_agreement"]["points"], volumes)
    inside = [scan.hu == 35 for scan, *_ in scans]
    chosen = [m & (q > 2.55) for m, (*_, q) in zip(inside, scans, strict=True)]
    bins = got["calibration"]["bins"]
    assert sum(row["n"] for row in bins) == sum(m.sum() for m in chosen)
    true = sum((m & t).sum() for m, (_, t, *_) in zip(chosen, scans, strict=True))
    assert sum(row["n"] * row["frequency"] for row in bins if row["n"]) == pytest.approx(true)
    false_px = sum((m & p & ~t).sum() for m, (_, t, p, _) in zip(inside, scans, strict=True))
    assert got["false_positives_to_bone"]["n_predicted_px"] == false_px
    assert sum(got["false_positives_to_bone"]["share"]) == pytest.approx(1)
    lesions = [lesion for scan in details for lesion in scan["lesions"]["truth"]]
    assert got["froc"]["lesions"] == sum(row["n"] for row in got["lesion_size"]["bins"]) == len(lesions)
    assert got["froc"]["found"] == sum(row["found"] for row in got["lesion_size"]["bins"])
    # The end of the curve is the reported mask itself.
    false = sum(c["false_positive"] for scan in details for c in scan["lesions"]["predicted"])
    assert false > 0
    assert got["froc"]["curve"][-1] == [false / 20, pytest.approx(got["froc"]["found"] / len(lesions))]
    positive = sum(t.any(axis=(1, 2)).sum() for _, t, *_ in scans)
    assert got["diameter"]["below"]["slices"] + got["diameter"]["above"]["slices"] == positive
    n = [scan["seams"]["n_across"] for scan in details]
    means = [scan["seams"]["across"] for scan in details]
    assert got["seams"]["across"] == pytest.approx(np.average(means, weights=n))


def scan_row(truth_px=0, predicted_px=0, *, dice=None, diameter_mm=0.0, called=False, score=0.0):
    return {
        "truth_px": truth_px,
        "predicted_px": predicted_px,
        "dice": dice,
        "diameter_mm": diameter_mm,
        "called": called,
        "score": score,
    }


def hand_made(slices, surface, lesions=(), predicted=()):
    """Details of a scan, as `measure_scan` returns them."""
    histogram = {"n": [0] * 15, "probability_sum": [0.0] * 15, "positive": [0] * 15}
    bone = {"edges_mm": [0, 2, 4, 8, 16, 32, 64], "predicted_px": [0] * 6, "intracranial_px": [6, 2, 0, 0, 0, 0]}
    return {
        "volume": {"truth_ml": 0.0, "predicted_ml": 0.0},
        "surface": {**surface, "tolerance_mm": 2.0},
        "slices": slices,
        "scan_score": max(row["score"] for row in slices),
        "lesions": {"truth": list(lesions), "predicted": list(predicted)},
        "calibration": histogram,
        "false_positives_to_bone": bone,
        "seams": None,
    }


@pytest.fixture
def four():
    """Four scans: detected, missed (an infinite distance), a false alarm, and empty in truth and prediction."""
    large = {"ml": 3.0, "dice": 0.75, "found": True, "score": 0.9}
    small = {"ml": 0.05 - 1e-10, "dice": 0.0, "found": False, "score": None}
    finite = {"dice": 0.8, "hd95_mm": 3.0, "infinite": False}
    infinite = {"dice": 0.0, "hd95_mm": None, "infinite": True}
    return [
        hand_made(
            [scan_row(90, 80, dice=0.75, diameter_mm=10.0, called=True, score=0.9), scan_row(score=0.2)],
            finite,
            lesions=[large],
        ),
        hand_made([scan_row(5, dice=0.0, diameter_mm=9.9, score=0.1)], infinite, lesions=[small]),
        hand_made(
            [scan_row(0, 70, called=True, score=0.6)],
            infinite,
            predicted=[{"ml": 1.0, "score": 0.6, "false_positive": True}],
        ),
        hand_made([scan_row()], {"dice": None, "hd95_mm": None, "infinite": False}),
    ]


def test_by_hand(four):
    got = secondary_metrics(four)
    surface = got["surface"]
    assert (surface["dice"]["mean"], surface["dice"]["n"]) == (pytest.approx(0.4), 2)  # scans with a hemorrhage
    assert (surface["hd95_mm"]["mean"], surface["hd95_mm"]["median"], surface["hd95_mm"]["n"]) == (3.0, 3.0, 1)
    assert (surface["hd95_mm"]["infinite"], surface["false_alarms"]) == (1, 1)
    assert got["slice_roc"]["area"] == pytest.approx(4 / 6)  # of 2 x 3 pairs, 0.9 wins three and 0.1 one
    assert got["scan_roc"]["area"] == pytest.approx(3 / 4)
    assert got["froc"]["curve"] == [[0, 0], [0, 0.5], [0.25, 0.5]]
    assert got["calibration"] is None
    assert [row["n"] for row in got["lesion_size"]["bins"]] == [1, 0, 1, 0, 0]
    assert got["lesion_size"]["bins"][2] == {"low_ml": 2.0, "high_ml": 10.0, "n": 1, "found": 1, "dice": 0.75}
    assert got["lesion_size"]["bins"][4] == {"low_ml": 30.0, "high_ml": None, "n": 0, "found": 0, "dice": None}
    assert got["diameter"] == {
        "line_mm": 10.0,
        "below": {"slices": 1, "dice": 0.0, "detected": 0.0},
        "above": {"slices": 1, "dice": 0.75, "detected": 1.0},  # 10 mm is on the line
        "points": [[10.0, 0.75, True], [9.9, 0.0, False]],
    }
    bone = got["false_positives_to_bone"]
    assert bone["share"] == [0] * 6
    assert bone["share_of_brain"] == [0.75, 0.25, 0, 0, 0, 0]
    assert got["seams"] is None
    json.dumps(got, allow_nan=False)


def test_predicted_positive_slices_of_another_rule(four):
    positive = [[False, False], [True], [False], [False]]
    got = secondary_metrics(four, predicted_positive=positive)["diameter"]
    assert (got["below"]["detected"], got["above"]["detected"]) == (1.0, 0.0)


def test_without_hemorrhage_or_probability(four):
    nothing = secondary_metrics([four[3]])
    assert (nothing["slice_roc"], nothing["scan_roc"], nothing["froc"]["curve"]) == (None, None, [])
    assert (nothing["surface"]["dice"]["n"], nothing["surface"]["hd95_mm"]["median"]) == (0, None)
    assert nothing["diameter"]["below"] == {"slices": 0, "dice": None, "detected": None}
    for scan in four[:1]:  # one scan came as a mask: the curves are those of the others
        scan["scan_score"], scan["calibration"] = None, None
        for row in scan["slices"]:
            row["score"] = None
    got = secondary_metrics(four)
    assert (got["scan_roc"]["positives"], got["scan_roc"]["negatives"]) == (1, 2)
    json.dumps([nothing, got], allow_nan=False)


def test_bad_input(four):
    with pytest.raises(InputError, match="no scan has details"):
        secondary_metrics([])
    with pytest.raises(InputError, match="'predicted_positive' has"):
        secondary_metrics(four, predicted_positive=[[True]] * 4)
    four[0]["surface"]["tolerance_mm"] = 1.0
    with pytest.raises(InputError, match=r"tolerances of \[1.0, 2.0\] mm"):
        secondary_metrics(four)
