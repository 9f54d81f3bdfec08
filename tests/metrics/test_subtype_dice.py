"""Dice by sub-type in three conventions: by hand, and against nnU-Net's mean written plainly from masks."""

import json
import warnings

import numpy as np
import pytest

from ichjax.metrics.subtype_dice import SUBTYPE_CONVENTIONS, subtype_dice
from tests.by_hand import SUBTYPES


def count(truth, predicted, overlap, unknown=0):
    return {"truth_px": truth, "predicted_px": predicted, "overlap_px": overlap, "unknown_px": unknown}


def test_three_scans_by_hand():
    """IVH: found, missed, falsely found. IPH: in one scan. SAH: only predicted. EDH: only true. SDH: nowhere."""
    scans = [
        count([10, 4, 0, 0, 0], [10, 8, 5, 0, 0], [5, 3, 0, 0, 0]),
        count([30, 0, 0, 6, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], unknown=7),
        count([0, 0, 0, 0, 0], [20, 0, 0, 0, 0], [0, 0, 0, 0, 0], unknown=1),
    ]
    table = subtype_dice(scans)
    scores = table["by_subtype"]
    assert list(scores) == list(SUBTYPES)
    means = {key: [scores[name][key]["mean"] for name in SUBTYPES] for key in ("present_only", "nnunet")}
    assert means["present_only"] == [0.25, 0.5, None, 0.0, None]  # (0.5 + 0) / 2; 6 / 12
    assert means["nnunet"] == [pytest.approx(0.5 / 3), 0.5, 0.0, 0.0, None]  # a false alarm scores 0
    assert [scores[name]["present_only"]["n"] for name in SUBTYPES] == [2, 1, 0, 1, 0]
    assert [scores[name]["nnunet"]["n"] for name in SUBTYPES] == [3, 1, 1, 1, 0]
    assert scores["IVH"]["pooled"] == {"dice": 10 / 70, "truth_px": 40, "predicted_px": 30, "overlap_px": 5}
    assert [scores[name]["pooled"]["dice"] for name in SUBTYPES[1:]] == [0.5, 0.0, 0.0, None]
    assert table["mean"]["present_only"] == pytest.approx((0.25 + 0.5 + 0.0) / 3)
    assert table["mean"]["nnunet"] == pytest.approx((0.5 / 3 + 0.5) / 4)
    assert table["mean"]["pooled"] == pytest.approx((1 / 7 + 0.5) / 4)
    assert (table["subjects"], table["unknown_px"]) == (3, 8)
    assert list(table["in_words"]) == list(SUBTYPE_CONVENTIONS) == list(table["mean"])
    json.dumps(table, allow_nan=False)


@pytest.mark.parametrize("scans", [[], [count([0] * 5, [3] * 5, [0] * 5, unknown=9)]], ids=["none", "unknown alone"])
def test_a_truth_without_sub_types_has_no_scores(scans):
    assert subtype_dice(scans) is None


def nnunet(truths, predictions):
    """nnU-Net's foreground mean Dice (evaluate_predictions.py): NaN where a case has a class in neither mask."""
    per_class = []
    for k in range(1, 6):
        cases = []
        for truth, predicted in zip(truths, predictions, strict=True):
            tp = np.sum((truth == k) & (predicted == k))
            fp, fn = np.sum((truth != k) & (predicted == k)), np.sum((truth == k) & (predicted != k))
            cases.append(np.nan if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn))
        per_class.append(np.nanmean(cases))
    return per_class, np.mean(per_class)


def test_random_masks_agree_with_nnunet_and_with_means_and_sums_over_masks():
    """Twelve scans, enough for intervals; each lacks some sub-types."""
    rng = np.random.default_rng(0)
    truths, predictions = rng.integers(0, 6, (2, 12, 3, 5, 5))
    for n in range(12):
        truths[n][truths[n] == 1 + n % 5] = 0
        predictions[n][np.isin(predictions[n], [1 + n % 5, 1 + (n + n // 5) % 5])] = 0
    pairs = list(zip(truths, predictions, strict=True))
    of_classes = [[(t == k, p == k, (t == k) & (p == k)) for k in range(1, 6)] for t, p in pairs]  # [12][5][3]
    scans = [count(*np.sum(masks, axis=(2, 3, 4)).T.tolist()) for masks in of_classes]
    table = subtype_dice(scans)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        per_class, mean = nnunet(truths, predictions)
    scores = table["by_subtype"]
    np.testing.assert_allclose([scores[name]["nnunet"]["mean"] for name in SUBTYPES], per_class)
    assert table["mean"]["nnunet"] == pytest.approx(mean)
    for k, name in enumerate(SUBTYPES, start=1):
        both = [2 * np.sum((t == k) & (p == k)) for t, p in pairs]
        sizes = [np.sum(t == k) + np.sum(p == k) for t, p in pairs]
        present = [b / s for b, s, t in zip(both, sizes, truths, strict=True) if (t == k).any()]
        assert 0 < len(present) == scores[name]["present_only"]["n"] < 12
        assert scores[name]["present_only"]["mean"] == pytest.approx(np.mean(present))
        low, high = scores[name]["present_only"]["ci95"]
        assert low < np.mean(present) < high
        assert scores[name]["pooled"]["dice"] == pytest.approx(sum(both) / sum(sizes))
