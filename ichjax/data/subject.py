"""Subjects, scans and slice labels of a data set, independent of its layout on disk."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES, format_ranges
from ichjax.errors import InputError
from ichjax.scan.hu_check import offset_warnings
from ichjax.scan.volume import Volume


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One subject, from the tables and file names.

    Attributes:
      number: the subject's number in the data set.
      scan_path: the scan file; in the jpeg release the subject's folder.
      mask_path: the mask file; in the jpeg release the folder with its masks. None if there is none.
      age_years: can be a fraction; None if unknown.
      sex: 'M', 'F' or None.
      slice_labels: bool [N, 5], sub-types (SUBTYPES) by SliceNumber - 1; N = 0 without rows in the slice table.
      slice_fracture: bool [N].
      fracture: whether the subject table (or, without it, any slice) records a skull fracture; None: unknown.
      name: the name of its files; by default its number with three digits.
      layout: 'nifti', 'jpeg' or 'own': how its files are read.
      hemorrhage: whether its mask has any, if there are no labels; None if the labels decide.
      label_classes: the class (`classes.class_mask`) of each named label of its mask; empty without names.
      person: whose scan it is, if several can be of one person; '' if nothing says so.
      rater_paths: {number of the rater: mask file}; the raters' majority vote is the mask if `mask_path` is None.
    """

    number: int
    scan_path: pathlib.Path
    mask_path: pathlib.Path | None
    age_years: float | None
    sex: str | None
    slice_labels: np.ndarray
    slice_fracture: np.ndarray
    fracture: bool | None
    name: str = ""
    layout: str = "nifti"
    hemorrhage: bool | None = None
    label_classes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    person: str = ""
    rater_paths: Mapping[int, pathlib.Path] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{self.number:03d}")

    @property
    def subtypes(self) -> tuple[str, ...]:
        """The sub-types on any slice, in the order of SUBTYPES."""
        return tuple(name for k, name in enumerate(SUBTYPES) if self.slice_labels[:, k].any())

    @property
    def labelled_hemorrhage(self) -> bool:
        """Whether any slice has a sub-type, or, without labels, whether the mask has any hemorrhage."""
        return bool(self.slice_labels.any()) if self.hemorrhage is None else self.hemorrhage


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set on disk: its folder, its subjects sorted by number, and notes on irregularities, one sentence each."""

    root: pathlib.Path
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """One subject's voxels.

    Attributes:
      subject: the subject.
      volume: the HU, [D, H, W].
      mask: uint8 [D, H, W] of 0 and 1, the hemorrhage.
      slice_labels: bool [D, 5], sub-types in the order of the volume's slices.
      notes: irregularities, one sentence each.
      labels: uint8 [D, H, W], the labels of a multi-label mask file; None for a binary one.
    """

    subject: Subject
    volume: Volume
    mask: np.ndarray
    slice_labels: np.ndarray
    notes: tuple[str, ...]
    labels: np.ndarray | None = None


def label_scan(
    subject: Subject,
    volume: Volume,
    mask: np.ndarray,
    notes: Sequence[str] = (),
    *,
    numbers: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Scan:
    """A scan with its subject's slice labels, and a note if mask and labels disagree.

    Args:
      subject, volume, mask, notes, labels: see `Scan`.
      numbers: int [D], the SliceNumber of each slice; None for `slice_numbers`.
    """
    slice_labels, label_notes = align_slice_labels(subject, slice_numbers(volume) if numbers is None else numbers)
    masked, labelled = np.any(mask, axis=(1, 2)), np.any(slice_labels, axis=1)
    unlabelled, unmasked = int((masked & ~labelled).sum()), int((labelled & ~masked).sum())
    if unlabelled or unmasked:
        label_notes.append(
            f"subject {subject.number}: {unlabelled} slices with a mask have no sub-type, "
            f"{unmasked} with a sub-type have no mask"
        )
    return Scan(subject, volume, mask, slice_labels, (*header_notes(subject, volume), *notes, *label_notes), labels)


def header_notes(subject: Subject, volume: Volume) -> list[str]:
    """The warnings about the header and the HU of a subject's scan, one sentence each."""
    return [f"subject {subject.number}: {note}" for note in (*volume.notes, *offset_warnings(volume))]


def slice_numbers(volume: Volume) -> np.ndarray:
    """int [D], the SliceNumber of each slice: 1 is index 0 of the file's slice axis, head to feet or feet to head."""
    numbers = np.arange(1, len(volume.hu) + 1)
    direction = volume.file_orientation[volume.file_orientation[:, 0] == 2, 1]  # axis 2 of RAS+: feet to head
    return numbers[::-1] if direction[0] < 0 else numbers


def align_slice_labels(subject: Subject, numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Assigns a subject's slice labels to the slices of its scan.

    Args:
      numbers: int [D], the SliceNumber of each slice of the volume, without repetition.

    Returns:
      (sub-types bool [D, 5]; a note unless rows and slices correspond one to one).
    """
    rows, slices = len(subject.slice_labels), len(numbers)
    has_row = numbers <= rows
    labels = np.zeros((slices, len(SUBTYPES)), bool)
    labels[has_row] = subject.slice_labels[numbers[has_row] - 1]
    unused = np.setdiff1d(np.arange(1, rows + 1), numbers)
    problems = []
    if len(unused):
        lost = int(subject.slice_labels[unused - 1].any(axis=1).sum())
        problems.append(f"the rows without a slice are ignored, {lost} with a sub-type")
    if not has_row.all():
        problems.append(f"slices {format_ranges(numbers[~has_row].tolist())} have no row and get no sub-type")
    counts = f"subject {subject.number}: the slice table has {rows} rows, the scan {slices} slices"
    return labels, [f"{counts}; {' and '.join(problems)}"] if problems else []


def missing_mask_note(subject: Subject, where: str) -> str:
    """A note that a missing mask is assumed to be empty; InputError unless the labels rule out a hemorrhage."""
    missing = f"subject {subject.number}: no mask in {where}"
    if not len(subject.slice_labels):
        raise InputError(f"{missing} and no row in the slice table; expected a mask, or labels without hemorrhage")
    if subject.labelled_hemorrhage:
        raise InputError(f"{missing}, but its labels say {', '.join(subject.subtypes)}; expected a mask")
    return f"{missing}; its labels say no hemorrhage, so an empty mask is assumed"


def name_in_messages(path: pathlib.Path, subject: Subject) -> str:
    """A file's name in its folder, and its subject, for messages: the folders above may identify a patient."""
    return f"{path.parent.name}/{path.name} (subject {subject.number})"


def list_entries(folder: pathlib.Path) -> str:
    """The first eight names in a folder, for messages; '' if it is empty."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
