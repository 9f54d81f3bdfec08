"""Tags that identify a series or its patient: read only where they are needed, and never kept in a `Series`."""

import pathlib

import pydicom

from ichjax.dicom.frame import quiet
from ichjax.dicom.patients import NOBODY, PATIENT_TAGS, Patient, read_patient
from ichjax.errors import one_line


def hash_patient(path: pathlib.Path, *, key: bytes) -> Patient:
    """Keyed hashes of the patient's tags in a DICOM file: only the holder of the key can compare them with a name.

    `NOBODY` if the file cannot be read.
    """
    header = _read_tags(path, PATIENT_TAGS)
    with quiet():
        return read_patient(header, key=key) if header else NOBODY


def read_description(path: pathlib.Path) -> str:
    """The SeriesDescription of a DICOM file, free text that may name the patient; '' if it is missing or malformed."""
    try:
        with quiet():
            return one_line(str(_read_tags(path, ("SeriesDescription",)).get("SeriesDescription") or ""))
    except Exception:  # pydicom raises many types on malformed values
        return ""


def _read_tags(path: pathlib.Path, names: tuple[str, ...]) -> pydicom.Dataset:
    """A header with these tags alone; empty if it cannot be read."""
    try:
        with quiet():
            return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(names))
    except Exception:
        return pydicom.Dataset()
