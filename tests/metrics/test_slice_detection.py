"""Slice detection rates against scikit-learn, and the area rule."""

import numpy as np
import pytest
from sklearn import metrics

from ichjax.metrics import slice_detection


def rates_by_scikit_learn(predicted, truth):
    """Sensitivity, specificity and accuracy; NaN where no slice is in the class."""
    (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, predicted, labels=[False, True])
    return [tp / (tp + fn) if tp + fn else np.nan, tn / (tn + fp) if tn + fp else np.nan, (tp + tn) / len(truth)]


def test_agrees_with_scikit_learn_on_random_slices():
    """200 subjects in 40 sets, some without a positive or without a negative slice."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        owner = np.repeat(np.arange(5), rng.integers(1, 12, 5))
        truth = rng.random(len(owner)) < rng.choice([0.0, 0.3, 0.7, 1.0], 5)[owner]
        predicted = truth ^ (rng.random(len(owner)) < 0.3)
        got = slice_detection.detection(predicted, truth, owner)
        each = np.array([rates_by_scikit_learn(predicted[owner == i], truth[owner == i]) for i in range(5)])
        pooled = rates_by_scikit_learn(predicted, truth)
        for name, values, whole in zip(slice_detection.DETECTION_RATES, each.T, pooled, strict=True):
            known = values[~np.isnan(values)]
            assert got["per_subject"][name]["n"] == len(known)
            assert got[name] == (pytest.approx(known.mean()) if len(known) else None)
            assert got["pooled"][name] == (None if np.isnan(whole) else pytest.approx(whole))
        (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, predicted, labels=[False, True])
        counts = [got["pooled"][f"{name}s"] for name in ("true_negative", "false_positive", "false_negative")]
        assert [*counts, got["pooled"]["true_positives"]] == [tn, fp, fn, tp]


def test_exceeds_rule_is_strict():
    predicted = slice_detection.exceeds_rule(np.array([0, 1, 10, 11]), 4.0, rule_mm2=40.0)
    assert predicted.tolist() == [False, False, False, True]
    assert slice_detection.exceeds_rule(np.array([0, 1]), 4.0, rule_mm2=0.0).tolist() == [False, True]
    literal = slice_detection.exceeds_rule(np.array([400, 401]), 9.0, rule_mm2=40.0, rule_px=400)
    assert literal.tolist() == [False, True]
