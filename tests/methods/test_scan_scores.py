"""Scores of scans from those of their slices: summaries against NumPy, and a forest of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.methods import scan_forest, scan_scores
from ichjax.methods.base import Prediction


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(0).random((11, 6)).astype(np.float32)


@pytest.mark.parametrize("depth", [1, 2, 8, 11])
def test_scores_of_scans_agree_with_numpy(scores, depth):
    scores = scores[:depth]
    highest = np.sort(scores, axis=0)[::-1][:3].mean(axis=0)
    np.testing.assert_allclose(scan_scores.mean_of_highest(jnp.asarray(scores), 3), highest, rtol=1e-6)
    count = min(3, depth)
    runs = [scores[k : k + count].min(axis=0) for k in range(depth - count + 1)]
    np.testing.assert_allclose(
        scan_scores.lowest_of_consecutive(jnp.asarray(scores), 3), np.max(runs, axis=0), rtol=1e-6
    )


def test_the_table_of_scores_ends_with_any_hemorrhage(scores):
    prediction = Prediction(jnp.zeros((11, 1, 1)), jnp.asarray(scores[:, 5]), jnp.asarray(scores[:, :5]))
    np.testing.assert_array_equal(scan_scores.slice_score_table(prediction), scores)


def test_summaries_agree_with_numpy(scores):
    ordered = np.sort(scores, axis=0)[::-1]
    expected = np.stack(
        [
            ordered[0],
            ordered[:3].mean(axis=0),
            ordered[:5].mean(axis=0),
            ordered[1],  # 90 % of 10 steps
            ordered[2],
            ordered[5],
            (scores > 0.5).sum(axis=0),
            (scores > 0.5).mean(axis=0),
            scores.argmax(axis=0) / 10,
        ],
        axis=1,
    )
    np.testing.assert_allclose(scan_forest.summarize(jnp.asarray(scores)), expected, rtol=1e-6)
    one = scan_forest.summarize(jnp.asarray(scores[:1]))
    np.testing.assert_allclose(one[:, :6], np.tile(scores[0][:, None], 6), rtol=1e-6)
    assert not one[:, -1].any()


def test_the_forest_tells_scans_apart_and_knows_findings_without_examples():
    rng = np.random.default_rng(1)
    bleeding = np.arange(30) % 2 == 0
    scans = [np.clip(rng.random((9, 2)) * 0.3 + 0.5 * flag * (np.arange(9) == 4)[:, None], 0, 1) for flag in bleeding]
    scans = [jnp.asarray(scan, jnp.float32) for scan in scans]
    tables = [scan_forest.summarize(scan) for scan in scans]
    truth = np.stack([bleeding, np.zeros(30, bool)], axis=1)
    fitted = scan_forest.fit(tables, truth, [1] * 20 + [2] * 10, seed=0)
    assert fitted == scan_forest.fit(tables, truth, [1] * 20 + [2] * 10, seed=0)
    assert all(isinstance(value, list) for value in fitted.values())
    found = np.stack([scan_forest.predict(fitted, scan) for scan in scans])
    assert found[bleeding, 0].min() > 0.5 > found[~bleeding, 0].max()
    assert not found[:, 1].any()
