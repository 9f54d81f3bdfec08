"""BIDS: scans by subject, session and run, the mask of each in derivatives/, and age and sex from participants.tsv."""

import numpy as np
import pytest

from ichjax.data import bids, splits
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from tests.data.test_generic import AFFINE, hu, labelled, save

MASKS = "derivatives/manual"


def add(root, scan, mask="", slices=(), seed=0, affine=AFFINE, values=(1, 1)):
    """Writes a scan and, if it is named, its mask; paths in the data set."""
    if scan:
        save(root / scan, np.roll(hu(), seed, axis=0))
    if mask:
        save(root / mask, labelled(slices, values), affine)


@pytest.fixture
def root(tmp_path):
    """Subject 01 with a scan, 02 with two sessions; the masks are named in several ways."""
    root = tmp_path / "set"
    add(root, "sub-01/ct/sub-01_ct.nii.gz", f"{MASKS}/sub-01/ct/sub-01_desc-manual_mask.nii.gz")
    for k, (session, mask) in enumerate((("1", "mask"), ("2", "label-lesion_mask")), start=1):
        stem = f"sub-02_ses-{session}"
        scan = f"sub-02/ses-{session}/ct/{stem}_ct.nii"
        add(root, scan, f"{MASKS}/sub-02/ses-{session}/anat/{stem}_{mask}.nii.gz", [k + 1], seed=k)
    return root


def masks_of(root):
    files = bids.match(root)
    return {name: files.masks[name].name if name in files.masks else None for name in files.scans}


def test_scans_are_subjects_with_the_mask_of_their_session(root):
    data = datasets.read_dataset(root)
    assert [(s.number, s.name, s.person, s.labelled_hemorrhage) for s in data.subjects] == [
        (1, "sub-01", "01", False),
        (2, "sub-02_ses-1", "02", True),
        (3, "sub-02_ses-2", "02", True),
    ]
    assert data.notes == (
        "some people have several scans; those of one person are in one part of each fold",
        "no labels.csv: age, sex and sub-types are unknown",
        "the IDs are not distinct whole numbers: subjects are numbered from 1 in the order of their IDs",
    )
    for k, subject in enumerate(data.subjects):
        scan = datasets.load_scan(subject)
        np.testing.assert_array_equal(scan.volume.hu, np.roll(hu(), k, axis=0).transpose(2, 1, 0))
        np.testing.assert_array_equal(scan.mask, labelled([k + 1] if k else []).transpose(2, 1, 0))
    assert datasets.is_dataset(root)


def test_age_and_sex_from_participants(root):
    (root / "participants.tsv").write_text(
        "participant_id\tsex\tage\tgroup\nsub-01\tF\t71\tx\nsub-02\tmale\tn/a\ty\nsub-09\tO\t40\tz\n"
    )
    data = datasets.read_dataset(root)
    assert [(s.age_years, s.sex) for s in data.subjects] == [(71, "F"), (None, "M"), (None, "M")]
    assert "no labels.csv: sub-types are unknown" in data.notes
    (root / "participants.tsv").write_text("id\tage\n1\t2\n")
    with pytest.raises(InputError, match=r"participants\.tsv: has no column participant_id; found id, age; expected"):
        datasets.read_dataset(root)


def test_runs_and_reconstructions_are_told_apart_by_their_entities(tmp_path):
    for acq in ("bone", "brain"):
        for run in ("1", "2"):
            stem = f"sub-1_acq-{acq}_run-{run}"
            add(tmp_path, f"sub-1/ct/{stem}_ct.nii", f"{MASKS}/sub-1/ct/{stem}_space-orig_dseg.nii")
    add(tmp_path, "sub-2/ct/sub-2_run-1_ct.nii", f"{MASKS}/sub-2/ct/sub-2_mask.nii")  # the only one that fits
    add(tmp_path, "sub-3/ct/sub-3_ct.nii", f"{MASKS}/sub-3/sub-3_seg.nii")
    add(tmp_path, "sub-3/ct/sub-3_run-2_ct.nii", f"{MASKS}/sub-3/sub-3_run-2_seg.nii")
    add(tmp_path, "sub-4/anat/sub-4_CT.nii", f"{MASKS}/sub-4/anat/sub-4_mask.nii")
    assert masks_of(tmp_path) == {
        **{f"sub-1_acq-{a}_run-{r}": f"sub-1_acq-{a}_run-{r}_space-orig_dseg.nii" for a in ("bone", "brain")
           for r in "12"},
        "sub-2_run-1": "sub-2_mask.nii",
        "sub-3": "sub-3_seg.nii",
        "sub-3_run-2": "sub-3_run-2_seg.nii",
        "sub-4": "sub-4_mask.nii",
    }  # fmt: skip


def test_masks_of_other_things_hidden_files_and_copies_are_not_used(root):
    for name in ("desc-brain_mask", "label-skull_mask", "seg-tissue_dseg", "label-edema_mask"):
        add(root, "", f"{MASKS}/sub-01/ct/sub-01_{name}.nii.gz", [1])
    (root / "sub-01/ct/._sub-01_ct.nii.gz").write_bytes(b"Mac OS X")
    (root / f"{MASKS}/sub-01/ct/._sub-01_mask.nii.gz").write_bytes(b"Mac OS X")
    add(root, "sub-01/ct/sub-01_ct.nii", f"{MASKS}/sub-01/ct/sub-01_desc-manual_mask.nii")
    add(root, "sub-01/anat/sub-01_T1w.nii.gz")
    assert masks_of(root) == {
        "sub-01": "sub-01_desc-manual_mask.nii",
        "sub-02_ses-1": "sub-02_ses-1_mask.nii.gz",
        "sub-02_ses-2": "sub-02_ses-2_label-lesion_mask.nii.gz",
    }
    assert bids.find_scans(root)["sub-01"].name == "sub-01_ct.nii"


def test_a_raw_data_set_below_and_names_without_entities(tmp_path):
    add(tmp_path, "rawdata/sub-1/ses-a/ct/head_ct.nii", "derivatives/sub-1/ses-a/ct/head_mask.nii")
    add(tmp_path, "rawdata/sub-1/ses-b/ct/sub-1_run-2_ct.nii", "derivatives/sub-1/ses-b/ct/sub-1_run-2_mask.nii")
    assert masks_of(tmp_path) == {"sub-1_ses-a_head": "head_mask.nii", "sub-1_ses-b_run-2": "sub-1_run-2_mask.nii"}


def test_unpaired_files_are_named(root):
    (root / f"{MASKS}/sub-01/ct/sub-01_desc-manual_mask.nii.gz").unlink()
    add(root, "", f"{MASKS}/sub-01/ct/sub-01_run-2_mask.nii.gz")
    data = datasets.read_dataset(root)
    assert f"masks without a scan, not used: {MASKS}/sub-01/ct/sub-01_run-2_mask.nii.gz" in data.notes
    with pytest.raises(InputError, match=r"^ct/sub-01_ct\.nii\.gz \(subject 1\): has no mask; expected a mask"):
        datasets.load_scan(data.subjects[0])


@pytest.mark.parametrize(
    ("scan", "mask", "message"),
    [
        ("", f"{MASKS}/sub-01/ct/sub-01_mask.nii", "sub-01_desc-manual_mask.nii.gz and derivatives/manual/sub-01/ct/"
         "sub-01_mask.nii: are masks of sub-01/ct/sub-01_ct.nii.gz; expected one mask for each scan"),
        ("", "derivatives/rater2/sub-01/ct/sub-01_mask.nii", " and derivatives/rater2/sub-01/ct/sub-01_mask.nii: are"),
        ("", f"{MASKS}/sub-02/sub-02_mask.nii", "sub-02_mask.nii: fits sub-02/ses-1/ct/sub-02_ses-1_ct.nii and "
         "sub-02/ses-2/ct/sub-02_ses-2_ct.nii; expected a mask of one scan"),
        ("sub-01/ct/sub-03_ct.nii", "", "sub-01/ct/sub-03_ct.nii: is named as of another folder; expected sub-01"),
        ("sub-01/anat/sub-01_ct.nii", "", "sub-01/anat/sub-01_ct.nii and sub-01/ct/sub-01_ct.nii.gz: have one ID"),
    ],
)  # fmt: skip
def test_ambiguous_files_are_refused_with_their_names(root, scan, mask, message):
    add(root, scan, mask)
    with pytest.raises(InputError) as caught:
        datasets.read_dataset(root)
    assert message in str(caught.value)


def test_several_masks_of_a_scan_do_not_matter_if_only_scans_are_wanted(root):
    add(root, "", "derivatives/rater2/sub-01/ct/sub-01_mask.nii")
    assert list(datasets.find_own_scans(root)) == ["sub-01", "sub-02_ses-1", "sub-02_ses-2"]


def test_without_derivatives_it_is_no_data_set(tmp_path):
    add(tmp_path, "sub-01/ct/sub-01_ct.nii.gz")
    assert not datasets.is_dataset(tmp_path)
    with pytest.raises(InputError, match=r"lacks derivatives/; expected a data set: sub-\*/ct/\*_ct\.nii\.gz and mask"):
        datasets.read_dataset(tmp_path)


def test_a_table_names_the_labels_of_segmentations(tmp_path):
    add(tmp_path, "sub-1/ct/sub-1_ct.nii", f"{MASKS}/sub-1/ct/sub-1_dseg.nii", [2], values=(1, 2))
    (tmp_path / MASKS / "dseg.tsv").write_text("index\tname\n0\tbackground\n1\tSubdural\n2\tIVH\n")
    (subject,) = datasets.read_dataset(tmp_path).subjects
    assert (subject.label_classes, subject.subtypes) == ({1: 5, 2: 1}, ("IVH", "SDH"))
    (tmp_path / MASKS / "dseg.tsv").write_text("index\tname\n1\tgray matter\n")
    with pytest.raises(InputError, match=r"dseg\.tsv: label 1 is named gray matter; expected masks with labels of hem"):
        datasets.read_dataset(tmp_path)
    (tmp_path / "label_names.csv").write_text("label,name\n1,SAH\n")
    assert datasets.read_dataset(tmp_path).subjects[0].label_classes == {1: 3}
    (tmp_path / "label_names.csv").unlink()
    (tmp_path / MASKS / "dseg.tsv").write_text("index\tname\nx\tIVH\n")
    with pytest.raises(InputError, match=r"dseg\.tsv, line 2: the index is 'x'; expected a whole number"):
        datasets.read_dataset(tmp_path)


def test_all_scans_of_a_person_are_in_one_part_of_each_fold(tmp_path):
    for person in range(1, 7):
        for session in range(1, 1 + person % 3 + 1):
            stem = f"sub-{person}_ses-{session}"
            mask = f"{MASKS}/sub-{person}/ses-{session}/ct/{stem}_mask.nii"
            add(tmp_path, f"sub-{person}/ses-{session}/ct/{stem}_ct.nii", mask, [session])
    subjects = datasets.read_dataset(tmp_path).subjects
    assert len(subjects) == 12
    person_of = {subject.number: subject.person for subject in subjects}
    for seed in range(5):
        for fold in splits.stratified_splits(subjects, folds=3, seed=seed).folds:
            parts = [{person_of[number] for number in part} for part in (fold.train, fold.validation, fold.test)]
            assert [len(part) for part in parts] == [2, 2, 2]
            assert set.union(*parts) == {str(person) for person in range(1, 7)}
    with pytest.raises(InputError, match="2 subjects found for 3 folds"):
        splits.stratified_splits([s for s in subjects if s.person in "12"], folds=3, seed=0)
