"""Windows, losses and overlap counts against NumPy, optax and hand-computed values."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.ops import hu, losses, metrics, resample

SEEDS = st.integers(0, 2**31)


def test_the_brain_window_by_hand():
    values = jnp.array([-1000, -20, 10, 40, 100, 2000], jnp.int16)
    np.testing.assert_allclose(hu.window(values, level=40, width=120), [0, 0, 0.25, 0.5, 1, 1], atol=1e-6)
    # The thresholds of the paper's experiment 1, grey levels 140 and 230, are 46 and 88 HU.
    np.testing.assert_array_equal(hu.grey_levels(jnp.array([46, 88], jnp.int16)), [140, 230])
    two = hu.windows(values, ((hu.BRAIN_LEVEL_HU, hu.BRAIN_WIDTH_HU), (700.0, 3200.0)))
    assert two.shape == (6, 2)
    np.testing.assert_allclose(two[:, 1], np.clip((np.asarray(values) + 900) / 3200, 0, 1), atol=1e-6)


@given(SEEDS)
def test_counts_agree_with_numpy(seed):
    rng = np.random.default_rng(seed)
    truth, level = rng.random((3, 9, 7)) < rng.random(), rng.integers(0, 3, (3, 9, 7), np.uint8)
    counts = metrics.counts_at(jnp.asarray(level), jnp.array([0.7, 0.5]), jnp.asarray(truth))
    for index, (t, levels) in enumerate(zip(truth, level, strict=True)):
        assert int(counts[0][index]) == t.sum()
        for column, lowest in enumerate((2, 1)):  # the higher of two thresholds requires level 2
            p = levels >= lowest
            assert [int(count[index, column]) for count in counts[1:]] == [p.sum(), (t & p).sum()]


@given(SEEDS)
def test_scoring_at_every_threshold_agrees_with_opencv(seed):
    rng = np.random.default_rng(seed)
    probability = cv2.GaussianBlur(rng.random((48, 40), np.float32), (0, 0), 2.5)
    probability = (probability - probability.min()) / np.ptp(probability)
    truth = probability > 0.6
    thresholds = rng.permutation(np.array([0.3, 0.5, 0.5, 0.7], np.float32))  # in any order, two of them equal
    truth_px, predicted, intersection = SCORE(
        jnp.asarray(probability)[None], jnp.asarray(truth)[None], jnp.asarray(thresholds), closing=4, opening=3
    )
    assert int(truth_px[0]) == truth.sum()
    masks = MASKS(jnp.asarray(probability)[None], jnp.asarray(thresholds), closing=4, opening=3)
    for index, threshold in enumerate(thresholds):
        image = (probability > threshold).astype(np.uint8)
        image = cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8))
        image = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        np.testing.assert_array_equal(masks[index, 0], image > 0)
        assert int(predicted[index, 0]) == image.sum()
        assert int(intersection[index, 0]) == (image.astype(bool) & truth).sum()


def test_more_thresholds_than_a_byte_can_hold():
    probability = jnp.linspace(0.0, 1.0, 7 * 300).reshape(1, 7, 300)
    thresholds = jnp.linspace(0.05, 0.95, 300)
    masks = MASKS(probability, thresholds, closing=0, opening=0)
    np.testing.assert_array_equal(masks[:, 0], np.asarray(probability) > np.asarray(thresholds)[:, None, None])


@pytest.mark.parametrize("height", [1, 127, 128, 129, 300])
def test_a_full_slice_is_counted_without_overflowing_a_byte(height):
    mask = np.ones((2, height, 5), bool)
    mask[1, 0, 0] = False
    np.testing.assert_array_equal(metrics.count_pixels(jnp.asarray(mask)), [5 * height, 5 * height - 1])


@given(SEEDS)
def test_cross_entropy_agrees_with_optax(seed):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((3, 5, 5)) * 20).astype(np.float32)
    truth = (rng.random((3, 5, 5)) < 0.3).astype(np.float32)
    expected = optax.sigmoid_binary_cross_entropy(logits, truth).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, truth), expected, rtol=1e-5)
    weighted = (optax.sigmoid_binary_cross_entropy(logits, truth) * np.where(truth > 0, 3.0, 1.0)).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, truth, 3.0), weighted, rtol=1e-5)


def test_soft_overlap_of_hard_masks_is_the_jaccard_index():
    truth = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    predicted = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
    intersection, union = losses.soft_overlap(predicted, truth)
    assert (float(intersection[0]), float(union[0])) == (1.0, 3.0)


WEIGHTS = jax.jit(resample.line_weights, static_argnums=(2, 4))
MASKS = jax.jit(metrics.masks_at, static_argnames=("closing", "opening"))
SCORE = jax.jit(metrics.score, static_argnames=("closing", "opening"))


@given(st.integers(8, 40), st.floats(0.3, 1.0), st.sampled_from([4, 24]), st.floats(0.3, 1.0))
def test_resampling_weights_agree_with_numpy_interpolation(size, spacing, to_size, to_spacing):
    weights = np.asarray(WEIGHTS(size, spacing, to_size, to_spacing, 48))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)
    assert not weights[:, size:].any()
    if to_spacing <= spacing:  # interpolation; coarser targets average
        signal = np.random.default_rng(size).random(size)
        target = (np.arange(to_size) - (to_size - 1) / 2) * to_spacing
        source = (np.arange(size) - (size - 1) / 2) * spacing
        expected = np.interp(target, source, signal)
        np.testing.assert_allclose(weights[:, :size] @ signal, expected, atol=2e-5)
