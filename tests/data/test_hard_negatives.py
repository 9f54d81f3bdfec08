"""Hard negatives: how often each is drawn, their share of an epoch, and epochs without scores as before."""

import dataclasses

import numpy as np
import pytest

from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.patch_index import Epochs, PatchTable


@pytest.fixture(scope="module")
def epochs():
    """Of 40 patches with a hemorrhage, 400 without, and 60 of air."""
    count = 500
    positive, air = np.arange(count) < 40, np.arange(count) >= 440
    zeros = np.zeros(count, np.int32)
    table = PatchTable(zeros, np.arange(count, dtype=np.int32), zeros, zeros, positive, air, 16)
    return Epochs(table, "matched", seed=3, fold=1)


def with_masses(epochs, share, masses):
    """The epochs, with scores of all candidates."""
    return dataclasses.replace(epochs, hard=HardNegatives(share, epochs.candidates(1000), masses))


def test_rows_are_drawn_in_proportion_to_their_masses():
    masses = np.array([1, 0, 2, 5, 0, 2], np.float32)
    hard = HardNegatives(0.5, np.array([3, 5, 8, 13, 21, 34]), {1: masses})
    rng = np.random.default_rng(0)
    drawn = [hard.draw(rng, 1, 2) for _ in range(10000)]
    shares = np.bincount(np.concatenate(drawn), minlength=35)[hard.rows] / 10000
    np.testing.assert_allclose(shares, masses / 10, atol=0.02)


def test_a_draw_is_without_replacement_ascending_and_of_rows_with_a_mass():
    masses = np.arange(50, dtype=np.float32) * (np.arange(50) % 2)
    hard = HardNegatives(0.5, np.arange(100, 150), {1: masses})
    few = hard.draw(np.random.default_rng(0), 1, 20)
    assert (len(few), len(set(few.tolist()))) == (10, 10)
    assert (np.diff(few) > 0).all()
    assert hard.draw(np.random.default_rng(0), 1, 400).tolist() == list(range(101, 150, 2))  # all that have one
    assert HardNegatives(0.5, hard.rows, {1: 0 * masses}).draw(np.random.default_rng(0), 1, 20).tolist() == []


def test_rounding_of_masses_does_not_change_a_draw():
    rng = np.random.default_rng(0)
    masses, rows = rng.random(4096, np.float32), np.arange(4096)
    rounded = masses * (1 + 1e-6 * rng.standard_normal(4096)).astype(np.float32)
    draws = [HardNegatives(0.5, rows, {1: one}).draw(np.random.default_rng(7), 1, 2000) for one in (masses, rounded)]
    np.testing.assert_array_equal(*draws)


def test_the_latest_scores_before_an_epoch_count():
    first, second = np.array([1, 0, 0], np.float32), np.array([0, 0, 1], np.float32)
    hard = HardNegatives(0.9, np.array([10, 20, 30]), {2: first, 4: second})
    drawn = [hard.draw(np.random.default_rng(0), epoch, 1).tolist() for epoch in range(7)]
    assert drawn == [[], [], [10], [10], [30], [30], [30]]


def test_an_epoch_has_its_share_of_hard_negatives_and_no_patch_twice(epochs):
    candidates = epochs.candidates(1000)
    assert candidates.tolist() == list(range(40, 440))
    masses = np.where(candidates < 100, 1, 0).astype(np.float32)  # 60 hard ones
    hard = with_masses(epochs, 0.5, {2: masses})
    for epoch in (0, 1):
        np.testing.assert_array_equal(hard.order(epoch), epochs.order(epoch))  # not scored yet
    orders = [hard.order(epoch) for epoch in (2, 3)]
    for order in orders:
        assert len(order) == len(set(order.tolist())) == 80
        assert set(range(40)) <= set(order.tolist())
        assert 20 <= ((order >= 40) & (order < 100)).sum() <= 30  # 20 hard ones, and some of the 20 others
    assert sorted(orders[0]) != sorted(orders[1])
    np.testing.assert_array_equal(hard.order(2), orders[0])


def test_candidates_are_a_fixed_choice_of_each_fold(epochs):
    chosen = epochs.candidates(50)
    assert (len(set(chosen.tolist())), chosen.min() >= 40, chosen.max() < 440) == (50, True, True)
    np.testing.assert_array_equal(chosen, epochs.candidates(50))
    assert chosen.tolist() != dataclasses.replace(epochs, fold=2).candidates(50).tolist()
