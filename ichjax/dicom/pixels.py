"""The pixels of DICOM files: decoded, and in HU."""

import pathlib

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ichjax.dicom.frame import Frame, quiet
from ichjax.errors import InputError
from ichjax.scan import volume as volumes

# A padding value that means an HU in this range would blank real pixels; some files name 0 where 0 is water.
REAL_HU = (-500, 3071)


def decode(path: pathlib.Path) -> np.ndarray:
    """Reads the stored values: integers [rows, columns], or [frames, rows, columns] of a multi-frame file.

    Raises:
      InputError: they are damaged, truncated, or compressed in a way that no installed decoder reads.
    """
    with quiet():
        try:
            dataset = pydicom.dcmread(path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble
                implicit, _ = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            syntax = dataset.file_meta.TransferSyntaxUID
            if _has_decoder(syntax):
                return dataset.pixel_array
        except Exception as error:  # pydicom and the decoders raise many kinds; all mean the same to a user
            words = str(error).strip() if isinstance(error, (ValueError, RuntimeError)) else ""  # others tell of Python
            reason = f" ({words.splitlines()[0][:160]})" if words else ""
            raise InputError(f"{path.name}: the pixel data is damaged or truncated{reason}") from error
    raise InputError(
        f"{path.name}: its pixels are compressed ({syntax.name}) and no installed decoder reads that; "
        "install ichjax with its extra 'dicom' (pip install '.[dicom]' in its folder), or decompress the series first"
    )


def _has_decoder(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def to_hu(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Turns stored values into HU, int16, by the slice's own slope and intercept; padding becomes air.

    Raises:
      InputError: slope or intercept is missing, or the slope is 0.
    """
    slope, intercept = (frame.numbers(tag, 1)[0] for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise InputError(f"{frame.path.name}: RescaleSlope is 0; expected what turns stored values into HU")
    hu = stored * slope + intercept
    tags = [tag for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit") if frame.get(tag) is not None]
    if tags:
        ends = np.concatenate([frame.numbers(tag, 1) for tag in tags])
        ends_hu = ends * slope + intercept
        if not ((ends_hu >= REAL_HU[0]) & (ends_hu <= REAL_HU[1])).any():
            hu[(stored >= ends.min()) & (stored <= ends.max())] = volumes.AIR_HU
    return volumes.to_hu16(hu)
