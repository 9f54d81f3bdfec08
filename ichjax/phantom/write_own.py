"""Writes phantom subjects in the plain layout of one's own scans: images/, masks/ and two tables of labels."""

import pathlib

import numpy as np

from ichjax.data.generic import LABEL_NAMES, LABEL_TABLE, OWN_IMAGES, OWN_MASKS
from ichjax.data.generic_labels import LABEL_COLUMNS, NAME_COLUMNS
from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom.subject import PhantomSubject
from ichjax.phantom.write import Row, write_csv
from ichjax.scan import nifti
from ichjax.scan import volume as volumes

README = "README.txt"  # has the footer, which labels.csv has no room for


def write_scan(root: pathlib.Path, subject: PhantomSubject) -> None:
    """Writes images/NNN.nii.gz and masks/NNN.nii.gz (the classes), with or without a hemorrhage."""
    to_disk = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # x left, y back, slices upwards
    name = f"{subject.number:03d}.nii.gz"
    volume = volumes.from_file_grid(subject.hu.transpose(2, 1, 0), subject.affine @ to_disk, name=name)
    for folder, array in ((OWN_IMAGES, subject.hu), (OWN_MASKS, subject.classes)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nifti.write_nifti(root / folder / name, array, volume)


def write_tables(root: pathlib.Path, slices: list[Row], people: list[Row], *, footer: str) -> None:
    """Writes labels.csv with a row per slice, label_names.csv with the sub-types, and the footer as README.txt."""
    age_and_sex = {row[0]: (row[1], row[2][:1]) for row in people}
    rows = [[f"{int(row[0]):03d}", *age_and_sex[row[0]], row[1], *row[2:7]] for row in slices]
    write_csv(root / LABEL_TABLE, [LABEL_COLUMNS, *rows])
    write_csv(root / LABEL_NAMES, [NAME_COLUMNS, *((str(k), name) for k, name in enumerate(SUBTYPES, start=1))])
    (root / README).write_text(f"{footer}\n", encoding="utf-8")
