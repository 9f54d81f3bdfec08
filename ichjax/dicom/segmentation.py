"""Write a mask as a DICOM Segmentation that references the source series frame by frame.

It is exact for tilted and unevenly spaced series too: each frame has the position of its source image. As the standard
requires, it contains the patient data of the source: it is not de-identified.
"""

import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import highdicom
import numpy as np
import pydicom
from highdicom.enum import PatientSexValues
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

from ichjax import __version__
from ichjax.dicom import series as dicom_series
from ichjax.dicom.frame import Frame, quiet
from ichjax.errors import InputError

SERIES_NUMBER = 9700  # high, so that it sorts after the scanner's own series
REQUIRED_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
COMMON_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # the same in all images
# DICOM type 2: they must exist but may be empty; an empty one is added if the source lacks it.
TYPE_2_TAGS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
# Copied values that may be invalid, and what raises ValueError for those that are.
READ_AS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("StudyDate", "PatientBirthDate"), DA),
    "StudyTime": TM,
    "PatientSex": PatientSexValues,
}
UNICODE = "ISO_IR 192"


class SegmentCodes(NamedTuple):
    """What a segment shows: its label, its SNOMED CT type, and its region where the type does not imply one."""

    label: str
    type: Code
    region: Code | None = None


ALL_HEMORRHAGE = SegmentCodes("Intracranial hemorrhage", codes.SCT.Hemorrhage)
# By sub-type: disorders of SNOMED CT; for the ventricles, hemorrhage (CID 7159) in brain ventricles (CID 7153).
SUBTYPE_CODES = {
    "IVH": SegmentCodes("Intraventricular hemorrhage", codes.SCT.Hemorrhage, codes.SCT.BrainVentricle),
    "IPH": SegmentCodes("Intraparenchymal hemorrhage", Code("274100004", "SCT", "Cerebral hemorrhage")),
    "SAH": SegmentCodes("Subarachnoid hemorrhage", Code("21454007", "SCT", "Subarachnoid intracranial hemorrhage")),
    "EDH": SegmentCodes("Epidural hemorrhage", Code("82999001", "SCT", "Epidural intracranial hemorrhage")),
    "SDH": SegmentCodes("Subdural hemorrhage", Code("35486000", "SCT", "Subdural intracranial hemorrhage")),
}


def source_images(series: dicom_series.Series) -> list[pydicom.Dataset]:
    """The headers of the source images of a segmentation: one per slice, or one for a multi-frame file.

    Raises:
      InputError: a tag that the segmentation must copy is missing or not the same in all images, or the series consists
        of several multi-frame files, or shares one with frames of another orientation.
    """
    paths = list(dict.fromkeys(frame.path for frame in dicom_series.sorted_frames(series)))
    headers = []
    for path in paths:
        try:
            with quiet():
                headers.append(_read_source(path))
        except InputError:
            raise
        except Exception as error:  # pydicom raises many types on first access of malformed values
            raise InputError(
                f"{path.name}: is malformed; expected a source that a DICOM Segmentation can refer to"
            ) from error
    for name in COMMON_TAGS:
        if len(found := {str(header[name].value) for header in headers}) > 1:  # malformed ones have several values
            raise InputError(
                f"{paths[0].name} and {len(headers) - 1} more: have {len(found)} values of {name}; expected one, for a "
                "DICOM Segmentation"
            )
    if len(headers) > 1 and any("NumberOfFrames" in header for header in headers):
        raise InputError(
            f"{paths[0].name}: one of {len(headers)} multi-frame files of a series; expected one file, or one per "
            "slice, for a DICOM Segmentation"
        )
    return headers


def _read_source(path: pathlib.Path) -> pydicom.Dataset:
    """A file's header with all tags that a segmentation copies."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    for name in REQUIRED_TAGS:
        if not header.get(name):
            raise InputError(f"{path.name}: lacks {name}, which a DICOM Segmentation must refer to")
    for name in TYPE_2_TAGS:
        if name not in header:
            setattr(header, name, "")
    _mend(header)
    if "NumberOfFrames" in header:
        _copy_to_shared_groups(header)
        if "PlaneOrientationSequence" not in header.SharedFunctionalGroupsSequence[0]:
            raise InputError(
                f"{path.name}: its frames have several orientations; expected one orientation for a DICOM Segmentation"
            )
    return header


def _mend(header: pydicom.Dataset) -> None:
    """Makes values legal that would otherwise cost the segmentation.

    Text becomes Unicode, as highdicom refuses some legal character sets; pydicom reads unknown ones as Latin-1. Invalid
    dates and times, and a sex that DICOM does not know, are left empty, as the standard allows. Of several names the
    first one is kept.
    """
    header.decode()
    header.SpecificCharacterSet = UNICODE
    for name in ("PatientName", "ReferringPhysicianName"):
        if header[name].VM > 1:
            header[name].value = header[name].value[0]
    for name, read in READ_AS.items():
        try:
            if value := header[name].value:
                read(str(value))
        except ValueError:
            header[name].value = ""


def _copy_to_shared_groups(header: pydicom.Dataset) -> None:
    """Copies functional groups that are equal in all frames to the shared groups, where highdicom looks for them."""
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if name not in shared[0] and frames and all(frame.get(name) == frames[0].get(name) for frame in frames):
            setattr(shared[0], name, frames[0].get(name))
    header.SharedFunctionalGroupsSequence = pydicom.Sequence(shared)


def write(
    path: pathlib.Path,
    series: dicom_series.Series,
    mask: np.ndarray,
    *,
    made_from: str,
    subtypes: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes the mask of a series as segment 1, and each sub-type as a segment after it, which overlaps segment 1.

    Args:
      path: the file; its folder must exist.
      series: the source series.
      mask: uint8 of 0 and 1 [columns, rows, slices], from `Volume.to_file_grid`.
      made_from: identifies the mask's origin; equal ones give equal UIDs.
      subtypes: {a key of `SUBTYPE_CODES`: its part of the mask, like it}; None or {} for the mask alone.

    Raises:
      InputError: a segmentation cannot refer to the series.
    """
    images, frames = source_images(series), dicom_series.sorted_frames(series)
    parts = {"": mask, **(subtypes or {})}
    segments = [part.transpose(2, 1, 0) for part in parts.values()]
    stored = np.stack(segments, axis=-1) if subtypes else np.ascontiguousarray(segments[0])
    entropy = [made_from, images[0].SeriesInstanceUID, hashlib.blake2b(stored.tobytes()).hexdigest()]
    try:
        with quiet():
            segmentation = Segmentation(
                source_images=images,
                pixel_array=_in_source_order(stored, images, frames),
                segmentation_type="BINARY",
                segment_descriptions=[_description(n, name, entropy) for n, name in enumerate(parts, start=1)],
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
    except Exception as error:  # of many types, depending on the source
        # Only the name of a missing attribute is given: messages quote values, which may identify a patient.
        missing = error.name if isinstance(error, AttributeError) else None
        reason = f"it lacks {missing}" if missing else type(error).__name__
        raise InputError(f"{frames[0].path.name}: no DICOM Segmentation can refer to its series ({reason})") from error


def _in_source_order(stored: np.ndarray, images: Sequence[pydicom.Dataset], frames: Sequence[Frame]) -> np.ndarray:
    """The slices in the order of the source's frames; other frames of a multi-frame file stay empty."""
    if len(images) > 1 or "NumberOfFrames" not in images[0]:
        return stored
    ordered = np.zeros((int(images[0].NumberOfFrames), *stored.shape[1:]), stored.dtype)
    ordered[[frame.index for frame in frames]] = stored
    return ordered


def _description(number: int, subtype: str, entropy: list[str]) -> SegmentDescription:
    """The description of a segment: of a sub-type, or, for '', of all hemorrhage."""
    shown = SUBTYPE_CODES[subtype] if subtype else ALL_HEMORRHAGE
    return SegmentDescription(
        segment_number=number,
        segment_label=shown.label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=shown.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="ichjax", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(entropy_srcs=["segment", *entropy, *([subtype] if subtype else [])]),
        tracking_id=f"hemorrhage {subtype}".strip(),
        anatomic_regions=None if shown.region is None else [shown.region],
    )
