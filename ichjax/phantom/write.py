"""Writes phantom subjects as the public data set's 1.3.1 release looks on disk."""

import csv
import pathlib

import nibabel as nib
import numpy as np

from ichjax.data.ct_ich_nifti import NIFTI_MASKS, NIFTI_SCANS
from ichjax.data.label_tables import NIFTI_SLICE_TABLE, NIFTI_SUBJECT_TABLE, SUBTYPE_COLUMNS
from ichjax.files import atomic

# On disk a mask is int16 at its extremes; the header's scaling makes about 0 and 255 of them.
MASK_SLOPE = 255.0 / 65535.0
MASK_INTER = 32768.0 * MASK_SLOPE


def write_scan(root: pathlib.Path, subject) -> None:
    """Writes ct_scans/NNN.nii and masks/NNN.nii; axes on disk are x to the left, y to the front, slices upwards.

    Args:
      root: the data set's folder.
      subject: a `dataset.PhantomSubject`; one without a hemorrhage gets a mask file too if the set has one for
        all: here it gets none, as in the real set only subjects with a hemorrhage have masks.
    """
    name = f"{subject.number:03d}.nii"
    to_disk = np.array([[0, 0, 1, 0], [0, -1, 0, subject.hu.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    affine = subject.affine @ to_disk
    hu = nib.Nifti1Image(_disk_axes(subject.hu), affine)
    _save(hu, affine, root / NIFTI_SCANS / name)
    if subject.mask.any():
        # nibabel takes the array as it is to lie on disk once the header has a slope of its own.
        raw = np.where(_disk_axes(subject.mask), np.int16(32767), np.int16(-32768))
        mask = nib.Nifti1Image(np.asfortranarray(raw), affine)
        mask.header.set_slope_inter(MASK_SLOPE, MASK_INTER)
        _save(mask, affine, root / NIFTI_MASKS / name)


def _disk_axes(array: np.ndarray) -> np.ndarray:
    """[D, H, W] (up, back, left) to [x, y, slice] (left, front, up)."""
    return np.asfortranarray(array[:, ::-1, :].transpose(2, 1, 0))


def _save(image: nib.Nifti1Image, affine: np.ndarray, path: pathlib.Path) -> None:
    """Saves an image atomically."""
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as aside:
        nib.save(image, aside)


def slice_rows(subject) -> list[list[str]]:
    """Rows of the slice table: number, slice from 1, five flags, none, fracture; flags are 1 or 0."""
    rows = []
    for d, (labels, broken) in enumerate(zip(subject.slice_labels, subject.fracture, strict=True)):
        flags = [*labels, not labels.any(), broken]
        rows.append([str(subject.number), str(d + 1), *(str(int(flag)) for flag in flags)])
    return rows


def subject_row(subject) -> list[str]:
    """The row of the subject table; flags are 1 or empty."""
    flags = [*subject.slice_labels.any(axis=0), subject.fracture.any()]
    note = "Chronic" if subject.chronic else ""
    sex = {"M": "Male", "F": "Female"}[subject.sex]
    return [str(subject.number), f"{subject.age_years:g}", sex, *("1" if f else "" for f in flags), note]


def write_tables(root: pathlib.Path, slice_table, subject_table, *, footer: str) -> None:
    """Writes both label tables from the rows that `slice_rows` and `subject_row` made."""
    header = ["PatientNumber", "SliceNumber", *SUBTYPE_COLUMNS, "No_Hemorrhage", "Fracture_Yes_No"]
    write_csv(root / NIFTI_SLICE_TABLE, [header, *slice_table])
    kinds = ["Hemorrhage type based on the radiologists diagnosis ", "", "", "", ""]
    first = ["Patient Number", "Age\n(years)", "Gender", *kinds, "Fracture (yes 1/no 0)", "Note1"]
    second = ["", "", "", *SUBTYPE_COLUMNS, "", ""]
    blank = [""] * len(first)
    write_csv(root / NIFTI_SUBJECT_TABLE, [first, second, *subject_table, blank, [footer, *blank[1:]]])


def write_csv(path: pathlib.Path, rows) -> None:
    """Writes rows of text as a table, atomically."""
    with atomic(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
