"""Support vector machines on the device against scikit-learn."""

import chex
import jax
import numpy as np
import pytest
from sklearn.svm import SVC

from ichjax.methods.learners import fit_svm, svm_arrays
from ichjax.ops import svm

DECIDE = jax.jit(svm.decide)


def examples(classes, seed, count=60):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return rng.normal(labels[:, None] * [0.5, -0.3, 0.2], 1.0).astype(np.float32), labels


@pytest.mark.parametrize(("classes", "gamma"), [(2, 0.05), (3, 1.0), (4, 0.05)])
def test_decisions_of_pairs_and_scores_of_classes_are_scikit_learns(classes, gamma):
    features, labels = examples(classes, 0)
    model = SVC(C=2.0, gamma=gamma, decision_function_shape="ovo").fit(features, labels)
    new, _ = examples(classes, 1, 25)
    decisions = np.asarray(DECIDE(svm_arrays(model), new))
    expected = model.decision_function(new)
    expected = -expected[:, None] if classes == 2 else expected
    np.testing.assert_allclose(decisions, expected, rtol=1e-4, atol=2e-5)
    if classes > 2:
        model.decision_function_shape = "ovr"
        scores = svm.class_scores(decisions, classes=classes)
        np.testing.assert_allclose(scores, model.decision_function(new), rtol=1e-4, atol=2e-5)
    else:
        np.testing.assert_array_equal(svm.class_scores(decisions, classes=2).argmax(axis=1), model.predict(new))


def test_classes_count_equally_whatever_their_numbers():
    features, labels = examples(2, 0, 80)
    few = np.flatnonzero((labels == 0) | (np.arange(80) < 12))
    machine = fit_svm(features[few], labels[few], cost=1.0, gamma=0.3)
    expected = SVC(C=1.0, gamma=0.3, class_weight="balanced").fit(features[few], labels[few])
    np.testing.assert_allclose(DECIDE(machine, features)[:, 0], -expected.decision_function(features), atol=2e-5)


def test_more_examples_than_are_evaluated_at_once_and_none():
    features, labels = examples(3, 1)
    machine = fit_svm(features, labels, cost=1.0, gamma=0.3)
    many = np.tile(features, (6, 1))
    assert len(many) > svm.EXAMPLES_AT_ONCE
    decisions = np.asarray(DECIDE(machine, many))
    chex.assert_type(decisions, np.float32)
    np.testing.assert_allclose(decisions, np.tile(decisions[:60], (6, 1)), atol=1e-6)
    assert DECIDE(machine, many[:0]).shape == (0, 3)


def test_other_machines_of_a_shape_need_no_new_program():
    features, labels = examples(3, 1)
    machine = fit_svm(features, labels, cost=1.0, gamma=0.3)
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(svm.decide, n=1))
    for gamma in (0.1, 0.2):
        traced(machine._replace(gamma=np.float32(gamma)), features)


def test_features_of_another_machine_are_refused():
    features, labels = examples(3, 1)
    with pytest.raises(AssertionError):
        svm.decide(fit_svm(features, labels, cost=1.0, gamma=0.3), features[:, :2])
