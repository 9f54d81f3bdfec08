"""Export a data set and its folds to nnU-Net's raw layout, to train nnU-Net on the same folds and score it."""

import json
import pathlib
from collections.abc import Mapping

import tqdm

from ichjax.data import dataset as datasets
from ichjax.data import splits
from ichjax.data.label_names import DATASET_JSON
from ichjax.data.paired_folders import NNUNET_IMAGES, NNUNET_LABELS
from ichjax.data.pairing import CHANNEL
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.files import write_json, write_text
from ichjax.scan import nifti

EXTENSION = ".nii.gz"


def write_nnunet(dataset: Dataset, folds: splits.Splits, output: pathlib.Path) -> dict[int, str]:
    """Writes a data set in the raw layout of nnU-Net v2 (its documentation/dataset_format.md).

    OUTPUT/Dataset501_ICH/ gets imagesTr/ID_0000.nii.gz (HU, int16), labelsTr/ID.nii.gz (uint8, 0 and 1), both on the
    scan's own grid, dataset.json, and splits_final.json, which goes into nnU-Net's folder of preprocessed data
    before training (nnUNet_preprocessed/Dataset501_ICH/). A case is named by its subject's ID, so that masks
    predicted by nnU-Net can be scored here; headers hold only the geometry.

    nnU-Net has two parts per fold, ichjax three: split k validates on the TEST subjects of fold k and trains on its
    train and validation subjects. nnU-Net does not select an epoch on its validation part, so its scores are on unseen
    subjects; it trains on more subjects than the methods here.

    Args:
      dataset: from `datasets.read_dataset`.
      folds: folds of exactly its subjects.
      output: the folder to write, for nnUNet_raw; must be empty or not exist.

    Returns:
      {subject number: error} of subjects that cannot be read; they are skipped, in the splits too.

    Raises:
      InputError: the output folder is not empty or cannot be written, the folds have other subjects, or no subject can
        be read.
    """
    output = pathlib.Path(output)
    splits.check(folds, [subject.number for subject in dataset.subjects])
    folder = output / "Dataset501_ICH"
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output}: is not an empty folder; expected an empty or a new folder")
        for name in (NNUNET_IMAGES, NNUNET_LABELS):
            (folder / name).mkdir(parents=True)
        problems = _write_cases(dataset, folder)
        written = {each.number: each.name for each in dataset.subjects if each.number not in problems}
        if not written:
            raise InputError(f"{dataset.root}: none of its {len(dataset.subjects)} scans can be read")
        _write_splits(folds, written, folder / "splits_final.json")
        _write_description(len(written), folder / DATASET_JSON)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from error
    for problem in problems.values():
        print(f"skipped: {problem}")
    print(f"{folder}: {len(written)} cases for nnU-Net")
    print(f"before training, copy splits_final.json to nnUNet_preprocessed/{folder.name}/")
    return problems


def _write_cases(dataset: Dataset, folder: pathlib.Path) -> dict[int, str]:
    """Writes scans and masks; returns {subject number: error} of those that cannot be read."""
    problems = {}
    for subject in tqdm.tqdm(dataset.subjects, "writing for nnU-Net", unit="scan", leave=False, disable=None):
        try:
            scan = datasets.load_scan(subject)
        except InputError as error:
            problems[subject.number] = str(error)
            continue
        nifti.write_nifti(folder / NNUNET_IMAGES / f"{subject.name}{CHANNEL}{EXTENSION}", scan.volume.hu, scan.volume)
        nifti.write_nifti(folder / NNUNET_LABELS / f"{subject.name}{EXTENSION}", scan.mask, scan.volume)
    return problems


def _write_splits(folds: splits.Splits, written: Mapping[int, str], path: pathlib.Path) -> None:
    """Writes splits_final.json: a list with 'train' and 'val' of every fold, for the written cases {number: ID}."""
    entries = []
    for fold in folds.folds:
        train = [written[number] for number in sorted((*fold.train, *fold.validation)) if number in written]
        val = [written[number] for number in sorted(fold.test) if number in written]
        if not train or not val:
            raise InputError(f"fold {fold.index}: none of its {'test' if train else 'train'} subjects can be read")
        entries.append({"train": train, "val": val})
    write_text(path, json.dumps(entries, indent=1) + "\n")


def _write_description(count: int, path: pathlib.Path) -> None:
    """Writes dataset.json, last: it marks the folder as complete."""
    write_json(
        path,
        {
            "channel_names": {"0": "CT"},  # for 'CT', nnU-Net normalizes by the percentiles of the foreground
            "labels": {"background": 0, "hemorrhage": 1},
            "numTraining": count,
            "file_ending": EXTENSION,
        },
    )
