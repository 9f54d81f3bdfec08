"""Export to nnU-Net: its layout, the same voxels and folds, and no patient data."""

import dataclasses
import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import dataset as datasets
from ichjax.data import nnunet, splits
from ichjax.errors import InputError


@pytest.fixture
def data(tiny_root, tmp_path):
    """(a copy of the tiny data set with a patient's name in a header, its stratified folds)."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    stored = nib.load(root / "ct_scans/049.nii")
    image = nib.Nifti1Image(np.asanyarray(stored.dataobj).copy(), stored.affine, stored.header)
    image.header["descrip"], image.header["db_name"] = b"Jane Smith 1970", b"JaneSmith"
    nib.save(image, root / "ct_scans/049.nii")
    dataset = datasets.read_dataset(root)
    return dataset, splits.stratified_splits(dataset.subjects, folds=3, seed=0)


def write(data, output):
    """(the written folder, the problems)."""
    problems = nnunet.write_nnunet(*data, output)
    return next(output.iterdir()), problems


def test_the_folder_layout(data, tmp_path):
    folder, problems = write(data, tmp_path / "raw")
    assert (folder, problems) == (tmp_path / "raw/Dataset501_ICH", {})
    cases = [f"{number:03d}" for number in range(49, 58)]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dataset.json",
        "imagesTr",
        "labelsTr",
        "splits_final.json",
    ]
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [f"{case}_0000.nii.gz" for case in cases]
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [f"{case}.nii.gz" for case in cases]
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "hemorrhage": 1},
        "numTraining": 9,
        "file_ending": ".nii.gz",
    }


def test_voxels_and_affines_equal_the_source(data, tmp_path):
    folder, _ = write(data, tmp_path / "raw")
    for subject in data[0].subjects:
        source = nib.load(subject.scan_path)
        image = nib.load(folder / f"imagesTr/{subject.number:03d}_0000.nii.gz")
        label = nib.load(folder / f"labelsTr/{subject.number:03d}.nii.gz")
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.asanyarray(source.dataobj))
        for written in (image, label):
            np.testing.assert_allclose(written.affine, source.affine, atol=1e-6)
        mask = np.zeros(source.shape, np.uint8)
        if subject.mask_path:
            mask = np.asanyarray(nib.load(subject.mask_path).dataobj)
        np.testing.assert_array_equal(np.asanyarray(label.dataobj), mask)


def test_the_splits_use_the_test_part_as_val(data, tmp_path):
    folder, _ = write(data, tmp_path / "raw")
    written = json.loads((folder / "splits_final.json").read_text())
    assert len(written) == 3
    for part, fold in zip(written, data[1].folds, strict=True):
        assert sorted(map(int, part["val"])) == sorted(fold.test)
        assert sorted(map(int, part["train"])) == sorted(fold.train + fold.validation)
        assert set(part) == {"train", "val"}
    cases = {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert all(set(part["train"] + part["val"]) == cases for part in written)


def test_cases_are_named_by_ids_and_not_by_ranks(tiny_root, tmp_path):
    for folder, source in (("images", "ct_scans"), ("masks", "masks")):
        (tmp_path / "own" / folder).mkdir(parents=True)
        for name in ("CT1", "CT2", "CT10", "a b.c"):
            shutil.copy(tiny_root / source / "050.nii", tmp_path / "own" / folder / f"{name}.nii")
    dataset = datasets.read_dataset(tmp_path / "own")
    folder, _ = write((dataset, splits.stratified_splits(dataset.subjects, folds=3, seed=0)), tmp_path / "raw")
    cases = {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert cases == {"CT1", "CT2", "CT10", "a b.c"}
    assert {path.name.removesuffix("_0000.nii.gz") for path in (folder / "imagesTr").iterdir()} == cases
    for part in json.loads((folder / "splits_final.json").read_text()):
        assert set(part["train"] + part["val"]) == cases


def test_headers_hold_no_patient_data(data, tmp_path):
    folder, _ = write(data, tmp_path / "raw")
    for path in folder.rglob("*.nii.gz"):
        header = gzip.decompress(path.read_bytes())[:352]
        assert b"Smith" not in header
        for start, stop in ((14, 32), (148, 252), (328, 344)):  # db_name, descrip and aux_file, intent_name
            assert set(header[start:stop]) == {0}


def test_unreadable_scans_are_skipped_everywhere(data, tmp_path, capsys):
    dataset, folds = data
    dataset.subjects[4].scan_path.write_bytes(b"no image")  # subject 53
    folder, problems = write(data, tmp_path / "raw")
    assert list(problems) == [53]
    assert capsys.readouterr().out.splitlines() == [
        f"skipped: {problems[53]}",
        f"{folder}: 8 cases for nnU-Net",
        "before training, copy splits_final.json to nnUNet_preprocessed/Dataset501_ICH/",
    ]
    assert "ct_scans/053.nii (subject 53): not a readable NIfTI" in problems[53]
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 8
    assert not list(folder.rglob("053*"))
    for part, fold in zip(json.loads((folder / "splits_final.json").read_text()), folds.folds, strict=True):
        assert set(map(int, part["train"] + part["val"])) == {n for n in range(49, 58) if n != 53}
        assert sorted(map(int, part["val"])) == sorted(set(fold.test) - {53})


def test_existing_files_are_never_overwritten(data, tmp_path):
    (tmp_path / "raw").mkdir()
    write(data, tmp_path / "raw")  # an empty folder will do
    before = {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="raw: is not an empty folder"):
        write(data, tmp_path / "raw")
    assert before == {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("")
    for taken in (tmp_path / "file", tmp_path / "file/raw"):
        with pytest.raises(InputError, match=r"is not an empty folder|cannot be written \(Not a directory\)"):
            write(data, taken)


def test_folds_of_other_subjects_and_an_unreadable_data_set_are_rejected(data, tmp_path):
    dataset, folds = data
    fewer = dataclasses.replace(dataset, subjects=dataset.subjects[1:])
    with pytest.raises(InputError, match="holds unknown subjects 49"):
        write((fewer, folds), tmp_path / "raw")
    for subject in dataset.subjects:
        subject.scan_path.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of its 9 scans can be read"):
        write(data, tmp_path / "raw")
