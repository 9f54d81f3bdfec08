"""NIfTI headers: bad ones are rejected before any memory is allocated for the voxels."""

import gzip
import io
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.scan import nifti, nifti_header


def make_header(**fields):
    """348 + 4 bytes: the header of a scan of 8 x 8 x 4 int16 voxels of 1 x 1 x 5 mm, with fields changed."""
    header = nib.Nifti1Header()
    header.set_data_shape((8, 8, 4))
    header.set_data_dtype(np.int16)
    header.set_zooms((1.0, 1.0, 5.0))
    header.set_sform(np.diag([-1.0, -1.0, 5.0, 1.0]), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def voxels():
    hu = np.full((8, 8, 4), -1000, np.int16)
    hu[2:6, 2:6] = np.random.default_rng(0).integers(0, 1000, (4, 4, 4))
    return hu.T.tobytes()


def dim(*lengths):
    return [len(lengths), *lengths, *[1] * (7 - len(lengths))]


BAD_HEADERS = {
    "100,000 slices do not fit 16 bits": (dict(dim=dim(512, 512, 32767)), "claims the shape"),
    "too many voxels": (dict(dim=dim(2000, 2000, 4000)), "expected at most 268435456 voxels"),
    "a negative length": (dict(dim=dim(8, -8, 4)), "claims the shape"),
    "no slices": (dict(dim=dim(8, 8, 0)), "claims the shape"),
    "four dimensions": (dict(dim=dim(8, 8, 4, 2)), r"has 4 dimensions \(8, 8, 4, 2\); expected one 3-D scan"),
    "five dimensions": (dict(dim=dim(8, 8, 4, 1, 3)), "has 5 dimensions"),
    "two dimensions": (dict(dim=dim(8, 8)), "has 2 dimensions"),
    "-1 dimensions": (dict(dim=[-1] * 8), "has -1 dimensions"),
    "900 dimensions": (dict(dim=[900] * 8), "has 900 dimensions"),
    "RGB": (dict(datatype=128, bitpix=24), "holds colors; expected integers or floats"),
    "complex numbers": (dict(datatype=32), "holds complex64 voxels"),
    "an unknown type": (dict(datatype=7777), "unknown type 7777"),
    "more than the file holds": (dict(dim=dim(200, 200, 100)), "its header claims .* voxels, 8000000 bytes"),
    "a voxel offset beyond the file": (dict(vox_offset=1e9), "begin at byte 1e\\+09"),
    "a negative voxel offset": (dict(vox_offset=-4), "begin at byte -4"),
    "a voxel offset of NaN": (dict(vox_offset=np.nan), "begin at byte nan"),
    "a voxel offset of 0": (dict(vox_offset=0), "begin at byte 0; expected 352 to 1048576"),
    "an intercept of NaN": (dict(scl_slope=2, scl_inter=np.nan), "the intercept of its scaling is nan"),
    "half of a pair": (dict(magic=b"ni1", vox_offset=0), r"image in two files, \.hdr and \.img \(convert the pair"),
    "a quaternion of length 2": (
        dict(sform_code=0, qform_code=1, quatern_b=2),
        "the quaternion of the header's qform has the length 2; expected a position and a unit quaternion",
    ),
    "a qform that is not finite": (
        dict(sform_code=0, qform_code=1, qoffset_x=np.nan),
        "the header's qform is singular or not finite; expected a position and a unit quaternion",
    ),
    "neither sform nor qform": (dict(srow_x=[0] * 4, qform_code=1, quatern_b=np.nan), "affine is singular"),
    "zero spacing": (
        dict(pixdim=[1, 1, 0, 5, 0, 0, 0, 0], sform_code=0),
        r"voxel sizes are \[1.0, 0.0, 5.0\] mm; expected lengths above 0",
    ),
    "negative spacing": (
        dict(pixdim=[1, 1, 1, -5, 0, 0, 0, 0], sform_code=0, qform_code=1),
        "expected lengths above 0",
    ),
    "infinite spacing": (dict(pixdim=[1, 1, 1, np.inf, 0, 0, 0, 0], sform_code=0), "expected lengths above 0"),
    "an affine of NaN": (dict(srow_x=[np.nan] * 4), "affine holds values that are not finite"),
    "an affine of NaN and a fourth dimension of 1": (
        dict(srow_x=[np.nan] * 4, dim=dim(8, 8, 4, 1)),
        "affine holds values that are not finite",
    ),
    "an affine whose determinant overflows": (dict(srow_x=[1e38] * 4), "affine holds values that are not finite"),
    "rows not at right angles to columns": (
        dict(srow_x=[-1, -0.2, 0, 0]),
        "rows and columns are at .* degrees; expected a right angle",
    ),
    "a singular affine": (dict(srow_x=[0, 0, 0, 0]), "affine is singular"),
    "two parallel axes": (dict(srow_x=[1, 0, 0, 0], srow_y=[2, 0, 0, 0]), "affine is singular"),
    "another magic": (dict(magic=b"abc"), "first bytes are not a NIfTI header"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_headers_are_rejected(tmp_path, case, packed):
    fields, message = BAD_HEADERS[case]
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    content = make_header(**fields) + voxels()
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=message) as caught:
        nifti.read_nifti(path)
    assert str(path) in str(caught.value)


def test_the_unchanged_header_is_accepted(tmp_path):
    """Otherwise all headers above could be rejected for another reason."""
    (tmp_path / "a.nii").write_bytes(make_header() + voxels())
    assert nifti.read_nifti(tmp_path / "a.nii").notes == ()


def test_one_hundred_thousand_slices_are_rejected(tmp_path):
    header = nib.Nifti2Header()
    header.set_data_dtype(np.int16)
    header["dim"], header["pixdim"][1:4] = [3, 512, 512, 100_000, 1, 1, 1, 1], 1
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4000))
    with pytest.raises(InputError, match=r"claims the shape \(512, 512, 100000\)"):
        nifti.read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        (dict(dim=dim(2000, 2000, 4000)), b""),
        (dict(vox_offset=2**30), b""),
        (dict(vox_offset=4096), b"\1\0\0\0" + (2**31 - 16).to_bytes(4, "little") + bytes(4)),
    ],
    ids=["voxels", "offset", "extension"],
)
def test_a_gzip_bomb_takes_no_memory(tmp_path, fields, extra):
    """256 MB of zeros in 256 kB: only the beginning is decompressed."""
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write((make_header(**fields)[:348] + extra) if extra else make_header(**fields))
        for _ in range(64):
            file.write(bytes(2**22))
    (tmp_path / "a.nii.gz").write_bytes(packed.getvalue())
    tracemalloc.start()
    with pytest.raises(InputError):
        nifti.read_nifti(tmp_path / "a.nii.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_valid_header_extensions_are_skipped(tmp_path):
    image = nib.Nifti1Image(np.frombuffer(voxels(), np.int16).reshape(4, 8, 8).T, np.diag([-1.0, -1, 5, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a word" * 50))
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        assert nifti.read_nifti(tmp_path / name).shape == (4, 8, 8)


def test_a_header_without_orientation_is_noted(tmp_path):
    (tmp_path / "a.nii").write_bytes(make_header(sform_code=0, qform_code=0) + voxels())
    assert nifti.read_nifti(tmp_path / "a.nii").notes[0].startswith("the header gives no orientation")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda hu: hu * 0 + 40, "every voxel is 40"),
        (
            lambda hu: np.clip((hu + 20) * 2, 0, 255),
            r"0 to 255 \(the skull is missing: skull-stripped, or an 8-bit image\?\)",
        ),
        (lambda hu: hu + 1024, "without the offset of -1024, Cormack units, or MR"),
        (lambda hu: np.clip(hu, -100, 100), "expected HU with air below -200"),
    ],
)
def test_values_that_are_not_hu_are_rejected(tmp_path, values, message):
    hu = np.frombuffer(voxels(), np.int16).astype(np.int32)
    (tmp_path / "a.nii").write_bytes(make_header() + values(hu).astype(np.int16).tobytes())
    with pytest.raises(InputError, match=message):
        nifti.read_nifti(tmp_path / "a.nii")


def test_only_nifti_extensions_are_opened(tmp_path):
    """nibabel would open other formats by their extension."""
    (tmp_path / "a.mgh").write_bytes(make_header() + voxels())
    with pytest.raises(InputError, match=r"expected a file that ends in \.nii or \.nii\.gz"):
        nifti.read_nifti(tmp_path / "a.mgh")
    assert nifti_header.MAX_FILE_VOXELS == 512 * 512 * 1024
