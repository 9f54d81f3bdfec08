"""Read single-slice CT files (DICOM) of a large set: a few header tags and where the pixels lie, then pixels alone.

For studies of unknown content, `dicom.series` is the careful reader; this one is for sets of known files, of which
750,000 must be indexed once and read at random in every epoch.
"""

import dataclasses
import hashlib
import math
import operator
import pathlib
import struct

import numpy as np
from pydicom.tag import Tag

from ichjax.dicom.header_bytes import HeaderBytes, is_uncompressed, read_header_bytes
from ichjax.dicom.pixels import MAX_SIDE_PX, decode
from ichjax.errors import InputError
from ichjax.scan.volume import HU_RANGE, PLAUSIBLE_MM

SLICE_FILE_TAGS = {
    int(Tag(name)): name
    for name in (
        "Modality",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "NumberOfFrames",
        "SamplesPerPixel",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
    )
}
BINARY_TAGS = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")  # not texts
ALLOCATED_BITS = 16  # per pixel of such files; others are decoded
MAX_AXIS_ERROR = 0.01  # of the length of direction cosines, and of the cosine between them
# Values of 12 bits that are negative in two's complement but declared as unsigned, without an offset: the quirk of the
# RSNA set. From which intercept on a file has it, and the offset that such values wrap around at.
WRAPPED_BITS, MIN_WRAPPED_INTERCEPT, WRAP_OFFSET = 12, -100.0, 1000
STUDY_HASH_BYTES = 16
UID_PURPOSE = b"ichjax study"  # separates these hashes from those of other programs


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How a slice's pixels are stored, and what makes HU of them.

    Attributes:
      rows, columns: of the slice.
      bits_stored: of the bits that each pixel has in the file.
      signed: whether stored values are in two's complement.
      slope, intercept: HU = stored value x slope + intercept.
      offset: of the pixels in the file, in bytes; 0 if they are compressed or not of 16 bits, and must be decoded.
      file_bytes: size of the file.
    """

    rows: int
    columns: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    offset: int
    file_bytes: int

    @property
    def is_wrapped(self) -> bool:
        """Whether stored values are negative numbers in two's complement that the header declares as unsigned."""
        return (
            self.bits_stored == WRAPPED_BITS
            and not self.signed
            and self.intercept > MIN_WRAPPED_INTERCEPT
            and self.slope == 1
        )


@dataclasses.dataclass(frozen=True)
class SliceHeader:
    """What the header of a single-slice file says.

    Attributes:
      patient_id, study_uid, series_uid: as in the file; they can identify the patient, so only hashes may be kept.
      position_mm: (LPS) of the center of the first pixel.
      axes: direction cosines (LPS) of increasing column and of increasing row index.
      pixel_mm: between rows, and between columns.
      thickness_mm: nan if it is unknown.
      encoding: of the pixels.
    """

    patient_id: str = dataclasses.field(repr=False)
    study_uid: str = dataclasses.field(repr=False)
    series_uid: str = dataclasses.field(repr=False)
    position_mm: tuple[float, ...]
    axes: tuple[float, ...]
    pixel_mm: tuple[float, ...]
    thickness_mm: float
    encoding: Encoding


def hash_study(uid: str) -> str:
    """32 hexadecimal digits of a StudyInstanceUID, without a key, so that two people's records can be compared.

    Who knows a UID can test whether it is in a record; nobody can read one from it, unless the UID is short enough to
    be guessed, as the public pseudonyms of 10 digits in the RSNA set are.
    """
    return hashlib.blake2b(uid.strip().encode(), digest_size=STUDY_HASH_BYTES, person=UID_PURPOSE).hexdigest()


def read_slice_header(path: pathlib.Path) -> SliceHeader:
    """Reads the header of a single-slice CT file, and no pixels.

    Raises:
      InputError: the file is not DICOM or damaged, lacks a tag or has an implausible one, has several frames or
        colors, or fewer pixels than its header says.
    """
    try:
        return _slice_header(read_header_bytes(path, SLICE_FILE_TAGS))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); expected a CT slice") from error
    except Exception as error:  # pydicom raises many types on damaged files
        raise InputError(f"{path.name}: is not DICOM, or damaged; expected a readable CT slice") from error


def _slice_header(header: HeaderBytes) -> SliceHeader:
    """The header's values, checked; InputError without the file's name."""
    if (modality := _text(header, "Modality") or "CT") != "CT":
        raise InputError(f"is an image of modality {modality}; expected CT")
    samples, frames = (_numbers(header, name, 1, default=1)[0] for name in ("SamplesPerPixel", "NumberOfFrames"))
    if samples != 1 or frames != 1:
        raise InputError(f"has {samples:g} samples per pixel, {frames:g} frames; expected a gray image of one slice")
    position_mm, axes = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    pixel_mm = _numbers(header, "PixelSpacing", 2)
    _check_geometry(axes, pixel_mm)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not _text(header, keyword):
            raise InputError(f"lacks {keyword}; expected it in every CT slice")
    return SliceHeader(
        patient_id=_text(header, "PatientID"),
        study_uid=_text(header, "StudyInstanceUID"),
        series_uid=_text(header, "SeriesInstanceUID"),
        position_mm=position_mm,
        axes=axes,
        pixel_mm=pixel_mm,
        thickness_mm=_numbers(header, "SliceThickness", 1, default=np.nan)[0],
        encoding=_encoding(header),
    )


def _encoding(header: HeaderBytes) -> Encoding:
    names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")  # a missing one is never guessed
    rows, columns, allocated, bits_stored, sign = (int(_numbers(header, name, 1)[0]) for name in names)
    if not (1 <= rows <= MAX_SIDE_PX and 1 <= columns <= MAX_SIDE_PX):
        raise InputError(f"has {rows} x {columns} pixels; expected at most {MAX_SIDE_PX} along a side")
    if not 1 <= bits_stored <= allocated:
        raise InputError(f"stores {bits_stored} of {allocated} bits a pixel; expected 1 to {allocated}")
    if not header.offset:
        raise InputError("has no pixel data (truncated?); expected an image")
    is_raw, expected = is_uncompressed(header), rows * columns * allocated // 8
    available = min(header.length, header.file_bytes - header.offset)
    if is_raw and available < expected:
        raise InputError(f"has {available} bytes of pixels; expected {expected} (short)")
    slope, intercept = (_numbers(header, name, 1)[0] for name in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise InputError("has RescaleSlope 0; expected the factor from stored values to HU")
    return Encoding(
        rows=rows,
        columns=columns,
        bits_stored=bits_stored,
        signed=sign == 1,
        slope=slope,
        intercept=intercept,
        offset=header.offset if is_raw and allocated == ALLOCATED_BITS else 0,
        file_bytes=header.file_bytes,
    )


def _numbers(header: HeaderBytes, keyword: str, count: int, *, default: float | None = None) -> tuple[float, ...]:
    """So many finite numbers; InputError for others. A missing single one may have a default."""
    value = header.values.get(keyword, b"")
    if not (value if keyword in BINARY_TAGS else value.strip(b"\0 ")):
        if default is not None:
            return (default,)
        raise InputError(f"lacks {keyword}; expected it in every CT slice")
    try:
        if keyword in BINARY_TAGS:
            numbers = struct.unpack("<H", value)
        else:
            numbers = tuple(float(text) for text in value.decode("ascii").strip("\0 ").split("\\"))
    except (ValueError, struct.error):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{keyword} is malformed; expected {count} finite {'number' if count == 1 else 'numbers'}")
    return numbers


def _text(header: HeaderBytes, keyword: str) -> str:
    """A text, whatever its character set: identifiers are compared, never shown."""
    return header.values.get(keyword, b"").decode("latin-1").strip("\0 ")


def _check_geometry(axes: tuple[float, ...], pixel_mm: tuple[float, ...]) -> None:
    lengths, cosine = (math.hypot(*axes[:3]), math.hypot(*axes[3:])), sum(map(operator.mul, axes[:3], axes[3:]))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(cosine)) > MAX_AXIS_ERROR:
        raise InputError("ImageOrientationPatient is not two unit vectors at right angles; expected those of an image")
    low, high = PLAUSIBLE_MM["pixels"]
    if not low <= min(pixel_mm) <= max(pixel_mm) <= high:
        raise InputError(f"PixelSpacing is {list(pixel_mm)}; expected {low:g} to {high:g} mm")


def read_slice_hu(path: pathlib.Path, encoding: Encoding) -> np.ndarray:
    """Reads a slice's HU, int16 [rows, columns]; values below -1024 become -1024.

    Safe in several threads, which run in parallel where the pixels are not compressed.

    Raises:
      InputError: the file cannot be read, has changed since its header was read, or its pixels are damaged.
    """
    shape = (encoding.rows, encoding.columns)
    try:
        if encoding.offset:
            stored = np.empty(shape, np.dtype("<i2") if encoding.signed else np.dtype("<u2"))
            unused_bits = ALLOCATED_BITS - encoding.bits_stored
            with path.open("rb", buffering=0) as file:
                file.seek(encoding.offset)
                count = file.readinto(stored.data.cast("B"))
                changed = count != stored.nbytes or file.seek(0, 2) != encoding.file_bytes
            if unused_bits:  # they may hold anything, and extend the sign of the others
                stored <<= unused_bits
                stored >>= unused_bits
        else:
            stored = decode(path)
            changed = stored.shape != shape
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); expected the file of the index") from error
    if changed:
        raise InputError(f"{path.name}: has changed since it was indexed; expected {shape} pixels as its header said")
    return stored_to_hu(stored, encoding)


def stored_to_hu(stored: np.ndarray, encoding: Encoding) -> np.ndarray:
    """HU, int16 [rows, columns], of stored values; those below -1024 become -1024.

    A file that `Encoding.is_wrapped` holds the HU themselves, 4096 higher where they are negative. Stored values from
    3096 on are taken for negative ones, and the intercept is ignored (J. Howard's rule, as users of the set apply it).
    """
    if encoding.is_wrapped:
        values = stored.astype(np.int32)
        values -= (values >= (1 << WRAPPED_BITS) - WRAP_OFFSET) * np.int32(1 << WRAPPED_BITS)
    elif encoding.slope == 1 and encoding.intercept == round(encoding.intercept):
        values = stored.astype(np.int32)
        values += np.int32(encoding.intercept)
    else:
        values = np.rint(stored * encoding.slope + encoding.intercept)
    return np.clip(values, *HU_RANGE, out=values).astype(np.int16)
