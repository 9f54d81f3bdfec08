"""Writes phantom subjects in the layout of the public data set's release 1.3.1 (NIfTI)."""

import csv
import pathlib
from collections.abc import Iterable, Sequence

import nibabel as nib
import numpy as np

from ichjax.data.ct_ich_nifti import NIFTI_MASKS, NIFTI_SCANS
from ichjax.data.label_tables import NIFTI_SLICE_TABLE, NIFTI_SUBJECT_TABLE, SUBTYPE_COLUMNS
from ichjax.files import atomic
from ichjax.phantom.subject import PhantomSubject

# On disk a mask has the extreme values of int16; the scaling in the header maps them to about 0 and 255.
MASK_SLOPE = 255.0 / 65535.0
MASK_INTER = 32768.0 * MASK_SLOPE
SLICE_HEADER = ("PatientNumber", "SliceNumber", *SUBTYPE_COLUMNS, "No_Hemorrhage", "Fracture_Yes_No")

Row = list[str]  # cells of a line of a table


def write_scan(root: pathlib.Path, subject: PhantomSubject) -> None:
    """Writes ct_scans/NNN.nii and, as in the real set only with a hemorrhage, masks/NNN.nii.

    Axes on disk: x to the left, y to the front, slices upwards.
    """
    name = f"{subject.number:03d}.nii"
    to_disk = np.array([[0, 0, 1, 0], [0, -1, 0, subject.hu.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    affine = subject.affine @ to_disk
    _save(nib.Nifti1Image(_disk_axes(subject.hu), affine), affine, root / NIFTI_SCANS / name)
    if subject.mask.any():
        # nibabel writes the array as it is once the header has its own slope.
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


def slice_rows(subject: PhantomSubject) -> list[Row]:
    """Rows of the slice table, in the columns of `SLICE_HEADER`; slices count from 1, flags are 1 or 0."""
    rows = []
    for d, (labels, broken) in enumerate(zip(subject.slice_labels, subject.fracture, strict=True), start=1):
        flags = [*labels, not labels.any(), broken]
        rows.append([str(subject.number), str(d), *(str(int(flag)) for flag in flags)])
    return rows


def subject_row(subject: PhantomSubject) -> Row:
    """Row of the subject table; flags are 1 or empty."""
    flags = [*map(np.any, subject.slice_labels.T), subject.fracture.any()]
    note = "Chronic" if subject.chronic else ""
    sex = {"M": "Male", "F": "Female"}[subject.sex]
    return [str(subject.number), f"{subject.age_years:g}", sex, *("1" if flag else "" for flag in flags), note]


def write_tables(root: pathlib.Path, slices: list[Row], people: list[Row], *, footer: str) -> None:
    """Writes both label tables."""
    write_csv(root / NIFTI_SLICE_TABLE, [SLICE_HEADER, *slices])
    kinds = ["Hemorrhage type based on the radiologists diagnosis ", "", "", "", ""]
    header = ["Patient Number", "Age\n(years)", "Gender", *kinds, "Fracture (yes 1/no 0)", "Note1"]
    write_subject_table(root / NIFTI_SUBJECT_TABLE, [header, ["", "", "", *SUBTYPE_COLUMNS, "", ""], *people], footer)


def write_subject_table(path: pathlib.Path, rows: list[Row], footer: str) -> None:
    """Writes rows, headers included, a blank row and the footer."""
    blank = [""] * len(rows[0])
    write_csv(path, [*rows, blank, [footer, *blank[1:]]])


def write_csv(path: pathlib.Path, rows: Iterable[Sequence[str]]) -> None:
    """Writes a table, atomically."""
    with atomic(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
