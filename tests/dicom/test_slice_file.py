"""Single-slice CT files: HU as pydicom reads them, the wrapped values of the RSNA set, and bad files."""

import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ichjax.dicom import header_bytes, slice_file
from ichjax.errors import InputError
from tests import dicom_slices


def read(path):
    return slice_file.read_slice_hu(path, slice_file.read_slice_header(path).encoding)


def by_pydicom(path):
    """HU as pydicom makes them, clamped as a `Volume`'s are."""
    ds = pydicom.dcmread(path)
    return np.rint(np.clip(apply_modality_lut(ds.pixel_array, ds), -1024, 32767)).astype(np.int16)


@given(
    signed=st.booleans(),
    slope=st.sampled_from([1, 0.5, 2]),
    intercept=st.sampled_from([-32768, -8192, -1024, -101, 0.25, 3]),
    bits=st.sampled_from([12, 13, 16]),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_hu_are_those_of_pydicom(tmp_path_factory, signed, slope, intercept, bits, syntax, shape, seed):
    path = tmp_path_factory.mktemp("slice") / "a.dcm"
    low, high = (-4000, 4000) if signed else (0, 60000)
    stored = np.random.default_rng(seed).integers(low, high, shape).astype("<i2" if signed else "<u2")
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PixelRepresentation": int(signed)}
    tags |= {"BitsStored": bits, "HighBit": bits - 1}
    dicom_slices.write(path, stored, syntax=syntax, **tags)
    hu = read(path)
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, by_pydicom(path))


def test_compressed_and_8_bit_pixels_are_decoded(tmp_path):
    ds = dicom_slices.dataset(dicom_slices.head(0))
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "rle.dcm")
    gray = (dicom_slices.head(0) > 0).astype(np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    dicom_slices.write(tmp_path / "gray.dcm", gray, **bits)
    for name, expected in (("rle", dicom_slices.head(0)), ("gray", gray.astype(np.int16))):
        assert slice_file.read_slice_header(tmp_path / f"{name}.dcm").encoding.offset == 0
        np.testing.assert_array_equal(read(tmp_path / f"{name}.dcm"), expected)


WRAPPED = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": 0}


def test_negative_values_stored_as_unsigned_are_restored(tmp_path):
    """All HU that such a file can hold: in 12 bits of two's complement, from -1000 on."""
    hu = np.arange(-1000, 3096).reshape(64, 64)
    path = tmp_path / "wrapped.dcm"
    dicom_slices.write(path, (hu % 4096).astype("<u2"), **WRAPPED)
    np.testing.assert_array_equal(read(path), hu)
    # The kernel from which users of the set have the rule: add 1000, take 4096 off from 4096 on, intercept -1000.
    x = pydicom.dcmread(path).pixel_array.astype(int) + 1000
    np.testing.assert_array_equal(read(path), np.where(x >= 4096, x - 4096, x) - 1000)


@pytest.mark.parametrize(
    "other", [{"RescaleIntercept": -100}, {"BitsStored": 16, "HighBit": 15}, {"PixelRepresentation": 1}]
)
def test_other_files_are_not_taken_for_wrapped_ones(tmp_path, other):
    path = tmp_path / "plain.dcm"
    dicom_slices.write(path, np.full((4, 4), 3500, "<u2"), **{**WRAPPED, **other})
    np.testing.assert_array_equal(read(path), by_pydicom(path))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "MR"}, "is an image of modality MR; expected CT"),
        ({"PixelData": b"\0" * 700}, "has 700 bytes of pixels; expected 2048"),
        ({"PixelData": None}, "has no pixel data"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"StudyInstanceUID": None}, "lacks StudyInstanceUID"),
        ({"PixelRepresentation": None}, "lacks PixelRepresentation"),
        ({"PixelSpacing": [0, 6]}, "PixelSpacing is"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two unit vectors at right angles"),
        ({"RescaleSlope": 0}, "RescaleSlope 0"),
        ({"SamplesPerPixel": 3}, "3 samples per pixel"),
        ({"BitsStored": 17}, "stores 17 of 16 bits"),
        ({"Rows": 9000}, "9000 x 32 pixels"),
    ],
)
def test_a_bad_header_is_named(tmp_path, tags, message):
    path = tmp_path / "ID_6431af929.dcm"
    dicom_slices.write(path, **tags)
    with pytest.raises(InputError, match=r"^ID_6431af929\.dcm: .*" + message):
        slice_file.read_slice_header(path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\0" * 128 + b"DICM" + b"\x08\0\x16\0UI\xff\xff"])
def test_other_and_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^a\.dcm: "):
        slice_file.read_slice_header(path)


@pytest.mark.parametrize("bytes_kept", [200, 900, 2000])
def test_a_truncated_file_is_named(tmp_path, bytes_kept):
    path = tmp_path / "a.dcm"
    dicom_slices.write(path)
    path.write_bytes(path.read_bytes()[:bytes_kept])
    with pytest.raises(InputError, match=r"^a\.dcm: "):
        slice_file.read_slice_header(path)


def test_a_file_that_changed_after_its_header_was_read_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    dicom_slices.write(path)
    encoding = slice_file.read_slice_header(path).encoding
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"^a\.dcm: has changed since it was indexed"):
        slice_file.read_slice_hu(path, encoding)
    path.unlink()
    with pytest.raises(InputError, match=r"^a\.dcm: cannot be read"):
        slice_file.read_slice_hu(path, encoding)


def test_identifiers_of_the_set_are_read_without_warnings_and_not_shown(tmp_path):
    path = tmp_path / "a.dcm"
    dicom_slices.write(path, StudyInstanceUID="ID_f91d6a7cd2", SeriesInstanceUID="ID_abcdef1234")
    with warnings.catch_warnings(action="error"):
        header = slice_file.read_slice_header(path)
    assert (header.patient_id, header.study_uid) == ("ID_0002cd41", "ID_f91d6a7cd2")
    assert "ID_" not in repr(header)


def test_a_study_hash_is_the_same_everywhere_and_for_one_uid_alone():
    assert slice_file.hash_study(" ID_f91d6a7cd2") == slice_file.hash_study("ID_f91d6a7cd2")
    assert slice_file.hash_study("ID_f91d6a7cd2") != slice_file.hash_study("ID_f91d6a7cd3")
    assert len(slice_file.hash_study("1.2.3")) == 32


def both_ways(path):
    """What `walk` and pydicom give of a file."""
    with path.open("rb") as file:
        plain = header_bytes.walk(file.read(header_bytes.PLAIN_BYTES), slice_file.SLICE_FILE_TAGS)
        file.seek(0)
        return plain, header_bytes.by_pydicom(file, slice_file.SLICE_FILE_TAGS)


@settings(max_examples=10)
@given(
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    text=st.text(st.characters(codec="latin-1", exclude_characters="\\\0"), max_size=40),
    removed=st.sets(st.sampled_from(["PixelSpacing", "Rows", "PatientID", "RescaleSlope", "Modality", "PixelData"])),
)
def test_plain_headers_are_read_as_pydicom_reads_them(tmp_path_factory, syntax, text, removed):
    path = tmp_path_factory.mktemp("header") / "a.dcm"
    tags = {"StudyDescription": text, "SpecificCharacterSet": "ISO_IR 100", "WindowCenter": [40, 80]}
    dicom_slices.write(path, syntax=syntax, **tags, **dict.fromkeys(removed))
    plain, other = both_ways(path)
    assert plain == other if "PixelData" not in removed else plain is None


@pytest.mark.parametrize("kind", ["long", "sequence", "deflated", "big endian"])
def test_other_headers_are_left_to_pydicom(tmp_path, kind):
    path, head = tmp_path / "a.dcm", dicom_slices.head(0)
    ds = dicom_slices.dataset(head)
    if kind == "long":
        ds.ImageComments = "x" * 9000
    elif kind == "sequence":
        ds.RequestAttributesSequence = [pydicom.Dataset()]
        ds["RequestAttributesSequence"].is_undefined_length = True
        ds.ReferencedImageSequence = [pydicom.Dataset()]
        ds["ReferencedImageSequence"].is_undefined_length = True
    elif kind == "deflated":
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = head.astype(">i2").tobytes()
    implicit, little = False, kind != "big endian"
    pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    assert header_bytes.walk(path.read_bytes()[: header_bytes.PLAIN_BYTES], slice_file.SLICE_FILE_TAGS) is None
    encoding = slice_file.read_slice_header(path).encoding
    assert (encoding.rows, encoding.columns, encoding.signed) == (32, 32, True)
    assert (encoding.offset == 0) == (kind in ("deflated", "big endian"))
    np.testing.assert_array_equal(read(path), head)
