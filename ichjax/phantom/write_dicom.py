"""Writes slices of phantoms as DICOM files, with the quirks that public sets have where a test asks for them."""

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from ichjax.files import atomic
from ichjax.phantom.subject import PhantomSubject

OFFSET_HU = -1024  # RescaleIntercept
MIN_WRAPPED_HU = -1000  # that such files can hold
WRAPPED, SHORT, DAMAGED = "wrapped", "short", "damaged"
QUIRKS = (WRAPPED, SHORT, DAMAGED)  # negative HU stored as unsigned numbers; too few pixels; no DICOM at all


def write_slice(
    path: pathlib.Path, subject: PhantomSubject, slice_number: int, tags: Mapping[str, object], *, quirk: str = ""
) -> None:
    """Writes one slice of a phantom, atomically.

    Args:
      path: the file.
      subject: the phantom.
      slice_number: from 0, feet to head.
      tags: further header fields; patient and study are named by these alone.
      quirk: one of `QUIRKS`, or ''.
    """
    hu = subject.hu[slice_number]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = uid(f"{tags.get('SeriesInstanceUID')} {slice_number}".encode())
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPInstanceUID, ds.Modality = meta.MediaStorageSOPInstanceUID, "CT"
    corner_mm = (subject.affine @ [slice_number, 0, 0, 1])[:3] * [-1, -1, 1]  # RAS+ to LPS
    ds.ImagePositionPatient, ds.ImageOrientationPatient = corner_mm.round(6).tolist(), [1, 0, 0, 0, 1, 0]
    lengths_mm = np.linalg.norm(subject.affine[:3, :3], axis=0)
    ds.PixelSpacing = lengths_mm[1:].round(9).tolist()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.BitsAllocated, ds.RescaleSlope = 16, 1
    if quirk == WRAPPED:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 0, 0
        stored = np.maximum(hu, MIN_WRAPPED_HU) & 0xFFF
    else:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 16, 15, 1, OFFSET_HU
        stored = hu - np.int16(OFFSET_HU)
    pixels = stored.astype("<u2").tobytes()
    ds.PixelData = pixels[: len(pixels) // 3] if quirk == SHORT else pixels
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as aside:
        if quirk == DAMAGED:
            aside.write_bytes(b"not an image")
        else:
            ds.save_as(aside)


def uid(content: bytes) -> UID:
    """A DICOM UID that follows from its content."""
    return UID(f"2.25.{int.from_bytes(hashlib.blake2b(content, digest_size=15).digest(), 'big')}")


def study_uid(subject: PhantomSubject) -> UID:
    """A StudyInstanceUID that follows from the scan's pixels, so that another seed gives another one."""
    return uid(np.ascontiguousarray(subject.hu).tobytes())
