"""Stacks of slices: every slice is in one, none begins outside its scan, and they hold the scan's slices in order."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti, scan_cache, stacks
from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU


@given(depth=st.integers(1, 700), length=st.integers(1, 70))
def test_stacks_cover_a_scan_and_overlap(depth, length):
    firsts = stacks.first_slices(depth, length)
    assert firsts == sorted(set(firsts))
    covered = np.zeros(depth, bool)
    for first in firsts:
        covered[first : first + length] = True
    assert covered.all()
    assert firsts[0] == 0
    assert firsts[-1] == max(depth - length, 0)
    assert all(b - a <= max(length // 2, 1) for a, b in itertools.pairwise(firsts))


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0][:3]


@pytest.mark.parametrize("length", [3, 4, 6])
def test_a_batch_has_the_slices_in_order_then_air(scans, length):
    table = stacks.stack_table(scans, length=length)
    reader = stacks.StackReader(scans, table, length=length, classes=False)
    rows = np.arange(len(table))[::-1]
    batch = reader.read(rows, size=len(rows) + 1)
    assert batch["image"].shape == (len(rows) + 1, 32, 32, length)
    assert batch["weight"].tolist() == [1.0] * len(rows) + [0.0]
    for k, row in enumerate(rows):
        scan, first = scans[table.scan[row]], table.slice[row]
        count = min(length, 4 - first)
        assert batch["slices"][k] == count
        for d in range(count):
            np.testing.assert_array_equal(batch["image"][k, ..., d], scan.volume.hu[first + d])
            np.testing.assert_array_equal(batch["mask"][k, ..., d], scan.mask[first + d])
        assert (batch["image"][k, ..., count:] == AIR_HU).all()
        assert not batch["mask"][k, ..., count:].any()
        assert table.positive[row] == (scan.mask[first : first + length] > 0).any()
    assert batch["slices"][-1] == 0


def test_slices_of_several_sizes_are_refused(scans):
    volume = scans[0].volume
    cut = dataclasses.replace(scans[0], volume=dataclasses.replace(volume, hu=volume.hu[:, :16]))
    with pytest.raises(InputError, match=r"slices of 16 x 32, 32 x 32 pixels; expected one square size"):
        stacks.stack_table([cut, scans[1]], length=4)
    with pytest.raises(InputError, match="no scan to make stacks"):
        stacks.stack_table([], length=4)
