"""The PhysioNet ct-ich data set, its 'nifti' release: tables and paths first, voxels one subject at a time."""

import dataclasses
import pathlib
import re
from typing import NamedTuple

import numpy as np

from ichjax.data import volume as volumes
from ichjax.data.ct_ich_tables import (
    SUBTYPES,
    SliceRows,
    SubjectRow,
    ranges,
    read_slice_table,
    read_subject_table,
)
from ichjax.data.volume import Volume
from ichjax.errors import InputError

SCANS, MASKS = "ct_scans", "masks"
SLICE_TABLES = ("hemorrhage_diagnosis_raw_ct.csv", "hemorrhage_diagnosis.csv")
SUBJECT_TABLES = ("Patient_demographics.csv", "patient_demographics.csv")
LAYOUT = (
    f"{SCANS}/ and {MASKS}/ with files such as 049.nii or 049.nii.gz, {SLICE_TABLES[0]} (or {SLICE_TABLES[1]}) "
    f"and {SUBJECT_TABLES[0]} (or {SUBJECT_TABLES[1]})"
)
JPEG_SCANS = "Patients_CT"  # the mark of releases 1.0.0 to 1.2.0
GRID_TOLERANCE = 0.25  # of the smallest voxel side; beyond this a mask lies on other voxels than its scan


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One subject as the tables and file names have it.

    Attributes:
      number: the subject's number in the data set.
      scan_path: its scan.
      mask_path: its mask; None where there is no file.
      age_years: None where it is not known; can be a fraction.
      sex: 'M', 'F' or None.
      slice_labels: bool [N, 5], sub-types (SUBTYPES) by SliceNumber; N = 0 where the slice table has no rows.
      slice_fracture: bool [N].
      fracture: whether the subject table (or, without it, a slice) says there is a skull fracture.
    """

    number: int
    scan_path: pathlib.Path
    mask_path: pathlib.Path | None
    age_years: float | None
    sex: str | None
    slice_labels: np.ndarray
    slice_fracture: np.ndarray
    fracture: bool

    @property
    def subtypes(self) -> tuple[str, ...]:
        """The sub-types on any slice, in the order of SUBTYPES."""
        present = self.slice_labels.any(axis=0)
        return tuple(name for name, on in zip(SUBTYPES, present, strict=True) if on)

    @property
    def labelled_hemorrhage(self) -> bool:
        """Whether any slice has a sub-type."""
        return bool(self.slice_labels.any())


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set on disk: its folder, its subjects by number, and what was odd, one sentence each."""

    root: pathlib.Path
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """One subject's voxels.

    Attributes:
      subject: whose scan it is.
      volume: the HU, [D, H, W].
      mask: uint8 [D, H, W] of 0 and 1, where the hemorrhage is.
      slice_labels: bool [D, 5], sub-types in the order of the volume's slices.
      notes: what was odd, one sentence each.
    """

    subject: Subject
    volume: Volume
    mask: np.ndarray
    slice_labels: np.ndarray
    notes: tuple[str, ...]


class Disagreements(NamedTuple):
    """On how many slices mask and labels disagree."""

    mask_without_label: int
    label_without_mask: int


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a folder in the layout of the 'nifti' release; reads tables and names, no voxels.

    A subject is a scan in ct_scans/. What does not match (rows without a scan, a scan without rows, tables that
    contradict each other) is told in the notes and harms no other subject.

    Raises:
      InputError: the folder is missing, empty or in another layout, or a table cannot be read.
    """
    root = pathlib.Path(root)
    _check_layout(root)
    scans, scan_notes = _numbered_files(root / SCANS)
    if not scans:
        raise InputError(f"{root}: no scan in {SCANS}/; expected files such as 049.nii or 049.nii.gz")
    masks, mask_notes = _numbered_files(root / MASKS)
    slice_rows, slice_notes = read_slice_table(_table(root, SLICE_TABLES))
    subject_rows, subject_notes = {}, ("no subject table: age and sex are unknown",)
    if table := _table(root, SUBJECT_TABLES):
        subject_rows, subject_notes = read_subject_table(table)
    notes = [*scan_notes, *mask_notes, *slice_notes, *subject_notes]
    notes += _unmatched(scans, masks, slice_rows, subject_rows)
    subjects = []
    for number, path in sorted(scans.items()):
        subject = _subject(number, path, masks.get(number), slice_rows.get(number), subject_rows.get(number))
        subjects.append(subject)
        if number in subject_rows and number in slice_rows:
            notes += _contradictions(subject, subject_rows[number])
    return Dataset(root, tuple(subjects), tuple(notes))


def _check_layout(root: pathlib.Path) -> None:
    if not root.exists():
        raise InputError(f"{root}: no such folder; expected a data set: {LAYOUT}")
    if not root.is_dir():
        raise InputError(f"{root}: is a file; expected the folder of a data set: {LAYOUT}")
    names = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    if not names:
        raise InputError(f"{root}: is empty; expected a data set: {LAYOUT}")
    missing = [f"{folder}/" for folder in (SCANS, MASKS) if not (root / folder).is_dir()]
    missing += [] if _table(root, SLICE_TABLES) else [SLICE_TABLES[0]]
    if not missing:
        return
    hint = ""
    if JPEG_SCANS in names:
        hint = f"; {JPEG_SCANS}/ is the mark of the jpeg release (1.0.0 to 1.2.0), which is not read"
    inside = [name for name in names if (root / name / SCANS).is_dir()]
    if inside:
        hint = f"; the data set seems to lie one folder down, in {inside[0]}/"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise InputError(f"{root}: lacks {', '.join(missing)}; found {shown}; expected a data set: {LAYOUT}{hint}")


def _table(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _numbered_files(folder: pathlib.Path) -> tuple[dict[int, pathlib.Path], list[str]]:
    """NIfTI files by the number that is their name, and notes on the others."""
    found: dict[int, list[pathlib.Path]] = {}
    odd = 0
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"(\d{1,9})\.nii(\.gz)?", path.name, re.ASCII)
        if match and path.is_file():
            found.setdefault(int(match[1]), []).append(path)
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
    name = _name(subject.scan_path, subject)
    array, affine = volumes.load_array(subject.scan_path, name=name)
    volume = volumes.check_hu(volumes.from_file_grid(array, affine, name=name))
    del array  # up to hundreds of MB where the file's scaling makes it float64
    notes = []
    if subject.mask_path is not None:
        mask = _load_mask(subject, volume)
    else:
        mask = np.zeros(volume.shape, np.uint8)
        notes.append(_empty_mask_note(subject))
    labels, label_notes = _labels_on_slices(subject, volume)
    scan = Scan(subject, volume, mask, labels, (*notes, *label_notes))
    differ = disagreements(scan)
    if any(differ):
        note = (
            f"subject {subject.number}: {differ.mask_without_label} slices with a mask have no sub-type, "
            f"{differ.label_without_mask} with a sub-type have no mask"
        )
        scan = dataclasses.replace(scan, notes=(*scan.notes, note))
    return scan


def _labels_on_slices(subject: Subject, volume: Volume) -> tuple[np.ndarray, list[str]]:
    """Sub-types bool [D, 5] in the order of the volume's slices; a note where rows and slices differ in number."""
    rows, slices = len(subject.slice_labels), len(volume.hu)
    both = min(rows, slices)
    labels = np.zeros((slices, len(SUBTYPES)), bool)
    labels[:both] = subject.slice_labels[:both]
    to_head = volume.file_orientation[volume.file_orientation[:, 0] == 2, 1]  # 2: along the body
    if to_head[0] < 0:
        labels = labels[::-1].copy()
    if rows == slices:
        return labels, []
    lost = int(subject.slice_labels[slices:].any(axis=1).sum())
    beyond = f"the rows beyond are left out, {lost} with a sub-type" if rows > slices else "the others get no sub-type"
    return labels, [f"subject {subject.number}: the slice table has {rows} rows, the scan {slices} slices; {beyond}"]


def disagreements(scan: Scan) -> Disagreements:
    """Counts the slices with a mask but no sub-type, and with a sub-type but no mask (slices that the table does
    not reach count as without a sub-type)."""
    masked, labelled = scan.mask.any(axis=(1, 2)), scan.slice_labels.any(axis=1)
    return Disagreements(int((masked & ~labelled).sum()), int((labelled & ~masked).sum()))


def _name(path: pathlib.Path, subject: Subject) -> str:
    """A file's name for messages, relative to the data set: what lies above it may identify somebody."""
    return f"{path.parent.name}/{path.name} (subject {subject.number})"


def _empty_mask_note(subject: Subject) -> str:
    """Says that a missing mask is taken as empty; InputError unless the labels say there is no hemorrhage."""
    missing = f"subject {subject.number}: no mask in {MASKS}/"
    if not len(subject.slice_labels):
        raise InputError(f"{missing} and no row in the slice table; expected a mask, or labels without hemorrhage")
    if subject.labelled_hemorrhage:
        raise InputError(f"{missing}, but its labels say {', '.join(subject.subtypes)}; expected a mask")
    return f"{missing}; its labels say no hemorrhage, so the mask is taken as empty"


def _load_mask(subject: Subject, volume: Volume) -> np.ndarray:
    """uint8 [D, H, W] of 0 and 1 on the scan's voxels, in whatever axis order the mask was stored."""
    name = _name(subject.mask_path, subject)
    array, affine = volumes.load_array(subject.mask_path, name=name)
    mask = volumes.from_file_grid(_binarize(array, name), affine, name=name)
    if mask.shape != volume.shape:
        raise InputError(
            f"{name}: the mask's shape is {mask.file_shape}, its scan's {volume.file_shape}; expected the same"
        )
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape], [1])).reshape(4, -1)
    apart = np.linalg.norm(((mask.affine - volume.affine) @ corners)[:3], axis=0).max()
    allowed = GRID_TOLERANCE * np.linalg.norm(volume.affine[:3, :3], axis=0).min()
    if apart > allowed:
        raise InputError(
            f"{name}: lies up to {apart:.2f} mm away from its scan by the affines; expected the same grid "
            f"(within {allowed:.2f} mm)"
        )
    return mask.hu.astype(np.uint8)


def _binarize(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 of 0 and 1: a copy holds either 0/1 or 0/255 (about, after NIfTI scaling); the maximum decides."""
    highest = float(array.max())
    if highest < 1.5:
        return (array > 0.5).astype(np.uint8)
    if highest <= 127.5:
        raise InputError(f"{name}: the mask's highest value is {highest:g}; expected 0 and 1, or 0 and 255")
    return (array > 127.5).astype(np.uint8)
