"""Writes phantom subjects in the layout of the public data set's releases 1.0.0 to 1.2.0 (JPEG images)."""

import pathlib

import numpy as np
from PIL import Image

from ichjax.data.ct_ich_jpeg import BONE_FOLDER, BRAIN_FOLDER, IMAGE_SIDE, JPEG_SCANS
from ichjax.data.label_tables import JPEG_SLICE_TABLE, JPEG_SUBJECT_TABLE, SUBTYPE_COLUMNS
from ichjax.files import atomic
from ichjax.phantom.subject import PhantomSubject
from ichjax.phantom.write import SLICE_HEADER, Row, write_csv, write_subject_table
from ichjax.scan.volume import BONE_WINDOW_HU, BRAIN_WINDOW_HU

QUALITY = 95
WINDOWS = {BRAIN_FOLDER: BRAIN_WINDOW_HU, BONE_FOLDER: BONE_WINDOW_HU}


def write_scan(root: pathlib.Path, subject: PhantomSubject) -> None:
    """Writes Patients_CT/NNN/brain/K.jpg and bone/K.jpg, K = 1 for the lowest slice, and brain/K_HGE_Seg.jpg for slices
    with a hemorrhage. The images do not store the slice spacing.
    """
    folder = root / JPEG_SCANS / f"{subject.number:03d}"
    for window in WINDOWS:
        (folder / window).mkdir(parents=True, exist_ok=True)
    for number, (hu, mask) in enumerate(zip(subject.hu, subject.mask, strict=True), start=1):
        resampled = on_jpeg_grid(hu)
        for window, (black, white) in WINDOWS.items():
            gray = np.clip((resampled - black) / (white - black), 0, 1) * 255
            _save(gray, folder / window / f"{number}.jpg")
        if mask.any():
            _save(255.0 * (on_jpeg_grid(mask) >= 0.5), folder / BRAIN_FOLDER / f"{number}_HGE_Seg.jpg")


def on_jpeg_grid(plane: np.ndarray) -> np.ndarray:
    """A slice [H, W] resampled linearly to the release's matrix, float32 [650, 650], same field of view."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR))


def _save(gray: np.ndarray, path: pathlib.Path) -> None:
    """Saves a gray image atomically."""
    with atomic(path) as aside:
        Image.fromarray(np.rint(gray).astype(np.uint8)).save(aside, format="JPEG", quality=QUALITY)


def write_tables(root: pathlib.Path, slices: list[Row], people: list[Row], *, footer: str) -> None:
    """Writes both label tables, with the names and headers of these releases."""
    write_csv(root / JPEG_SLICE_TABLE, [SLICE_HEADER, *slices])
    header = ["Patient Number", "Age\n(years)", "Gender", *SUBTYPE_COLUMNS]
    header += ["Fracture (yes 1/no 0)", "Condition on file"]
    write_subject_table(root / JPEG_SUBJECT_TABLE, [header, *people], footer)
