"""Writes phantom subjects as the public data set's releases 1.0.0 to 1.2.0 look on disk: grey JPEG images."""

import pathlib

import numpy as np
from PIL import Image

from ichjax.data.ct_ich_jpeg import BONE_FOLDER, BRAIN_FOLDER, IMAGE_SIDE, JPEG_SCANS
from ichjax.data.label_tables import JPEG_SLICE_TABLE, JPEG_SUBJECT_TABLE, SUBTYPE_COLUMNS
from ichjax.files import atomic
from ichjax.phantom.write import slice_rows, subject_row, write_csv
from ichjax.scan.volume import BONE_WINDOW_HU, BRAIN_WINDOW_HU

__all__ = ["on_jpeg_grid", "slice_rows", "subject_row", "write_scan", "write_tables"]

QUALITY = 95
WINDOWS = {BRAIN_FOLDER: BRAIN_WINDOW_HU, BONE_FOLDER: BONE_WINDOW_HU}


def write_scan(root: pathlib.Path, subject) -> None:
    """Writes Patients_CT/NNN/brain/K.jpg and bone/K.jpg, K from 1 at the lowest slice, and brain/K_HGE_Seg.jpg where
    there is a hemorrhage.

    Args:
      root: the data set's folder.
      subject: a `dataset.PhantomSubject`. Its slice distance is lost: images carry none.
    """
    place = root / JPEG_SCANS / f"{subject.number:03d}"
    for window in WINDOWS:
        (place / window).mkdir(parents=True, exist_ok=True)
    for number, (hu, mask) in enumerate(zip(subject.hu, subject.mask, strict=True), start=1):
        drawn = on_jpeg_grid(hu)
        for window, (black, white) in WINDOWS.items():
            grey = np.clip((drawn - black) / (white - black), 0, 1) * 255
            _save(grey, place / window / f"{number}.jpg")
        if mask.any():
            _save(255.0 * (on_jpeg_grid(mask) >= 0.5), place / BRAIN_FOLDER / f"{number}_HGE_Seg.jpg")


def on_jpeg_grid(plane: np.ndarray) -> np.ndarray:
    """A slice [H, W] by linear interpolation on the release's grid, float32 [650, 650] over the same field of view."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR))


def _save(grey: np.ndarray, path: pathlib.Path) -> None:
    """Saves a grey image atomically."""
    with atomic(path) as aside:
        Image.fromarray(np.rint(grey).astype(np.uint8)).save(aside, format="JPEG", quality=QUALITY)


def write_tables(root: pathlib.Path, slice_table, subject_table, *, footer: str) -> None:
    """Writes both label tables, by that release's names and headers, from `slice_rows` and `subject_row`."""
    header = ["PatientNumber", "SliceNumber", *SUBTYPE_COLUMNS, "No_Hemorrhage", "Fracture_Yes_No"]
    write_csv(root / JPEG_SLICE_TABLE, [header, *slice_table])
    people = ["Patient Number", "Age\n(years)", "Gender", *SUBTYPE_COLUMNS]
    people += ["Fracture (yes 1/no 0)", "Condition on file"]
    blank = [""] * len(people)
    write_csv(root / JPEG_SUBJECT_TABLE, [people, *subject_table, blank, [footer, *blank[1:]]])
