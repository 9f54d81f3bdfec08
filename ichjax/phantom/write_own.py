"""Writes phantom subjects in the plain layout of one's own scans: images/, masks/ and labels.csv."""

import pathlib

import numpy as np

from ichjax.data.generic import LABEL_TABLE, OWN_IMAGES, OWN_MASKS
from ichjax.data.generic_labels import LABEL_COLUMNS
from ichjax.phantom.write import slice_rows, subject_row, write_csv
from ichjax.scan import nifti
from ichjax.scan import volume as volumes

__all__ = ["slice_rows", "subject_row", "write_scan", "write_tables"]

README = "README.txt"  # says that the data are synthetic: labels.csv has no room for remarks


def write_scan(root: pathlib.Path, subject) -> None:
    """Writes images/NNN.nii.gz and masks/NNN.nii.gz (0 and 1), also where there is no hemorrhage.

    Args:
      root: the data set's folder.
      subject: a `dataset.PhantomSubject`.
    """
    to_disk = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # x left, y back, slices upwards
    name = f"{subject.number:03d}.nii.gz"
    volume = volumes.from_file_grid(subject.hu.transpose(2, 1, 0), subject.affine @ to_disk, name=name)
    for folder, array in ((OWN_IMAGES, subject.hu), (OWN_MASKS, subject.mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nifti.write_nifti(root / folder / name, array, volume)


def write_tables(root: pathlib.Path, slice_table, subject_table, *, footer: str) -> None:
    """Writes labels.csv, a row for each slice, from the rows that `slice_rows` and `subject_row` made."""
    people = {row[0]: (row[1], row[2][:1]) for row in subject_table}
    rows = [[f"{int(row[0]):03d}", *people[row[0]], row[1], *row[2:7]] for row in slice_table]
    write_csv(root / LABEL_TABLE, [LABEL_COLUMNS, *rows])
    (root / README).write_text(f"{footer}\n", encoding="utf-8")
