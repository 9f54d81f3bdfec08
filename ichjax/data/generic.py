"""Read data sets of one NIfTI scan and one mask per subject, with, optionally, two tables of labels."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from ichjax.data import generic_labels
from ichjax.data.classes import MAX_LABEL, classes_of_labels, subtypes_by_slice
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.raters import majority_vote
from ichjax.data.subject import Dataset, Scan, Subject, header_notes, label_scan, name_in_messages
from ichjax.errors import InputError
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

OWN_IMAGES, OWN_MASKS, LABEL_TABLE, LABEL_NAMES = "images", "masks", "labels.csv", "label_names.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class MatchedFiles:
    """The files of a data set and their metadata, independent of the layout.

    Attributes:
      scans: {ID: file}.
      masks: {ID: file} of the scans that have a mask.
      notes: irregularities, one sentence each.
      demographics: {ID: age and sex}, if a table of the layout gives them; labels.csv comes first.
      label_classes: the class of each named label of the masks; label_names.csv comes first.
      persons: {ID: the person}, if several scans can be of one person.
      raters: {ID: {rater: file}}, masks of several raters.
    """

    scans: Mapping[str, pathlib.Path]
    masks: Mapping[str, pathlib.Path]
    notes: tuple[str, ...] = ()
    demographics: Mapping[str, generic_labels.Person] = dataclasses.field(default_factory=dict)
    label_classes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    persons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    raters: Mapping[str, Mapping[str, pathlib.Path]] = dataclasses.field(default_factory=dict)


def read_dataset(root: pathlib.Path, files: MatchedFiles) -> Dataset:
    """Makes the subjects of a folder, one per scan, from its files and the tables labels.csv and label_names.csv.

    Subjects are numbered by their IDs if these are distinct whole numbers from 1, else from 1 in the order of the IDs.
    labels.csv gives age, sex and sub-types, see `generic_labels`. If it labels no slice of a subject, the mask is read:
    it decides whether there is a hemorrhage. The sub-types of its slices follow from label_names.csv, which names the
    labels of multi-label masks; slices without a named label get those of the subject. Where only raters have masks,
    the mask is their majority vote. Raters are numbered as subjects are, so that no name reaches the results.

    Raises:
      InputError: a table cannot be read.
    """
    people, label_classes = files.demographics, files.label_classes
    table_notes: list[str] = []
    if (root / LABEL_TABLE).is_file():
        people, table_notes = generic_labels.read(root / LABEL_TABLE)
    else:
        unknown = [*([] if people else ["age", "sex"]), *([] if label_classes else ["sub-types"])]
        if unknown:
            listed = ", ".join(unknown[:-1]) + " and " * (len(unknown) > 1) + unknown[-1]
            table_notes = [f"no {LABEL_TABLE}: {listed} are unknown"]
    if (root / LABEL_NAMES).is_file():
        label_classes, name_notes = generic_labels.read_label_names(root / LABEL_NAMES)
        table_notes = [*table_notes, *name_notes]
    notes = [*files.notes, *table_notes]
    if voted := len(files.raters.keys() - files.masks.keys()):
        notes.append(f"subjects whose mask is the majority vote of raters, a tie counting as hemorrhage: {voted}")
    numbers = _numbers(sorted(files.scans))
    if not _are_numbers(list(files.scans)):
        notes.append("the IDs are not distinct whole numbers: subjects are numbered from 1 in the order of their IDs")
    if lost := len(set(people) - set(files.scans)):
        notes.append(f"IDs that have rows in {LABEL_TABLE} but no scan: {lost}")
    rater_numbers = _numbers(sorted({rater for of_subject in files.raters.values() for rater in of_subject}))
    subjects = []
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        raters = {rater_numbers[rater]: path for rater, path in files.raters.get(name, {}).items()}
        person = people.get(name, generic_labels.UNKNOWN)
        subjects.append(_subject(name, number, files, raters, person, label_classes))
    return Dataset(root, tuple(subjects), tuple(notes))


def _are_numbers(names: list[str]) -> bool:
    """Whether the IDs are distinct whole numbers from 1."""
    numeric = all(re.fullmatch(r"0*[1-9]\d{0,8}", name, re.ASCII) for name in names)
    return numeric and len(set(map(int, names))) == len(names)


def _numbers(names: list[str]) -> dict[str, int]:
    """{ID: subject number}."""
    if _are_numbers(names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, start=1)}


def files_by_name(folder: pathlib.Path) -> tuple[dict[str, pathlib.Path], list[str]]:
    """(NIfTI files by their names without extension, notes on other entries); hidden files are ignored."""
    files: dict[str, pathlib.Path] = {}
    others = duplicates = 0
    for path in sorted(folder.iterdir(), key=lambda path: (path.name.lower(), path.name)):  # .nii before .NII.GZ
        name = nifti.strip_extension(path.name)
        if path.name.startswith("."):
            continue
        if nifti.is_nifti_name(path.name) and path.is_file():
            duplicates += name in files
            files.setdefault(name, path)
        else:
            others += 1
    notes = [f"{folder.name}/: entries skipped that are not ID.nii.gz or ID.nii: {others}"] if others else []
    if duplicates:
        notes.append(f"{folder.name}/: IDs with both a .nii and a .nii.gz, the .nii is used: {duplicates}")
    return files, notes


def _subject(
    name: str,
    number: int,
    files: MatchedFiles,
    raters: Mapping[int, pathlib.Path],
    person: generic_labels.Person,
    label_classes: Mapping[int, int],
) -> Subject:
    """A subject, with the masks of its raters by number; its masks are read if no slice has a sub-type."""
    subject = Subject(
        number=number,
        scan_path=files.scans[name],
        mask_path=files.masks.get(name),
        age_years=person.age_years,
        sex=person.sex,
        slice_labels=person.slice_labels,
        slice_fracture=np.zeros(len(person.slice_labels), bool),
        fracture=None,
        name=name,
        layout="own",
        label_classes=label_classes,
        person=files.persons.get(name, ""),
        rater_paths=raters,
    )
    if person.slice_labels.any() or not (subject.mask_path or raters):
        return subject
    try:
        bleeding, subtypes = _slices_of_mask(subject)
    except InputError:  # reported when the scan is loaded
        return subject
    subject = dataclasses.replace(subject, hemorrhage=bool(bleeding.any()))
    unnamed = bleeding & ~subtypes.any(axis=1)
    labels = subtypes | unnamed[:, None] & np.array(person.subtypes)
    if not labels.any():
        return subject
    return dataclasses.replace(subject, slice_labels=labels, slice_fracture=np.zeros(len(labels), bool))


def _slices_of_mask(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """(bool [D], whether each slice has a hemorrhage; bool [D, 5], its sub-types), by SliceNumber of the scan."""
    labels = _load_truth(subject, None)
    bleeding = np.any(labels, axis=(1, 2))
    subtypes = np.zeros((len(labels), len(SUBTYPES)), bool)
    if subject.label_classes:
        subtypes = subtypes_by_slice(classes_of_labels(labels, subject.label_classes))
    return (bleeding[::-1], subtypes[::-1]) if nifti.is_craniocaudal(subject.scan_path) else (bleeding, subtypes)


def load_scan(subject: Subject) -> Scan:
    """Reads a subject's scan and mask; multi-label masks are merged to 0 and 1, and kept in `Scan.labels`.

    Raises:
      InputError: a file is missing, damaged, not 3-D or not in HU; there is no mask (nothing else could rule out a
        hemorrhage); or a mask, also a rater's, holds other values than whole labels from 0 to 255, or lies on another
        grid than the scan.
    """
    volume = nifti.read_nifti(subject.scan_path, name=name_in_messages(subject.scan_path, subject))
    if subject.mask_path is None and not subject.rater_paths:
        raise InputError(f"{volume.name}: has no mask; expected a mask for every scan")
    labels = _load_truth(subject, volume)
    binary, kept = (labels > 0).astype(np.uint8), labels if labels.max() > 1 else None
    if len(subject.slice_labels):
        return label_scan(subject, volume, binary, labels=kept)
    notes = tuple(header_notes(subject, volume))
    return Scan(subject, volume, binary, np.zeros((len(volume.hu), len(SUBTYPES)), bool), notes, kept)


def load_raters(subject: Subject, volume: Volume | None) -> dict[int, np.ndarray]:
    """{number of the rater: labels uint8 [D, H, W]}, the masks of a subject's raters; empty if there are none.

    Args:
      subject: from `read_dataset`.
      volume: its scan, on whose grid the masks must be; None if that does not matter.

    Raises:
      InputError: see `load_scan`.
    """
    masks = {}
    for rater, path in subject.rater_paths.items():
        masks[rater], mask = _load_labels(subject, path)
        if volume is not None:
            volumes.check_same_grid(mask, volume)
    return masks


def _load_truth(subject: Subject, volume: Volume | None) -> np.ndarray:
    """uint8 [D, H, W], the labels of a subject's mask or, without one, of the majority of its raters."""
    if subject.mask_path is None:
        return majority_vote(list(load_raters(subject, volume).values()))
    labels, mask = _load_labels(subject, subject.mask_path)
    if volume is not None:
        volumes.check_same_grid(mask, volume)
        load_raters(subject, volume)  # so that a damaged file is reported with the scan, not when it is scored
    return labels


def _load_labels(subject: Subject, mask_path: pathlib.Path) -> tuple[np.ndarray, Volume]:
    """(uint8 [D, H, W], the labels of a subject's mask; the same as a `Volume` with its geometry)."""
    name = name_in_messages(mask_path, subject)
    array, affine = nifti.load_array(mask_path, name=name)
    whole = array if array.dtype.kind in "iu" else np.rint(array)
    if whole.min() < 0 or whole.max() > MAX_LABEL or (whole is not array and np.abs(array - whole).max() > 1e-3):
        raise InputError(
            f"{name}: the mask holds values from {array.min():g} to {array.max():g}; expected whole labels "
            f"from 0 to {MAX_LABEL}"
        )
    volume = volumes.from_file_grid(whole.astype(np.uint8), affine, name=name)
    return volume.hu.astype(np.uint8), volume
