"""Detection scores of a data set against scikit-learn, on rows of random scores, and by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import detection
from ichjax.metrics.confusion import subtype_confusion


def scan_row(rng, *, bleeds, own_scan=False, subtypes=True, lesions=(), components=()):
    """A row with what the scores of detection need: a scan of random slices, whose scores are near the truth."""
    depth = int(rng.integers(4, 9))
    labels = (rng.random((depth, 5)) < 0.25) & bleeds
    scores = rng.random((depth, 6)) * 0.6
    scores[:, :5] += 0.4 * rng.random((depth, 5)) * labels
    scores[:, 5] += 0.4 * rng.random(depth) * labels.any(axis=1)
    row = {
        "slice_labels": labels.astype(int).tolist(),
        "details": {
            "slices": [
                {"truth_px": int(any(label)), "score": float(s)} for label, s in zip(labels, scores[:, 5], strict=True)
            ],
            "lesions": {
                "truth": [{"covered": covered} for covered in lesions],
                "predicted": [{"false_positive": false} for false in components],
            },
            "own_scores": True,
        },
    }
    if subtypes:
        row["subtype_scores"] = scores[:, :5].tolist()
    if own_scan:
        row["scan_scores"] = [None, *rng.random(5).tolist()]
    return row


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return [scan_row(rng, bleeds=n % 3 > 0, own_scan=n == 5) for n in range(30)]


def columns(rows):
    """(scores, truth) of slices [S, 6] and of scans [N, 6], sub-types first."""
    of_any = [[[piece["score"]] for piece in row["details"]["slices"]] for row in rows]
    true = [[[piece["truth_px"] > 0] for piece in row["details"]["slices"]] for row in rows]
    scores = [np.hstack([row["subtype_scores"], column]) for row, column in zip(rows, of_any, strict=True)]
    truth = [np.hstack([np.array(row["slice_labels"]) > 0, c]) for row, c in zip(rows, true, strict=True)]
    whole = np.stack([s.max(axis=0) for s in scores])
    whole[5, 1:] = rows[5]["scan_scores"][1:]
    return (np.vstack(scores), np.vstack(truth)), (whole, np.stack([t.any(axis=0) for t in truth]))


def test_slices_scans_and_sub_types_agree_with_scikit_learn(rows):
    got = detection.detection_scores(rows)
    json.dumps(got, allow_nan=False)
    for unit, (scores, truth) in zip(("slices", "scans"), columns(rows), strict=True):
        assert list(got[unit]) == ["any", *SUBTYPES]
        for k, name in enumerate((*SUBTYPES, "any")):
            found = got[unit][name]
            assert found["auc"]["value"] == pytest.approx(metrics.roc_auc_score(truth[:, k], scores[:, k]))
            precision = metrics.average_precision_score(truth[:, k], scores[:, k])
            assert found["average_precision"]["value"] == pytest.approx(precision)
            assert (found["positives"], found["negatives"]) == (truth[:, k].sum(), (~truth[:, k]).sum())
            low, high = found["auc"]["ci95"]
            assert low < found["auc"]["value"] < high
    assert {found["scans"] for unit in ("slices", "scans") for found in got[unit].values()} == {30}
    assert got["scans"]["any"]["auc_interval"] == "DeLong"
    assert got["slices"]["any"]["auc_interval"] == "bootstrap over scans"
    assert got["ranked_by"] == {"slices": "own slice scores", "scans": "own scan scores"}
    figures = detection.subtype_figures(got)
    assert figures["SDH"]["scans"]["area"] == got["scans"]["SDH"]["auc"]["value"]


def test_scan_scores_as_probabilities_agree_with_scikit_learn(rows):
    _, (scores, truth) = columns(rows)
    got = detection.detection_scores(rows)["scans"]["any"]["calibration"]
    assert got["brier"]["value"] == pytest.approx(metrics.brier_score_loss(truth[:, 5], scores[:, 5]))
    assert got["brier_of_share"] == pytest.approx(truth[:, 5].var())
    frequency, probability = calibration_curve(truth[:, 5], scores[:, 5], n_bins=5)
    bins = [b for b in got["reliability"]["bins"] if b["n"]]
    assert [b["frequency"] for b in bins] == pytest.approx(frequency)
    assert [b["probability"] for b in bins] == pytest.approx(probability)
    shares = [b["n"] / 30 for b in bins]
    error = np.dot(shares, np.abs(frequency - probability))
    assert got["reliability"]["expected_calibration_error"] == pytest.approx(error)


def test_scores_that_are_no_probabilities_have_no_calibration(rows):
    shifted = json.loads(json.dumps(rows))
    shifted[3]["details"]["slices"][0]["score"] = 1.2
    got = detection.detection_scores(shifted)["scans"]
    assert got["any"]["calibration"] is None
    assert got["IVH"]["calibration"]["brier"]["value"] > 0


def test_without_scores_or_without_a_class(rows):
    plain = json.loads(json.dumps(rows[:3]))
    for row in plain:
        del row["subtype_scores"], row["details"]["own_scores"]
    got = detection.detection_scores(plain)
    assert list(got["slices"]) == list(got["scans"]) == ["any"]
    assert got["ranked_by"] == {"slices": "probability", "scans": "probability"}
    assert "confusion" not in got
    assert detection.subtype_figures(got) == {}
    for row in plain:
        for piece in row["details"]["slices"]:
            piece["score"] = None
    got = detection.detection_scores(plain)
    assert got["slices"] == got["scans"] == {"any": None}
    only_free = detection.detection_scores([rows[0]])
    assert only_free["scans"]["any"] is None
    assert only_free["lesions_touched"] == {"value": None, "ci95": None, "n": 0}


def test_scan_scores_alone_rank_scans_but_no_slices():
    """As of a network that sees whole scans: five sub-types and any hemorrhage."""
    rng = np.random.default_rng(1)
    rows = [scan_row(rng, bleeds=n % 2 > 0, own_scan=True, subtypes=False) for n in range(12)]
    got = detection.detection_scores(rows)
    assert list(got["slices"]) == ["any"]
    assert list(got["scans"]) == ["any", *SUBTYPES[1:]]  # none of the scans has a score of its IVH
    bleeds = [n % 2 > 0 for n in range(12)]
    own = [row["scan_scores"][5] for row in rows]
    assert got["scans"]["any"]["auc"]["value"] == pytest.approx(metrics.roc_auc_score(bleeds, own))
    assert list(got["confusion"]) == ["scans"]


def test_lesions_touched_and_components_on_lesions_by_hand():
    """Of three lesions one has no predicted voxel; of four predicted components one is on none."""
    rng = np.random.default_rng(2)
    rows = [
        scan_row(rng, bleeds=True, lesions=[0.001, 0.0], components=[False, True]),
        scan_row(rng, bleeds=True, lesions=[0.9], components=[False, False]),
        scan_row(rng, bleeds=False),
    ]
    got = detection.detection_scores(rows)
    assert got["lesions_touched"] == {"value": pytest.approx(2 / 3), "ci95": None, "n": 3}
    assert got["components_on_lesions"] == {"value": pytest.approx(3 / 4), "ci95": None, "n": 4}


def test_confusion_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    scores = [rng.random((4, 5)) for _ in range(40)]
    labels = [np.eye(5, dtype=bool)[rng.integers(0, 5, 4)] for _ in range(40)]
    for rows in labels:
        rows[0], rows[1, 2] = False, True  # none, and often two
    got = subtype_confusion(scores, labels)
    highest, truth = np.concatenate(scores), np.concatenate(labels)
    single = truth.sum(axis=1) == 1
    true, guess = truth[single].argmax(axis=1), highest[single].argmax(axis=1)
    assert [list(row.values()) for row in got["counts"].values()] == metrics.confusion_matrix(true, guess).tolist()
    assert got["right"]["value"] == pytest.approx(metrics.accuracy_score(true, guess))
    assert got["right"]["n"] == single.sum()
    low, high = got["right"]["ci95"]
    assert low < got["right"]["value"] < high


def test_equal_highest_scores_are_undecided():
    """Scores of zero but for SAH, as of a method for SAH alone, and a scan without any."""
    scores = np.zeros((4, 1, 5))
    scores[0, 0, 2], scores[1, 0, 2], scores[3] = 0.4, 0.1, np.nan
    labels = np.eye(5, dtype=bool)[[2, 1, 1, 1]][:, None]
    got = subtype_confusion(list(scores), list(labels))
    assert got["counts"]["SAH"]["SAH"] == got["counts"]["IPH"]["SAH"] == 1
    assert sum(map(sum, (row.values() for row in got["counts"].values()))) == 2
    assert got["undecided"] == {"IVH": 0, "IPH": 1, "SAH": 0, "EDH": 0, "SDH": 0}
    assert got["right"] == {"value": pytest.approx(1 / 3), "ci95": None, "n": 3}
    scores[..., [0, 1, 3, 4]] = np.nan
    assert subtype_confusion(list(scores), list(labels)) is None  # nothing to confuse it with
