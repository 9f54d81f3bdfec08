"""Forests on the device against scikit-learn."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from ichjax.methods.learners import forest_arrays
from ichjax.ops import forest

PREDICT = jax.jit(forest.predict, static_argnames="chunk")
PREDICT_WHERE = jax.jit(forest.predict_where, static_argnames=("label", "chunk"))


@pytest.fixture(scope="module", params=[2, 3])
def fitted(request):
    """A scikit-learn forest of two or three classes, deep on repeated values, and float32 features."""
    rng = np.random.default_rng(request.param)
    features = rng.normal(size=(300, 4)).round(1).astype(np.float32)
    labels = rng.integers(0, request.param, 300)
    return RandomForestClassifier(7, random_state=0).fit(features, labels), features


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.sampled_from([1, 37, 64]))
def test_shares_are_scikit_learns(fitted, seed, chunk):
    model, _ = fitted
    features = np.random.default_rng(seed).normal(0, 1.5, (100, 4)).round(1).astype(np.float32)
    shares = PREDICT(forest_arrays(model), features, chunk=chunk)
    chex.assert_type(shares, np.float32)
    np.testing.assert_allclose(shares, model.predict_proba(features), atol=1e-6)


def test_values_at_a_threshold_go_the_same_way_as_in_scikit_learn(fitted):
    model, features = fitted
    arrays = forest_arrays(model)
    thresholds = np.unique(arrays.threshold[arrays.threshold != 0])
    around = [np.nextafter(thresholds, np.float32(sign * np.inf)) for sign in (-1, 1)]
    at_thresholds = np.concatenate([thresholds, *around])
    examples = np.tile(at_thresholds[:, None], (1, features.shape[1]))
    np.testing.assert_allclose(PREDICT(arrays, examples), model.predict_proba(examples), atol=1e-6)


def test_a_forest_of_single_leaves_gives_the_shares_in_training():
    model = RandomForestClassifier(2, bootstrap=False, max_leaf_nodes=2, min_samples_leaf=6, random_state=0)
    model.fit(np.zeros((10, 1)), np.arange(10) % 5 == 0)
    shares = PREDICT(forest_arrays(model), np.zeros((3, 1), np.float32))
    np.testing.assert_allclose(shares, np.tile(np.float32([[0.8, 0.2]]), (3, 1)), atol=1e-6)


def test_no_example_gives_no_shares_and_other_forests_of_a_shape_need_no_new_program(fitted):
    model, features = fitted
    arrays = forest_arrays(model)
    assert PREDICT(arrays, features[:0]).shape == (0, arrays.value.shape[2])
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(forest.predict, n=1))
    for depth in (arrays.depth, arrays.depth - 1):
        traced(arrays._replace(depth=depth), features)


@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.02, 0.5, 1.0]), st.sampled_from([7, 4096]))
def test_pixels_of_a_mask_have_the_share_that_they_have_as_examples(fitted, seed, share, chunk):
    model, _ = fitted
    rng = np.random.default_rng(seed)
    maps, mask = rng.normal(size=(4, 2, 5, 6)).round(1).astype(np.float32), rng.random((2, 5, 6)) < share
    shares = PREDICT_WHERE(forest_arrays(model), maps, mask, label=1, chunk=chunk)
    expected = model.predict_proba(maps.reshape(4, -1).T)[:, 1].reshape(mask.shape)
    np.testing.assert_allclose(shares, np.where(mask, expected, 0), atol=1e-6)
