"""Detecting the layout of a data set; all layouts give the same data."""

import shutil

import numpy as np
import pytest

from ichjax.data import ct_ich_nifti
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import write

WITH_MASKS = [layout for layout in phantoms.WRITERS if layout not in datasets.WITHOUT_MASKS]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same two phantoms, with and without a hemorrhage, in each layout with masks."""
    base = tmp_path_factory.mktemp("sets")
    made = [phantoms.make_subject(number, seed=3) for number in (50, 51)]
    rows = [row for subject in made for row in write.slice_rows(subject)]
    for layout in WITH_MASKS:
        write_scan, write_tables = phantoms.WRITERS[layout]
        (base / layout).mkdir()
        for subject in made:
            write_scan(base / layout, subject)
        write_tables(base / layout, rows, [write.subject_row(s) for s in made], footer="Synthetic data")
    return {layout: datasets.read_dataset(base / layout) for layout in WITH_MASKS}


def test_each_layout_is_detected_and_has_the_same_subjects(sets):
    summaries = {
        layout: [(s.number, s.name, s.age_years, s.sex, s.subtypes, s.labelled_hemorrhage) for s in data.subjects]
        for layout, data in sets.items()
    }
    assert summaries["nifti"] == summaries["jpeg"] == summaries["own"]
    assert {subject.labelled_hemorrhage for subject in sets["nifti"].subjects} == {True, False}
    for layout, data in sets.items():
        assert {subject.layout for subject in data.subjects} == {layout}


def test_scans_are_equal_up_to_the_losses_of_a_layout(sets):
    for nifti, jpeg, own in zip(*(sets[layout].subjects for layout in ("nifti", "jpeg", "own")), strict=True):
        a, b, c = (datasets.load_scan(subject) for subject in (nifti, jpeg, own))
        np.testing.assert_array_equal(a.volume.hu, c.volume.hu, strict=True)
        np.testing.assert_array_equal(a.mask, c.mask, strict=True)
        np.testing.assert_allclose(a.volume.affine, c.volume.affine, atol=1e-4)
        for other in (b, c):
            np.testing.assert_array_equal(a.slice_labels, other.slice_labels, strict=True)
        # 214.5 mm over 650 pixels: the nominal pixel size is the phantom's true one here, unlike the slice spacing.
        area_mm2 = [scan.mask.sum() * np.prod(scan.volume.pixel_mm) for scan in (a, b)]
        assert area_mm2[1] == pytest.approx(area_mm2[0], rel=0.02)
        assert [scan.volume.nominal_spacing for scan in (a, b, c)] == [False, True, False]


def test_files_lists_all_files_of_a_subject(sets):
    for layout, data in sets.items():
        bleeding = next(subject for subject in data.subjects if subject.labelled_hemorrhage)
        paths = datasets.files(bleeding)
        assert all(path.is_file() for path in paths)
        slices = len(datasets.load_scan(bleeding).volume.hu)
        masks = int(datasets.load_scan(bleeding).mask.any(axis=(1, 2)).sum())
        assert len(set(paths)) == len(paths) == (2 * slices + masks if layout == "jpeg" else 2)


def test_the_nifti_reader_gives_the_same_result(tiny_root):
    detected, direct = datasets.read_dataset(tiny_root), ct_ich_nifti.read_dataset(tiny_root)
    assert detected.notes == direct.notes
    assert [s.number for s in detected.subjects] == [s.number for s in direct.subjects]


def test_of_two_releases_in_a_folder_the_note_names_the_one_that_is_read(tiny_root, tmp_path):
    root = tmp_path / "both"
    shutil.copytree(tiny_root, root)
    (root / "Patients_CT/049/brain").mkdir(parents=True)
    data = datasets.read_dataset(root)
    assert data.notes[0] == "the folder holds ct_scans/ and Patients_CT/; ct_scans/ is read"
    assert {subject.layout for subject in data.subjects} == {"nifti"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, ["no such folder"]),
        (lambda root: root.mkdir(), ["is empty"]),
        (lambda root: root.write_text("x"), ["is a file"]),
        (
            lambda root: [(root / name).mkdir(parents=True) for name in ("scans", "masks", *"abcdefgh")],
            ["holds none of ct_scans/, Patients_CT/, images/", "found a, b, c, d, e, f, g, h and 2 more"],
        ),
        (lambda root: (root / "deep/Patients_CT").mkdir(parents=True), ["one folder down, in deep/"]),
        (lambda root: (root / "deep/images").mkdir(parents=True), ["one folder down, in deep/"]),
    ],
)
def test_an_unknown_layout_is_rejected_with_the_supported_ones(tmp_path, make, words):
    root = tmp_path / "data"
    make(root)
    with pytest.raises(InputError) as caught:
        datasets.read_dataset(root)
    message = str(caught.value)
    assert message.startswith(f"{root}: ")
    for word in (*words, "ct_scans/ and masks/ with files such as 049.nii", "049/brain/14.jpg", "images/ and masks/"):
        assert word in message


@pytest.mark.parametrize(("folder", "message"), [("ct_scans", "lacks masks/"), ("Patients_CT", "lacks hemorrhage_d")])
def test_an_incomplete_data_set_is_rejected_by_its_layout(tmp_path, folder, message):
    (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=message):
        datasets.read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("layout", "table", "title"), [("rsna", "stage_2_train.csv", "RSNA 2019"), ("cq500", "reads.csv", "CQ500")]
)
def test_a_set_without_masks_is_rejected_by_name(tmp_path, layout, table, title):
    (tmp_path / table).touch()
    assert datasets.layout_without_masks(tmp_path) == layout
    assert not datasets.is_dataset(tmp_path)
    with pytest.raises(
        InputError, match=rf"layout of {title} \({table}\), which has labels and no masks; expected a data"
    ):
        datasets.read_dataset(tmp_path)
    (tmp_path / "Patients_CT").mkdir()
    assert datasets.layout_without_masks(tmp_path) == ""


def test_an_unknown_layout_of_phantoms_is_rejected(tmp_path):
    with pytest.raises(InputError, match="no layout of a data set is called 'png'; expected one of nifti, jpeg, own"):
        phantoms.write_dataset(tmp_path / "x", subjects=1, layout="png")
    assert not (tmp_path / "x").exists()
