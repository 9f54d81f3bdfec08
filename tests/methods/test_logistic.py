"""Logistic regression and the cut for the best Dice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize

from ichjax.methods import logistic


def test_it_minimizes_the_penalized_log_loss():
    rng = np.random.default_rng(0)
    features = rng.normal([30, -2], [10, 0.5], (300, 2))
    truth = rng.random(300) < 1 / (1 + np.exp(-(features @ [0.2, -1.5] - 8)))
    fitted = logistic.fit(features, truth)
    standardized = (features - features.mean(axis=0)) / features.std(axis=0)

    def loss(parameters):
        scores = standardized @ parameters[:2] + parameters[2]
        return np.logaddexp(0, np.where(truth, -scores, scores)).sum() + (parameters[:2] ** 2).sum() / 2

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    np.testing.assert_allclose(fitted.weights * features.std(axis=0), best[:2], rtol=1e-4)
    expected = 1 / (1 + np.exp(-(standardized @ best[:2] + best[2])))
    np.testing.assert_allclose(logistic.probability(features.astype(np.float32), *fitted), expected, atol=1e-4)


@pytest.mark.parametrize(("truth", "bias"), [(np.zeros(7, bool), -np.log(8)), (np.ones(7, bool), np.log(8))])
def test_one_class_alone_gives_no_weights(truth, bias):
    fitted = logistic.fit(np.arange(14.0).reshape(7, 2), truth)
    np.testing.assert_array_equal(fitted.weights, 0)
    assert fitted.bias == pytest.approx(bias)


def test_a_constant_feature_has_no_weight():
    features = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1)
    fitted = logistic.fit(features, features[:, 0] > 9)
    assert fitted.weights[0] > 0
    assert fitted.weights[1] == pytest.approx(0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9])),
    st.integers(0, 3),
    st.data(),
)
def test_no_cut_has_a_higher_dice(probabilities, missed, data):
    truth = data.draw(hnp.arrays(bool, len(probabilities)))

    def dice(cut):
        mask = probabilities > cut
        return 2 * (mask & truth).sum() / max(mask.sum() + truth.sum() + missed, 1)

    cut = logistic.best_cut(probabilities, truth, missed)
    if truth.any():
        assert dice(cut) == pytest.approx(max(dice(tried) for tried in (0.05, 0.15, 0.3, 0.6, 0.8)))
    else:
        assert cut == 0.5


def test_centering_moves_the_cut_to_one_half_and_keeps_the_order():
    probabilities = np.linspace(0, 1, 11, dtype=np.float32)
    moved = np.asarray(logistic.centered(probabilities, np.float32(0.2)))
    assert moved[2] == pytest.approx(0.5)
    assert (moved[0], moved[-1]) == (0, 1)
    assert (np.diff(moved) > 0).all()
    assert np.isfinite(np.asarray(logistic.centered(probabilities, np.float32(0.0)))).all()
