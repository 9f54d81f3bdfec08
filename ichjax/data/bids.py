"""Find data sets in BIDS: sub-*/[ses-*/]ct/*_ct.nii.gz, with masks in derivatives/ and participants.tsv.

The Brain Imaging Data Structure (bids-specification.readthedocs.io) names a file by entities and a suffix:
sub-01_ses-2_run-1_ct.nii.gz. A derivative has the entities of its source, and further ones: desc-manual_mask.nii.gz.
"""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping

from ichjax.data import generic, generic_labels
from ichjax.data import label_tables as tables
from ichjax.data.generic import MatchedFiles
from ichjax.data.label_names import class_of_name, classes_of_names
from ichjax.data.label_tables import parse_whole_number
from ichjax.data.pairing import MASK_WORDS, shorten
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.scan import nifti
from ichjax.walk import files_below

DERIVATIVES, PARTICIPANTS = "derivatives", "participants.tsv"
BIDS_LAYOUT = f"sub-*/ct/*_ct.nii.gz and masks in {DERIVATIVES}/"
LABELED = "dseg"  # the suffix of a mask of several labels
SCAN_SUFFIXES, MASK_SUFFIXES = ("ct", "ncct"), MASK_WORDS | {LABELED}
CONTENT = ("desc", "label", "seg")  # entities that can say what a mask is of
# Entities of derivatives alone; all others are those of the source.
DERIVED = frozenset((*CONTENT, "space", "res", "den", "atlas", "hemi", "mod", "rater", "scale"))
NOT_AVAILABLE = "n/a"


def read_dataset(root: pathlib.Path) -> Dataset:
    """Reads a BIDS data set; each scan is a subject, and those of one person stay in one part of a fold.

    Age and sex are those of participants.tsv. If masks are *_dseg.nii.gz and there is one *dseg.tsv in derivatives/ or
    below, it names their labels.

    Raises:
      InputError: see `match` and `generic.read_dataset`, or a table cannot be read.
    """
    files = match(root)
    people, notes = _read_participants(root / PARTICIPANTS, files.persons)
    classes: dict[int, int] = {}
    if not (root / generic.LABEL_NAMES).is_file() and LABELED in map(_suffix, files.masks.values()):
        label_tables = [path for path in files_below(root / DERIVATIVES) if path.name.endswith(f"{LABELED}.tsv")]
        if len(label_tables) == 1:
            classes, class_notes = _read_label_table(label_tables[0])
            notes = [*notes, *class_notes]
    if len(set(files.persons.values())) < len(files.persons):
        notes.append("some people have several scans; those of one person are in one part of each fold")
    return generic.read_dataset(
        root, dataclasses.replace(files, notes=(*files.notes, *notes), demographics=people, label_classes=classes)
    )


def mark(root: pathlib.Path) -> str:
    """The pattern that identifies this layout; '' if no file matches sub-*/ct/*_ct.nii.gz."""
    return BIDS_LAYOUT.split(" ")[0] if next(iter(_scan_files(root)), None) else ""


def has_masks(root: pathlib.Path) -> bool:
    """Whether there are scans, and derivatives, which can be masks."""
    return (root / DERIVATIVES).is_dir() and bool(mark(root))


def find_scans(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """{ID: scan}; the ID is its file's name without _ct.nii.gz, with the subject and session of its folders.

    Raises:
      InputError: two files have one ID, or a file is named as of another subject or session than its folder.
    """
    scans: dict[str, pathlib.Path] = {}
    for path in _scan_files(root):
        entities = _entities(path, root)
        first = _pairs({key: entities[key] for key in ("sub", "ses") if key in entities})
        parts = nifti.strip_extension(path.name).split("_")[:-1]
        name = "_".join([*first, *(part for part in parts if part not in first)])
        if name in scans:
            both = f"{_show(scans[name], root)} and {_show(path, root)}"
            raise InputError(f"{both}: have one ID; expected one scan of each subject, session and run")
        scans[name] = path
    return scans


def match(root: pathlib.Path) -> MatchedFiles:
    """Pairs each scan with the mask in derivatives/ that has its entities.

    A mask may lack entities of its source, if one scan alone fits then. Masks of other things (desc-brain_mask) are
    not used.

    Raises:
      InputError: there is no folder derivatives/, several masks fit one scan, a mask fits several scans, or see
        `find_scans`.
    """
    if not (root / DERIVATIVES).is_dir():
        raise InputError(f"{root}: lacks {DERIVATIVES}/; expected a data set: {BIDS_LAYOUT}")
    scans = find_scans(root)
    sources = {name: _entities(path, root) for name, path in scans.items()}
    scans_of: dict[str, list[str]] = collections.defaultdict(list)
    for name, entities in sources.items():
        scans_of[entities["sub"]].append(name)
    masks: dict[str, pathlib.Path] = {}
    unpaired = []
    for path in _mask_files(root):
        entities = {key: value for key, value in _entities(path, root).items() if key not in DERIVED}
        fitting = [name for name in scans_of[entities["sub"]] if entities.items() <= sources[name].items()]
        owners = [name for name in fitting if entities == sources[name]] or fitting
        if not owners:
            unpaired.append(_show(path, root))
        elif len(owners) > 1:
            listed = " and ".join(_show(scans[name], root) for name in owners)
            raise InputError(f"{_show(path, root)}: fits {listed}; expected a mask of one scan")
        elif owners[0] in masks:
            both = f"{_show(masks[owners[0]], root)} and {_show(path, root)}"
            raise InputError(f"{both}: are masks of {_show(scans[owners[0]], root)}; expected one mask for each scan")
        else:
            masks[owners[0]] = path
    notes = (f"masks without a scan, not used: {shorten(unpaired)}",) if unpaired else ()
    return MatchedFiles(scans, masks, notes, persons={name: entities["sub"] for name, entities in sources.items()})


def _scan_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The scans, in ct/ or anat/ of a subject or session, sorted; if there are none, those of rawdata/."""
    for raw in ("", "rawdata/"):
        folders = [f"{raw}sub-*/{session}{folder}/*" for session in ("", "ses-*/") for folder in ("ct", "anat")]
        paths = {path for pattern in folders for path in root.glob(pattern) if path.is_file()}
        if found := _without_copies(path for path in paths if _suffix(path) in SCAN_SUFFIXES):
            return found
    return []


def _mask_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The masks below a folder sub-* of derivatives/ that can be of hemorrhage, sorted."""
    return _without_copies(
        path
        for path in files_below(root / DERIVATIVES)
        if _suffix(path) in MASK_SUFFIXES
        and any(part.startswith("sub-") for part in path.relative_to(root).parts)
        and all(class_of_name(_named_entities(path).get(key, "")) is not None for key in CONTENT)
    )


def _without_copies(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """The files, sorted, without NAME.nii.gz where there is a NAME.nii."""
    by_name: dict[pathlib.Path, pathlib.Path] = {}
    for path in sorted(paths):
        by_name.setdefault(path.with_name(nifti.strip_extension(path.name)), path)
    return list(by_name.values())


def _suffix(path: pathlib.Path) -> str:
    """'ct' of sub-01_ct.nii.gz; '' for hidden and other files."""
    if path.name.startswith(".") or not nifti.is_nifti_name(path.name):
        return ""
    return nifti.strip_extension(path.name).rpartition("_")[2].casefold()


def _named_entities(path: pathlib.Path) -> dict[str, str]:
    """{'sub': '01', 'run': '1'} of sub-01_run-1_ct.nii.gz."""
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([^_]+)(?=_)", path.name))


def _entities(path: pathlib.Path, root: pathlib.Path) -> dict[str, str]:
    """The entities of a file: the subject and session of its folders, and those in its name.

    Raises:
      InputError: the name has another subject or session than the folders.
    """
    parts = path.relative_to(root).parent.parts
    folders = {part[:3]: part[4:] for part in parts if part.startswith(("sub-", "ses-"))}
    named = _named_entities(path)
    if any(named.get(key, value) != value for key, value in folders.items()):
        raise InputError(f"{_show(path, root)}: is named as of another folder; expected {'_'.join(_pairs(folders))}")
    return {**folders, **named}


def _pairs(entities: Mapping[str, str]) -> list[str]:
    return [f"{key}-{value}" for key, value in entities.items()]


def _show(path: pathlib.Path, root: pathlib.Path) -> str:
    """A file's path in the data set, for messages: the folders above may identify a patient."""
    return path.relative_to(root).as_posix()


def _read_participants(
    path: pathlib.Path, persons: Mapping[str, str]
) -> tuple[dict[str, generic_labels.Person], list[str]]:
    """({ID: age and sex of its person}, notes) from participants.tsv, if it is there."""
    if not path.is_file():
        return {}, []
    rows = tables.read_cells(path, delimiter="\t")
    columns = generic_labels.find_columns(rows, path, ("participant_id", "age", "sex"), required=("participant_id",))
    lines: dict[str, list[tuple[int, dict[str, str]]]] = collections.defaultdict(list)
    for line, cells in rows[1:]:
        row = {name: cells[k] if k < len(cells) and cells[k] != NOT_AVAILABLE else "" for name, k in columns.items()}
        person = row["participant_id"].removeprefix("sub-")
        lines[person].append((line, {"age_years": row.get("age", ""), "sex": row.get("sex", "")}))
    notes: list[str] = []
    people = {person: generic_labels.person_of_rows(rows, path, notes) for person, rows in lines.items()}
    return {name: people[person] for name, person in persons.items() if person in people}, notes


def _read_label_table(path: pathlib.Path) -> tuple[dict[int, int], list[str]]:
    """The classes of labels, see `classes_of_names`, from the columns index and name of a *dseg.tsv."""
    rows = tables.read_cells(path, delimiter="\t")
    columns = generic_labels.find_columns(rows, path, ("index", "name"), required=("index", "name"))
    named = []
    for line, cells in rows[1:]:
        index, name = (cells[columns[column]] if columns[column] < len(cells) else "" for column in ("index", "name"))
        label = parse_whole_number(index)
        if label is None:
            raise InputError(f"{path.name}, line {line}: the index is '{index}'; expected a whole number")
        named.append((label, name))
    return classes_of_names(named, path.name)
