"""Threshold pairs of experiment 1: scores from histograms against scores of masks."""

import cv2
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.ops import thresholds
from ichjax.ops.thresholds import LOWER, UPPER

HISTOGRAMS = jax.jit(thresholds.cumulative_histograms)
SEARCH = jax.jit(thresholds.mean_jaccard_of_pairs)


def grey_of(hu):
    """Grey levels by exact arithmetic: (HU + 20) x 255 / 120 = 17 (HU + 20) / 8, halves round to even."""
    eighths = 17 * (np.clip(hu.astype(int), -20, 100) + 20)
    whole, rest = np.divmod(eighths, 8)
    return whole + ((rest > 4) | ((rest == 4) & (whole % 2 == 1)))


def slices_of(seed):
    """Six slices of 12 x 12 and their mask of brighter pixels, empty in two slices."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-30, 120, (6, 12, 12)).astype(np.int16)
    mask = (rng.random(hu.shape) < np.where(hu > 60, 0.7, 0.05)).astype(np.uint8)
    mask[[1, 4]] = 0
    return hu, mask


def jaccard_of_masks(hu, mask, lower, upper):
    """Mean Jaccard index of one pair over the slices with a hemorrhage, from masks."""
    grey, truth = grey_of(hu), mask > 0
    result = (grey >= lower) & (grey <= upper)
    return np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(result, truth, strict=True) if b.any()])


def test_there_are_5106_pairs():
    assert (LOWER[0], LOWER[-1], UPPER[0], UPPER[-1]) == (100, 210, 210, 255)
    assert len(LOWER) * len(UPPER) == 5106


@given(
    st.integers(0, 2**31), st.lists(st.tuples(st.sampled_from(LOWER), st.sampled_from(UPPER)), min_size=8, max_size=8)
)
def test_scores_equal_those_from_masks(seed, pairs):
    hu, mask = slices_of(seed)
    scores = np.asarray(SEARCH(HISTOGRAMS(hu, mask)))
    assert scores.shape == (111, 46)
    for lower, upper in [*pairs, (100, 255), (210, 210)]:
        result = scores[LOWER.index(lower), UPPER.index(upper)]
        np.testing.assert_allclose(result, jaccard_of_masks(hu, mask, lower, upper), rtol=1e-5)


def test_the_best_pair_of_a_coarse_grid_equals_that_from_masks():
    hu, mask = slices_of(0)
    grey = grey_of(hu)
    mask[:] = (grey >= 160) & (grey <= 220)
    mask[[1, 4]] = 0
    scores = np.asarray(SEARCH(HISTOGRAMS(hu, mask)))[::10, ::5]
    slow = np.array([[jaccard_of_masks(hu, mask, lower, upper) for upper in UPPER[::5]] for lower in LOWER[::10]])
    np.testing.assert_allclose(scores, slow, rtol=1e-5)
    best = np.unravel_index(scores.argmax(), scores.shape)
    assert (LOWER[::10][best[0]], UPPER[::5][best[1]]) == (160, 220)
    np.testing.assert_allclose(scores.max(), 1.0, rtol=1e-6)


def test_slices_without_a_hemorrhage_change_nothing():
    hu, mask = slices_of(1)
    histograms = np.asarray(HISTOGRAMS(hu, mask))
    scores = np.asarray(SEARCH(histograms))
    np.testing.assert_allclose(np.asarray(SEARCH(histograms[mask.any(axis=(1, 2))])), scores, rtol=1e-6)
    assert np.isnan(np.asarray(SEARCH(histograms[[1, 4]]))).all()


def test_histograms_count_every_pixel_once():
    hu, mask = slices_of(2)
    histograms = np.asarray(HISTOGRAMS(hu, mask))
    for i, level in np.ndindex(6, 257):
        assert histograms[i, 0, level] == (grey_of(hu[i]) < level).sum()
        assert histograms[i, 1, level] == ((grey_of(hu[i]) < level) & (mask[i] > 0)).sum()


@pytest.mark.parametrize(("lower", "upper"), [(100, 255), (140, 230), (210, 210)])
def test_between_includes_both_levels(lower, upper):
    hu = np.arange(-40, 140, dtype=np.int16)
    expected = [lower <= grey <= upper for grey in grey_of(hu)]
    assert np.asarray(thresholds.between(hu, lower, upper)).tolist() == expected


OTSU = jax.jit(lambda grey, inside: thresholds.otsu(thresholds.grey_histograms(grey, inside)))


@given(st.integers(0, 2**31), st.integers(10, 120), st.floats(0.02, 0.5))
def test_otsu_separates_pixels_as_opencv(seed, distance, share):
    rng = np.random.default_rng(seed)
    bright = rng.random((1, 40, 40)) < share
    grey = (rng.normal(80, 15, bright.shape) + distance * bright).round().clip(0, 255).astype(np.uint8)
    level = int(OTSU(grey.astype(np.int32), np.ones(grey.shape, bool))[0])
    expected, mask = cv2.threshold(grey[0], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    np.testing.assert_array_equal(grey[0] > level, mask > 0)
    assert level <= expected


def test_otsu_sees_the_inside_alone_and_is_0_without_two_levels():
    grey = np.repeat(np.int32([[[10, 10, 200, 255]]]), 3, axis=0)
    inside = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]], bool)
    np.testing.assert_array_equal(OTSU(grey, inside), [10, 0, 0])
