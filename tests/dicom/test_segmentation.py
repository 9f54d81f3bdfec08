"""DICOM Segmentations of single-frame series and multi-frame files: each frame refers to its source frame."""

import itertools

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from ichjax.dicom import segmentation as dicom_seg
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError
from ichjax.inference import discover

TABLE_MM = (0.0, 5.0, 10.0, 18.0)
TAGS = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JANE"}


def head_hu(seed=0):
    hu = np.full((4, 32, 32), -1000, np.int16)
    hu[:, 4:28, 4:28] = np.random.default_rng(seed).integers(0, 1000, (4, 24, 24))
    return hu


def make_mask():
    """uint8 [slices, rows, columns], on two slices and without any mirror symmetry."""
    mask = np.zeros((4, 32, 32), np.uint8)
    mask[1, 10:14, 5:20], mask[3, 20:22, 8:9] = 1, 1
    return mask


def multi_frame(folder, order, scout=False):
    """Writes an enhanced CT with frames in the given order of slices, optionally preceded by a coronal frame."""
    hu, meta = head_hu(), FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID, ds.Modality, ds.ImageType = generate_uid(), "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    for keyword, value in TAGS.items():
        setattr(ds, keyword, value)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 32, 32, len(order) + scout
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    pixels = [np.zeros((32, 32), np.int16)] * scout + [hu[k] for k in order]
    ds.PixelData = np.stack(pixels).astype("<i2").tobytes()
    frames = []
    for index in range(len(pixels)):
        frame, position, orientation, measures, values = (Dataset() for _ in range(5))
        coronal = scout and index == 0
        z_mm = TABLE_MM[order[index - scout]] if not coronal else 0.0
        position.ImagePositionPatient = [-93, -93, z_mm]
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 0, -1] if coronal else [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [6, 6], 5
        values.RescaleSlope, values.RescaleIntercept = 1, 0
        frame.PlanePositionSequence = Sequence([position])
        frame.PlaneOrientationSequence = Sequence([orientation])
        frame.PixelMeasuresSequence = Sequence([measures])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    folder.mkdir()
    ds.save_as(folder / "frames.dcm")
    return folder


def write(folder, mask):
    """Writes and reads the segmentation of `mask` [slices, rows, columns] for the first series of a folder."""
    series = dicom_series.find_studies(folder)[0][0].series[0]
    dicom_seg.write(folder / "seg.dcm", series, mask.transpose(2, 1, 0), made_from="a test")
    return pydicom.dcmread(folder / "seg.dcm")


def test_a_multi_frame_file(tmp_path):
    order = [2, 0, 3, 1]
    folder = multi_frame(tmp_path / "a", order)
    np.testing.assert_array_equal(discover.read_one(folder).hu, head_hu())
    ds = write(folder, make_mask())
    source = pydicom.dcmread(folder / "frames.dcm")
    pixels = ds.pixel_array.reshape(-1, 32, 32)
    assert len(pixels) == 2
    for frame, groups in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        k = order[reference.ReferencedFrameNumber - 1]
        np.testing.assert_array_equal(frame, make_mask()[k])
        assert float(groups.PlanePositionSequence[0].ImagePositionPatient[2]) == TABLE_MM[k]


def test_a_multi_frame_file_with_a_coronal_frame_is_read_but_gets_no_segmentation(tmp_path):
    folder = multi_frame(tmp_path / "a", [2, 0, 3, 1], scout=True)
    np.testing.assert_array_equal(discover.read_one(folder).hu, head_hu())
    with pytest.raises(InputError, match=r"frames\.dcm: its frames .* expected one orientation"):
        write(folder, make_mask())


def test_an_empty_mask_has_all_frames(tmp_path, ct_series):
    ds = write(ct_series(tmp_path / "a", head_hu(), TABLE_MM, **TAGS), np.zeros((4, 32, 32), np.uint8))
    assert ds.NumberOfFrames == 4
    assert not ds.pixel_array.any()


def test_equal_masks_have_equal_uids(tmp_path, ct_series):
    folder = ct_series(tmp_path / "a", head_hu(), TABLE_MM, **TAGS)
    one, same, other = (write(folder, mask) for mask in (make_mask(), make_mask(), 1 - make_mask()))
    assert one.SOPInstanceUID == same.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID == same.SeriesInstanceUID != other.SeriesInstanceUID
    assert (one.PatientName, one.StudyInstanceUID, one.FrameOfReferenceUID) == ("DOE^JANE", "1.2.3", "1.2.4")


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_source_without_a_required_tag_is_rejected(tmp_path, ct_series, missing):
    tags = {name: value for name, value in TAGS.items() if name != missing}
    folder = ct_series(tmp_path / "a", head_hu(), TABLE_MM, **tags)
    with pytest.raises(InputError, match=rf"0\d\.dcm: lacks {missing}, which a DICOM Segmentation must refer to"):
        write(folder, make_mask())
    assert not (folder / "seg.dcm").exists()


def test_several_multi_frame_files_of_a_series_are_rejected(tmp_path):
    folder = multi_frame(tmp_path / "a", [0, 1])
    other = pydicom.dcmread(folder / "frames.dcm")
    other.SOPInstanceUID = generate_uid()
    for k, frame in enumerate(other.PerFrameFunctionalGroupsSequence):
        frame.PlanePositionSequence[0].ImagePositionPatient[2] = TABLE_MM[2 + k]
    other.save_as(folder / "more.dcm")
    with pytest.raises(InputError, match="one of 2 multi-frame files of a series; expected one file"):
        write(folder, make_mask())


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_pixel_of_a_tilted_series_is_found_in_its_image_for_any_signs_of_the_axes(tmp_path, ct_series, signs):
    across, down, up = signs
    folder = ct_series(tmp_path / "a", head_hu(), TABLE_MM, **TAGS)
    angle = np.radians(17.0)
    row, column = [across, 0, 0], [0, down * np.cos(angle), -down * np.sin(angle)]
    for k, path in enumerate(sorted(folder.glob("*.dcm"))):
        ds = pydicom.dcmread(path)
        ds.ImageOrientationPatient = [round(float(value), 10) for value in (*row, *column)]
        ds.ImagePositionPatient = [-93 * across, -93 * down, up * TABLE_MM[k]]
        ds.save_as(path)
    volume, series = discover.read_one(folder), dicom_series.find_studies(folder)[0][0].series[0]
    threshold = 700  # half of the head: a mask without symmetry
    mask = volume.to_file_grid((volume.hu > threshold).astype(np.uint8))
    dicom_seg.write(folder / "seg.dcm", series, mask, made_from="a test")
    sources = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, folder.glob("0*.dcm"))}
    ds = pydicom.dcmread(folder / "seg.dcm")
    for pixels, groups in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        source = sources.pop(reference.ReferencedSOPInstanceUID)
        np.testing.assert_array_equal(pixels, source.pixel_array > threshold)
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, source.ImagePositionPatient, atol=1e-6)
    assert not sources


def write_with(folder, ct_series, **values):
    """The segmentation of a series whose headers hold these bytes, by keyword."""
    ct_series(folder, head_hu(), TABLE_MM, **TAGS)
    for path in folder.glob("*.dcm"):
        read = pydicom.dcmread(path)
        elements = {tag: read.get_item(tag) for tag in read.keys()}  # noqa: SIM118, as a data set iterates over elements
        for tag, value in ((Tag(keyword), value) for keyword, value in values.items()):
            elements[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        FileDataset("x", elements, file_meta=read.file_meta, preamble=bytes(128)).save_as(path)  # not read as text
    return write(folder, make_mask())


@pytest.mark.parametrize(
    ("characters", "name", "text"),
    [
        (b"ISO_IR 100", b"M\xfcller^J\xf6rg", "Müller^Jörg"),
        (b"LATIN1 ", b"M\xfcller^J\xf6rg", "Müller^Jörg"),  # unknown to the standard
        (b"ISO-IR 100", b"M\xfcller^J\xf6rg", "Müller^Jörg"),  # misspelled
        (b"ISO_IR 192", "Müller^Jörg".encode(), "Müller^Jörg"),
        (b"\\ISO 2022 IR 87 ", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B ", "Yamada^Tarou=山田^太郎"),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        (b"GB18030 ", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    ],
)
@pytest.mark.filterwarnings("ignore:Incorrect value for Specific Character Set")  # of the saving here
def test_names_in_any_character_set_are_copied(tmp_path, ct_series, characters, name, text):
    ds = write_with(tmp_path / "a", ct_series, SpecificCharacterSet=characters, PatientName=name)
    assert ds.PatientName == text
    assert ds.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("keyword", "value", "copied"),
    [
        ("StudyDate", b"1999.01.01", "1999.01.01"),  # as before DICOM 3
        ("PatientBirthDate", b"19991301", ""),
        ("PatientBirthDate", b"00000000", ""),
        ("StudyDate", b"99/1/1", ""),
        ("StudyTime", b"12:30:00", ""),
        ("StudyTime", b"1230", "1230"),
        ("PatientSex", b"male", ""),
        ("PatientSex", b"F ", "F"),
        ("PatientName", b"DOE^JANE\\ROE^JOE", "DOE^JANE"),
        ("ReferringPhysicianName", b"A^B\\C^D", "A^B"),
    ],
)
def test_malformed_values_are_left_empty_and_cost_nothing(tmp_path, ct_series, keyword, value, copied):
    assert write_with(tmp_path / "a", ct_series, **{keyword: value})[keyword].value == copied


def test_a_missing_tag_that_is_needed_is_named(tmp_path, ct_series):
    folder = ct_series(tmp_path / "a", head_hu(), TABLE_MM, **TAGS)
    for path in folder.glob("*.dcm"):
        ds = pydicom.dcmread(path)
        del ds.SliceThickness
        ds.save_as(path)
    with pytest.raises(InputError, match=r"no DICOM Segmentation can refer to its series \(it lacks SliceThickness\)"):
        write(folder, make_mask())


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
@pytest.mark.parametrize(
    ("values", "count"),
    [(["1.9.1", "1.9.2", "1.9.3", "1.9.4"], 4), (["1.9.1", *[["1.9.1", "1.9.2"]] * 3], 2)],
    ids=["one each", "several in one image"],
)
def test_several_values_of_a_common_tag_cost_the_segmentation(tmp_path, ct_series, keyword, values, count):
    folder = ct_series(tmp_path / "a", head_hu(), TABLE_MM, **TAGS)
    series = dicom_series.find_studies(folder)[0][0].series[0]
    for path, value in zip(sorted(folder.glob("*.dcm")), values, strict=True):
        ds = pydicom.dcmread(path)
        setattr(ds, keyword, value)
        ds.save_as(path)
    problem = rf"00\.dcm and 3 more: have {count} values of {keyword}; expected one, for a DICOM Segmentation"
    with pytest.raises(InputError, match=problem) as caught:
        dicom_seg.write(folder / "seg.dcm", series, make_mask().transpose(2, 1, 0), made_from="a test")
    assert "1.9." not in str(caught.value)
