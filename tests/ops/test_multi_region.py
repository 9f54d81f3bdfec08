"""Contours of several regions: the minimum against NumPy and its dual bound, and what an evolution does by hand."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.ops import multi_region


def differences(maps):
    rows, columns = np.zeros_like(maps), np.zeros_like(maps)
    rows[:, :-1], columns[:, :, :-1] = np.diff(maps, axis=1), np.diff(maps, axis=2)
    return np.stack([rows, columns])


def divergence(flux):
    rows, columns = flux
    total = rows + columns
    total[:, 1:] -= rows[:, :-1]
    total[:, :, 1:] -= columns[:, :, :-1]
    return total


def augmented_flow(costs, length, *, steps, penalty=0.3):
    """Another algorithm in float64, the continuous max-flow of Yuan et al. (2010): (shares, lower bound of the energy).

    For any flux whose length nowhere exceeds that of a contour, the sum of the least cost plus divergence is a bound.
    """
    flux, sink, source = np.zeros((2, *costs.shape)), costs.min(0) * np.ones_like(costs), costs.min(0)
    shares = np.zeros_like(costs)
    for _ in range(steps):
        excess = divergence(flux) + sink - source - shares / penalty
        flux = flux + 0.12 * differences(excess)
        flux /= np.maximum(1.0, np.sqrt((flux**2).sum(0)) / length)
        sink = np.minimum(costs, source - divergence(flux) + shares / penalty)
        source = ((sink + divergence(flux) - shares / penalty).sum(0) + 1 / penalty) / len(costs)
        shares = shares - penalty * (divergence(flux) + sink - source)
    return shares, (costs + divergence(flux)).min(0).sum()


@pytest.mark.parametrize("regions", [2, 3])
def test_the_minimum_agrees_with_another_algorithm_and_with_its_lower_bound(regions):
    rng = np.random.default_rng(regions)
    costs, length = rng.normal(0, 1, (regions, 7, 6)), 0.2 + 0.5 * rng.random((7, 6))
    start = multi_region.from_labels(jnp.zeros((7, 6), jnp.int32), regions=regions)
    arguments = costs.astype(np.float32), length.astype(np.float32)
    found = jax.jit(functools.partial(multi_region.minimize, steps=600))(start, *arguments).shares
    chex.assert_trees_all_close(found.sum(axis=0), np.ones((7, 6)), atol=1e-5)
    assert float(found.min()) >= 0
    expected, bound = augmented_flow(costs, length, steps=2000)
    energy = float(multi_region.energy(found, *arguments))
    assert bound - 1e-3 <= energy <= bound + 1e-2
    np.testing.assert_allclose(found, expected, atol=0.02)


def energy_of_mask(mask, costs, length):
    """In NumPy, of two regions without a relaxation."""
    shares = np.stack([~mask, mask]).astype(float)
    return (shares * costs).sum() + (length * np.sqrt((differences(shares) ** 2).sum(0))).sum()


def test_no_mask_has_less_energy_than_the_relaxed_minimum():
    """All masks of 3 x 4 pixels, the best of which is what has a share above 1/2."""
    rng = np.random.default_rng(4)
    costs, length = rng.normal(0, 2, (2, 3, 4)), np.full((3, 4), 0.4)
    masks = (np.arange(2**12)[:, None] >> np.arange(12) & 1).astype(bool).reshape(-1, 3, 4)
    energies = [energy_of_mask(mask, costs, length) for mask in masks]
    start = multi_region.from_labels(jnp.zeros((3, 4), jnp.int32), regions=2)
    arguments = costs.astype(np.float32), length.astype(np.float32)
    shares = jax.jit(functools.partial(multi_region.minimize, steps=600))(start, *arguments).shares
    assert float(multi_region.energy(shares, *arguments)) <= min(energies) + 1e-3
    np.testing.assert_array_equal(np.asarray(shares[1]) > 0.5, masks[int(np.argmin(energies))])


@pytest.fixture(scope="module")
def evolve():
    return jax.jit(functools.partial(multi_region.evolve, outer=3, inner=60))


def scene(side=24):
    """A bright square with a probability that is right in its middle only, and one wrong pixel elsewhere."""
    square = np.zeros((side, side), bool)
    square[8:16, 8:16] = True
    image = np.where(square, 0.8, 0.3).astype(np.float32)
    sure = np.zeros_like(square)
    sure[10:14, 10:14] = True
    probability = np.where(sure, 0.95, np.where(square, 0.4, 0.05)).astype(np.float32)
    probability[2, 2] = 0.95
    return np.stack([1 - probability, probability]), image, (probability > 0.9).astype(np.int32), square


def test_an_evolution_grows_to_the_edge_and_drops_a_wrong_pixel(evolve):
    probability, image, start, square = scene()
    shares = evolve(probability, image, start, np.ones_like(square), b=0.5, c=0.01, smoothness=2.0)
    np.testing.assert_array_equal(np.asarray(shares[1]) > 0.5, square)
    alone = evolve(probability, image, start, np.ones_like(square), b=0.0, c=0.0, smoothness=0.01)
    np.testing.assert_array_equal(np.asarray(alone[1]) > 0.5, probability[1] > 0.5)


def test_distance_holds_contours_where_they_are_and_nothing_is_outside_the_domain(evolve):
    probability, image, start, square = scene()
    held = evolve(probability, image, start, np.ones_like(square), b=0.5, c=20.0, smoothness=0.01)
    np.testing.assert_array_equal(np.asarray(held[1]) > 0.5, start > 0)
    columns = np.broadcast_to(np.arange(24) < 14, (24, 24))
    part = np.asarray(evolve(probability, image, start, columns, b=0.5, c=0.01, smoothness=0.1)[1])
    assert part[~columns].max() < 1e-3
    assert part[8:16, 8:14].min() > 0.5
