"""Fuzzy c-means against NumPy in double precision, pixel by pixel."""

import functools

import chex
import jax
import numpy as np
import pytest
import scipy.ndimage as nd
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.ops import fuzzy_clusters
from ichjax.ops.fuzzy_clusters import MAX_ITERATIONS, MEMBERSHIP_TOLERANCE

K = 3
OF_HISTOGRAM = functools.partial(
    jax.jit(chex.assert_max_traces(fuzzy_clusters.of_histogram, n=2), static_argnames="clusters"), clusters=K
)
SPATIAL = jax.jit(chex.assert_max_traces(fuzzy_clusters.spatial, n=1))


def memberships(values, centers):
    """[K, ...] by the definition, from ratios of distances."""
    squared = (values - centers.reshape(-1, *[1] * values.ndim)) ** 2
    squared = np.maximum(squared, 1e-9)
    return 1 / np.stack([(one / squared).sum(axis=0) for one in squared])


def means(values, membership):
    return np.array([np.average(values, weights=u**2) for u in membership])


def iterate(centers, values, membership_of):
    """(centers, membership) of one item after the same number of iterations as on the device."""
    old = membership_of(values, centers)
    for _ in range(MAX_ITERATIONS):
        centers = means(values, old)
        new = membership_of(values, centers)
        if np.abs(new - old).max() < MEMBERSHIP_TOLERANCE:
            return centers, new
        old = new
    return centers, old


def start(values, levels=256):
    """Halfway between the quantiles and the evenly spaced levels."""
    ordered, share = np.sort(values), (np.arange(K) + 0.5) / K
    quantiles = ordered[np.ceil(share * len(ordered) - 1e-9).astype(int) - 1]
    return (quantiles + ordered[0] + share * (ordered[-1] - ordered[0])) / 2


def mixture(seed, size=500):
    """Grey levels of three tissues."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(mean, 12, size) for mean in (60, 130, 200)]).round().clip(0, 255)


@settings(max_examples=8)
@given(st.integers(0, 2**31))
def test_histograms_give_the_clusters_of_all_values(seed):
    values = mixture(seed)
    counts = np.bincount(values.astype(int), minlength=256)
    result = OF_HISTOGRAM(counts[None])
    centers, membership = iterate(start(values), values, memberships)
    np.testing.assert_allclose(result.centers[0], centers, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(result.membership[0])[:, values.astype(int)], membership, atol=5e-4)


def blob(seed=0):
    """(values float32 [2, 20, 18] with noise, inside bool): a bright disk in a dark one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :18]
    plane = np.where(np.hypot(y - 8, x - 7) < 4, 60.0, 30.0)
    inside = np.hypot(y - 10, x - 9) < 8
    return (plane + rng.normal(0, 6, (2, 20, 18))).astype(np.float32), np.stack([inside, inside[::-1]])


def spatial_memberships(inside):
    def membership_of(values, centers):
        plain = np.zeros((K, *inside.shape))
        plain[:, inside] = memberships(values, centers)
        joint = plain * np.stack([nd.uniform_filter(u, 5, mode="constant") * 25 for u in plain])
        return joint[:, inside] / joint[:, inside].sum(axis=0)

    return membership_of


def test_the_spatial_form_equals_numpy_on_each_slice():
    values, inside = blob()
    first = np.array([[20, 40, 60], [25, 35, 70]], np.float32)
    result = SPATIAL(values, inside, first)
    for k in range(2):
        centers, membership = iterate(first[k], values[k][inside[k]].astype(float), spatial_memberships(inside[k]))
        np.testing.assert_allclose(result.centers[k], centers, rtol=1e-3)
        np.testing.assert_allclose(np.asarray(result.membership[k])[:, inside[k]], membership, atol=3e-3)
    assert not np.asarray(result.membership)[:, :, 0, 0].any()


def test_the_spatial_form_removes_single_noisy_pixels():
    values = np.full((2, 20, 18), 30, np.float32)
    values[:, 4:12, 4:12] = 60
    values[:, 15, 12] = 58
    centers = np.tile(np.float32([10, 30, 60]), (2, 1))
    membership = SPATIAL(values, np.ones(values.shape, bool), centers).membership
    brightest = np.asarray(membership.argmax(axis=1)) == 2
    assert brightest[:, 5:11, 5:11].all()
    assert not brightest[:, 15, 12].any()


def test_items_of_a_batch_do_not_depend_on_each_other():
    counts = np.stack([np.bincount(mixture(seed).astype(int), minlength=256) for seed in (1, 2)])
    counts[1] = np.roll(counts[1], 20)
    together = OF_HISTOGRAM(counts)
    for k in range(2):
        alone = OF_HISTOGRAM(counts[k : k + 1])
        np.testing.assert_allclose(together.centers[k], alone.centers[0], rtol=1e-5)


@pytest.mark.parametrize("values", [[], [7], [0], [255], [3, 9]])
def test_few_or_no_different_values_give_numbers(values):
    counts = np.bincount(np.array(values, int), minlength=256)[None] * 40
    centers, membership = map(np.asarray, OF_HISTOGRAM(counts))
    np.testing.assert_allclose(membership.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(centers[0]) >= 0).all()
    if values:
        assert min(values) <= centers.min() <= centers.max() <= max(values)
    else:
        assert not centers.any()


def test_no_pixel_inside_gives_no_membership_and_the_centers_of_the_start():
    values, inside = blob()
    first = np.tile(np.float32([20, 40, 60]), (2, 1))
    result = SPATIAL(np.full_like(values, 30), inside & [[[False]], [[True]]], first)
    np.testing.assert_array_equal(result.centers[0], first[0])
    assert not np.asarray(result.membership[0]).any()
    assert np.isfinite(np.asarray(result.membership)).all()
    np.testing.assert_allclose(np.asarray(result.membership[1]).sum(axis=0)[inside[1]], 1, rtol=1e-5)
