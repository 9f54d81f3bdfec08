"""Resampling tilted and unevenly spaced scans to an axis-aligned grid: HU, positions and volumes are preserved."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.interpolate import RegularGridInterpolator

from ichjax.errors import InputError
from ichjax.scan import nifti, world_grid
from ichjax.scan import volume as volumes

PIXEL_MM = (1.5, 1.25)


def scan(tilt_degrees=20.0, table_mm=(0.0, 4.0, 8.0, 12.0, 13.0, 20.0, 27.0), turn_degrees=0.0, size=(40, 48)):
    """A scan whose HU are a linear function of the patient's coordinates, which interpolation reproduces exactly."""
    tilt, turn = np.radians([tilt_degrees, turn_degrees])
    turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    across, down = turned @ [-1, 0, 0], turned @ [0, -np.cos(tilt), -np.sin(tilt)]
    normal = np.cross(across, down)
    normal *= np.sign(normal[2])
    origins = np.array([30.0, 25.0, -10.0]) + np.outer(table_mm, [0, 0, 1])
    rows, columns = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")
    in_plane = rows[..., None] * PIXEL_MM[0] * down + columns[..., None] * PIXEL_MM[1] * across
    hu = field(origins[:, None, None] + in_plane)
    gap = np.median(np.diff(origins @ normal)) if len(table_mm) > 1 else 5.0
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * PIXEL_MM[1], down * PIXEL_MM[0], normal * gap], axis=1)
    affine[:3, 3] = origins.mean(axis=0) - normal * gap * (len(table_mm) - 1) / 2
    return volumes.from_file_grid(hu.transpose(2, 1, 0), affine, name="scan", slice_origins_mm=origins)


def field(points):
    return np.rint(points @ [3.0, -2.0, 4.0] + 100).astype(np.int16)


@pytest.mark.parametrize("turn_degrees", [0.0, 7.0], ids=["aligned", "turned"])
@pytest.mark.parametrize("tilt_degrees", [20.0, -18.5, 0.0])
def test_a_linear_field_is_reproduced(tilt_degrees, turn_degrees):
    volume = scan(tilt_degrees, turn_degrees=turn_degrees)
    grid = world_grid.world_grid(volume)
    assert world_grid._columns_aligned(volume, grid) == (turn_degrees == 0)
    hu, mask = world_grid.resample(volume, np.ones(volume.shape, np.uint8), grid)
    i, j, k = np.nonzero(mask)
    points = np.stack([i, j, k], axis=1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    expected = points @ [3.0, -2.0, 4.0] + 100
    values = hu[i, j, k]
    # Exact between pixel centers, to the rounding of both; the outermost half pixel repeats the edge value.
    outer = np.abs(values - expected) > 1.01
    assert outer.mean() < 0.25
    index = (points - volume.slice_origins_mm[0]) @ volume.normal
    along = (index > 0.01) & (index < volume.positions_mm[-1] - volume.positions_mm[0] - 0.01)
    down, across = (volume.affine[:3, axis] / volume.pixel_mm[axis - 1] ** 2 for axis in (1, 2))
    stretch = np.array(
        [np.interp(index, volume.positions_mm - volume.positions_mm[0], o) for o in volume.slice_origins_mm.T]
    )
    row, column = (points - stretch.T) @ down, (points - stretch.T) @ across
    inside = along & (row >= 0) & (row <= 39) & (column >= 0) & (column <= 47)
    assert inside.mean() > 0.7
    assert np.abs(values - expected)[inside].max() <= 1.01
    assert (hu[mask == 0] == volumes.AIR_HU).all()


def test_volumes_are_preserved():
    """A block across all gaps has the volume of `Volume.pixel_ml`, up to the error of sampling its edges at 1.5 mm."""
    volume = scan(size=(80, 90))
    mask = np.zeros(volume.shape, np.uint8)
    mask[1:6, 20:60, 25:65] = 1
    truth = mask.sum(axis=(1, 2)) @ volume.pixel_ml
    grid = world_grid.world_grid(volume)
    _, resampled = world_grid.resample(volume, mask, grid)
    assert resampled.sum() * np.linalg.det(np.abs(grid.affine[:3, :3])) / 1000 == pytest.approx(truth, rel=0.02)


def test_both_implementations_of_resampling_agree(monkeypatch):
    volume = scan(tilt_degrees=12.0)
    mask = (volume.hu > 150).astype(np.uint8)
    grid = world_grid.world_grid(volume)
    fast = world_grid.resample(volume, mask, grid)
    monkeypatch.setattr(world_grid, "_columns_aligned", lambda *_: False)
    slow = world_grid.resample(volume, mask, grid)
    assert np.abs(fast[0].astype(int) - slow[0]).max() <= 1  # float32 and float64 round differently
    np.testing.assert_array_equal(fast[1], slow[1])


def test_an_even_untilted_scan_agrees_with_scipy():
    volume = scan(tilt_degrees=0.0, table_mm=(0.0, 4.0, 8.0, 12.0))
    assert world_grid.describe_geometry(volume) == "exact"
    grid = world_grid.world_grid(volume)
    hu, _ = world_grid.resample(volume, None, grid)
    inside = RegularGridInterpolator(
        (volume.positions_mm, np.arange(40), np.arange(48)), volume.hu.astype(float), bounds_error=False
    )
    i, j, k = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
    z = grid.affine[2, 3] + k * grid.affine[2, 2]
    rows = (volume.slice_origins_mm[0, 1] - (grid.affine[1, 3] + j * grid.affine[1, 1])) / PIXEL_MM[0]
    columns = (volume.slice_origins_mm[0, 0] - (grid.affine[0, 3] + i * grid.affine[0, 0])) / PIXEL_MM[1]
    expected = inside(np.stack([z, rows, columns], axis=-1))
    known = np.isfinite(expected)
    assert known.mean() > 0.6
    assert np.abs(hu[known] - expected[known]).max() <= 0.51


def test_exact_affines_and_a_single_slice():
    assert world_grid.has_exact_affine(scan(table_mm=(0.0,)))
    assert world_grid.has_exact_affine(scan(tilt_degrees=0.0, table_mm=(0.0, 5.0, 10.0)))
    assert not world_grid.has_exact_affine(scan(tilt_degrees=0.0, table_mm=(0.0, 5.0, 12.0)))
    assert not world_grid.has_exact_affine(scan(table_mm=(0.0, 5.0, 10.0)))
    hu, _ = world_grid.resample(scan(table_mm=(0.0,)), None, world_grid.world_grid(scan(table_mm=(0.0,))))
    assert (hu > volumes.AIR_HU).any()


def test_a_grid_that_is_too_large_is_rejected(monkeypatch):
    volume = scan(tilt_degrees=45.0, table_mm=tuple(100.0 * k for k in range(30)), size=(40, 48))
    monkeypatch.setattr(world_grid, "MAX_GRID_VOXELS", 10**5)
    with pytest.raises(InputError, match=r"scan: an axis-aligned grid of it would have \d+ voxels; expected at most"):
        world_grid.world_grid(volume)


def test_a_sheared_nifti_is_reported_and_its_resampled_form_opens_in_itk(tmp_path):
    affine = np.array([[-1.0, 0, 0, 20], [0, -1, 1.5, 20], [0, 0, 4, 0], [0, 0, 0, 1]])
    volume = volumes.from_file_grid(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), affine, name="sheared")
    assert world_grid.describe_geometry(volume) == "exact, but sheared, which ITK cannot hold"
    image = nib.Nifti1Image(volume.to_file_grid(volume.hu), None)
    image.set_sform(affine, code=1)
    nib.save(image, tmp_path / "own.nii")
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "own.nii"))
    grid = world_grid.world_grid(volume)
    nifti.write_grid(tmp_path / "world.nii", world_grid.resample(volume, None, grid)[0], grid.affine)
    assert sitk.ReadImage(str(tmp_path / "world.nii")).GetSize() == grid.shape
