"""What a data set is made of, whatever its layout on disk: subjects, scans, and labels on slices."""

import dataclasses
import pathlib

import numpy as np

from ichjax.data.label_tables import SUBTYPES, ranges
from ichjax.errors import InputError
from ichjax.scan.volume import Volume


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One subject as the tables and file names have it.

    Attributes:
      number: the subject's number in the data set.
      scan_path: its scan, a file, or in the jpeg release its folder.
      mask_path: its mask; None where there is no file. In the jpeg release the folder that holds its masks.
      age_years: None where it is not known; can be a fraction.
      sex: 'M', 'F' or None.
      slice_labels: bool [N, 5], sub-types (SUBTYPES) by SliceNumber; N = 0 where the slice table has no rows.
      slice_fracture: bool [N].
      fracture: whether the subject table (or, without it, a slice) says there is a skull fracture; None: unknown.
      name: what its files are called; by default its number with three digits.
      layout: 'nifti', 'jpeg' or 'own': how its files are read.
      hemorrhage: whether its mask has any, where no label could say so; None where the labels decide.
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

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", f"{self.number:03d}")

    @property
    def subtypes(self) -> tuple[str, ...]:
        """The sub-types on any slice, in the order of SUBTYPES."""
        present = self.slice_labels.any(axis=0)
        return tuple(name for name, on in zip(SUBTYPES, present, strict=True) if on)

    @property
    def labelled_hemorrhage(self) -> bool:
        """Whether any slice has a sub-type, or, where none is labelled, whether the mask holds anything."""
        return bool(self.slice_labels.any()) if self.hemorrhage is None else self.hemorrhage


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
      labels: uint8 [D, H, W], the mask file's own labels where it has more than one beside 0, else None.
    """

    subject: Subject
    volume: Volume
    mask: np.ndarray
    slice_labels: np.ndarray
    notes: tuple[str, ...]
    labels: np.ndarray | None = None


def with_disagreements(scan: Scan) -> Scan:
    """The scan, with a note where mask and labels disagree (slices that the table does not reach count as without a
    sub-type)."""
    masked, labelled = scan.mask.any(axis=(1, 2)), scan.slice_labels.any(axis=1)
    unlabelled, unmasked = int((masked & ~labelled).sum()), int((labelled & ~masked).sum())
    if not unlabelled and not unmasked:
        return scan
    note = (
        f"subject {scan.subject.number}: {unlabelled} slices with a mask have no sub-type, "
        f"{unmasked} with a sub-type have no mask"
    )
    return dataclasses.replace(scan, notes=(*scan.notes, note))


def file_order(volume: Volume) -> np.ndarray:
    """int [D], the SliceNumber of each slice: 1 is index 0 of the file's slice axis, which may run to the feet."""
    numbers = np.arange(1, len(volume.hu) + 1)
    to_head = volume.file_orientation[volume.file_orientation[:, 0] == 2, 1]  # 2: along the body
    return numbers[::-1] if to_head[0] < 0 else numbers


def labels_on_slices(subject: Subject, slice_numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Puts a subject's labels on the slices of its scan.

    Args:
      slice_numbers: int [D], the SliceNumber of each slice of the volume, without repetition.

    Returns:
      (sub-types bool [D, 5]; a note where not every row has its slice and every slice its row).
    """
    rows, slices = len(subject.slice_labels), len(slice_numbers)
    told = slice_numbers <= rows
    labels = np.zeros((slices, len(SUBTYPES)), bool)
    labels[told] = subject.slice_labels[slice_numbers[told] - 1]
    unused = np.setdiff1d(np.arange(1, rows + 1), slice_numbers)
    odd = []
    if len(unused):
        lost = int(subject.slice_labels[unused - 1].any(axis=1).sum())
        odd.append(f"the rows without a slice are left out, {lost} with a sub-type")
    if not told.all():
        odd.append(f"slices {ranges(slice_numbers[~told].tolist())} have no row and get no sub-type")
    head = f"subject {subject.number}: the slice table has {rows} rows, the scan {slices} slices"
    return labels, [f"{head}; {' and '.join(odd)}"] if odd else []


def empty_mask_note(subject: Subject, where: str) -> str:
    """Says that a missing mask is taken as empty; InputError unless the labels say there is no hemorrhage."""
    missing = f"subject {subject.number}: no mask in {where}"
    if not len(subject.slice_labels):
        raise InputError(f"{missing} and no row in the slice table; expected a mask, or labels without hemorrhage")
    if subject.labelled_hemorrhage:
        raise InputError(f"{missing}, but its labels say {', '.join(subject.subtypes)}; expected a mask")
    return f"{missing}; its labels say no hemorrhage, so the mask is taken as empty"


def file_name(path: pathlib.Path, subject: Subject) -> str:
    """A file's name for messages, relative to the data set: what lies above it may identify somebody."""
    return f"{path.parent.name}/{path.name} (subject {subject.number})"


def entries(folder: pathlib.Path) -> str:
    """What lies in a folder, for a message: the first eight names; '' where it is empty."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
