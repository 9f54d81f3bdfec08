"""The PhysioNet ct-ich data set, its 'nifti' release: tables and paths first, voxels one subject at a time."""

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from ichjax.data.label_tables import (
    JPEG_SLICE_TABLE,
    JPEG_SUBJECT_TABLE,
    NIFTI_SLICE_TABLE,
    NIFTI_SUBJECT_TABLE,
    SUBTYPES,
    SliceRows,
    SubjectRow,
    ranges,
    read_slice_table,
    read_subject_table,
)
from ichjax.data.subject import (
    Dataset,
    Scan,
    Subject,
    empty_mask_note,
    entries,
    file_name,
    file_order,
    labels_on_slices,
    with_disagreements,
)
from ichjax.errors import InputError
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

NIFTI_SCANS, NIFTI_MASKS = "ct_scans", "masks"
SLICE_TABLES = (NIFTI_SLICE_TABLE, JPEG_SLICE_TABLE)  # the release's own name first
SUBJECT_TABLES = (NIFTI_SUBJECT_TABLE, JPEG_SUBJECT_TABLE)
NIFTI_LAYOUT = (
    f"{NIFTI_SCANS}/ and {NIFTI_MASKS}/ with files such as 049.nii or 049.nii.gz, "
    f"{SLICE_TABLES[0]} (or {SLICE_TABLES[1]}) and {SUBJECT_TABLES[0]} (or {SUBJECT_TABLES[1]})"
)


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a folder in the layout of the 'nifti' release; reads tables and names, no voxels.

    A subject is a scan in ct_scans/. What does not match (rows without a scan, a scan without rows, tables that
    contradict each other) is told in the notes and harms no other subject.

    Raises:
      InputError: the folder is in another layout, or a table cannot be read.
    """
    root = pathlib.Path(root)
    missing = [f"{folder}/" for folder in (NIFTI_SCANS, NIFTI_MASKS) if not (root / folder).is_dir()]
    missing += [] if find_table(root, SLICE_TABLES) else [SLICE_TABLES[0]]
    if missing:
        lacks = ", ".join(missing)
        raise InputError(f"{root}: lacks {lacks}; found {entries(root)}; expected a data set: {NIFTI_LAYOUT}")
    scans, scan_notes = _numbered_files(root / NIFTI_SCANS)
    if not scans:
        raise InputError(f"{root}: no scan in {NIFTI_SCANS}/; expected files such as 049.nii or 049.nii.gz")
    masks, mask_notes = _numbered_files(root / NIFTI_MASKS)
    tables = find_table(root, SLICE_TABLES), find_table(root, SUBJECT_TABLES)
    subjects, notes = tabled_subjects(scans, masks, *tables, layout="nifti")
    return Dataset(root, subjects, (*scan_notes, *mask_notes, *notes))


def tabled_subjects(
    scans: Mapping[int, pathlib.Path],
    masks: Mapping[int, pathlib.Path],
    slice_table: pathlib.Path,
    subject_table: pathlib.Path | None,
    *,
    layout: str,
) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    """Subjects of scans, masks (by number) and the two label tables of a release: (by number, notes).

    Raises:
      InputError: a table cannot be read.
    """
    slice_rows, slice_notes = read_slice_table(slice_table)
    subject_rows, subject_notes = {}, ("no subject table: age and sex are unknown",)
    if subject_table:
        subject_rows, subject_notes = read_subject_table(subject_table)
    notes = [*slice_notes, *subject_notes, *_unmatched(scans, masks, slice_rows, subject_rows)]
    subjects = []
    for number, path in sorted(scans.items()):
        rows, row = slice_rows.get(number), subject_rows.get(number)
        subjects.append(_subject(number, path, masks.get(number), rows, row, layout))
        if row and rows:
            notes += _contradictions(subjects[-1], row)
    return tuple(subjects), tuple(notes)


def find_table(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path | None:
    """The first of the names that is a file of the folder; None where none is."""
    return next((root / name for name in names if (root / name).is_file()), None)


def _numbered_files(folder: pathlib.Path) -> tuple[dict[int, pathlib.Path], list[str]]:
    """NIfTI files by the number that is their name, and notes on the others."""
    found: dict[int, list[pathlib.Path]] = {}
    odd = 0
    for path in sorted(folder.iterdir()):
        stem = nifti.strip_extension(path.name)
        if nifti.is_nifti_name(path.name) and re.fullmatch(r"\d{1,9}", stem, re.ASCII) and path.is_file():
            found.setdefault(int(stem), []).append(path)
        elif not path.name.startswith("."):
            odd += 1
    notes = [f"{folder.name}/: entries left out that are no NNN.nii or NNN.nii.gz: {odd}"] if odd else []
    for number, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            notes.append(f"{folder.name}/: subject {number} has {len(paths)} files ({names}); the first is taken")
    return {number: paths[0] for number, paths in found.items()}, notes


def _unmatched(scans: dict, masks: dict, slice_rows: dict, subject_rows: dict) -> list[str]:
    """One sentence for each kind of thing that lacks its counterpart; a scan without a mask is told when read."""
    lacking = [
        (set(slice_rows) | set(subject_rows), scans, "stand in a table but have no scan"),
        (masks, scans, "have a mask but no scan"),
        (scans, slice_rows, "have no row in the slice table, so no sub-types"),
        (scans, subject_rows if subject_rows else scans, "have no row in the subject table, so no age and sex"),
    ]
    return [f"subjects {ranges(set(a) - set(b))} {what}" for a, b, what in lacking if set(a) - set(b)]


def _subject(
    number: int,
    scan_path: pathlib.Path,
    mask_path: pathlib.Path | None,
    rows: SliceRows | None,
    row: SubjectRow | None,
    layout: str,
) -> Subject:
    if rows is None:
        rows = SliceRows(np.zeros((0, len(SUBTYPES)), bool), np.zeros(0, bool))
    return Subject(
        number=number,
        scan_path=scan_path,
        mask_path=mask_path,
        age_years=row.age_years if row else None,
        sex=row.sex if row else None,
        slice_labels=rows.labels,
        slice_fracture=rows.fracture,
        fracture=row.fracture if row else bool(rows.fracture.any()),
        layout=layout,
    )


def _contradictions(subject: Subject, row: SubjectRow) -> list[str]:
    """Where the subject table says something else than the slice table."""
    notes = []
    told = tuple(name for name, on in zip(SUBTYPES, row.labels, strict=True) if on)
    if told != subject.subtypes:
        notes.append(
            f"subject {subject.number}: the subject table says {', '.join(told) or 'no hemorrhage'}, the slice "
            f"table {', '.join(subject.subtypes) or 'no hemorrhage'}; the slice table is trusted"
        )
    if row.fracture != bool(subject.slice_fracture.any()):
        notes.append(f"subject {subject.number}: the tables disagree about a fracture; the subject table is trusted")
    return notes


def load_scan(subject: Subject) -> Scan:
    """Reads a subject's scan and mask and puts its labels on the scan's slices.

    SliceNumber 1 is index 0 of the file's slice axis; where that axis runs to the feet, the labels are turned with
    the slices. Slices beyond the table get no sub-type, rows beyond the scan are left out; a note says so.

    Raises:
      InputError: a file is missing, damaged, not 3-D or not in HU; the mask is neither 0/1 nor 0/255, or lies on
        another grid than the scan; or there is no mask although the labels do not rule out a hemorrhage.
    """
    volume = nifti.read_nifti(subject.scan_path, name=file_name(subject.scan_path, subject))
    notes = []
    if subject.mask_path is not None:
        mask = _load_mask(subject, volume)
    else:
        mask = np.zeros(volume.shape, np.uint8)
        notes.append(empty_mask_note(subject, f"{NIFTI_MASKS}/"))
    labels, label_notes = labels_on_slices(subject, file_order(volume))
    return with_disagreements(Scan(subject, volume, mask, labels, (*notes, *label_notes)))


def _load_mask(subject: Subject, volume: Volume) -> np.ndarray:
    """uint8 [D, H, W] of 0 and 1 on the scan's voxels, in whatever axis order the mask was stored."""
    name = file_name(subject.mask_path, subject)
    array, affine = nifti.load_array(subject.mask_path, name=name)
    mask = volumes.from_file_grid(_binarize(array, name), affine, name=name)
    volumes.check_same_grid(mask, volume)
    return mask.hu.astype(np.uint8)


def _binarize(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 of 0 and 1: a copy holds either 0/1 or 0/255 (about, after NIfTI scaling); the maximum decides."""
    highest = float(array.max())
    if highest < 1.5:
        return (array > 0.5).astype(np.uint8)
    if highest <= 127.5:
        raise InputError(f"{name}: the mask's highest value is {highest:g}; expected 0 and 1, or 0 and 255")
    return (array > 127.5).astype(np.uint8)
