"""Averaging thin slices to slabs, and interpolating back to slices."""

import numpy as np
import pytest

from ichjax.scan import slabs
from ichjax.scan import volume as volumes


def scan(spacing_mm, slices=11, seed=0):
    hu = np.random.default_rng(seed).integers(-1000, 1000, (6, 5, slices)).astype(np.int16)
    return volumes.from_file_grid(hu, np.diag([-1.0, -1.0, spacing_mm, 1.0]), name="scan")


@pytest.mark.parametrize(("spacing_mm", "count"), [(2.4, 2), (1.25, 4), (1.0, 5), (0.625, 8), (2.5, 1), (5.0, 1)])
def test_slabs_are_means_of_about_5_mm(spacing_mm, count):
    volume = scan(spacing_mm)
    thick, max_count = slabs.average_to_slabs(volume, 5.0)
    assert max_count == count
    if count == 1:
        assert thick is volume
        return
    for k, hu in enumerate(thick.hu):
        part = slice(k * count, (k + 1) * count)
        np.testing.assert_array_equal(hu, np.rint(volume.hu[part].astype(np.float32).mean(axis=0)))
        assert thick.positions_mm[k] == pytest.approx(volume.positions_mm[part].mean())
    assert thick.hu.dtype == np.int16
    # The affine gives the slabs' own positions, except for a last slab of fewer slices.
    positions = thick.affine[:3, 3] + np.arange(len(thick.hu))[:, None] * thick.affine[:3, 0]
    whole = len(volume.hu) // count
    np.testing.assert_allclose(positions[:whole], thick.slice_origins_mm[:whole], atol=1e-9)
    assert thick.pixel_mm == volume.pixel_mm


def test_thick_slices_are_unchanged_and_no_slab_spans_a_gap():
    """The skull base every 1.5 mm with one slice missing, the vault every 8 mm."""
    table_mm = np.concatenate([np.delete(np.arange(13) * 1.5, 7), 18.0 + 8.0 * np.arange(1, 6)])
    hu = np.random.default_rng(0).integers(-1000, 1000, (6, 5, len(table_mm))).astype(np.int16)
    origins = np.stack([0 * table_mm, 0 * table_mm, table_mm], axis=1)
    volume = volumes.from_file_grid(hu, np.diag([-1.0, -1.0, 3.0, 1.0]), name="scan", slice_origins_mm=origins)
    thick, max_count = slabs.average_to_slabs(volume, 5.0)
    assert max_count == 3
    first = [0, 3, 6, 7, 10, 11, *range(12, 17)]  # first slice of each slab: 7 follows the missing one
    heights = volume.extent_mm
    for k, (start, stop) in enumerate(zip(first, [*first[1:], len(table_mm)], strict=True)):
        assert stop - start == 1 or heights[start:stop].sum() < 6
        np.testing.assert_allclose(thick.positions_mm[k], volume.positions_mm[start:stop].mean(), err_msg=str(k))
        np.testing.assert_array_equal(thick.hu[k], np.rint(volume.hu[start:stop].astype(np.float32).mean(axis=0)))
    np.testing.assert_array_equal(thick.hu[-5:], volume.hu[-5:])
    weights = slabs.interpolation_weights(volume, thick)
    np.testing.assert_array_equal(weights[-5:, -5:], np.eye(5))


def test_two_close_slices_between_thick_ones_are_not_averaged():
    """Gaps as in the real series, 4.00 mm, once 1.08, then 7.00: both close slices extend over more than 2.5 mm."""
    table_mm = np.cumsum([0.0, 4.0, 4.0, 1.08, 7.0, 7.0])
    hu = np.zeros((6, 5, 6), np.int16)
    origins = np.stack([0 * table_mm, 0 * table_mm, table_mm], axis=1)
    volume = volumes.from_file_grid(hu, np.diag([-1.0, -1.0, 4.0, 1.0]), name="scan", slice_origins_mm=origins)
    assert slabs.average_to_slabs(volume, 5.0) == (volume, 1)


def test_networks_trained_on_thin_slices_get_thin_slices():
    assert slabs.average_to_slabs(scan(1.0), 1.0)[1] == 1
    assert slabs.average_to_slabs(scan(1.0, slices=1), 5.0)[1] == 1


@pytest.mark.parametrize("slices", [2, 5, 11, 12])
def test_interpolation_weights_follow_slice_positions(slices):
    volume = scan(1.0, slices=slices)
    thick, _ = slabs.average_to_slabs(volume, 5.0)
    weights = slabs.interpolation_weights(volume, thick)
    assert weights.shape == (slices, len(thick.hu))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert weights.min() >= 0
    expected = np.interp(volume.positions_mm, thick.positions_mm, np.arange(len(thick.hu)))
    np.testing.assert_allclose(weights @ np.arange(len(thick.hu)), expected, atol=1e-6)
