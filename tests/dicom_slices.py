"""Writes single DICOM slices of a tiny head, in the layout of the RSNA 2019 set, for tests."""

import warnings

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ichjax.dicom.slice_file import hash_study

SIDE = 32
KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
# (patient, study, [(image, z in mm, sub-types)]): names do not follow positions, one patient has two studies.
SCANS = [
    ("PID-90210", "1.2.30", [("ID_c", 10, ["epidural"]), ("ID_a", 0, []), ("ID_b", 5, ["epidural", "subdural"])]),
    ("PID-1", "1.2.10", [("ID_z", 0, []), ("ID_k", 7, []), ("ID_d", 20, ["subarachnoid"]), ("ID_e", 25, [])]),
    ("pid-90210 ", "1.2.20", [("ID_f", 0, [])]),
]
NAMES = {name: (z, kinds) for _, _, slices in SCANS for name, z, kinds in slices}


def head(seed):
    """int16 [SIDE, SIDE]: brain in a ring of bone in air, with noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(y - 15.5, x - 15.5)
    plane = np.select([radius < 11.5, radius < 13], [30.0, 1000.0], -1000.0)
    return np.rint(plane + np.random.default_rng(seed).normal(0, 5, plane.shape)).astype(np.int16)


def dataset(stored, *, syntax=ExplicitVRLittleEndian, **tags):
    """A data set with the tags of the RSNA set; `tags` replace or, where None, remove some."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = syntax
    ds = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "Modality": "CT",
        "PatientID": "ID_0002cd41",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "ImagePositionPatient": [-93, -93, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [6, 6],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "PixelData": np.ascontiguousarray(stored).tobytes(),
        **tags,
    }
    with warnings.catch_warnings(action="ignore"):  # UIDs of the set are not valid ones
        for keyword, value in values.items():
            if value is not None:
                setattr(ds, keyword, value)
    return ds


def write(path, stored=None, **tags):
    """Writes a slice, by default `head`, and returns its stored values."""
    stored = head(0) if stored is None else stored
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(action="ignore"):
        dataset(stored, **tags).save_as(path)
    return stored


def table_rows(image, subtypes=()):
    """The six rows of an image."""
    return [f"{image}_{kind},{int(kind in subtypes or (kind == 'any' and bool(subtypes)))}" for kind in KINDS]


def write_table(root, rows):
    """Writes stage_2_train.csv."""
    (root / "stage_2_train.csv").write_text("\n".join(["ID,Label", *rows]) + "\n")


def write_set(root, scans, *, extra=()):
    """Writes a set of [(patient, study, [(name, z in mm, sub-types)])], and returns {name: stored values}."""
    pixels, rows = {}, list(extra)
    for patient, study, slices in scans:
        for name, z, subtypes in slices:
            stored = head(len(pixels))
            tags = {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1"}
            pixels[name] = write(root / f"stage_2_train/{name}.dcm", stored, ImagePositionPatient=[-93, -93, z], **tags)
            rows += table_rows(name, subtypes)
    write_table(root, rows)
    return pixels


def names_of(index, scan):
    """The images of a scan in an index, from feet to head."""
    return [index.path(number).stem for number in index.slice_numbers(scan)]


def find(index, study):
    """The scan of a study in an index."""
    return int(np.flatnonzero(index.scans["study"] == hash_study(study).encode())[0])


def slice_of(index, image):
    """The slice of an image in an index."""
    return [index.path(number).stem for number in range(len(index.names))].index(image)
