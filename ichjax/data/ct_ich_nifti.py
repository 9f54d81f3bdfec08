"""Read the PhysioNet ct-ich data set in its 'nifti' release: tables, NIfTI scans and masks."""

import pathlib
import re
from collections.abc import Iterable, Mapping

import numpy as np

from ichjax.data import label_tables as tables
from ichjax.data.label_tables import SUBTYPES, SliceRows, SubjectRow, format_ranges
from ichjax.data.subject import Dataset, Scan, Subject, label_scan, list_entries, missing_mask_note, name_in_messages
from ichjax.errors import InputError
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

NIFTI_SCANS, NIFTI_MASKS = "ct_scans", "masks"
SLICE_TABLES = (tables.NIFTI_SLICE_TABLE, tables.JPEG_SLICE_TABLE)  # the release's own name first
SUBJECT_TABLES = (tables.NIFTI_SUBJECT_TABLE, tables.JPEG_SUBJECT_TABLE)
NIFTI_LAYOUT = (
    f"{NIFTI_SCANS}/ and {NIFTI_MASKS}/ with files such as 049.nii or 049.nii.gz, "
    f"{SLICE_TABLES[0]} (or {SLICE_TABLES[1]}) and {SUBJECT_TABLES[0]} (or {SUBJECT_TABLES[1]})"
)


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a folder in the layout of the 'nifti' release; reads tables and names, no voxels.

    Each scan in ct_scans/ is a subject. Mismatches (rows without a scan, a scan without rows, contradictions between
    the tables) are reported in the notes and do not affect other subjects.

    Raises:
      InputError: the folder is in another layout, or a table cannot be read.
    """
    root = pathlib.Path(root)
    missing = [f"{folder}/" for folder in (NIFTI_SCANS, NIFTI_MASKS) if not (root / folder).is_dir()]
    slice_table = find_table(root, SLICE_TABLES)
    if missing or slice_table is None:
        lacks = ", ".join([*missing, *([] if slice_table else SLICE_TABLES[:1])])
        raise InputError(f"{root}: lacks {lacks}; found {list_entries(root)}; expected a data set: {NIFTI_LAYOUT}")
    scans, scan_notes = _numbered_files(root / NIFTI_SCANS)
    if not scans:
        raise InputError(f"{root}: no scan in {NIFTI_SCANS}/; expected files such as 049.nii or 049.nii.gz")
    masks, mask_notes = _numbered_files(root / NIFTI_MASKS)
    subject_table = find_table(root, SUBJECT_TABLES)
    subjects, notes = make_subjects(scans, masks, slice_table, subject_table, layout="nifti")
    return Dataset(root, subjects, (*scan_notes, *mask_notes, *notes))


def make_subjects(
    scans: Mapping[int, pathlib.Path],
    masks: Mapping[int, pathlib.Path],
    slice_table: pathlib.Path,
    subject_table: pathlib.Path | None,
    *,
    layout: str,
) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    """Combines scans, masks (by number) and the label tables of a release: (subjects sorted by number, notes).

    Raises:
      InputError: a table cannot be read.
    """
    slice_rows, slice_notes = tables.read_slice_table(slice_table)
    subject_rows: dict[int, SubjectRow] = {}
    subject_notes: tuple[str, ...] = ("no subject table: age and sex are unknown",)
    if subject_table:
        subject_rows, subject_notes = tables.read_subject_table(subject_table)
    notes = [*slice_notes, *subject_notes, *_unmatched(scans, masks, slice_rows, subject_rows)]
    subjects = []
    for number, path in sorted(scans.items()):
        rows, row = slice_rows.get(number), subject_rows.get(number)
        subjects.append(_subject(number, path, masks.get(number), rows, row, layout))
        if row and rows:
            notes += _contradictions(subjects[-1], row)
    return tuple(subjects), tuple(notes)


def find_table(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path | None:
    """The first of the names that is a file in the folder, or None."""
    return next((root / name for name in names if (root / name).is_file()), None)


def _numbered_files(folder: pathlib.Path) -> tuple[dict[int, pathlib.Path], list[str]]:
    """(NIfTI files by the number in their name, notes on other entries)."""
    files: dict[int, list[pathlib.Path]] = {}
    others = 0
    for path in sorted(folder.iterdir()):
        stem = nifti.strip_extension(path.name)
        if nifti.is_nifti_name(path.name) and re.fullmatch(r"\d{1,9}", stem, re.ASCII) and path.is_file():
            files.setdefault(int(stem), []).append(path)
        elif not path.name.startswith("."):
            others += 1
    notes = [f"{folder.name}/: entries skipped that are not NNN.nii or NNN.nii.gz: {others}"] if others else []
    for number, paths in files.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            notes.append(f"{folder.name}/: subject {number} has {len(paths)} files ({names}); the first is used")
    return {number: paths[0] for number, paths in files.items()}, notes


def _unmatched(
    scans: Iterable[int], masks: Iterable[int], slice_rows: Iterable[int], subject_rows: Iterable[int]
) -> list[str]:
    """One sentence per kind of mismatch of subject numbers; a scan without a mask is reported when it is read."""
    scans, masks, slice_rows, subject_rows = set(scans), set(masks), set(slice_rows), set(subject_rows)
    unmatched = [
        ((slice_rows | subject_rows) - scans, "are listed in a table but have no scan"),
        (masks - scans, "have a mask but no scan"),
        (scans - slice_rows, "have no row in the slice table, so no sub-types"),
        (scans - subject_rows if subject_rows else set(), "have no row in the subject table, so no age and sex"),
    ]
    return [f"subjects {format_ranges(numbers)} {problem}" for numbers, problem in unmatched if numbers]


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
    """Notes on contradictions between the subject table and the slice table."""
    notes = []
    subtypes = tuple(name for name, present in zip(SUBTYPES, row.labels, strict=True) if present)
    if subtypes != subject.subtypes:
        notes.append(
            f"subject {subject.number}: the subject table says {', '.join(subtypes) or 'no hemorrhage'}, the slice "
            f"table {', '.join(subject.subtypes) or 'no hemorrhage'}; the slice table is used"
        )
    if row.fracture != bool(subject.slice_fracture.any()):
        notes.append(f"subject {subject.number}: the tables disagree about a fracture; the subject table is used")
    return notes


def load_scan(subject: Subject) -> Scan:
    """Reads a subject's scan and mask and assigns its labels to the slices.

    SliceNumber 1 is index 0 of the file's slice axis; if that axis runs from head to feet, the labels are reversed with
    the slices. Slices beyond the table get no sub-type, rows beyond the scan are ignored; a note reports both.

    Raises:
      InputError: a file is missing, damaged, not 3-D or not in HU; the mask is neither 0/1 nor 0/255, or lies on
        another grid than the scan; or there is no mask and the labels do not rule out a hemorrhage.
    """
    volume = nifti.read_nifti(subject.scan_path, name=name_in_messages(subject.scan_path, subject))
    notes: list[str] = []
    if subject.mask_path is not None:
        mask = _load_mask(subject, subject.mask_path, volume)
    else:
        mask = np.zeros(volume.shape, np.uint8)
        notes.append(missing_mask_note(subject, f"{NIFTI_MASKS}/"))
    return label_scan(subject, volume, mask, notes)


def _load_mask(subject: Subject, path: pathlib.Path, volume: Volume) -> np.ndarray:
    """uint8 [D, H, W] of 0 and 1 on the scan's voxels, whatever the axis order of the mask's file."""
    name = name_in_messages(path, subject)
    array, affine = nifti.load_array(path, name=name)
    mask = volumes.from_file_grid(_binarize(array, name), affine, name=name)
    volumes.check_same_grid(mask, volume)
    return mask.hu.astype(np.uint8)


def _binarize(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 of 0 and 1: copies hold about 0/1 or 0/255 (after NIfTI scaling); the maximum decides which."""
    highest = float(array.max())
    if highest < 1.5:
        return (array > 0.5).astype(np.uint8)
    if highest <= 127.5:
        raise InputError(f"{name}: the mask's highest value is {highest:g}; expected 0 and 1, or 0 and 255")
    return (array > 127.5).astype(np.uint8)
