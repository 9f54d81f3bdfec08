"""Pairs of folders under their many names, and nnU-Net's raw layout: the same subjects as in the plain layout."""

import json

import numpy as np
import pytest

from ichjax.data import dataset as datasets
from ichjax.data import nnunet, splits
from ichjax.errors import InputError
from tests.data.test_generic import AFFINE, hu, labelled, save

IDS = ("012", "3", "70")
LABELS = {"background": 0, "IVH": 1, "SDH": 2}


def make_root(root, scans="images", masks="masks", scan_name="{}", mask_name="{}", extension=".nii.gz"):
    """Three scans that differ; 3 has a hemorrhage on slice 2, 70 on slices 3 and 4, labels 1 and 2."""
    for k, (name, slices) in enumerate(zip(IDS, ([], [2], [3, 4]), strict=True)):
        save(root / scans / f"{scan_name.format(name)}{extension}", np.roll(hu(), k, axis=0))
        save(root / masks / f"{mask_name.format(name)}{extension}", labelled(slices, (1, 2)))
    return root


def loaded(root):
    """What the subjects of a data set are, without the names of their files."""
    scans = [datasets.load_scan(subject) for subject in datasets.read_dataset(root).subjects]
    return [
        (scan.subject.number, scan.subject.name, scan.subject.labelled_hemorrhage, scan.volume.hu.tobytes(),
         scan.mask.tobytes(), scan.slice_labels.tobytes(), scan.notes)
        for scan in scans
    ]  # fmt: skip


@pytest.mark.parametrize(
    "layout",
    [
        {"scans": "data", "masks": "label"},  # INSTANCE 2022
        {"masks": "ground truths"},  # BHSD
        {"scans": "imagesTr", "masks": "labelsTr", "scan_name": "{}_0000"},
        {"scans": "imagesTr", "masks": "labelsTr"},  # Medical Segmentation Decathlon
        {"scans": "Images", "masks": "Ground_Truth", "mask_name": "{}_seg"},
        {"scans": "CT Scans", "masks": "Segmentations", "scan_name": "ct_{}", "mask_name": "{}-label"},
        {"scans": "VOLUMES", "masks": "GT", "scan_name": "volume-{}", "mask_name": "segmentation-{}"},
        {"scans": "img", "masks": "annotations", "extension": ".nii"},
        {"scan_name": "{}_CT", "mask_name": "{}_Mask", "extension": ".NII"},
    ],
)
def test_every_pair_of_folders_gives_the_arrays_of_the_plain_layout(tmp_path, layout):
    plain, root = make_root(tmp_path / "plain"), tmp_path / "other"
    extension = layout.pop("extension", ".nii.gz")
    make_root(root, **layout, extension=extension.lower())
    for path in [*root.rglob("*.nii")]:
        path.rename(path.with_suffix(extension)) if extension == ".NII" else None
    assert datasets.is_dataset(root)
    assert loaded(root) == loaded(plain)
    assert [number for number, *_ in loaded(root)] == [3, 12, 70]


def test_hidden_files_and_test_scans_of_nnunet_are_no_subjects(tmp_path):
    root = make_root(tmp_path, "imagesTr", "labelsTr", "{}_0000")
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "._3_0000.nii.gz").write_bytes(b"Mac OS X")
    save(root / "imagesTs/90_0000.nii.gz", hu())
    save(root / "labelsTs/90.nii.gz", labelled([1]))
    data = datasets.read_dataset(root)
    assert [subject.name for subject in data.subjects] == ["3", "012", "70"]
    assert data.notes == ("no labels.csv: age, sex and sub-types are unknown",)


@pytest.mark.parametrize("labels", [LABELS, {"0": "background", "1": "IVH", "2": "SDH"}])
def test_dataset_json_names_the_sub_types(tmp_path, labels):
    root = make_root(tmp_path, "imagesTr", "labelsTr", "{}_0000")
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "channel_names": {"0": "CT"}}))
    data = datasets.read_dataset(root)
    assert [subject.label_classes for subject in data.subjects] == [{1: 1, 2: 5}] * 3
    assert [subject.subtypes for subject in data.subjects] == [("IVH", "SDH"), (), ("IVH", "SDH")]
    assert data.notes == ("no labels.csv: age and sex are unknown",)
    plain = make_root(tmp_path / "plain")
    (plain / "label_names.csv").write_text("label,name\n1,IVH\n2,SDH\n")
    assert loaded(root) == loaded(plain)


def test_label_names_csv_comes_before_dataset_json(tmp_path):
    root = make_root(tmp_path, "data", "label")
    (root / "dataset.json").write_text(json.dumps({"labels": {"bleeding": 1, "edema": 2}}))
    with pytest.raises(InputError, match=r"^dataset\.json: label 2 is named edema; expected masks with labels of hem"):
        datasets.read_dataset(root)
    (root / "label_names.csv").write_text("label,name\n1,SAH\n2,EDH\n")
    assert datasets.read_dataset(root).subjects[0].label_classes == {1: 3, 2: 4}


def test_the_tables_of_the_plain_layout_apply_to_all(tmp_path):
    root = make_root(tmp_path, "imagesTr", "labelsTr", "{}_0000")
    (root / "labels.csv").write_text("id,age_years,sex\n012,50,M\n70,3.5,F\n9,1,F\n")
    data = datasets.read_dataset(root)
    assert [(subject.age_years, subject.sex) for subject in data.subjects] == [(None, None), (50, "M"), (3.5, "F")]
    assert data.notes == ("IDs that have rows in labels.csv but no scan: 1",)


def test_unpaired_files_are_named(tmp_path):
    root = make_root(tmp_path, "data", "label", mask_name="{}_seg")
    (root / "label/3_seg.nii.gz").rename(root / "label/4_seg.nii.gz")
    data = datasets.read_dataset(root)
    assert "masks without a scan, not used: label/4_seg.nii.gz" in data.notes
    assert [subject.mask_path is None for subject in data.subjects] == [True, False, False]
    with pytest.raises(InputError, match=r"^data/3\.nii\.gz \(subject 3\): has no mask; expected a mask"):
        datasets.load_scan(data.subjects[0])
    for number in range(100, 110):
        save(root / f"label/{number}.nii.gz", labelled([]))
    (note,) = [note for note in datasets.read_dataset(root).notes if "without a scan" in note]
    assert note.endswith("label/106.nii.gz, label/107.nii.gz and 3 more")


@pytest.mark.parametrize(
    ("scans", "masks", "message"),
    [
        (("data",), ("label", "masks"), "label/ and masks/ can each be the folder of masks; expected one of them"),
        (("data", "images"), ("masks",), "data/ and images/ can each be the folder of scans; expected one of them"),
        (("imagesTr", "images"), ("labelsTr",), "images/ and imagesTr/ can each be the folder of scans"),
    ],
)
def test_several_folders_of_one_kind_are_refused_by_name(tmp_path, scans, masks, message):
    for folder in scans:
        save(tmp_path / folder / "1.nii", hu())
    for folder in masks:
        save(tmp_path / folder / "1.nii", labelled([1]))
    assert datasets.is_dataset(tmp_path)  # so that `predict` takes no mask for a scan
    with pytest.raises(InputError) as caught:
        datasets.read_dataset(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: {message}")


def test_folders_without_nifti_are_no_candidates(tmp_path):
    """Images and masks in PNG beside them, and a DICOM study with a series in CT/ and one in SEG/."""
    root = make_root(tmp_path / "own")
    (root / "data").mkdir()
    (root / "labels").mkdir()
    (root / "labels/1.png").write_bytes(b"x")
    assert len(datasets.read_dataset(root).subjects) == 3
    for folder in ("CT", "SEG"):
        (tmp_path / "study" / folder).mkdir(parents=True)
        (tmp_path / "study" / folder / "1.dcm").write_bytes(b"x")
    assert not datasets.is_dataset(tmp_path / "study")
    with pytest.raises(InputError, match=r"holds none of ct_scans/, Patients_CT/, images/; found CT, SEG"):
        datasets.read_dataset(tmp_path / "study")


def test_an_empty_folder_of_scans_is_named(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=r"no scan in imagesTr/; expected files such as ID\.nii\.gz or ID\.nii"):
        datasets.read_dataset(tmp_path)


def test_scans_without_a_folder_of_masks_are_no_data_set(tmp_path):
    save(tmp_path / "imagesTr/1_0000.nii.gz", hu())
    assert not datasets.is_dataset(tmp_path)
    with pytest.raises(InputError, match="lacks masks/; expected a data set: images/ and masks/"):
        datasets.read_dataset(tmp_path)


def test_a_data_set_one_folder_down_is_pointed_at(tmp_path):
    make_root(tmp_path / "Dataset001_X", "imagesTr", "labelsTr", "{}_0000")
    with pytest.raises(InputError, match=r"; a data set seems to lie one folder down, in Dataset001_X/; expected one"):
        datasets.read_dataset(tmp_path)


def test_several_channels_are_refused(tmp_path):
    root = make_root(tmp_path, "imagesTr", "labelsTr", "{}_0000")
    save(root / "imagesTr/3_0001.nii.gz", hu())
    message = r"^imagesTr/3_0000\.nii\.gz, imagesTr/3_0001\.nii\.gz: are 2 channels of one scan; expected one channel"
    with pytest.raises(InputError, match=message):
        datasets.read_dataset(root)


def test_a_mask_on_another_grid_costs_its_subject_only(tmp_path):
    root = make_root(tmp_path, "data", "label")
    moved = AFFINE.copy()
    moved[:3, 3] += 10
    save(root / "label/3.nii.gz", labelled([2]), moved)
    first, *others = datasets.read_dataset(root).subjects
    with pytest.raises(InputError, match=r"^label/3\.nii\.gz \(subject 3\): lies up to 17\.32 mm away from its scan"):
        datasets.load_scan(first)
    assert all(datasets.load_scan(subject).mask is not None for subject in others)


def test_what_prepare_writes_for_nnunet_reads_back_as_the_same_subjects(tmp_path):
    """Also IDs that end like a channel: X and X_0000 become X_0000 and X_0000_0000."""
    source = make_root(tmp_path / "plain")
    for k, name in enumerate(["X", "X_0000", "X_ct", "a b.c"]):
        save(source / f"images/{name}.nii", np.roll(hu(), k + 5, axis=1))
        save(source / f"masks/{name}.nii", labelled([k + 1]))
    data = datasets.read_dataset(source)
    folds = splits.stratified_splits(data.subjects, folds=3, seed=0)
    assert nnunet.write_nnunet(data, folds, tmp_path / "raw") == {}
    root = tmp_path / "raw/Dataset501_ICH"
    assert loaded(root) == loaded(source)
    assert datasets.read_dataset(root).notes[0] == "dataset.json: hemorrhage of unknown sub-type: hemorrhage"
    assert {name: path.name for name, path in datasets.find_own_scans(root).items()} == {
        subject.name: f"{subject.name}_0000.nii.gz" for subject in data.subjects
    }
