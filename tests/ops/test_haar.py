"""Haar wavelets: by hand, their properties on random images, and noise that they remove."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.ops import haar

DECOMPOSE = jax.jit(haar.decompose)
RECONSTRUCT = jax.jit(haar.reconstruct, static_argnames=("height", "width"))
DENOISE = jax.jit(chex.assert_max_traces(haar.denoise, n=3))


def test_coefficients_of_blocks_by_hand():
    image = np.kron([[1, 2], [3, 6]], np.ones((2, 2)))[None]
    approximation, (fine, coarse) = DECOMPOSE(image)
    assert not np.asarray(fine).any()
    np.testing.assert_allclose(approximation, [[[4 * 3]]])  # 4 x the mean
    np.testing.assert_allclose(coarse[0, :, 0, 0], [-4, -6, 2])  # (1 + 3 - 2 - 6, 1 + 2 - 3 - 6, 1 + 6 - 2 - 3) x 1
    checked = np.array([[5, 1], [1, 5]])
    _, (fine, _) = DECOMPOSE(np.tile(checked, (2, 2))[None])
    np.testing.assert_allclose(fine[0], [np.zeros((2, 2)), np.zeros((2, 2)), np.full((2, 2), 4)])


@settings(max_examples=6)
@given(st.integers(0, 2**31), st.sampled_from([(5, 7), (1, 1)]))
def test_reconstruction_is_perfect_and_energy_is_that_of_the_padded_image(seed, shape):
    image = np.random.default_rng(seed).normal(0, 50, (2, *shape)).astype(np.float32)
    wavelets = DECOMPOSE(image)
    np.testing.assert_allclose(RECONSTRUCT(wavelets, height=shape[0], width=shape[1]), image, atol=1e-4)
    padded = np.pad(image, ((0, 0), (0, -shape[0] % 4), (0, -shape[1] % 4)), mode="edge")
    energy = sum((np.asarray(x).astype(float) ** 2).sum() for x in jax.tree.leaves(wavelets))
    assert energy == pytest.approx((padded.astype(float) ** 2).sum(), rel=1e-5)


def test_noise_is_estimated_inside_alone_and_mostly_removed():
    rng = np.random.default_rng(0)
    clean = np.kron(rng.normal(0, 60, (8, 8)), np.ones((8, 8)))
    inside = np.zeros((2, 64, 64), bool)
    inside[:, 8:56, 8:56] = True
    noise = np.where(inside, rng.normal(0, 5, inside.shape), rng.normal(0, 200, inside.shape))
    result = np.asarray(DENOISE((clean + noise).astype(np.float32), inside))
    left = (result - clean)[inside].std()
    assert left < 2.0  # of 5
    assert (result - clean)[~inside].std() > 100


def test_the_threshold_equals_numpy():
    rng = np.random.default_rng(1)
    image, inside = rng.normal(0, 5, (2, 9, 11)).astype(np.float32), rng.random((2, 9, 11)) < 0.9
    result = np.asarray(DENOISE(image, inside))
    for k in range(2):
        a, b, c, d = (image[k, r : 8 + r : 2, s : 10 + s : 2] for r in (0, 1) for s in (0, 1))
        blocks = np.logical_and.reduce([inside[k, r : 8 + r : 2, s : 10 + s : 2] for r in (0, 1) for s in (0, 1)])
        sigma = np.median(np.abs(a - b - c + d)[blocks] / 2) / 0.6745
        cut = sigma * np.sqrt(2 * np.log(inside[k].sum()))
        approximation, details = DECOMPOSE(image[k : k + 1])
        soft = [np.sign(x) * np.maximum(np.abs(np.asarray(x)) - cut, 0) for x in details]
        expected = RECONSTRUCT(haar.Wavelets(approximation, tuple(soft)), height=9, width=11)[0]
        np.testing.assert_allclose(result[k], expected, atol=1e-4)


def test_a_slice_without_pixels_inside_is_unchanged():
    image = np.random.default_rng(2).normal(0, 5, (2, 9, 11)).astype(np.float32)
    np.testing.assert_allclose(DENOISE(image, np.zeros(image.shape, bool)), image, atol=1e-5)
