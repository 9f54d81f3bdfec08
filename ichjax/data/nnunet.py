"""Any data set in nnU-Net's raw layout, with the same folds, so that nnU-Net can be run and scored on them."""

import json
import pathlib

import tqdm

from ichjax.data import dataset as datasets
from ichjax.data import splits
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.files import write_json, write_text
from ichjax.scan import nifti

ENDING = ".nii.gz"


def write_nnunet(dataset: Dataset, folds: splits.Splits, output: pathlib.Path) -> dict[int, str]:
    """Writes a data set in the raw layout of nnU-Net v2 (its documentation/dataset_format.md).

    OUTPUT/Dataset501_ICH/ gets imagesTr/NNN_0000.nii.gz (HU, int16), labelsTr/NNN.nii.gz (uint8, 0 and 1), both on
    the scan's own grid, dataset.json, and splits_final.json, which goes into nnU-Net's folder of preprocessed data
    before training (nnUNet_preprocessed/Dataset501_ICH/). A case is called by its subject's number, so that masks
    predicted by nnU-Net can be scored here; headers hold the geometry and nothing else.

    nnU-Net has two parts a fold where ichjax has three: split k validates on the TEST subjects of fold k and trains
    on its train and validation subjects together. nnU-Net chooses no epoch by its validation part, so these scores
    are of unseen subjects; it trains on more subjects than a method here does.

    Args:
      dataset: of `datasets.read_dataset`.
      folds: of exactly its subjects.
      output: the folder to write, such as one to name in nnUNet_raw; must be empty or not exist.

    Returns:
      {subject number: one sentence} for those left out, of the splits too, because they could not be read.

    Raises:
      InputError: the output folder is not empty or cannot be written, the folds are of other subjects, or no subject
        can be read.
    """
    output = pathlib.Path(output)
    splits.check(folds, [subject.number for subject in dataset.subjects])
    place = output / "Dataset501_ICH"
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output}: is not an empty folder; expected one, so that nothing is mixed or lost")
        for folder in ("imagesTr", "labelsTr"):
            (place / folder).mkdir(parents=True)
        problems = _write_cases(dataset, place)
        written = {subject.number for subject in dataset.subjects} - set(problems)
        if not written:
            raise InputError(f"{dataset.root}: none of its {len(dataset.subjects)} scans can be read")
        _write_splits(folds, written, place / "splits_final.json")
        _write_description(len(written), place / "dataset.json")
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from error
    for problem in problems.values():
        print(f"left out: {problem}")
    print(f"{place}: {len(written)} cases for nnU-Net")
    print(f"before training, copy splits_final.json to nnUNet_preprocessed/{place.name}/")
    return problems


def case_name(number: int) -> str:
    """What nnU-Net calls a subject: its number with three digits."""
    return f"{number:03d}"


def _write_cases(dataset: Dataset, place: pathlib.Path) -> dict[int, str]:
    """Writes scans and masks; returns what was wrong with those that could not be read."""
    problems = {}
    for subject in tqdm.tqdm(dataset.subjects, "writing for nnU-Net", unit="scan", leave=False, disable=None):
        try:
            scan = datasets.load_scan(subject)
        except InputError as error:
            problems[subject.number] = str(error)
            continue
        case = case_name(subject.number)
        nifti.write_nifti(place / "imagesTr" / f"{case}_0000{ENDING}", scan.volume.hu, scan.volume)
        nifti.write_nifti(place / "labelsTr" / f"{case}{ENDING}", scan.mask, scan.volume)
    return problems


def _write_splits(folds: splits.Splits, written: set[int], path: pathlib.Path) -> None:
    """splits_final.json: a list with 'train' and 'val' for every fold, of the cases that are there."""
    parts = []
    for fold in folds.folds:
        train = sorted(written.intersection((*fold.train, *fold.validation)))
        val = sorted(written.intersection(fold.test))
        if not train or not val:
            raise InputError(f"fold {fold.index}: none of its {'test' if train else 'train'} subjects can be read")
        parts.append({"train": [case_name(number) for number in train], "val": [case_name(number) for number in val]})
    write_text(path, json.dumps(parts, indent=1) + "\n")


def _write_description(count: int, path: pathlib.Path) -> None:
    """dataset.json, last: with it the folder is whole."""
    write_json(
        path,
        {
            "channel_names": {"0": "CT"},  # nnU-Net normalises by the foreground's percentiles for 'CT'
            "labels": {"background": 0, "hemorrhage": 1},
            "numTraining": count,
            "file_ending": ENDING,
        },
    )
