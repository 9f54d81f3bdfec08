"""sform, qform, pixdim and units of a NIfTI: which one is believed, and what is said where they contradict each other.

Oracles: affines computed by hand, and nibabel's and SciPy's where they read the header."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ichjax.errors import InputError
from ichjax.scan import nifti
from ichjax.scan.nifti_geometry import read_geometry

SHAPE = (9, 11, 5)
LAS = np.array([[-2.0, 0, 0, 8], [0, 2, 0, -10], [0, 0, 4, -7], [0, 0, 0, 1]])  # of voxels of 2 x 2 x 4 mm
LAS_QUATERNION = dict(quatern_b=0, quatern_c=1, quatern_d=0)  # half a turn about y, with a qfac of -1


def make_header(**fields):
    """sform and qform are both `LAS`, in mm; then fields are changed. `srow` sets all twelve values of the sform."""
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header["pixdim"][:4] = -1, 2, 2, 4
    header["xyzt_units"] = 2
    srow = fields.pop("srow", LAS)
    offsets = dict(zip(("qoffset_x", "qoffset_y", "qoffset_z"), LAS[:3, 3], strict=True))
    rows = dict(zip(("srow_x", "srow_y", "srow_z"), srow[:3], strict=True))
    for name, value in {"sform_code": 1, "qform_code": 1, **LAS_QUATERNION, **offsets, **rows, **fields}.items():
        header[name] = value
    return header


def pixdim(*sizes, qfac=-1):
    return [qfac, *sizes, 0, 0, 0, 0]


def geometry(**fields):
    return read_geometry(make_header(**fields), SHAPE, "a.nii")


def write(path, header):
    """A file with this header: air, and a different value in every other voxel."""
    hu = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 200
    hu[0, 0, 0] = -1000
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(header.binaryblock + bytes(4) + hu.tobytes(order="F"))
    return hu


def mirrored():
    return np.diag([-1.0, 1, 1, 1]) @ LAS


def test_a_consistent_header_has_no_note():
    for fields in ({}, {"sform_code": 0}, {"qform_code": 0}, {"xyzt_units": 0}, {"xyzt_units": 10}):
        affine, notes = geometry(**fields)
        np.testing.assert_allclose(affine, LAS, atol=1e-12)
        assert notes == ()


@pytest.mark.parametrize(
    ("srow", "words"),
    [
        (np.eye(4), "(RAS, voxels of 1 x 1 x 1 mm) and qform (LAS, 2 x 2 x 4 mm) disagree about left and right:"),
        (mirrored(), "disagree about left and right:"),
        (np.diag([1.0, -1, 1, 1]) @ LAS, "disagree about front and back:"),
        (np.diag([-1.0, -1, 1, 1]) @ LAS, "disagree about left and right and about front and back:"),
        (np.diag([1.0, 1, -1, 1]) @ LAS, "disagree about head and feet:"),
        (LAS[[1, 0, 2, 3]], "disagree about the order of the axes and about left and right:"),
        (LAS[[1, 2, 0, 3]], "disagree about the order of the axes:"),
    ],
)
def test_the_sform_wins_and_the_note_says_what_the_qform_contradicts(srow, words):
    affine, (note,) = geometry(srow=srow)
    np.testing.assert_array_equal(affine, srow)
    assert words in note
    assert "the sform is used" in note


def test_the_distance_of_the_corners_by_hand():
    """The sform is the qform mirrored in x: the farthest corners are x = 9 and x = -9 mm, 18 mm apart."""
    assert "a corner of the volume 18 mm apart" in geometry(srow=mirrored())[1][0]
    moved = LAS.copy()
    moved[:3, 3] += 3, 0, 4
    assert "disagree: they place a corner of the volume 5 mm apart" in geometry(srow=moved)[1][0]


@pytest.mark.parametrize(("shift_mm", "contradicts"), [(0.9, False), (-0.9, False), (1.1, True), (-1.1, True)])
def test_up_to_one_millimeter_is_rounding(shift_mm, contradicts):
    moved = LAS.copy()
    moved[2, 3] += shift_mm
    assert bool(geometry(srow=moved)[1]) == contradicts


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((2.01, 2, 4), None),
        ((2.03, 2, 4), "(pixdim) are 2.03 x 2 x 4 mm, but 2 x 2 x 4 mm by its sform, which is used"),
        ((2, 2, 5), "2 x 2 x 5 mm"),
        ((2, -2, 4), "2 x -2 x 4 mm"),
        ((2, 0, 4), "2 x 0 x 4 mm"),
        ((2, 2, np.nan), "2 x 2 x nan mm"),
        ((np.inf, 2, 4), "inf x 2 x 4 mm"),
    ],
)
@pytest.mark.parametrize("qform_code", [0, 1])
def test_voxel_sizes_that_contradict_the_sform(sizes, words, qform_code):
    if qform_code and np.isfinite(sizes).all() and min(sizes) > 0 and words:
        words = f"{' x '.join(f'{size:g}' for size in sizes)} mm) disagree: they place" if sizes[2] == 5 else words
    affine, notes = geometry(pixdim=pixdim(*sizes), qform_code=qform_code)
    np.testing.assert_array_equal(affine, LAS)
    assert len(notes) == (words is not None)
    assert all(words in note for note in notes)


@pytest.mark.parametrize("srow", [np.zeros((4, 4)), LAS * [1, 1, 0, 1], LAS * np.nan, LAS * 1e30])
def test_a_qform_replaces_an_unusable_sform(srow):
    affine, notes = geometry(srow=srow)
    np.testing.assert_allclose(affine, LAS, atol=1e-12)
    assert notes == ("the header's sform is singular or not finite: the qform is used",)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"quatern_c": 1.5}, "the quaternion of the header's qform has the length 1.5"),
        ({"quatern_d": np.nan}, "the quaternion of the header's qform has the length nan"),
        ({"qoffset_y": np.inf}, "the header's qform is singular or not finite"),
    ],
)
def test_an_unusable_qform_beside_the_sform(fields, problem):
    affine, notes = geometry(**fields)
    np.testing.assert_array_equal(affine, LAS)
    assert notes == (f"{problem}: the sform is used",)


@pytest.mark.parametrize("length", [1.000002, 1.0002, 0.99999999])
def test_a_quaternion_that_is_rounded_is_a_unit_quaternion(length):
    affine, notes = geometry(sform_code=0, quatern_c=length)
    np.testing.assert_allclose(affine, LAS, atol=2e-3)
    assert notes == ()


@settings(max_examples=60)
@given(
    turn=st.tuples(*[st.floats(-1, 1)] * 3),
    degrees=st.floats(-179.9, 179.9),
    sizes=st.tuples(*[st.floats(0.3, 8)] * 3),
    qfac=st.sampled_from((-1, 1)),
)
@example(turn=(0, 0, 1), degrees=180, sizes=(1, 2, 3), qfac=1)
def test_the_qform_is_that_of_scipy_and_of_nibabel(turn, degrees, sizes, qfac):
    """Rotation, then the third axis reversed for a qfac of -1."""
    axis = np.array(turn) / np.linalg.norm(turn) if np.linalg.norm(turn) > 1e-3 else np.array([1.0, 0, 0])
    rotation = Rotation.from_rotvec(np.radians(degrees) * axis)
    x, y, z, w = rotation.as_quat()
    b, c, d = np.array([x, y, z]) * (1 if w >= 0 else -1)
    header = make_header(sform_code=0, quatern_b=b, quatern_c=c, quatern_d=d, pixdim=pixdim(*sizes, qfac=qfac))
    affine, notes = read_geometry(header, SHAPE, "a.nii")
    np.testing.assert_allclose(affine[:3, :3], rotation.as_matrix() * sizes * [1, 1, qfac], atol=8e-3)
    np.testing.assert_array_equal(affine[:3, 3], LAS[:3, 3])
    assert notes == ()
    if b * b + c * c + d * d < 0.9999:  # nibabel rejects those that rounding made too long
        np.testing.assert_allclose(affine, header.get_qform(), atol=1e-5)


@pytest.mark.parametrize(("unit", "mm", "word"), [(1, 1000.0, "meters"), (3, 0.001, "microns")])
@pytest.mark.parametrize("form", ["sform", "qform", "neither"])
def test_lengths_in_other_units_become_millimeters(unit, mm, word, form):
    scaled = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ LAS
    offsets = dict(zip(("qoffset_x", "qoffset_y", "qoffset_z"), scaled[:3, 3], strict=True))
    codes = {"sform_code": form == "sform", "qform_code": form == "qform"}
    sizes = pixdim(2 / mm, 2 / mm, 4 / mm)
    affine, notes = geometry(srow=scaled, pixdim=sizes, xyzt_units=unit, **offsets, **codes)
    expected = np.diag([-2.0, 2, 4, 1])
    expected[:3, 3] = (8, -10, -8) if form == "neither" else LAS[:3, 3]  # without a position, the middle is the origin
    np.testing.assert_allclose(affine, expected, rtol=1e-6)
    assert notes[-1] == f"the header's lengths are in {word}: they were converted to mm, here and in the results"
    assert len(notes) == (2 if form == "neither" else 1)


@pytest.mark.parametrize("unit", [1, 3])
def test_millimeters_that_are_called_something_else(unit):
    """Voxels of 2 m or 2 microns are no head CT's; read as mm they are."""
    affine, (note,) = geometry(xyzt_units=unit)
    np.testing.assert_array_equal(affine, LAS)
    assert "which no head CT could have: they are read as mm" in note


@pytest.mark.parametrize("code", [-1, 0])
def test_without_codes_the_voxel_sizes_alone_are_used_as_in_nibabel(code):
    header = make_header(sform_code=code, qform_code=code)
    affine, (note,) = read_geometry(header, SHAPE, "a.nii")
    np.testing.assert_allclose(affine, header.get_base_affine())
    assert note.startswith("the header gives no orientation")


def test_results_lie_on_the_grid_that_was_believed(tmp_path):
    """Read by nibabel, with sform and qform of one mind; the scan's file and the result read alike."""
    cases = {
        "identity": (dict(srow=np.eye(4)), np.eye(4)),
        "mirrored": (dict(srow=mirrored()), mirrored()),
        "zero": (dict(srow=np.zeros((4, 4))), LAS),
        "negative": (dict(pixdim=pixdim(2, -2, 4)), LAS),
        "meters": (
            dict(
                srow=np.diag([0.001, 0.001, 0.001, 1]) @ LAS,
                xyzt_units=1,
                pixdim=pixdim(2e-3, 2e-3, 4e-3),
                qform_code=0,
            ),
            LAS,
        ),
    }
    for name, (fields, affine) in cases.items():
        hu = write(tmp_path / f"{name}.nii", make_header(**fields))
        scan = nifti.read_nifti(tmp_path / f"{name}.nii")
        assert len(scan.notes) == 1
        nifti.write_nifti(tmp_path / "result.nii.gz", scan.hu, scan)
        result = nib.load(tmp_path / "result.nii.gz")
        np.testing.assert_array_equal(np.asarray(result.dataobj), hu)
        np.testing.assert_allclose(result.get_sform(), affine, atol=1e-5)
        np.testing.assert_allclose(result.get_qform(), affine, atol=1e-5)
        again = nifti.read_nifti(tmp_path / "result.nii.gz")
        assert again.notes == ()
        np.testing.assert_allclose(again.slice_origins_mm, scan.slice_origins_mm, atol=1e-5)


@settings(max_examples=40)
@given(tilt=st.floats(-30, 30), degrees=st.floats(-20, 20), slice_mm=st.floats(0.5, 8))
def test_own_results_with_the_shear_of_a_tilted_gantry_have_no_note(tmp_path_factory, tilt, degrees, slice_mm):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() @ np.diag([-0.5, 0.5, slice_mm])
    affine[:3, 2] += slice_mm * np.tan(np.radians(tilt)) * affine[:3, 1] / 0.5
    path = tmp_path_factory.mktemp("sheared") / "a.nii"
    nifti.write_grid(path, np.zeros((64, 64, 30), np.uint8), affine)
    header = nib.load(path).header
    read, notes = read_geometry(header, (64, 64, 30), "a.nii")
    np.testing.assert_allclose(read, affine, atol=1e-4)
    assert notes == ()


REALS = st.floats(width=32) | st.sampled_from((0.0, -1.0, 1.0, 1e-30, 1e30))


@settings(max_examples=300)
@given(
    srow=st.lists(REALS, min_size=12, max_size=12) | st.none(),
    sizes=st.lists(REALS, min_size=4, max_size=4),
    quaternion=st.lists(REALS, min_size=6, max_size=6),
    codes=st.tuples(*[st.integers(-2, 5)] * 2),
    units=st.integers(0, 255),
)
def test_any_header_gives_a_usable_affine_or_one_sentence(srow, sizes, quaternion, codes, units):
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    header = make_header(
        srow=LAS if srow is None else np.vstack([np.reshape(srow, (3, 4)), [0, 0, 0, 1]]),
        pixdim=[*sizes, 0, 0, 0, 0],
        sform_code=codes[0],
        qform_code=codes[1],
        xyzt_units=units,
        **dict(zip(fields, quaternion, strict=True)),
    )
    try:
        affine, notes = read_geometry(header, SHAPE, "a.nii")
    except InputError:
        return
    assert np.isfinite(affine).all()
    assert np.linalg.matrix_rank(affine / np.array([*np.linalg.norm(affine[:3, :3], axis=0), 1])) == 4
    for note in notes:
        assert note.isprintable()
        assert ";" not in note  # separates the warnings of worklist.csv
