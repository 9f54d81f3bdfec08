"""Find data sets of a folder of scans and a folder of masks, such as images/ and masks/, or data/ and label/.

This includes nnU-Net's raw layout, imagesTr/ and labelsTr/: its dataset.json names the labels, and _0000 in the names
of its scans is the channel.
"""

import pathlib

from ichjax.data import generic
from ichjax.data.ct_ich_nifti import NIFTI_SCANS
from ichjax.data.generic import LABEL_NAMES, OWN_IMAGES, OWN_MASKS, MatchedFiles
from ichjax.data.label_names import DATASET_JSON, read_dataset_json
from ichjax.data.pairing import CHANNEL, MASK_WORDS, SCAN_WORDS, names, pair, plain_word
from ichjax.data.raters import split_raters
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.scan import nifti

NNUNET_IMAGES, NNUNET_LABELS = "imagesTr", "labelsTr"
UNMISTAKABLE = (OWN_IMAGES, OWN_MASKS, NNUNET_IMAGES, NNUNET_LABELS)  # folders that identify this layout even if empty
OWN_LAYOUT = (
    f"{OWN_IMAGES}/ and {OWN_MASKS}/ (or data/ and label/, {NNUNET_IMAGES}/ and {NNUNET_LABELS}/ or the like) with "
    f"files such as ID.nii.gz, or ID_RATER.nii.gz for masks of several raters"
)


def read_dataset(root: pathlib.Path) -> Dataset:
    """Reads a data set of a folder of scans and a folder of masks; see `generic.read_dataset`.

    Raises:
      InputError: see `match`, `generic.read_dataset` and `label_names.read_dataset_json`.
    """
    files = match(root)
    if (root / DATASET_JSON).is_file() and not (root / LABEL_NAMES).is_file():
        classes, notes = read_dataset_json(root / DATASET_JSON)
        files = MatchedFiles(files.scans, files.masks, (*files.notes, *notes), label_classes=classes)
    return generic.read_dataset(root, files)


def mark(root: pathlib.Path) -> str:
    """The folder of scans that shows this layout, such as 'images/'; '' if there is none."""
    folders = _candidates(root, SCAN_WORDS)
    return f"{folders[0].name}/" if folders else ""


def has_masks(root: pathlib.Path) -> bool:
    """Whether there is a folder of scans and a folder of masks."""
    return bool(mark(root) and _candidates(root, MASK_WORDS))


def find_scans(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """{ID: scan}; see `match`."""
    return dict(match(root).scans)


def match(root: pathlib.Path) -> MatchedFiles:
    """Pairs the scans and masks of a data set by their names, see `pairing.pair` and `raters.split_raters`.

    Raises:
      InputError: there is not exactly one folder of either kind, there is no scan, or the names do not tell which mask
        belongs to a scan.
    """
    scan_folders, mask_folders = (_candidates(root, words) for words in (SCAN_WORDS, MASK_WORDS))
    for what, folders in (("scans", scan_folders), ("masks", mask_folders)):
        if len(folders) > 1:
            listed = " and ".join(f"{folder.name}/" for folder in folders)
            raise InputError(f"{root}: {listed} can each be the folder of {what}; expected one of them")
    missing = [f"{name}/" for name, found in ((OWN_IMAGES, scan_folders), (OWN_MASKS, mask_folders)) if not found]
    if missing:
        raise InputError(f"{root}: lacks {', '.join(missing)}; expected a data set: {OWN_LAYOUT}")
    scans, scan_notes = generic.files_by_name(scan_folders[0])
    masks, mask_notes = generic.files_by_name(mask_folders[0])
    if not scans:
        raise InputError(f"{root}: no scan in {scan_folders[0].name}/; expected files such as ID.nii.gz or ID.nii")
    if scan_folders[0].name == NNUNET_IMAGES and all(stem.endswith(CHANNEL) for stem in scans):
        scans = {stem.removesuffix(CHANNEL): path for stem, path in scans.items()}
    scans, masks, unpaired = pair(scans, masks)
    others, raters = split_raters({nifti.strip_extension(path.name): path for path in unpaired}, scans)
    notes = [*scan_notes, *mask_notes]
    if others:
        notes.append(f"masks without a scan, not used: {names(others.values())}")
    return MatchedFiles(scans, masks, tuple(notes), raters=raters)


def _candidates(root: pathlib.Path, words: frozenset[str]) -> list[pathlib.Path]:
    """The folders with NIfTI files whose names say what they hold; if there are none, those of `UNMISTAKABLE` names.

    Other folders of these names may hold anything, such as the series of a DICOM study in CT/.
    """
    folders = [
        folder
        for folder in _entries(root)
        if plain_word(folder.name) in words and folder.name != NIFTI_SCANS and folder.is_dir()
    ]
    full = [folder for folder in folders if _has_nifti(folder)]
    return full or [folder for folder in folders if folder.name in UNMISTAKABLE]


def _has_nifti(folder: pathlib.Path) -> bool:
    return any(nifti.is_nifti_name(path.name) and not path.name.startswith(".") for path in _entries(folder))


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """What is in a folder, sorted; nothing if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
