"""The jitted scoring program against NumPy and single operations, and the frame of results.json."""

import json

import jax
import numpy as np
import pytest

from ichjax.experiment import scoring
from ichjax.ops import metrics, morphology
from tests.ops.test_components import gate_by_scipy

THRESHOLDS = np.array([0.5, 0.0, 0.9, 0.25], np.float32)


@pytest.mark.parametrize(("closing", "opening"), [(0, 0), (3, 2)])
def test_counts_agree_with_numpy_on_random_scans(closing, opening):
    """120 scans, some without a true or a predicted pixel or full of them: 480 masks of each kind."""
    rng, clean = np.random.default_rng(closing), jax.jit(morphology.clean, static_argnames=("closing", "opening"))
    for i in range(120):
        probability = (rng.random((4, 9, 11)) ** rng.choice([0.2, 1, 9])).astype(np.float32)
        probability[i % 4] = rng.choice([0.0, 0.5, 1.0])
        truth = (rng.random(probability.shape) < rng.choice([0.0, 0.1, 1.0])).astype(np.uint8)
        kernels = {"main": 3, "closing": closing, "opening": opening}
        (true_px, predicted_px, both_px), mask, eight_bits = scoring._score(probability, truth, THRESHOLDS, **kernels)
        masks = probability > THRESHOLDS[:, None, None, None]
        if closing:
            masks = np.asarray(clean(masks, closing=closing, opening=opening))
        np.testing.assert_array_equal(true_px, truth.sum(axis=(1, 2)))
        np.testing.assert_array_equal(predicted_px, masks.sum(axis=(2, 3)).T)
        np.testing.assert_array_equal(both_px, (masks & (truth > 0)).sum(axis=(2, 3)).T)
        np.testing.assert_array_equal(mask, masks[3])
        np.testing.assert_array_equal(eight_bits, np.rint(probability * np.float32(255)).astype(np.uint8))


def test_gates_change_counts_and_mask_but_not_the_8_bit_probability():
    probability = (np.random.default_rng(0).random((8, 9, 11)) ** 9).astype(np.float32)
    pixel_ml, truth = np.full(8, 0.001, np.float32), np.ones(probability.shape, np.uint8)
    options = {"high": np.float32(0.6), "min_ml": np.float32(0.003), "min_slices": np.int32(2)}
    arguments = {"slice_pixel_ml": pixel_ml, "low": np.float32(0.25), **options}
    (_, predicted_px, _), mask, eight_bits = scoring._score(
        probability, truth, THRESHOLDS, arguments, main=3, closing=0, opening=0
    )
    gated = gate_by_scipy(probability, pixel_ml, np.float32(0.25), **options)
    assert 0 < (gated > 0.25).sum() < (probability > 0.25).sum()
    np.testing.assert_array_equal(mask, gated > 0.25)
    np.testing.assert_array_equal(predicted_px, (gated > THRESHOLDS[:, None, None, None]).sum(axis=(2, 3)).T)
    np.testing.assert_array_equal(eight_bits, np.rint(probability * np.float32(255)).astype(np.uint8))


def test_a_full_slice_of_the_largest_matrix_is_counted():
    """Both counts of a column share one integer: 4,096 rows of true and predicted pixels must fit."""
    full = np.ones((1, 4096, 8))
    (true_px, predicted_px, both_px), _, _ = scoring._score(
        full.astype(np.float32), full.astype(np.uint8), THRESHOLDS, main=0, closing=0, opening=0
    )
    assert true_px.tolist() == [4096 * 8]
    assert predicted_px.tolist() == both_px.tolist() == [[4096 * 8] * 4]
    counts = metrics.score(full.astype(np.float32), full > 0, THRESHOLDS, closing=0, opening=0)
    np.testing.assert_array_equal(counts[1], np.asarray(predicted_px).T)


def test_results_begin_with_their_schema_and_end_with_the_unreadable_subjects(tmp_path):
    scoring.write(tmp_path / "results.json", {"method": "unet"}, unreadable=[7, 3, 5], rows=[{"subject": 5}])
    record = json.loads((tmp_path / "results.json").read_text())
    assert list(record.items()) == [("schema", 2), ("method", "unet"), ("left_out_unreadable", [3, 7])]
