"""A mask of a DICOM series as a DICOM Segmentation, which refers to its source images frame by frame.

For tilted and unevenly spaced series it is the exact form of a mask: each frame has the position of its own image. It
holds what the source says of the patient, as the standard demands: it is no de-identified file.
"""

import hashlib
import pathlib
from collections.abc import Sequence

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from ichjax import __version__
from ichjax.dicom import series as dicom_series
from ichjax.dicom.frame import Frame, quiet
from ichjax.errors import InputError

SERIES_NUMBER = 9700  # high, so that it stands behind the scanner's own series
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
# A source must have them, if only empty (DICOM type 2); where they are missing an empty one is taken.
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)


def sources(series: dicom_series.Series) -> list[pydicom.Dataset]:
    """The headers of the images that a segmentation of a series refers to, one a slice, or one for a multi-frame file.

    Raises:
      InputError: one lacks what a reference needs, or the series lies in several multi-frame files, or in one together
        with frames of another orientation.
    """
    paths = list(dict.fromkeys(frame.path for frame in dicom_series.slices_of(series)))
    found = []
    for path in paths:
        try:
            with quiet():
                found.append(_referable(path))
        except InputError:
            raise
        except Exception as error:  # pydicom raises many kinds on malformed values, when they are first looked at
            raise InputError(f"{path.name}: is malformed; no DICOM Segmentation can refer to it") from error
    if len(found) > 1 and any("NumberOfFrames" in header for header in found):
        raise InputError(
            f"{paths[0].name}: one of {len(found)} multi-frame files of a series; expected one file, or one a slice, "
            "for a DICOM Segmentation"
        )
    return found


def _referable(path: pathlib.Path) -> pydicom.Dataset:
    """A file's header with all that a reference needs."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    for name in NEEDED:
        if not header.get(name):
            raise InputError(f"{path.name}: lacks {name}, which a DICOM Segmentation must refer to")
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if "NumberOfFrames" in header:
        _share(header)
        if "PlaneOrientationSequence" not in header.SharedFunctionalGroupsSequence[0]:
            raise InputError(
                f"{path.name}: its frames are not all of one orientation; expected that for a DICOM Segmentation"
            )
    return header


def _share(header: pydicom.Dataset) -> None:
    """Puts what all frames of a multi-frame header have in common where highdicom looks for it; a file may say it for
    each frame as well."""
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if name not in shared[0] and frames and all(frame.get(name) == frames[0].get(name) for frame in frames):
            setattr(shared[0], name, frames[0].get(name))
    header.SharedFunctionalGroupsSequence = pydicom.Sequence(shared)


def write(path: pathlib.Path, series: dicom_series.Series, mask: np.ndarray, *, made_from: str) -> None:
    """Writes a mask of a series.

    Args:
      path: of the file; its folder is there.
      series: whose mask it is.
      mask: uint8 of 0 and 1 [columns, rows, slices], as `Volume.to_file_grid` turns it.
      made_from: what the mask was made from; the same gives the same UIDs.

    Raises:
      InputError: the series cannot be referred to.
    """
    images, frames = sources(series), dicom_series.slices_of(series)
    stored = np.ascontiguousarray(mask.transpose(2, 1, 0))
    entropy = [made_from, images[0].SeriesInstanceUID, hashlib.blake2b(stored.tobytes()).hexdigest()]
    try:
        with quiet():
            segmentation = Segmentation(
                source_images=images,
                pixel_array=_by_source(stored, images, frames),
                segmentation_type="BINARY",
                segment_descriptions=[_description(entropy)],
                series_instance_uid=generate_uid(entropy_srcs=["series", *entropy]),
                series_number=SERIES_NUMBER,
                sop_instance_uid=generate_uid(entropy_srcs=["instance", *entropy]),
                instance_number=1,
                manufacturer="ichjax",
                manufacturer_model_name="ichjax",
                software_versions=__version__,
                device_serial_number="0",
                content_label="HEMORRHAGE",
                content_description="Predicted; research use only",
                omit_empty_frames=bool(mask.any()),
            )
            segmentation.SeriesDescription = "ichjax: hemorrhage (research use only)"
            segmentation.save_as(path)
    except Exception as error:  # of many kinds, by what is wrong with the sources
        # Only what is missing is quoted: other messages quote values, and those may identify.
        reason = str(error).splitlines()[0][:120] if isinstance(error, AttributeError) else type(error).__name__
        raise InputError(f"{frames[0].path.name}: no DICOM Segmentation can refer to its series ({reason})") from error


def _by_source(stored: np.ndarray, images: Sequence[pydicom.Dataset], frames: Sequence[Frame]) -> np.ndarray:
    """The slices in the order of the source's frames; in a multi-frame file those that are no slice stay empty."""
    if len(images) > 1 or "NumberOfFrames" not in images[0]:
        return stored
    found = np.zeros((int(images[0].NumberOfFrames), *stored.shape[1:]), stored.dtype)
    found[[frame.index for frame in frames]] = stored
    return found


def _description(entropy: list[str]) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label="Intracranial hemorrhage",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Hemorrhage,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="ichjax", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(entropy_srcs=["segment", *entropy]),
        tracking_id="hemorrhage",
    )
