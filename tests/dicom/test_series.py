"""Reading DICOM series: synthetic ones of every kind, damaged ones, and a real tilted one if it is available."""

import pathlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    RLELossless,
    XRayRadiationDoseSRStorage,
    generate_uid,
)

from ichjax.dicom import pixels
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError
from ichjax.scan import world_grid

REAL = pathlib.Path(__file__).parents[3] / "shared" / "data" / "ge_head_ct"
ROWS, COLUMNS = 14, 18
ROW_MM, COLUMN_MM = 0.75, 0.5
UNEVEN = (0.0, 4.0, 8.0, 9.0, 16.0, 23.0)  # along the table, as in a scan of two protocols
SECRET = "DOE^JOHN"


def hu_slice(k):
    """HU of slice k, [rows, columns]: random even numbers."""
    hu = np.random.default_rng(k).integers(-500, 600, (ROWS, COLUMNS)) * 2
    hu[0, 0], hu[-1, -1] = -1000, 1200
    return hu


def tilted(degrees):
    """ImageOrientationPatient of a gantry tilted about the left-right axis."""
    angle = np.radians(degrees)
    return [1, 0, 0, 0, np.cos(angle), -np.sin(angle)]


def ct_slice(k, table_mm, *, series, orientation=(1, 0, 0, 0, 1, 0), slope=1.0, intercept=0.0, **tags):
    """One CT image; the table moves along the body axis, so a tilt shears the stack."""
    stored = np.rint((hu_slice(k) - intercept) / slope).astype(np.int16)
    ds = image(stored, CTImageStorage)
    ds.SeriesInstanceUID = series
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImageOrientationPatient = [round(float(v), 12) for v in orientation]
    ds.ImagePositionPatient = [-12.25, -30.5, -100 + table_mm]
    ds.PixelSpacing = [ROW_MM, COLUMN_MM]
    ds.SliceThickness = 5
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def image(stored, sop_class, syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    ds = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID = SECRET, "12345"
    ds.SeriesDescription = f"HEAD {SECRET}"
    ds.Modality = "CT"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.ascontiguousarray(stored).astype("<i2").tobytes()
    return ds


def scout(series):
    ds = ct_slice(50, 0, series=series, orientation=(0, 1, 0, 0, 0, -1))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return ds


def dose_sheet():
    ds = image(np.zeros((2, 2), np.int16), XRayRadiationDoseSRStorage)
    ds.SeriesInstanceUID = generate_uid()
    del ds.PixelData
    return ds


def save(folder, datasets, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, ds in enumerate(datasets):
        ds.save_as(folder / (names[i] if names else f"{i:02d}.dcm"))
    return folder


def series_of(positions=UNEVEN, uid=None, **options):
    uid = uid or generate_uid()
    return [ct_slice(k, at, series=uid, **options) for k, at in enumerate(positions)]


def series_in(folder):
    """The ranked series of the only study in a folder; InputError if one of its files is damaged."""
    (study,), _ = dicom_series.find_studies(folder)
    if study.series[0].problem:
        raise InputError(study.series[0].problem)
    return study.series


def read(folder):
    """The preferred scan of the only study in a folder."""
    return dicom_series.read_series(folder, series_in(folder)[0])


def test_a_shuffled_tilted_uneven_series_among_other_files(tmp_path):
    """Everything at once: a planted block keeps its voxels and has the volume of a hand calculation."""
    tilt = 20
    slices = series_of(orientation=tilted(tilt), slope=2.0, intercept=-1024.0)
    planted = slices[4]  # at 16 mm: 7 mm to either neighbor
    stored = np.rint((hu_slice(4) + 1024) / 2).astype(np.int16)
    stored[5:9, 10:13] = (3000 + 1024) // 2
    planted.PixelData = stored.astype("<i2").tobytes()
    slices[1].RescaleSlope, slices[1].RescaleIntercept = 1.0, 0.0  # a slice with its own scaling
    slices[1].PixelData = hu_slice(1).astype("<i2").tobytes()
    mr = image(np.zeros((4, 4), np.int16), MRImageStorage)
    mr.SeriesInstanceUID = slices[0].SeriesInstanceUID
    shorter = series_of(UNEVEN[:3])
    others = [scout(slices[0].SeriesInstanceUID), scout(generate_uid()), dose_sheet(), mr, *shorter]
    everything = slices + others
    names = [f"im{i}" for i in np.random.default_rng(1).permutation(len(everything))]
    folder = save(tmp_path / "case7", everything, names)
    (folder / "README.txt").write_text("not DICOM")

    series = series_in(folder)
    assert [s.label for s in series] == ["series 1 (6 slices, 0.500 mm)", "series 2 (3 slices, 0.500 mm)"]
    volume = read(folder)
    assert volume.name == "case7"
    assert volume.shape == (6, ROWS, COLUMNS)
    for k in (0, 1, 2, 3, 5):
        np.testing.assert_array_equal(volume.hu[k], hu_slice(k))
    block = np.argwhere(volume.hu == 3000)
    assert block.tolist() == [[4, r, c] for r in range(5, 9) for c in range(10, 13)]
    # 12 pixels of 0.75 x 0.5 mm; 7 mm of table travel on both sides, 7 cos 20 along the normal.
    assert volume.pixel_ml[4] * len(block) == pytest.approx(12 * 0.75 * 0.5 * 7 * np.cos(np.radians(tilt)) / 1000)
    gaps = np.array([4, 4, 1, 7, 7]) * np.cos(np.radians(tilt))
    np.testing.assert_allclose(np.diff(volume.positions_mm), gaps, atol=1e-9)
    assert volume.pixel_mm == pytest.approx((ROW_MM, COLUMN_MM))
    # True positions, LPS -> RAS: x and y change sign.
    np.testing.assert_allclose(volume.slice_origins_mm, [[12.25, 30.5, -100 + at] for at in UNEVEN], atol=1e-9)
    # The affine has right angles: the median gap along the normal, the pixels' own axes in plane, and the center of all
    # slices.
    normal = np.array([0, np.sin(np.radians(tilt)), np.cos(np.radians(tilt))]) * [1, -1, 1]  # LPS -> RAS
    np.testing.assert_allclose(volume.affine[:3, 0], 4 * np.cos(np.radians(tilt)) * normal, atol=1e-9)
    np.testing.assert_allclose(volume.affine[:3, 2], [-COLUMN_MM, 0, 0], atol=1e-9)
    down = np.array([0, np.cos(np.radians(tilt)), -np.sin(np.radians(tilt))]) * [-1, -1, 1]
    np.testing.assert_allclose(volume.affine[:3, 1], ROW_MM * down, atol=1e-9)
    middle = volume.affine @ [2.5, 0, 0, 1]
    np.testing.assert_allclose(middle[:3], volume.slice_origins_mm.mean(axis=0), atol=1e-9)

    second = dicom_series.read_series(folder, series[1])
    assert len(second.hu) == 3


def test_nothing_identifies_the_patient(tmp_path):
    folder = save(tmp_path / "case7", series_of())
    series = series_in(folder)[0]
    volume = read(folder)
    uid = series._frames[0].get("SeriesInstanceUID")
    for text in (repr(series), str(series), volume.name, repr(series.label)):
        assert SECRET not in text
        assert uid not in text
    for frame in series._frames:
        assert SECRET not in repr(frame._header) + repr(frame.patient)
        assert not {"PatientName", "PatientID"} & set(frame._header)


@pytest.mark.parametrize(("step_mm", "digits"), [(2 / 3, 2), (0.625, 1), (5.0, 1), (1.2345, 2)])
def test_an_even_series_whose_positions_are_rounded_is_exact(ct_series, tmp_path, step_mm, digits):
    table_mm = np.round(np.arange(200) * step_mm, digits)
    hu = np.random.default_rng(0).integers(-1000, 1000, (200, 8, 8)).astype(np.int16)
    volume = read(ct_series(tmp_path / "a", hu, tuple(map(float, table_mm)), tilt_degrees=0))
    assert world_grid.describe_geometry(volume) == "exact"
    grid = volume.affine[2, 3] + np.arange(200) * volume.affine[2, 0]
    assert np.abs(grid - table_mm).max() < 0.061


@pytest.mark.parametrize("flip", [False, True], ids=["head first", "feet first, prone"])
def test_any_direction_of_the_image_axes(tmp_path, flip):
    """Slices are sorted towards the head and in radiological view, whatever the order of the pixels on disk."""
    orientation = (-1, 0, 0, 0, -1, 0) if flip else (1, 0, 0, 0, 1, 0)
    volume = read(save(tmp_path / "a", series_of(UNEVEN[::-1], orientation=orientation)))
    for k in range(6):
        expected = hu_slice(5 - k)
        np.testing.assert_array_equal(volume.hu[k], expected[::-1, ::-1] if flip else expected)
    origin = np.array([12.25, 30.5]) + (np.array([17 * COLUMN_MM, 13 * ROW_MM]) if flip else 0)
    np.testing.assert_allclose(volume.slice_origins_mm[:, :2], np.tile(origin, (6, 1)), atol=1e-9)
    np.testing.assert_allclose(volume.slice_origins_mm[:, 2], np.array(UNEVEN) - 100)


def test_to_file_grid_restores_the_order_of_the_series(tmp_path):
    volume = read(save(tmp_path / "a", series_of(orientation=(-1, 0, 0, 0, -1, 0))))
    on_file = volume.to_file_grid(volume.hu)
    assert on_file.shape == volume.file_shape == (COLUMNS, ROWS, 6)
    np.testing.assert_array_equal(on_file[:, :, 2], hu_slice(2).T)


def test_a_single_slice_has_its_thickness_as_extent(tmp_path):
    volume = read(save(tmp_path / "a", series_of([3.0], orientation=tilted(15))))
    assert volume.extent_mm.tolist() == pytest.approx([5])
    without = save(tmp_path / "b", series_of([3.0], SliceThickness=None))
    with pytest.raises(InputError, match=r"00\.dcm: lacks SliceThickness"):
        read(without)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_padding_becomes_air(tmp_path, syntax):
    """Padding values below air, and above all HU, become air; one that maps to tissue HU is ignored."""
    slices = series_of(slope=0.5, intercept=500.0)
    for ds in slices:
        stored = np.rint((hu_slice(1) - 500) / 0.5).astype(np.int16)
        stored[3, 4] = -2000
        ds.PixelData = stored.astype("<i2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.add_new("PixelPaddingValue", "SS", -2000)
    folder = save(tmp_path / "a", slices)
    # -2000 maps to -500 HU here, which real pixels can have too: it is kept.
    assert read(folder).hu[0, 3, 4] == -500
    for ds in slices:
        ds.RescaleSlope, ds.RescaleIntercept = 1.0, 0.0
        stored = hu_slice(1).astype(np.int16)
        stored[3, 4], stored[3, 5], stored[3, 6] = -2000, 5000, 3900
        ds.PixelData = stored.astype("<i2").tobytes()
    assert read(save(tmp_path / "b", slices)).hu[0, 3, 4] == -1024
    for ds in slices:
        ds.add_new("PixelPaddingValue", "SS", 5000)
        ds.add_new("PixelPaddingRangeLimit", "SS", 4000)
    hu = read(save(tmp_path / "c", slices)).hu[0, 3]
    assert hu[4:7].tolist() == [-1024, -1024, 3900]


def test_unsigned_12_bit_storage(tmp_path):
    slices = series_of(intercept=-1024.0)
    for k, ds in enumerate(slices):
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 0, 12, 11
        ds.PixelData = (hu_slice(k) + 1024).astype("<u2").tobytes()
    np.testing.assert_array_equal(read(save(tmp_path / "a", slices)).hu[2], hu_slice(2))


def test_rle_is_decoded(tmp_path):
    slices = series_of()
    for ds in slices:
        ds.compress(RLELossless)
    np.testing.assert_array_equal(read(save(tmp_path / "a", slices)).hu[2], hu_slice(2))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_a_preamble(tmp_path, syntax):
    """As written before part 10 of the standard, and by some archives: a bare data set, no file extension."""
    folder = tmp_path / "old"
    folder.mkdir()
    for k, ds in enumerate(series_of()):
        bare = Dataset()
        bare.update(ds)
        implicit = syntax == ImplicitVRLittleEndian
        bare.save_as(folder / f"IM{k}", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert (folder / "IM0").read_bytes()[128:132] != b"DICM"
    volume = read(folder)
    np.testing.assert_array_equal(volume.hu[3], hu_slice(3))


def enhanced(positions=UNEVEN):
    """A multi-frame CT: per-frame values in one sequence, shared ones in another."""
    order = [2, 0, 1, 5, 4, 3]
    ds = image(np.stack([hu_slice(k) - 10 * k for k in order]), EnhancedCTImageStorage)
    ds.SeriesInstanceUID = generate_uid()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames = len(order)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [ROW_MM, COLUMN_MM], 5
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-12.25, -30.5, -100 + positions[k]]
        values.RescaleSlope, values.RescaleIntercept = 1, 10 * k
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return ds


def test_an_enhanced_ct(tmp_path):
    volume = read(save(tmp_path / "a", [enhanced()]))
    np.testing.assert_array_equal(volume.hu, [hu_slice(k) for k in range(6)])
    np.testing.assert_allclose(volume.positions_mm, np.array(UNEVEN) - 100)
    assert series_in(tmp_path / "a")[0].label == "series 1 (6 slices, 0.500 mm)"


def test_an_enhanced_ct_with_too_few_frames_of_pixels(tmp_path):
    ds = enhanced()
    ds.NumberOfFrames = 4
    ds.PixelData = ds.PixelData[: ROWS * COLUMNS * 2 * 3]
    with pytest.raises(InputError, match=r"00\.dcm: the pixel data is damaged or truncated"):
        read(save(tmp_path / "a", [ds]))


def test_a_series_without_pixels_is_skipped(tmp_path):
    bare = series_of(range(0, 90, 9))
    for ds in bare:
        del ds.PixelData
    series = series_in(save(tmp_path / "a", [*bare, *series_of()]))
    assert [s.label for s in series] == ["series 1 (6 slices, 0.500 mm)"]


def test_derived_slices_are_read_and_localizers_are_not(tmp_path):
    """Even an axial localizer is skipped."""
    slices = series_of(ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"])
    flat = ct_slice(9, 50, series=slices[0].SeriesInstanceUID, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    coronal = ct_slice(8, 60, series=slices[0].SeriesInstanceUID, orientation=(1, 0, 0, 0, 0, -1))
    assert read(save(tmp_path / "a", [*slices, flat, coronal])).shape[0] == 6


def test_of_two_equally_long_series_the_narrower_window_ranks_first(tmp_path):
    bone = series_of(WindowWidth=[3200, 100], WindowCenter=[700, 40])
    soft = series_of(WindowWidth="80", WindowCenter="40", RescaleIntercept=2.0)
    folder = save(tmp_path / "a", [*bone, *soft])
    np.testing.assert_array_equal(read(folder).hu[0], hu_slice(0) + 2)
    assert len(series_in(folder)) == 2


def test_hidden_folders_are_skipped(tmp_path):
    save(tmp_path / "case" / "a" / "b", series_of())
    save(tmp_path / "case" / ".hidden", series_of())
    assert [study.folder for study in dicom_series.find_studies(tmp_path / "case")[0]] == [
        tmp_path / "case" / "a" / "b"
    ]


def _drop(keyword):
    def spoil(slices):
        delattr(slices[2], keyword)

    return spoil


def _set(keyword, value):
    def spoil(slices):
        setattr(slices[2], keyword, value)

    return spoil


@pytest.mark.filterwarnings("ignore:.*value length|Invalid value for VR")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop("ImagePositionPatient"), r"^02\.dcm: lacks ImagePositionPatient"),
        (_drop("ImageOrientationPatient"), r"^02\.dcm: lacks ImageOrientationPatient"),
        (_drop("PixelSpacing"), r"^02\.dcm: lacks PixelSpacing"),
        (_drop("RescaleSlope"), r"^02\.dcm: lacks RescaleSlope"),
        (_drop("RescaleIntercept"), r"^02\.dcm: lacks RescaleIntercept"),
        (_drop("PixelRepresentation"), r"^02\.dcm: lacks PixelRepresentation; expected it in every image"),
        (_drop("Rows"), r"^02\.dcm: lacks Rows"),
        (_drop("PixelData"), r"^02\.dcm: has no pixel data"),
        (_set("RescaleSlope", 0), r"^02\.dcm: RescaleSlope is 0"),
        (_set("ImagePositionPatient", [1, 2]), r"^02\.dcm: ImagePositionPatient is \[1\.0, 2\.0\]"),
        (
            _set("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
            r"^02\.dcm: ImageOrientationPatient is .* expected two unit vectors",
        ),
        (_set("ImageOrientationPatient", tilted(10)), r"^02\.dcm: the orientation is .* in 00\.dcm"),
        (_set("PixelSpacing", [0.75, 0.6]), r"^02\.dcm: the PixelSpacing is \[0\.75, 0\.6\]"),
        (_set("ImagePositionPatient", [-12.25, -30.5, -96]), "01.dcm and 02.dcm lie at the same position"),
        (_set("PixelData", b"\0\0" * 100), r"^02\.dcm: the pixel data is damaged or truncated"),
        (_set("PixelSpacing", [1e30, 1e30]), r"^02\.dcm: the PixelSpacing is"),
    ],
)
def test_a_slice_that_does_not_fit_the_series_is_named(tmp_path, spoil, message):
    slices = series_of()
    spoil(slices)
    with pytest.raises(InputError, match=message):
        read(save(tmp_path / "a", slices))


def test_a_missing_or_zero_pixel_spacing_is_rejected(tmp_path):
    folder = save(tmp_path / "a", series_of(PixelSpacing=None))
    with pytest.raises(InputError, match="lacks PixelSpacing"):
        read(folder)
    with pytest.raises(InputError, match="two lengths in mm"):
        read(save(tmp_path / "b", series_of(PixelSpacing=[0, 0.5])))


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("Rows", 40000, r"00\.dcm: 6 slices of 40000 x 18 pixels; expected at most"),
        ("PixelSpacing", [1e30, 1e30], "too large; expected millimeters"),
        ("PixelSpacing", [1e5, 1e5], "pixels of 1e\\+05 to 1e\\+05 mm; expected 0.05 to 20 mm"),
        ("RescaleIntercept", "0\\0", "RescaleIntercept is .*; expected 1 finite"),
    ],
)
def test_implausible_headers_are_rejected(tmp_path, keyword, value, message):
    slices = series_of()
    for ds in slices:
        setattr(ds, keyword, value)
    with pytest.raises(InputError, match=message):
        read(save(tmp_path / "a", slices))


def test_a_deflated_file_is_not_decompressed(tmp_path):
    slices = series_of()
    slices[1].file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    with pytest.raises(InputError, match=r"^01\.dcm: is compressed as a whole \(deflated\); expected it uncompressed"):
        read(save(tmp_path / "a", slices))


def test_a_file_that_claims_too_many_frames_is_rejected(tmp_path):
    slices = series_of()
    slices[1].NumberOfFrames = 2_000_000_000
    with pytest.raises(InputError, match=r"^01\.dcm: is damaged"):
        read(save(tmp_path / "a", slices))


def test_mixed_sizes_are_rejected(tmp_path):
    slices = series_of()
    slices[3].Rows, slices[3].Columns = COLUMNS, ROWS
    with pytest.raises(InputError, match=r"^03\.dcm: the size is \[18\.0, 14\.0\], but \[14\.0, 18\.0\] in 00\.dcm"):
        read(save(tmp_path / "a", slices))


def test_color_images_are_rejected(tmp_path):
    slices = series_of()
    slices[3].SamplesPerPixel, slices[3].PhotometricInterpretation, slices[3].PlanarConfiguration = 3, "RGB", 0
    slices[3].PixelData = slices[3].PixelData * 3
    with pytest.raises(InputError, match=r"^03\.dcm: the pixel data has the shape"):
        read(save(tmp_path / "a", slices))


@pytest.mark.parametrize("keyword", pixels.PIXEL_TAGS)
def test_a_missing_tag_of_the_pixels_is_named(tmp_path, keyword):
    slices = series_of()
    for ds in slices:
        delattr(ds, keyword)
    with pytest.raises(InputError, match=rf"^00\.dcm: lacks {keyword}; expected"):
        read(save(tmp_path / "a", slices))


def test_a_missing_decoder_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "_has_decoder", lambda syntax: False)  # as without the extra 'dicom'
    slices = series_of()
    for ds in slices:
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    with pytest.raises(InputError, match=r"^00\.dcm: its pixels are compressed \(JPEG Lossless.*'\.\[dicom\]'"):
        read(save(tmp_path / "a", slices))


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (
            "1.2.840.113619.5.2",
            r"is stored in a private transfer syntax \(1\.2\.840\.113619\.5\.2\); expected",
        ),
        ("1.3.6.1.4.1.5962.300.1", "is stored in a private transfer syntax .*; expected a standard"),
        (MPEG2MPML, "its transfer syntax is MPEG2 .*, which cannot be read; expected an uncompressed series"),
    ],
)
def test_a_transfer_syntax_that_nothing_reads(tmp_path, syntax, message):
    """No decoder can be installed for it, so none is recommended."""
    slices = series_of()
    for ds in slices:
        ds.PixelData = pydicom.encaps.encapsulate([b"\0\0\0\0"]) if syntax == MPEG2MPML else ds.PixelData
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    folder = tmp_path / "a"
    folder.mkdir()
    for k, ds in enumerate(slices):
        implicit = syntax == "1.2.840.113619.5.2"
        ds.save_as(folder / f"{k:02d}.dcm", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    with pytest.raises(InputError, match=rf"^00\.dcm: {message}") as error:
        read(folder)
    assert "install" not in str(error.value)


@pytest.mark.parametrize("size", [0, 140, 300, 700, -20])
def test_a_truncated_file_is_named_and_never_skipped(tmp_path, size):
    folder = save(tmp_path / "a", series_of())
    path = folder / "02.dcm"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"^02\.dcm: "):
        read(folder)


def test_a_file_truncated_anywhere_is_reported(tmp_path):
    """Wherever a file ends, the error is one sentence: never a traceback, never a series with a missing slice."""
    folder = save(tmp_path / "a", series_of(UNEVEN[:3]))
    path = folder / "01.dcm"
    whole = path.read_bytes()
    for size in range(1, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"^01\.dcm: "):
            read(folder)


def test_skipped_files_are_counted_by_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    assert dicom_series.find_studies(tmp_path / "empty") == ([], [])
    folder = save(tmp_path / "other", [scout(generate_uid()), dose_sheet(), dose_sheet()])
    (folder / "README").write_text("hello " * 500)
    studies, skipped = dicom_series.find_studies(folder)
    assert studies == []
    assert sorted(skipped) == ["1 file localizers or not axial", "1 file not DICOM", "2 files not CT images"]
    flat = save(tmp_path / "flat", series_of(ImageOrientationPatient=None))
    assert dicom_series.find_studies(flat) == ([], ["6 files without pixel data or orientation"])


def test_a_text_file_with_the_dcm_extension_is_named(tmp_path):
    folder = save(tmp_path / "a", series_of())
    (folder / "notes.dcm").write_text("hello")
    with pytest.raises(InputError, match=r"^notes\.dcm: is damaged"):
        read(folder)


def test_stored_values_without_their_intercept_are_rejected(tmp_path):
    slices = series_of(intercept=-1024.0)
    for ds in slices:
        ds.RescaleIntercept = 0
    with pytest.raises(InputError, match=r"a: values lie in .* air below -200"):
        read(save(tmp_path / "a", slices))


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip("the real series is not available")
    return read(REAL)


def test_the_real_series_keeps_its_tilt_and_gaps(real):
    assert [s.label for s in series_in(REAL)] == ["series 1 (28 slices, 0.488 mm)"]
    assert real.shape == (28, 512, 512)
    assert np.degrees(np.arccos(real.normal[2])) == pytest.approx(18.5, abs=0.01)
    gaps = np.diff(real.positions_mm)
    np.testing.assert_allclose(gaps, [4.0] * 13 + [1.08] + [7.0] * 13, atol=0.01)
    np.testing.assert_allclose(real.extent_mm[[0, 13, 14, 27]], [4.0, 2.54, 4.04, 7.0], atol=0.01)
    assert (real.hu.min(), real.hu.max()) == (-1024, 2121)  # padding of -1500 becomes air
    assert real.pixel_ml[0] == pytest.approx(4.0 * 0.4882812**2 / 1000, rel=1e-3)


def test_the_real_series_is_in_radiological_view(real):
    """The nose is at the top of a low slice, and the vertex at the top of the stack."""
    tissue = (real.hu > -200).mean(axis=(1, 2))
    assert tissue[-1] < tissue[14]
    nose = np.argwhere(real.hu[2] > -200)[0]  # the most anterior tissue of a low slice
    assert nose[0] < 100
    assert 170 < nose[1] < 240


def test_the_real_series_matches_its_files(real):
    names = sorted(REAL.glob("*.dcm"))
    for k in (0, 13, 14, 27):
        ds = pydicom.dcmread(names[k])
        np.testing.assert_array_equal(real.hu[k], np.maximum(ds.pixel_array, -1024))
        x, y, z = map(float, ds.ImagePositionPatient)
        np.testing.assert_allclose(real.slice_origins_mm[k], [-x, -y, z], atol=1e-6)
