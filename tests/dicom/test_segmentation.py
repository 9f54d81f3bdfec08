"""DICOM Segmentations of single-frame series and multi-frame files: each frame refers to its source frame."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
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
