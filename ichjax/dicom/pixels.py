"""Decode the pixels of DICOM files and convert them to HU."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from ichjax.dicom.frame import Frame, quiet
from ichjax.errors import InputError
from ichjax.scan import volume as volumes
from ichjax.scan.nifti_header import MAX_FILE_VOXELS

# A padding value that maps to an HU in this range would erase real pixels: some files name 0 where 0 is water.
TISSUE_RANGE_HU = (-500, 3071)
MAX_SIDE_PX = 2048
PIXEL_TAGS = ("BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelRepresentation", "SamplesPerPixel")
DECODABLE = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)  # by the extra 'dicom'


def decode(path: pathlib.Path) -> np.ndarray:
    """Reads the stored values: integers [rows, columns], or [frames, rows, columns] of a multi-frame file.

    Raises:
      InputError: the pixel data is damaged, truncated, in a private transfer syntax, or compressed without an installed
        decoder, or the header lacks one of `PIXEL_TAGS`.
    """
    with quiet():
        try:
            dataset = pydicom.dcmread(path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a preamble
                implicit, _ = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            syntax = dataset.file_meta.TransferSyntaxUID
            missing = next((tag for tag in PIXEL_TAGS if tag not in dataset), "")
            if not missing and _has_decoder(syntax):
                return dataset.pixel_array
        except Exception as error:  # pydicom and the decoders raise many types; all mean the same to the user
            # Messages of other types are about Python, not about the file.
            text = str(error).strip() if isinstance(error, (ValueError, RuntimeError)) else ""
            reason = f" ({text.splitlines()[0][:160]})" if text else ""
            raise InputError(f"{path.name}: the pixel data is damaged or truncated{reason}") from error
    if missing:
        raise InputError(f"{path.name}: lacks {missing}; expected it in every image of a CT series")
    raise InputError(f"{path.name}: {_explain_syntax(syntax)}")


def _explain_syntax(syntax: UID) -> str:
    """Why pixels in this transfer syntax cannot be read, and what to do."""
    if syntax.is_private:
        return f"is stored in a private transfer syntax ({syntax}); expected a standard one (export the series again)"
    if syntax in DECODABLE:
        return (
            f"its pixels are compressed ({syntax.name}) and no installed decoder reads that; install ichjax with its "
            "extra 'dicom' (pip install '.[dicom]' in its folder), or decompress the series first"
        )
    return f"its transfer syntax is {syntax.name}, which cannot be read; expected an uncompressed series"


def _has_decoder(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def to_hu(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Converts stored values to HU, int16, by the slice's own slope and intercept; padding becomes air.

    Raises:
      InputError: slope or intercept is missing, or the slope is 0.
    """
    slope, intercept = (frame.numbers(tag, 1)[0] for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise InputError(f"{frame.path.name}: RescaleSlope is 0; expected the factor from stored values to HU")
    hu = stored * slope + intercept
    tags = [tag for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit") if frame.get(tag) is not None]
    if tags:
        limits = np.concatenate([frame.numbers(tag, 1) for tag in tags])
        limits_hu = limits * slope + intercept
        if not ((limits_hu >= TISSUE_RANGE_HU[0]) & (limits_hu <= TISSUE_RANGE_HU[1])).any():
            hu[(stored >= limits.min()) & (stored <= limits.max())] = volumes.AIR_HU
    return volumes.to_hu16(hu)


def size(frame: Frame) -> np.ndarray:
    """float64 [2], rows and columns; InputError if a tag is missing or malformed."""
    return np.concatenate([frame.numbers(tag, 1) for tag in ("Rows", "Columns")])


def check_size(frames: Sequence[Frame], rows: float, columns: float) -> None:
    """Raises InputError if a series, or one of its multi-frame files, is too large for a head CT."""
    count = max(len(frames), *(int(frame.get("NumberOfFrames") or 1) for frame in frames))
    if min(rows, columns) < 1 or max(rows, columns) > MAX_SIDE_PX or rows * columns * count > MAX_FILE_VOXELS:
        raise InputError(
            f"{frames[0].path.name}: {count} slices of {rows:g} x {columns:g} pixels; expected at most "
            f"{MAX_SIDE_PX} along a side and {MAX_FILE_VOXELS} in all"
        )
