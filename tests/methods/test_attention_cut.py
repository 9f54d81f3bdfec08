"""The cut of attention maps against trying all cuts, and exact counts of many pixels."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.methods import attention_cut
from ichjax.methods.base import Prediction


def scan_of(mask):
    return types.SimpleNamespace(mask=mask.astype(np.uint8), truth_px=mask.sum(axis=(1, 2)))


def dice(probability, mask, cut):
    predicted = probability > cut
    return 2 * (predicted & mask).sum() / (predicted.sum() + mask.sum())


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_the_cut_has_the_best_dice_over_all_scans_together(scale):
    rng = np.random.default_rng(0)
    masks = [rng.random((depth, 9, 7)) < 0.3 for depth in (3, 11)]
    maps = [scale * np.clip(0.4 * mask + 0.7 * rng.random(mask.shape), 0, 1).astype(np.float32) for mask in masks]
    maps[1][0, 0, :5] = attention_cut.ATTENTION_CUTS[-30:-25]  # a pixel at the cut is not above it
    scans = [scan_of(mask) for mask in masks]
    of_scan = {id(scan): Prediction(jnp.asarray(one)) for scan, one in zip(scans, maps, strict=True)}
    cut = attention_cut.fit_cut(lambda scan: of_scan[id(scan)], scans)
    probability, mask = (np.concatenate([array.ravel() for array in arrays]) for arrays in (maps, masks))
    cuts = attention_cut.ATTENTION_CUTS
    assert cut == cuts[np.argmax([dice(probability, mask, each) for each in cuts])]
    assert 0.3 * scale < cut < 0.8 * scale


def test_without_a_hemorrhage_the_cut_is_the_highest():
    scan = scan_of(np.zeros((2, 4, 4), bool))
    assert attention_cut.fit_cut(lambda _: Prediction(jnp.ones((2, 4, 4))), [scan]) == attention_cut.ATTENTION_CUTS[-1]


def test_more_pixels_than_float32_can_count():
    """In float32, 2^24 + 1 is 2^24."""
    count = attention_cut._overlap(jnp.full((1, 4097, 4096), 0.5), np.ones((1, 4097, 4096), np.uint8))
    assert np.asarray(count)[0].tolist() == [4097 * 4096] * 2


@pytest.mark.parametrize("cut", [0.0025, 0.3, 0.98])
def test_at_the_cut_the_probability_is_a_half(cut):
    probability = jnp.array([[[0.0, cut, 1.0, 0.99 * cut, min(1.01 * cut, 1.0)]]], jnp.float32)
    mapped = attention_cut.at_half(Prediction(probability, unrestricted=probability), cut)
    np.testing.assert_allclose(mapped.probability[0, 0, :3], [0.0, 0.5, 1.0], atol=1e-6)
    assert mapped.probability[0, 0, 3] < 0.5 < mapped.probability[0, 0, 4]
    np.testing.assert_array_equal(mapped.probability, mapped.unrestricted)
    assert attention_cut.at_half(Prediction(probability), cut).unrestricted is None
