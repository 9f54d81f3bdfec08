"""Resampling to the network's grid: compared with SciPy and hand-computed means; caching."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage

from ichjax.data import ct_ich_nifti, regrid, scan_cache
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.ops import resample


@pytest.fixture
def scan(tiny_root, tmp_path, monkeypatch):
    """A scan of 32 x 32 pixels of 6 mm, and an empty cache."""
    subjects = ct_ich_nifti.read_dataset(tiny_root).subjects
    bleeding = next(s for s in subjects if s.mask_path is not None)
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    return scan_cache.open_scan(bleeding)


def resized(scan, shape):
    """The scan padded with air to another matrix."""
    pads = [(0, 0), *((0, n - own) for n, own in zip(shape, scan.volume.shape[1:], strict=True))]
    volume = dataclasses.replace(scan.volume, hu=np.pad(scan.volume.hu, pads, constant_values=-1000))
    padded = {"mask": np.pad(scan.mask, pads), "classes": np.pad(scan.classes, pads)}
    return dataclasses.replace(scan, volume=volume, **padded, digest=scan.digest + str(shape))


@pytest.mark.parametrize(
    ("size", "spacing", "to_size", "to_spacing"), [(32, 6.0, 48, 4.0), (32, 6.0, 16, 12.0), (13, 1.0, 20, 0.7)]
)
def test_line_weights_equal_those_of_ops_resample(size, spacing, to_size, to_spacing):
    weights = regrid.line_weights(size, spacing, to_size, to_spacing)
    expected = jax.jit(resample.line_weights, static_argnums=(2, 4))(size, spacing, to_size, to_spacing, size)
    np.testing.assert_allclose(weights, expected, atol=2e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_a_finer_grid_is_linear_interpolation(scan):
    grid = Geometry(64, 64, 3.0, 3.0)
    resampled = regrid.resample_to_grid(scan, grid)
    where = (np.arange(64) - 31.5) / 2 + 15.5
    points = np.meshgrid(where, where, indexing="ij")
    for d in (0, len(resampled.mask) // 2):
        expected = ndimage.map_coordinates(scan.volume.hu[d].astype(np.float64), points, order=1, mode="nearest")
        np.testing.assert_allclose(resampled.volume.hu[d], expected, atol=0.51)
        soft = ndimage.map_coordinates(scan.mask[d].astype(np.float64), points, order=1, mode="nearest")
        sure = np.abs(soft - 0.5) > 1e-4
        np.testing.assert_array_equal(resampled.mask[d][sure], (soft >= 0.5)[sure])


def test_a_coarser_grid_averages_and_keeps_the_lesions_area(scan):
    resampled = regrid.resample_to_grid(scan, Geometry(16, 16, 12.0, 12.0))
    d = int(np.argmax(scan.truth_px))
    pixel = scan.volume.hu[d, 9:13, 9:13].astype(np.float64)
    weights = np.array([0.25, 0.75, 0.75, 0.25]) / 2  # kernel of a pixel twice as wide
    np.testing.assert_allclose(resampled.volume.hu[d, 5, 5], weights @ pixel @ weights, atol=1.0)
    assert resampled.truth_px[d] == resampled.mask[d].sum()
    np.testing.assert_allclose(resampled.mask.sum() * 144.0, scan.mask.sum() * 36.0, rtol=0.35)


def test_the_640_pixels_of_the_first_release(scan):
    """512 pixels are resampled to 650; without 5 at each edge, the middle 504 become 640."""
    large = resized(scan, (512, 512))
    grid = regrid.common_grid([large], side=640, border=5)
    np.testing.assert_allclose(grid, (640, 640, 6.0 * 512 / 650, 6.0 * 512 / 650))


def test_slices_without_border_are_unchanged(scan):
    """Scans of the first release are read as 640 of the 650 pixels."""
    small = resized(scan, (40, 40))
    assert regrid.common_grid([small], side=40, border=5) == (40, 40, 6.0, 6.0)
    assert regrid.resample_to_grid(small, regrid.common_grid([small], side=40, border=5)) is small
    grid = regrid.common_grid([scan], side=40, border=5)  # with its border it is resampled to 50 pixels
    np.testing.assert_allclose(grid, (40, 40, 6.0 * 32 / 50, 6.0 * 32 / 50))


def test_the_most_common_matrix_is_the_grid_of_all_scans(scan):
    odd = resized(scan, (40, 36))
    grid = regrid.common_grid([scan, odd, scan])
    assert grid == (32, 32, 6.0, 6.0)
    assert regrid.resample_to_grid(scan, grid) is scan
    resampled = regrid.resample_to_grid(odd, grid)
    assert resampled.volume.shape == resampled.mask.shape == (len(scan.mask), 32, 32)
    np.testing.assert_array_equal(resampled.volume.hu, odd.volume.hu[:, 4:36, 2:34])  # with a common center
    np.testing.assert_array_equal(resampled.mask, odd.mask[:, 4:36, 2:34])
    assert resampled.volume.pixel_mm == scan.volume.pixel_mm


def test_resampled_scans_are_cached_and_damaged_ones_recreated(scan, monkeypatch):
    grid = Geometry(16, 16, 12.0, 12.0)
    first = regrid.resample_to_grid(scan, grid)
    with pytest.raises(ValueError, match="read-only"):
        first.volume.hu[0, 0, 0] = 1
    with monkeypatch.context() as context:
        context.setattr(regrid, "_write", None)
        np.testing.assert_array_equal(regrid.resample_to_grid(scan, grid).volume.hu, first.volume.hu)
    before = np.array(first.volume.hu)
    stored = next((cache_folder() / "grids").glob("*/hu.npy"))
    stored.write_bytes(stored.read_bytes()[:50])
    np.testing.assert_array_equal(regrid.resample_to_grid(scan, grid).volume.hu, before)


def test_a_grid_of_no_scans_is_rejected():
    with pytest.raises(InputError, match="no scan could be read"):
        regrid.common_grid([])
