"""DICOM files one by one: which CT slices a file holds, their tags, and their pixels in HU."""

import contextlib
import dataclasses
import hashlib
import logging
import pathlib
import secrets
import sys
import threading
import warnings

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ichjax.errors import InputError

_ONE_AT_A_TIME = threading.RLock()
_NOWHERE = logging.NullHandler()
CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
PIXEL_DATA = 0x7FE00010
LARGEST_FRAME_COUNT = 16384
LARGEST_FILE = 2**31  # bytes
NEAR_AXIAL = np.cos(np.radians(45))  # of the slice normal to the body axis; gantries tilt by up to 30 degrees
# Where an enhanced (multi-frame) file keeps a frame's values; in a classic one they lie in the file itself.
GROUP_OF = {
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
# All that is kept of a header: nothing that names a patient.
TAGS = [
    *GROUP_OF,
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ContrastBolusAgent",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelRepresentation",  # by which pydicom knows the sign of padding values
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
]
# What tells patients apart: hashed at once, with a salt that ends with the process.
PATIENT = ["PatientID", "PatientName", "PatientBirthDate"]
_SALT = secrets.token_bytes(16)
_MALFORMED = object()


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One slice.

    Attributes:
      path, index: which frame (from 0) of which file.
      patient: the same for slices of one patient; '' where the header names none. It says nothing of the patient.
      has_pixels: whether the file holds any.
    """

    path: pathlib.Path
    index: int
    patient: str
    has_pixels: bool
    _header: dict[str, object] = dataclasses.field(repr=False)  # of the file

    def get(self, keyword: str) -> object:
        """A value of this frame, from where its kind of file keeps it; None where there is none.

        Raises:
          InputError: it is no value of its kind.
        """
        try:
            with quiet():  # pydicom parses a value when it is first looked at
                return self._find(keyword)
        except Exception as error:  # ValueError, OverflowError and more, by the kind of value
            raise InputError(f"{self.path.name}: {keyword} is malformed; expected a value of its kind") from error

    def _find(self, keyword: str) -> object:
        if keyword in GROUP_OF:
            for place, sequence in (
                (self.index, self._of_file("PerFrameFunctionalGroupsSequence") or []),
                (0, self._of_file("SharedFunctionalGroupsSequence") or []),
            ):
                groups = sequence[place].get(GROUP_OF[keyword]) if place < len(sequence) else None
                if groups and groups[0].get(keyword) is not None:
                    return groups[0].get(keyword)
        return self._of_file(keyword)

    def _of_file(self, keyword: str) -> object:
        if (value := self._header.get(keyword)) is _MALFORMED:
            raise ValueError(keyword)
        return value

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """float64 [count]; InputError where the tag is missing or malformed."""
        value = self.get(keyword)
        try:
            found = np.atleast_1d(np.array([] if value is None or value == "" else value, dtype=np.float64))
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{self.path.name}: {keyword} is malformed; expected {count} numbers") from error
        if not len(found):
            raise InputError(f"{self.path.name}: lacks {keyword}; expected it in every image of a CT series")
        if len(found) != count or not np.isfinite(found).all():
            raise InputError(f"{self.path.name}: {keyword} is {found.tolist()}; expected {count} finite numbers")
        return found

    def uid(self, keyword: str) -> str:
        """A UID; '' where it is missing or malformed."""
        try:
            found = self.get(keyword)
        except InputError:
            return ""
        return str(found) if isinstance(found, str) else ""

    def orientation(self) -> np.ndarray:
        """float64 [2, 3], unit directions (LPS) of growing column and row index."""
        axes = self.numbers("ImageOrientationPatient", 6).reshape(2, 3)
        lengths = np.linalg.norm(axes, axis=1)
        if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
            raise InputError(f"{self.path.name}: ImageOrientationPatient {axes.ravel().tolist()} is no pair of axes")
        return axes / lengths[:, None]

    def is_axial(self) -> bool | None:
        """Whether it is a near-axial slice and no localizer; None where the orientation cannot be read."""
        for tag in ("ImageType", "FrameType"):
            with contextlib.suppress(InputError):  # where it is malformed the orientation alone decides
                if "LOCALIZER" in np.ravel(self.get(tag) or ""):
                    return False
        try:
            return bool(abs(np.cross(*self.orientation())[2]) > NEAR_AXIAL)
        except InputError:
            return None


def _check_size(path: pathlib.Path) -> None:
    """Raises InputError for a file that is too large to be looked at, or that would unpack to any size."""
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(
            f"{path.name}: has {path.stat().st_size} bytes; expected a DICOM file of at most {LARGEST_FILE}"
        )
    with quiet():
        try:
            syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        except Exception:  # without a preamble, or damaged, which is told when it is read
            return
    if syntax == DeflatedExplicitVRLittleEndian:
        raise InputError(f"{path.name}: is stored deflated as a whole; expected it unpacked (dcmconv +te, or gdcmconv)")


def frames_of(path: pathlib.Path) -> tuple[list[Frame], str]:
    """The near-axial CT slices that a file holds, and why it was left out ('' if it was not).

    A slice whose orientation cannot be read is kept, to be told of when its series is read: left out, it would
    leave a hole there.

    Raises:
      InputError: the file is DICOM by its first bytes or its name, but damaged.
    """
    damaged = InputError(f"{path.name}: is damaged or truncated; expected a readable DICOM file")
    with path.open("rb") as file:
        part10 = file.read(132)[128:] == b"DICM"
    if part10:
        _check_size(path)
    try:
        with quiet():
            header, sop_class, has_pixels = _read_header(path, force=not part10)
            count = int(header.get("NumberOfFrames") or 1)
    except Exception as error:  # pydicom raises many kinds on damaged files, and more on what is no DICOM
        header, sop_class, cause = None, None, error
    else:
        cause = None
    if sop_class is None:
        if part10 or path.suffix.lower() == ".dcm":
            raise damaged from cause
        return [], "not DICOM"
    if not isinstance(sop_class, str):
        raise damaged
    if sop_class not in CT_CLASSES:
        if any(known.startswith(sop_class) for known in CT_CLASSES):
            raise damaged  # it ends within its class
        return [], "not CT images"
    if (not has_pixels and "Rows" not in header) or not 1 <= count <= LARGEST_FRAME_COUNT:
        raise damaged  # it ends within its header: a slice of who knows which series
    with quiet():
        patient, plain = _patient(header), _plain(header)
    frames = [Frame(path, index, patient, has_pixels, plain) for index in range(count)]
    frames = [frame for frame in frames if frame.is_axial() is not False]
    return frames, "" if frames else "localizers or not axial"


def _read_header(path: pathlib.Path, *, force: bool) -> tuple[pydicom.Dataset, str | None, bool]:
    """The tags in TAGS, the SOP class, and whether there is pixel data (not read).

    Files without a preamble, older than the rule, are read with `force`, if they turn out to have a SOP class.
    """
    reached = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag >= PIXEL_DATA:
            reached.append(tag)
        return bool(reached)

    with path.open("rb") as file:
        header = read_partial(file, at_pixels, force=force, specific_tags=[Tag(name) for name in TAGS + PATIENT])
        sop_class = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return header, sop_class or None, PIXEL_DATA in reached


def _plain(header: pydicom.Dataset) -> dict[str, object]:
    """The values of the tags in TAGS, as small as can be: there may be a million slices below a folder."""
    found = {}
    for keyword in TAGS:
        try:
            value = header.get(keyword)
        except Exception:  # told when it is asked for
            value = _MALFORMED
        if isinstance(value, str):
            value = sys.intern(str(value))
        elif isinstance(value, MultiValue):
            value = tuple(float(one) if isinstance(one, (int, float)) else str(one) for one in value)
        elif isinstance(value, (int, float)):
            value = float(value)
        if value is not None:
            found[keyword] = value
    return found


def _patient(header: pydicom.Dataset) -> str:
    """As `Frame.patient`: of the values as they are stored."""
    values = [getattr(header.get_item(keyword), "value", None) or b"" for keyword in PATIENT]
    stored = [value.strip(b" \0") if isinstance(value, bytes) else str(value).encode() for value in values]
    if not any(stored):
        return ""
    return sys.intern(hashlib.blake2b(repr(stored).encode(), key=_SALT, digest_size=8).hexdigest())


@contextlib.contextmanager
def quiet():
    """Silences what pydicom and highdicom say of values that bend the standard: it quotes them, and they may identify.

    One thread at a time, since Python keeps one list of what is silenced for all.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _ONE_AT_A_TIME, warnings.catch_warnings(action="ignore"):
        passed_on = [logger.propagate for logger in loggers]
        try:
            for logger in loggers:
                logger.addHandler(_NOWHERE)
                logger.propagate = False
            yield
        finally:
            for logger, before in zip(loggers, passed_on, strict=True):
                logger.propagate = before
