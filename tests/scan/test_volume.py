"""Volume: orientation, slice positions, volumes in mL; and NIfTI files: reading, writing, rejecting bad ones."""

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.errors import InputError
from ichjax.scan import nifti, volume

PERMUTATIONS = list(itertools.permutations(range(3)))
DIRECTIONS = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # S, P, L in RAS


def rotation(degrees, axis):
    """A rotation matrix about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[x, x], matrix[x, y], matrix[y, x], matrix[y, y] = c, -s, s, c
    return matrix


def head_hu(shape=(4, 6, 5), dtype=np.int16):
    """Plausible HU: air, bone, and a different value in every other voxel."""
    hu = np.arange(np.prod(shape)).reshape(shape)
    hu[0, 0, 0], hu[-1, -1, -1] = -1000, 1000
    return hu.astype(dtype)


@st.composite
def affines(draw):
    """Affines of any axis order, direction and voxel size, up to 25 degrees oblique, with shear (a tilted gantry)."""
    order = draw(st.sampled_from(PERMUTATIONS))
    signs = draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 8)] * 3))
    matrix = np.zeros((3, 3))
    for axis in range(3):
        matrix[order[axis], axis] = signs[axis] * spacing[axis]
    matrix = rotation(draw(st.floats(-25, 25)), draw(st.integers(0, 2))) @ matrix
    slice_axis = order.index(2)
    for axis in range(3):
        if axis != slice_axis:
            matrix[:, slice_axis] += (
                draw(st.floats(-0.15, 0.15)) * spacing[slice_axis] * matrix[:, axis] / spacing[axis]
            )
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine


def voxel_positions(shape, affine):
    """World position of every voxel, float [*shape, 3]."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return grid @ affine[:3, :3].T + affine[:3, 3]


@settings(max_examples=60)
@given(affine=affines())
def test_every_voxel_keeps_its_world_position(affine):
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    scan = volume.from_file_grid(array, affine, name="x")
    expected = dict(zip(array.ravel().tolist(), voxel_positions(array.shape, affine).reshape(-1, 3), strict=True))
    ours = voxel_positions(scan.shape, scan.affine).reshape(-1, 3)
    np.testing.assert_allclose(ours, [expected[v] for v in scan.hu.ravel().tolist()], atol=1e-9)
    np.testing.assert_allclose(scan.slice_origins_mm, voxel_positions(scan.shape, scan.affine)[:, 0, 0], atol=1e-9)


@settings(max_examples=60)
@given(affine=affines())
def test_axes_point_to_the_head_the_back_and_the_left(affine):
    scan = volume.from_file_grid(np.zeros((3, 4, 5), np.int16), affine, name="x")
    for axis, direction in enumerate(DIRECTIONS):
        assert scan.affine[:3, axis] @ direction > 0
    assert scan.normal @ [0, 0, 1] > 0
    assert np.linalg.norm(scan.normal) == pytest.approx(1)
    assert (np.diff(scan.positions_mm) > 0).all()


@settings(max_examples=60)
@given(affine=affines())
def test_to_file_grid_restores_the_file_order(affine):
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    scan = volume.from_file_grid(array, affine, name="x")
    np.testing.assert_array_equal(scan.to_file_grid(scan.hu), array)
    assert scan.file_shape == array.shape
    np.testing.assert_array_equal(scan.file_affine, affine)


@settings(max_examples=60)
@given(affine=affines(), seed=st.integers(0, 99))
def test_explicit_slice_origins_are_kept(affine, seed):
    """Uneven gaps: each slice has its own origin, that of its pixel (0, 0) after any flip."""
    array = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    slice_axis = np.argmax(np.abs(affine[2, :3]) / np.linalg.norm(affine[:3, :3], axis=0))
    rng = np.random.default_rng(seed)
    along = np.cumsum(rng.uniform(0.5, 9, array.shape[slice_axis]))
    direction = affine[:3, slice_axis] / np.linalg.norm(affine[:3, slice_axis])
    origins = affine[:3, 3] + along[:, None] * direction + rng.normal(0, 0.2, (len(along), 3))
    scan = volume.from_file_grid(array, affine, name="x", slice_origins_mm=origins)
    for ours, origin in zip(scan.hu, scan.slice_origins_mm, strict=True):
        index = np.argwhere(array == ours[0, 0])[0]
        in_plane = np.where(np.arange(3) == slice_axis, 0, index)
        np.testing.assert_allclose(origin, origins[index[slice_axis]] + affine[:3, :3] @ in_plane, atol=1e-9)


def test_slices_are_in_radiological_view():
    """The file's axes point right, anterior and to the head; the volume shows the nose up, the right on the left."""
    array = np.zeros((10, 12, 4), np.int16)  # x to the right, y anterior, z to the head
    array[9, 6, 0] = 11  # the patient's right, lowest slice
    array[5, 11, 3] = 22  # the nose, highest slice
    scan = volume.from_file_grid(array, np.diag([0.5, 0.5, 5, 1]), name="x")
    assert scan.shape == (4, 12, 10)
    assert np.argwhere(scan.hu == 11).tolist() == [[0, 5, 0]]
    assert np.argwhere(scan.hu == 22).tolist() == [[3, 0, 4]]


def test_extents_and_ml_of_uneven_gaps():
    origins = np.array([[0, 0, z] for z in (0.0, 4.0, 5.0, 12.0)])
    scan = volume.from_file_grid(
        np.zeros((6, 7, 4), np.int16), np.diag([-0.5, -0.25, 4, 1]), name="x", slice_origins_mm=origins
    )
    np.testing.assert_allclose(scan.extent_mm, [4, 2.5, 4, 7])
    np.testing.assert_allclose(scan.pixel_ml, np.array([4, 2.5, 4, 7]) * 0.5 * 0.25 / 1000)
    assert scan.pixel_mm == pytest.approx((0.25, 0.5))  # rows are the file's second axis
    assert scan.spacing_mm == pytest.approx((4, 0.25, 0.5))


def test_a_tilted_gantry_is_measured_along_the_normal():
    """The table moves 5 mm along the body, slices are tilted by 20 degrees: the gap is 5 cos 20."""
    affine = np.eye(4)
    affine[:3, 0] = [-0.5, 0, 0]
    affine[:3, 1] = 0.5 * np.array([0, -np.cos(np.radians(20)), -np.sin(np.radians(20))])
    affine[:3, 2] = [0, 0, 5]
    scan = volume.from_file_grid(np.zeros((4, 4, 6), np.int16), affine, name="x")
    np.testing.assert_allclose(scan.extent_mm, 5 * np.cos(np.radians(20)))
    np.testing.assert_allclose(scan.pixel_ml, 5 * np.cos(np.radians(20)) * 0.25 / 1000)


def test_a_single_slice_has_its_thickness_as_extent():
    scan = volume.from_file_grid(np.zeros((4, 4, 1), np.int16), np.diag([-1, -1, 5, 1.0]), name="x")
    assert scan.extent_mm.tolist() == [5]
    assert scan.spacing_mm == (5, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_hu_are_rounded_and_padding_becomes_air(dtype):
    values = np.array([0, 7, 200], dtype)
    assert volume.to_hu16(values).tolist() == [0, 7, 200]
    if np.issubdtype(dtype, np.floating):
        assert volume.to_hu16(np.array([-3024.4, -0.6, 2.4, 1e9], dtype)).tolist() == [-1024, -1, 2, 32767]
    if dtype == np.int32:
        assert volume.to_hu16(np.array([-2000, 40000], dtype)).tolist() == [-1024, 32767]
    assert volume.to_hu16(values).dtype == np.int16


@pytest.mark.parametrize("bad", ["nan", "zero", "parallel"])
def test_an_affine_without_three_independent_axes_is_rejected(bad):
    affine = np.diag([-1, -1, 5, 1.0])
    affine[:3, 1] = {"nan": np.nan, "zero": 0.0, "parallel": affine[:3, 0] * 2}[bad]
    with pytest.raises(InputError, match=r"thing\.nii: the affine"):
        volume.from_file_grid(head_hu(), affine, name="thing.nii")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_the_scaling_of_a_file_is_applied(tmp_path, extension):
    path = tmp_path / f"scan{extension}"
    image = nib.Nifti1Image(head_hu(), np.diag([-1, -1, 5, 1.0]))
    image.header.set_slope_inter(2.0, -10.0)
    nib.save(image, path)
    stored = np.asanyarray(nib.load(path).dataobj.get_unscaled()).astype(float)
    slope, inter = nib.load(path).dataobj.slope, nib.load(path).dataobj.inter
    array, affine = nifti.load_array(path)
    np.testing.assert_allclose(array, stored * slope + inter)
    np.testing.assert_array_equal(affine, np.diag([-1, -1, 5, 1.0]))


def test_slope_and_intercept_of_a_raw_header_are_applied(tmp_path):
    """Bytes 112 and 116 of a NIfTI-1 header are scl_slope and scl_inter: -32768 and 32767 mean 0 and 255."""
    path = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(np.array([-32768, 32767], np.int16).reshape(2, 1, 1), np.eye(4)), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([255 / 65535, 127.5019], "<f4").tobytes()
    path.write_bytes(raw)
    array, _ = nifti.load_array(path)
    np.testing.assert_allclose(array.ravel(), [0, 255], atol=0.01)


def _save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 5, 1.0]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.NII.GZ", "a.Nii", "a.nII.gZ", "a.nii.GZ", "a.NII", "a.nii.nii"])
def test_extensions_may_be_in_upper_case(tmp_path, name, kind):
    raw = kind(head_hu(), np.diag([-1, -1, 5, 1.0])).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.lower().endswith("gz") else raw)
    read = nifti.read_nifti(tmp_path / name)
    np.testing.assert_array_equal(read.to_file_grid(read.hu), head_hu())
    assert not nifti.is_craniocaudal(tmp_path / name)
    nifti.write_nifti(tmp_path / f"new_{name}", read.hu, read)
    assert {path.name for path in tmp_path.iterdir()} == {name, f"new_{name}"}
    np.testing.assert_array_equal(nifti.read_nifti(tmp_path / f"new_{name}").hu, read.hu)
    assert nifti.strip_extension(name) == ("a.nii" if name == "a.nii.nii" else "a")


def test_names_of_other_files():
    assert not any(map(nifti.is_nifti_name, ("a", "a.nii.gz.txt", "a.niigz", "a.gz", "nii", "a.nii\n", "a.hdr")))


def _truncated(path):
    _save(path, head_hu((16, 16, 16)))
    path.write_bytes(path.read_bytes()[:2000])


def _truncated_gz(path):
    _save(path, np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:2000])


def _huge(path):
    _save(path, head_hu())
    raw = bytearray(path.read_bytes())
    raw[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()  # dim
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.nii", lambda path: None, "no such file"),
        ("a.nii", lambda path: path.write_bytes(b""), "not a readable NIfTI"),
        ("a.nii", lambda path: path.write_bytes(b"hello" * 200), "not a readable NIfTI"),
        ("a.nii.gz", lambda path: path.write_bytes(gzip.compress(b"hello" * 200)), "not a readable NIfTI"),
        ("a.nii", _truncated, "truncated"),
        ("a.nii.gz", _truncated_gz, "truncated"),
        ("a.nii", _huge, "claims the shape"),
        ("a.nii", lambda path: _save(path, np.zeros((4, 4, 4, 2), np.int16)), "4 dimensions"),
        ("a.nii", lambda path: _save(path, np.zeros((4, 4), np.int16)), "2 dimensions"),
        ("a.nii", lambda path: _save(path, np.full((4, 4, 4), np.nan, np.float32)), "not finite"),
        ("a.nii", lambda path: _save(path, np.zeros((4, 4, 4), np.complex64)), "complex64"),
    ],
)
def test_errors_about_bad_files_begin_with_the_name(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        nifti.load_array(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    with pytest.raises(InputError, match=r"^neutral: "):
        nifti.load_array(tmp_path / name, name="neutral")


def test_a_fourth_dimension_of_one_is_accepted(tmp_path):
    array, _ = nifti.load_array(_save(tmp_path / "a.nii", head_hu()[..., None]))
    np.testing.assert_array_equal(array, head_hu())


def test_read_nifti_rejects_values_that_are_not_hu(tmp_path):
    path = _save(tmp_path / "a.nii", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    with pytest.raises(InputError, match="8-bit"):
        nifti.read_nifti(path)


@settings(max_examples=15)
@given(affine=affines())
def test_written_masks_lie_on_the_scan(tmp_path_factory, affine):
    folder = tmp_path_factory.mktemp("written")
    scan = nifti.read_nifti(_save(folder / "scan.nii", head_hu((3, 4, 5)), affine))
    mask = (scan.hu > 30).astype(np.uint8)
    nifti.write_nifti(folder / "mask.nii.gz", mask, scan)
    written = nib.load(folder / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), head_hu((3, 4, 5)) > 30)
    assert written.get_data_dtype() == np.uint8
    assert (written.header["sform_code"], written.header["qform_code"]) == (1, 1)  # scanner coordinates
    np.testing.assert_allclose(written.affine, affine, rtol=1e-5, atol=1e-4)  # the header holds float32
    # A reader that uses the qform gets the same voxel sizes and nearly the same directions.
    np.testing.assert_allclose(
        np.linalg.norm(written.get_qform()[:3, :3], axis=0), written.header.get_zooms(), rtol=1e-4
    )
    assert [path.name for path in sorted(folder.iterdir())] == ["mask.nii.gz", "scan.nii"]


def test_written_headers_hold_only_the_geometry(tmp_path):
    image = nib.Nifti1Image(head_hu(), np.diag([-1, -1, 5, 1.0]))
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"DOE JOHN"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE JOHN"))
    nib.save(image, tmp_path / "DOE_JOHN.nii")
    scan = nifti.read_nifti(tmp_path / "DOE_JOHN.nii")
    nifti.write_nifti(tmp_path / "mask.nii", np.zeros(scan.shape, np.uint8), scan)
    nifti.write_nifti(tmp_path / "mask.nii.gz", np.zeros(scan.shape, np.uint8), scan)
    packed = (tmp_path / "mask.nii.gz").read_bytes()
    for raw in ((tmp_path / "mask.nii").read_bytes(), packed, gzip.decompress(packed)):
        assert b"DOE" not in raw


def test_an_array_of_another_shape_is_rejected():
    scan = volume.from_file_grid(head_hu(), np.diag([-1, -1, 5, 1.0]), name="thing.nii")
    with pytest.raises(ValueError, match=r"thing\.nii"):
        scan.to_file_grid(np.zeros((4, 6, 5), np.uint8))


def test_nominal_spacing_is_recorded():
    """It is False by default: the spacing of a NIfTI is its own."""
    array = np.zeros((4, 5, 6), np.int16)
    affine = np.diag([-0.33, -0.33, 5, 1.0])
    assert volume.from_file_grid(array, affine, name="x", nominal_spacing=True).nominal_spacing
    assert not volume.from_file_grid(array, affine, name="x").nominal_spacing


@pytest.mark.parametrize(("order", "slice_mm"), [((0, 1, 2), 5), ((2, 0, 1), 5), ((0, 1, 2), -5), ((2, 0, 1), -5)])
def test_slices_stored_from_head_to_feet(tmp_path, order, slice_mm):
    affine = np.diag([-0.5, 0.5, slice_mm, 1.0])[:, [*order, 3]]
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine), tmp_path / "x.nii")
    assert nifti.is_craniocaudal(tmp_path / "x.nii") == (slice_mm < 0)
    (tmp_path / "y.nii").write_bytes(b"no image")
    assert not nifti.is_craniocaudal(tmp_path / "y.nii")
