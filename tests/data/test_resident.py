"""The arrays that devices keep: their layout by subjects, their bytes, and the patch table."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti, loader, resident, scan_cache
from ichjax.data.patch_index import patch_table


@pytest.fixture(scope="module")
def scans(tiny_root):
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    return scans[:3]


def arrays_of(scans, **options):
    return arrays_and_reader(scans, **options)[0]


def arrays_and_reader(scans, **options):
    reader = loader.PatchReader(scans, patch_table(scans, side=16, stride=8), **options)
    return resident.ScanArrays(reader.hu, reader.masks, reader.priors, reader.column_sums, reader.table), reader


def with_hu(scan, change):
    return dataclasses.replace(scan, volume=dataclasses.replace(scan.volume, hu=change(scan.volume.hu)))


def test_the_longest_scans_come_first_each_to_the_emptiest_part():
    layout = resident.divide([30, 50, 20, 40], 2)
    assert layout.part.tolist() == [1, 0, 0, 1]
    assert layout.first.tolist() == [40, 0, 50, 0]
    assert layout.slices == 70
    alone = resident.divide([3, 5], 1)
    assert (alone.part.tolist(), alone.first.tolist(), alone.slices) == ([0, 0], [5, 0], 8)
    assert resident.divide([3, 5], 4).slices == 5  # two devices hold nothing


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 9))
def test_every_slice_has_a_place_of_its_own(depths, parts):
    layout = resident.divide(depths, parts)
    places = [(layout.part[s], layout.first[s] + d) for s, depth in enumerate(depths) for d in range(depth)]
    assert len(set(places)) == sum(depths)
    assert all(0 <= part < parts and 0 <= d < layout.slices for part, d in places)
    assert layout.slices <= sum(depths) / parts + max(depths)


def test_bytes_by_hand(scans):
    """Three scans of 4 slices of 32 x 32 pixels, with 3 x 3 patches per slice."""
    table = 3 * 4 * 9 * 4  # bytes of a column
    assert arrays_of(scans).bytes_of_part(1) == 12 * 32 * 32 * (2 + 1) + 6 * table
    assert arrays_of(scans).bytes_of_part(2) == 8 * 32 * 32 * (2 + 1) + 6 * table
    assert arrays_of(scans, mirrored=True).bytes_of_part(3) == 4 * 32 * 32 * (2 + 1) + 8 * table
    priors = [dataclasses.replace(scan, prior=np.zeros(scan.mask.shape, np.uint8)) for scan in scans]
    assert arrays_of(priors, priors=1).bytes_of_part(1) == 12 * 32 * 32 * (2 + 1 + 1) + 6 * table
    narrow = [with_hu(scan, lambda hu: np.clip(hu, -20, 100)) for scan in scans]
    assert arrays_of(narrow).bytes_of_part(1) == 12 * 32 * 32 * (1 + 1) + 6 * table


@pytest.mark.parametrize(
    ("lowest", "highest", "dtype"), [(-20, 100, "uint8"), (-155, 100, "uint8"), (-156, 100, "int16")]
)
def test_hu_of_at_most_256_values_are_stored_as_one_byte(scans, lowest, highest, dtype):
    clipped = [with_hu(scan, lambda hu: np.clip(hu, lowest, highest)) for scan in scans]
    arrays = arrays_of(clipped)
    stored = arrays.part("hu", arrays.layout(1), 0)
    assert stored.dtype == dtype
    expected = np.concatenate([scan.volume.hu for scan in clipped])  # equally long scans keep their order
    np.testing.assert_array_equal(stored.astype(int) + arrays.lowest_hu, expected)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_each_row_of_the_table_is_the_patch_that_is_read(scans, parts):
    """With scans of several depths and widths, which are padded."""
    cuts = (np.s_[:3], np.s_[:, :, :24], np.s_[1:2, :24])
    mixed = [
        dataclasses.replace(with_hu(scan, lambda hu, at=at: hu[at]), mask=scan.mask[at])
        for scan, at in zip(scans, cuts, strict=True)
    ]
    arrays, reader = arrays_and_reader(mixed)
    layout = arrays.layout(parts)
    held = {name: [arrays.part(name, layout, part) for part in range(parts)] for name in ("hu", "mask")}
    assert {array.shape[1:] for array in held["hu"]} == {(32, 32)}
    table, batch = arrays.table(layout), reader.read(np.arange(len(reader.table)))
    assert {str(column.dtype) for column in table.values()} == {"int32"}
    depths = np.array([3, 4, 1])[reader.table.scan]
    np.testing.assert_array_equal(table["highest"] - table["lowest"] + 1, depths)
    np.testing.assert_array_equal(table["slice"] - table["lowest"], reader.table.slice)
    for row in range(len(reader.table)):
        at = np.s_[table["slice"][row], table["row"][row] :, table["column"][row] :]
        for name, key in (("hu", "image"), ("mask", "mask")):
            np.testing.assert_array_equal(held[name][table["part"][row]][at][:16, :16], batch[key][row])
