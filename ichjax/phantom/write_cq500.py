"""Writes phantom subjects in the layout of CQ500: a folder of DICOM series per scan, and three readers' findings."""

import pathlib

from pydicom.uid import CTImageStorage

from ichjax.data.cq500_reads import FURTHER_FINDINGS, ICH, READERS, READS_TABLE
from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom.subject import PhantomSubject
from ichjax.phantom.write import Row, write_csv
from ichjax.phantom.write_dicom import study_uid, uid, write_slice
from ichjax.phantom.write_own import README

SERIES = {"CT PLAIN": "H30s", "CT BONE": "H70s"}  # {folder: kernel}; both have the same pixels
DISSENT = 3  # every so many subjects, the last reader misses the first sub-type


def write_scan(root: pathlib.Path, subject: PhantomSubject) -> None:
    """Writes 'CQ500CTN CQ500CTN/Unknown Study/SERIES/CT*.dcm', N the subject's number; masks are not written."""
    name = f"CQ500CT{subject.number}"
    study = study_uid(subject)
    for number, (series, kernel) in enumerate(SERIES.items(), start=1):
        tags = {
            "SOPClassUID": CTImageStorage,
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "PatientID": name,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": uid(f"{study} {number}".encode()),
            "SeriesNumber": number,
            "SeriesDescription": series,
            "ConvolutionKernel": kernel,
        }
        for d in range(len(subject.hu)):
            path = root / f"{name} {name}" / "Unknown Study" / series / f"CT{d:06d}.dcm"
            write_slice(path, subject, d, {**tags, "InstanceNumber": d + 1})


def write_tables(root: pathlib.Path, slices: list[Row], people: list[Row], *, footer: str) -> None:
    """Writes reads.csv, and the footer as README.txt.

    Two readers agree with the truth; the third misses the first sub-type of some subjects.
    """
    names = (ICH, *SUBTYPES, *FURTHER_FINDINGS)
    header = ["name", "Category", *(f"{reader}:{name}" for reader in READERS for name in names)]
    rows = []
    for person in people:
        number, flags, broken, note = int(person[0]), [int(cell or 0) for cell in person[3:8]], person[8], person[9]
        found = {name: flag for name, flag in zip(SUBTYPES, flags, strict=True) if flag}
        cells: list[str] = []
        for reader in READERS:
            seen = set(found)
            if reader == READERS[-1] and number % DISSENT == 0:
                seen -= set(list(found)[:1])
            findings = {ICH: bool(seen), **{name: name in seen for name in SUBTYPES}}
            findings |= {"ChronicBleed": bool(note), "Fracture": bool(broken), "CalvarialFracture": bool(broken)}
            cells += [str(int(findings.get(name, False))) for name in names]
        rows.append([f"CQ500-CT-{number}", "B1", *cells])
    write_csv(root / READS_TABLE, [header, *rows])
    (root / README).write_text(f"{footer}\n", encoding="utf-8")
