"""Writes phantom subjects in the layout of the RSNA 2019 set: one flat folder of DICOM slices, and their labels."""

import hashlib
import pathlib
from collections.abc import Mapping

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.rsna_labels import DETECTION_LABELS, RSNA_FOLDERS, RSNA_HEADER, RSNA_TABLE, RSNA_TYPE
from ichjax.phantom.subject import PhantomSubject
from ichjax.phantom.write import Row, write_csv
from ichjax.phantom.write_dicom import study_uid, uid, write_slice
from ichjax.phantom.write_own import README


def write_scan(root: pathlib.Path, subject: PhantomSubject, *, quirks: Mapping[int, str] | None = None) -> None:
    """Writes stage_2_train/ID_*.dcm, a file per slice, whose names do not follow the order of slices.

    Args:
      root: of the set.
      subject: its masks are not written, as the set has none.
      quirks: {slice from 0: one of `write_dicom.QUIRKS`}, for tests.
    """
    study = study_uid(subject)
    tags = {
        "PatientID": f"phantom-{subject.number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": uid(f"{study} 1".encode()),
    }
    for d in range(len(subject.hu)):
        path = root / RSNA_FOLDERS[0] / f"{image_name(subject.number, d)}.dcm"
        write_slice(path, subject, d, tags, quirk=(quirks or {}).get(d, ""))


def image_name(number: int, slice_number: int) -> str:
    """The name of a slice (from 0) of a subject: ID_ and 9 hexadecimal digits."""
    return f"ID_{hashlib.blake2b(f'{number} {slice_number}'.encode(), digest_size=5).hexdigest()[:9]}"


def write_tables(root: pathlib.Path, slices: list[Row], people: list[Row], *, footer: str) -> None:
    """Writes stage_2_train.csv with six rows a slice, and the footer as README.txt."""
    rows = []
    for number, slice_number, *flags in slices:
        labels = dict(zip(SUBTYPES, flags, strict=False))  # the flags of hemorrhage and fracture follow
        labels[DETECTION_LABELS[-1]] = str(max(map(int, labels.values())))
        name = image_name(int(number), int(slice_number) - 1)
        rows += [(f"{name}_{kind}", labels[label]) for label, kind in sorted(RSNA_TYPE.items(), key=lambda one: one[1])]
    write_csv(root / RSNA_TABLE, [RSNA_HEADER.split(","), *rows])
    (root / README).write_text(f"{footer}\n", encoding="utf-8")
