"""Sampling by lesion: every subject, group of sub-types, lesion and patch has its share."""

import types

import numpy as np
import pytest

from ichjax.data.lesion_sampling import lesion_weights
from ichjax.data.patch_index import Epochs, patch_table

SIDE, STRIDE = 4, 2


def scan_of(boxes, subtypes, shape=(4, 8, 8)):
    """A scan of tissue with lesions at these index ranges; sub-types by slice."""
    mask = np.zeros(shape, np.uint8)
    for box in boxes:
        mask[box] = 1
    labels = np.zeros((shape[0], 5), bool)
    for d, subtype in subtypes:
        labels[d, subtype] = True
    volume = types.SimpleNamespace(hu=np.zeros(shape, np.int16))
    return types.SimpleNamespace(volume=volume, mask=mask, slice_labels=labels)


@pytest.fixture
def scans():
    small, large = np.s_[0, 0, 0], np.s_[2:4, 0:8, 0:8]
    return [scan_of([small, large], [(0, 1), (2, 3), (3, 3)]), scan_of([np.s_[1, 7, 7]], [(1, 0)]), scan_of([], [])]


def test_shares_by_hand(scans):
    table = patch_table(scans, side=SIDE, stride=STRIDE)  # 9 patches a slice
    weights = lesion_weights(scans, table, stride=STRIDE)
    assert weights.sum() == pytest.approx(1)
    assert [weights[table.scan == k].sum() for k in range(3)] == pytest.approx([0.5, 0.5, 0])
    first = weights[table.scan == 0].reshape(4, 9)
    # Two groups of one lesion each: the single pixel is in one patch, the large lesion in all of two slices.
    assert first[0].tolist() == pytest.approx([0.25, *[0] * 8])
    np.testing.assert_allclose(first[2:], 0.25 / 18)
    assert weights[table.scan == 1].reshape(4, 9)[1, 8] == pytest.approx(0.5)


def test_lesions_of_one_group_share_its_half_and_diagonal_neighbors_are_one_lesion():
    touching = [np.s_[0, 0, 0], np.s_[1, 1, 1]]
    scan = scan_of([*touching, np.s_[3, 7, 7]], [(d, 2) for d in range(4)])
    table = patch_table([scan], side=SIDE, stride=STRIDE)
    weights = lesion_weights([scan], table, stride=STRIDE).reshape(4, 9)
    np.testing.assert_allclose(weights.sum(axis=1), [0.25, 0.25, 0, 0.5])


def test_an_epoch_draws_positive_patches_by_weight(scans):
    table = patch_table(scans, side=SIDE, stride=STRIDE)
    weights = lesion_weights(scans, table, stride=STRIDE)
    epochs = Epochs(table, "none", seed=0, fold=0, weights=weights)
    drawn = np.concatenate([epochs.order(epoch) for epoch in range(200)])
    assert len(drawn) == 200 * table.positive.sum()
    share = np.bincount(drawn, minlength=len(table)) / len(drawn)
    np.testing.assert_allclose(share, weights, atol=0.03)
    np.testing.assert_array_equal(epochs.order(3), Epochs(table, "none", seed=0, fold=0, weights=weights).order(3))


@pytest.mark.parametrize(
    ("negatives", "limit", "positive", "negative"),
    [("matched", 100, 50, 50), ("matched", 200, 112, 88), ("none", 100, 100, 0), ("one_slice", 100, 73, 27)],
)
def test_an_epoch_has_as_many_examples_as_asked_for_however_few_patches_there_are(
    scans, negatives, limit, positive, negative
):
    table = patch_table(scans, side=SIDE, stride=STRIDE)  # 108 patches, 20 of them with a part of a lesion
    weights = lesion_weights(scans, table, stride=STRIDE)
    epochs = Epochs(table, negatives, seed=0, fold=0, limit=limit, weights=weights)
    order = epochs.order(0)
    assert epochs.examples == len(order) == limit
    assert [table.positive[order].sum(), (~table.positive[order]).sum()] == [positive, negative]
    assert len(np.unique(order[~table.positive[order]])) == negative
    each_once = Epochs(table, negatives, seed=0, fold=0, limit=limit)
    assert each_once.examples < limit


def test_a_limit_below_the_number_of_patches_draws_as_many_positive_ones_as_there_are(scans):
    table = patch_table(scans, side=SIDE, stride=STRIDE)
    weights = lesion_weights(scans, table, stride=STRIDE)
    limited, whole = (Epochs(table, "matched", 0, 0, limit, weights=weights).order(0) for limit in (30, 0))
    np.testing.assert_array_equal(limited, whole[:30])
