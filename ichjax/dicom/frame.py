"""Read the header of a DICOM file: the CT slices (frames) that it holds and their tags, without patient data."""

import contextlib
import dataclasses
import logging
import pathlib
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ichjax.dicom.description import TEXT_TAGS, Description, interpret_header
from ichjax.dicom.patients import PATIENT_TAGS, Patient, read_patient
from ichjax.errors import InputError

_QUIET_LOCK = threading.RLock()
_NULL_HANDLER = logging.NullHandler()
CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
PIXEL_DATA = 0x7FE00010
UID_PATTERN = re.compile(r"\d+(\.\d+){4,}")  # in a file's name
NOT_CT = "not CT images"
NOT_AXIAL = "localizers or not axial"
MAX_FRAMES = 16384
MAX_FILE_BYTES = 2**31
MIN_AXIAL_COSINE = np.cos(np.radians(45))  # between slice normal and body axis; gantries tilt by up to 30 degrees
# The functional group of each tag in an enhanced (multi-frame) file; classic files have the tags at the top level.
FUNCTIONAL_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
}
# All that is kept of a header: nothing that names a patient. UIDs, which could lead to one, are never written.
TAGS = [
    *FUNCTIONAL_GROUPS,
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",  # in enhanced files
    "ContrastBolusIngredient",
    "ContrastBolusRoute",
    "ContrastBolusVolume",
    "ContrastBolusTotalDose",
    "ContrastFlowRate",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PixelRepresentation",  # from which pydicom derives the sign of padding values
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
]
_MALFORMED = object()
GROUP_SEQUENCES = {"PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"}  # of enhanced files


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One slice.

    Attributes:
      path: the file.
      index: the frame in the file, from 0.
      patient: hashes of the patient's tags, which do not identify the patient.
      has_pixels: whether the file has pixel data.
      number: of the file among those of the input, from 1.
      description: what the texts of the header say about the series.
    """

    path: pathlib.Path
    index: int
    patient: Patient
    has_pixels: bool
    number: int
    _header: dict[str, Any] = dataclasses.field(repr=False)  # of the file
    description: Description = dataclasses.field(default_factory=Description)

    def get(self, keyword: str) -> Any:
        """The value of a tag for this frame, in a classic or an enhanced file; None if it is missing.

        Raises:
          InputError: the value is malformed.
        """
        try:
            if not self._header.keys() & GROUP_SEQUENCES:
                return self._top_level(keyword)
            with quiet():  # pydicom parses a value on first access
                return self._find(keyword)
        except Exception as error:  # ValueError, OverflowError and more, depending on the value
            raise InputError(f"{self.path.name}: {keyword} is malformed; expected a valid value") from error

    def _find(self, keyword: str) -> Any:
        if keyword in FUNCTIONAL_GROUPS:
            for index, sequence in (
                (self.index, self._top_level("PerFrameFunctionalGroupsSequence") or []),
                (0, self._top_level("SharedFunctionalGroupsSequence") or []),
            ):
                groups = sequence[index].get(FUNCTIONAL_GROUPS[keyword]) if index < len(sequence) else None
                if groups and groups[0].get(keyword) is not None:
                    return groups[0].get(keyword)
        return self._top_level(keyword)

    def _top_level(self, keyword: str) -> Any:
        if (value := self._header.get(keyword)) is _MALFORMED:
            raise ValueError(keyword)
        return value

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """float64 [count]; InputError if the tag is missing or malformed."""
        value = self.get(keyword)
        try:
            numbers = np.atleast_1d(np.array([] if value is None or value == "" else value, dtype=np.float64))
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{self.path.name}: {keyword} is malformed; expected {count} numbers") from error
        if not len(numbers):
            raise InputError(f"{self.path.name}: lacks {keyword}; expected it in every image of a CT series")
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise InputError(f"{self.path.name}: {keyword} is {numbers.tolist()}; expected {count} finite numbers")
        return numbers

    def uid(self, keyword: str) -> str:
        """A UID; '' if it is missing or malformed."""
        try:
            value = self.get(keyword)
        except InputError:
            return ""
        return value if isinstance(value, str) else ""

    def orientation(self) -> np.ndarray:
        """float64 [2, 3], unit vectors (LPS) of increasing column and row index."""
        axes = self.numbers("ImageOrientationPatient", 6).reshape(2, 3)
        lengths = np.linalg.norm(axes, axis=1)
        if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
            raise InputError(
                f"{self.path.name}: ImageOrientationPatient is {axes.ravel().tolist()}; expected two unit vectors at "
                "right angles"
            )
        return axes / lengths[:, None]

    def is_axial(self) -> bool | None:
        """Whether the slice is near-axial and not a localizer; None if the orientation cannot be read."""
        for tag in ("ImageType", "FrameType"):
            with contextlib.suppress(InputError):  # if it is malformed, only the orientation decides
                if "LOCALIZER" in np.ravel(self.get(tag) or ""):
                    return False
        try:
            return bool(abs(np.cross(*self.orientation())[2]) > MIN_AXIAL_COSINE)
        except InputError:
            return None


def _check_size(path: pathlib.Path) -> None:
    """Raises InputError for a file that is too large to read, or deflated, so that it could expand to any size."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(f"{path.name}: has {size} bytes; expected a DICOM file of at most {MAX_FILE_BYTES}")
    with quiet():
        try:
            syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        except Exception:  # without a preamble, or damaged, which is reported when the file is read
            return
    if syntax == DeflatedExplicitVRLittleEndian:
        raise InputError(
            f"{path.name}: is compressed as a whole (deflated); expected it uncompressed (dcmconv +te, or gdcmconv)"
        )


def read_frames(path: pathlib.Path, number: int) -> tuple[list[Frame], str]:
    """The near-axial CT slices of a file, and the reason why it is skipped ('' if it is not).

    A file with the reason `NOT_CT` has one frame, with no tags but its patient and SeriesInstanceUID; one with the
    reason `NOT_AXIAL` has one frame, too.

    A slice whose orientation cannot be read is kept, to be reported when its series is read: skipping it would leave a
    gap in the series.

    Raises:
      InputError: the file is DICOM by its first bytes or its extension, but damaged.
    """
    damaged = InputError(f"{path.name}: is damaged or truncated; expected a readable DICOM file")
    with path.open("rb") as file:
        part10 = file.read(132)[128:] == b"DICM"
    if part10:
        _check_size(path)
    is_dicom = part10 or path.suffix.lower() == ".dcm"
    try:
        with quiet():
            header, sop_class, has_pixels = _read_header(path, force=not part10)
            count = int(header.get("NumberOfFrames") or 1)
    except Exception as error:  # pydicom raises many types on damaged files, and more on other files
        if is_dicom:
            raise damaged from error
        return [], "not DICOM"
    if sop_class is None and not is_dicom:
        return [], "not DICOM"
    if not isinstance(sop_class, str):
        raise damaged
    if sop_class not in CT_CLASSES:
        if any(known.startswith(sop_class) for known in CT_CLASSES):
            raise damaged  # truncated within its SOP class
        with quiet():
            uid = {"SeriesInstanceUID": _compact_tags(header).get("SeriesInstanceUID", "")}
            return [Frame(path, 0, read_patient(header), has_pixels, number, uid)], NOT_CT
    if (not has_pixels and "Rows" not in header) or not 1 <= count <= MAX_FRAMES:
        raise damaged  # truncated within its header: a slice of an unknown series
    with quiet():
        patient, tags, description = read_patient(header), _compact_tags(header), interpret_header(header)
    frames = [Frame(path, index, patient, has_pixels, number, tags, description) for index in range(count)]
    axial = [frame for frame in frames if frame.is_axial() is not False]
    return (axial, "") if axial else (frames[:1], NOT_AXIAL)


def _read_header(path: pathlib.Path, *, force: bool) -> tuple[pydicom.Dataset, Any, bool]:
    """(tags by name; the SOP class or None; whether there is pixel data, which is not read).

    The tags are those in TAGS, TEXT_TAGS and PATIENT_TAGS. Files without a preamble, which predate part 10 of the
    standard, need `force`; they may turn out to have no SOP class.
    """
    reached: list[int] = []  # tags from PIXEL_DATA on; the first one ends the header

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag >= PIXEL_DATA:
            reached.append(tag)
        return bool(reached)

    with path.open("rb") as file:
        tags: list[BaseTag | int] = [Tag(name) for name in (*TAGS, *TEXT_TAGS, *PATIENT_TAGS)]
        header = read_partial(file, at_pixels, force=force, specific_tags=tags)
        sop_class = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return header, sop_class or None, PIXEL_DATA in reached


def _compact_tags(header: pydicom.Dataset) -> dict[str, Any]:
    """The values of TAGS, in little memory: a folder may hold a million slices."""
    tags = {}
    for keyword in TAGS:
        try:
            value = header.get(keyword)
        except Exception:  # reported when the value is used
            value = _MALFORMED
        if isinstance(value, str):
            value = sys.intern(str(value))
        elif isinstance(value, MultiValue):
            value = tuple(float(one) if isinstance(one, (int, float)) else str(one) for one in value)
        elif isinstance(value, (int, float)):
            value = float(value)
        if value is not None:
            tags[keyword] = value
    return tags


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses warnings and log messages of pydicom and highdicom: they quote values, which may identify a patient.

    A lock admits one thread at a time, since Python's warning filters are global.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _QUIET_LOCK, warnings.catch_warnings(action="ignore"):
        propagate = [logger.propagate for logger in loggers]
        try:
            for logger in loggers:
                logger.addHandler(_NULL_HANDLER)
                logger.propagate = False
            yield
        finally:
            for logger, before in zip(loggers, propagate, strict=True):
                logger.propagate = before
