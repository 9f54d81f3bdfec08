"""The patch table against a loop over all patches; the examples and order of an epoch."""

import itertools
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.patch_index import AIR_THRESHOLD_HU, Epochs, patch_table
from ichjax.errors import InputError


def scan_of(hu, mask):
    """A scan with the attributes that `patch_table` uses."""
    return types.SimpleNamespace(volume=types.SimpleNamespace(hu=hu), mask=mask)


@st.composite
def boards(draw):
    """(scans, side, stride): one to three scans of sparse voxels, each covered evenly by its patches."""
    stride, k = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    scans = []
    for _ in range(draw(st.integers(1, 3))):
        depth, rows, columns = draw(st.tuples(st.integers(1, 3), st.integers(k, k + 3), st.integers(k, k + 3)))
        shape = (depth, rows * stride, columns * stride)
        near = rng.integers(AIR_THRESHOLD_HU - 1, AIR_THRESHOLD_HU + 3, shape)
        hu = np.where(rng.random(shape) < 0.03, near, -1000).astype(np.int16)
        scans.append(scan_of(hu, (rng.random(shape) < 0.03).astype(np.uint8)))
    return scans, k * stride, stride


@given(boards())
def test_a_table_equals_a_loop_over_all_patches(board):
    scans, side, stride = board
    expected = []
    for index, scan in enumerate(scans):
        depth, height, width = scan.mask.shape
        corners = itertools.product(
            range(depth), range(0, height - side + 1, stride), range(0, width - side + 1, stride)
        )
        for d, row, column in corners:
            at = np.s_[d, row : row + side, column : column + side]
            positive, air = scan.mask[at].max() == 1, scan.volume.hu[at].max() <= AIR_THRESHOLD_HU
            expected.append((index, d, row, column, positive, air))
    table = patch_table(scans, side=side, stride=stride)
    assert len(table) == len(expected)
    rows = zip(table.scan, table.slice, table.row, table.column, table.positive, table.air, strict=True)
    assert list(rows) == expected
    assert table.side == side


@pytest.fixture(scope="module")
def table(tiny_root):
    """Patches of three scans, two with a hemorrhage, with additional air around the heads."""
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:3])
    margin = ((0, 0), (16, 16), (16, 16))
    wide = [scan_of(np.pad(scan.volume.hu, margin, constant_values=-1000), np.pad(scan.mask, margin)) for scan in scans]
    return patch_table(wide, side=16, stride=8)


def test_an_epoch_has_all_positive_patches_and_as_many_negative_ones_with_tissue(table):
    epochs = Epochs(table, "matched", seed=3, fold=1)
    positive = set(np.flatnonzero(table.positive))
    assert table.air.any()
    assert not (table.air & table.positive).any()
    assert epochs.examples == 2 * len(positive)
    drawn = []
    for epoch in range(4):
        order = epochs.order(epoch)
        assert len(order) == len(set(order)) == epochs.examples
        assert {row for row in order if table.positive[row]} == positive
        drawn.append({row for row in order if not table.positive[row]})
        assert not table.air[sorted(drawn[-1])].any()
    assert len(set(map(frozenset, drawn))) == 4  # drawn again each epoch


def test_without_negatives_an_epoch_has_only_positive_patches(table):
    epochs = Epochs(table, "none", seed=3, fold=1)
    assert sorted(epochs.order(2)) == np.flatnonzero(table.positive).tolist()
    assert epochs.fixed().tolist() == np.flatnonzero(table.positive).tolist()


@given(st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 1000))
def test_order_depends_only_on_seed_fold_and_epoch(table, seed, fold, epoch):
    order = Epochs(table, "matched", seed, fold).order(epoch)
    again = Epochs(table, "matched", seed, fold)
    again.order(epoch + 3)
    np.testing.assert_array_equal(again.order(epoch), order)
    for other in ((seed + 1, fold, epoch), (seed, fold + 1, epoch), (seed, fold, epoch + 1)):
        assert (Epochs(table, "matched", *other[:2]).order(other[2]) != order).any()


def slices_of(table, rows):
    return {(int(table.scan[row]), int(table.slice[row])) for row in rows}


def test_one_slice_draws_a_whole_hemorrhage_free_slice_per_subject_once(table):
    bleeding = slices_of(table, np.flatnonzero(table.positive))
    positive, chosen = set(np.flatnonzero(table.positive)), set()
    for seed, fold in itertools.product(range(4), range(3)):
        epochs = Epochs(table, "one_slice", seed, fold)
        order = epochs.order(0)
        assert len(order) == len(set(order)) == epochs.examples
        assert set(epochs.order(5)) == set(order)
        assert (epochs.order(5) != order).any()
        assert positive < set(order)
        drawn = slices_of(table, set(order) - positive)
        assert not drawn & bleeding
        assert sorted(scan for scan, _ in drawn) == [0, 1, 2]
        whole = {row for row in range(len(table)) if slices_of(table, [row]) <= drawn}
        assert set(order) == positive | whole
        assert table.air[sorted(whole)].any()
        chosen.add(frozenset(drawn))
    assert len(chosen) > 4  # seed and fold decide which


def test_one_slice_draws_nothing_from_a_subject_with_hemorrhage_on_all_slices():
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[:, 0, 0] = 1
    table = patch_table([scan_of(np.zeros((2, 8, 8), np.int16), mask)], side=4, stride=4)
    epochs = Epochs(table, "one_slice", 0, 0)
    assert epochs.examples == 2
    assert sorted(epochs.order(0)) == np.flatnonzero(table.positive).tolist()


@given(boards(), st.integers(0, 99))
def test_negatives_only_from_slices_with_a_hemorrhage(board, seed):
    scans, side, stride = board
    table = patch_table(scans, side=side, stride=stride)
    inside = [bool(scans[s].mask[d].any()) for s, d in zip(table.scan, table.slice, strict=True)]
    np.testing.assert_array_equal(table.bleeding_slice, inside)
    if table.positive.any():
        epochs = Epochs(table, "matched", seed, 0, slices="hemorrhage")
        order = epochs.order(1)
        assert len(order) == epochs.examples
        assert table.bleeding_slice[order].all()
        pool = (~table.positive & ~table.air & inside).sum()
        assert (~table.positive[order]).sum() == min(pool, table.positive.sum())


def test_fewer_negatives_than_positives_are_all_drawn():
    mask = np.ones((1, 4, 12), np.uint8)
    mask[0, :, 8:] = 0
    table = patch_table([scan_of(np.zeros((1, 4, 12), np.int16), mask)], side=4, stride=4)
    epochs = Epochs(table, "matched", 0, 0)
    assert epochs.examples == 3
    assert sorted(epochs.order(0)) == [0, 1, 2]


def test_an_epoch_has_at_least_one_full_batch(table):
    epochs = Epochs(table, "matched", 0, 2)
    assert epochs.steps(8) == epochs.examples // 8
    assert epochs.steps(epochs.examples) == 1
    with pytest.raises(InputError, match=rf"fold 2: an epoch has {epochs.examples} patches.*{epochs.examples + 1}"):
        epochs.steps(epochs.examples + 1)


def test_invalid_options_and_scans_without_hemorrhage_are_rejected():
    empty = patch_table([scan_of(np.zeros((1, 8, 8), np.int16), np.zeros((1, 8, 8), np.uint8))], side=4, stride=4)
    with pytest.raises(InputError, match="fold 1: no patch with a hemorrhage"):
        Epochs(empty, "matched", 0, 1)
    with pytest.raises(InputError, match="'all'; expected one of matched, one_slice, none"):
        Epochs(empty, "all", 0, 1)
    full = patch_table([scan_of(np.zeros((1, 8, 8), np.int16), np.ones((1, 8, 8), np.uint8))], side=4, stride=4)
    with pytest.raises(InputError, match="'some'; expected one of all, hemorrhage"):
        Epochs(full, "none", 0, 1, slices="some")
    with pytest.raises(InputError, match="expected slices 'all'"):
        Epochs(full, "one_slice", 0, 1, slices="hemorrhage")
