"""Scans of the RSNA 2019 layout as volumes with slice labels, and folds by subject."""

import numpy as np
import pytest

from ichjax.data import rsna, rsna_index, splits
from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError
from tests import dicom_slices
from tests.dicom_slices import SIDE, find, slice_of, write_set


def test_a_scan_has_true_positions_and_the_labels_of_its_slices(rsna_root):
    index = rsna_index.open_index(rsna_root, workers=1)
    scan = rsna.read_scan(index, find(index, "1.2.10"))
    names = ["ID_z", "ID_k", "ID_d", "ID_e"]
    np.testing.assert_array_equal(scan.volume.positions_mm, [0, 7, 20, 25])
    np.testing.assert_array_equal(scan.labels[:, 2], [False, False, True, False])
    for d, name in enumerate(names):
        np.testing.assert_array_equal(scan.volume.hu[d], rsna.read_slice(index, slice_of(index, name)))
    assert scan.volume.pixel_mm == (6.0, 6.0)
    assert not scan.volume.nominal_spacing
    assert scan.known.all()
    assert hash_study("1.2.10")[:8] in scan.volume.name


def test_a_scan_of_one_slice_has_a_nominal_spacing(rsna_root):
    index = rsna_index.open_index(rsna_root, workers=1)
    volume = rsna.read_scan(index, find(index, "1.2.20")).volume
    assert volume.nominal_spacing
    assert volume.spacing_mm[0] == rsna.NOMINAL_SLICE_MM


def test_a_slice_that_cannot_be_read_leaves_a_gap_and_is_named(rsna_root):
    images = rsna_root / "stage_2_train"
    dicom_slices.write(
        images / "ID_k.dcm", np.full((SIDE, SIDE), 7, "<i2"), PatientID="PID-1", StudyInstanceUID="1.2.10",
        SeriesInstanceUID="1.2.10.1", ImagePositionPatient=[-93, -93, 7],
    )  # fmt: skip
    index = rsna_index.open_index(rsna_root, workers=1)
    scan = rsna.read_scan(index, find(index, "1.2.10"))
    assert scan.skipped == ("ID_k.dcm: every pixel is 7 HU; expected an image",)
    np.testing.assert_array_equal(scan.volume.positions_mm, [0, 20, 25])
    np.testing.assert_array_equal(scan.labels[:, 2], [False, True, False])


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImagePositionPatient": [-93, -93, 5]}, r"ID_b\.dcm and ID_x\.dcm lie at one position"),
        ({"PixelSpacing": [6, 5]}, r"ID_a\.dcm and ID_x\.dcm differ in spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, r"differ in orientation"),
        ({"Rows": 16}, r"ID_a\.dcm and ID_x\.dcm differ in rows"),
    ],
)
def test_slices_that_form_no_scan_are_named(rsna_root, tags, message):
    tags = {"ImagePositionPatient": [-93, -93, 20], "PatientID": "PID-1", **tags}
    path = rsna_root / "stage_2_train/ID_x.dcm"
    dicom_slices.write(path, StudyInstanceUID="1.2.30", SeriesInstanceUID="1.2.30.1", **tags)
    index = rsna_index.open_index(rsna_root, workers=1)
    with pytest.raises(InputError, match=message):
        rsna.read_scan(index, find(index, "1.2.30"))


def test_median_spacing_of_each_scan(rsna_root):
    index = rsna_index.open_index(rsna_root, workers=1)
    spacing = rsna.slice_spacing_mm(index)
    assert spacing[find(index, "1.2.10")] == 7
    assert spacing[find(index, "1.2.30")] == 5
    assert np.isnan(spacing[find(index, "1.2.20")])


def test_folds_are_by_subject(tmp_path, rsna_cache):
    kinds = [["epidural"], ["subdural"], ["intraparenchymal"], [], ["epidural"], ["subdural"], [], []]
    scans = [
        (f"P{k // 2}" if k < 4 else f"Q{k}", f"1.2.{k + 1}", [(f"ID_{k}", 0, kind)]) for k, kind in enumerate(kinds)
    ]
    write_set(tmp_path / "set", scans)
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    assert len(rsna.subject_labels(index)) == 6
    made = rsna.split(index, folds=3, seed=0)
    splits.check(made, range(6))
    assert made == rsna.split(index, folds=3, seed=0)
    bleeding = np.flatnonzero(rsna.subject_labels(index)[:, -1])
    assert [len(set(fold.test) & set(bleeding.tolist())) for fold in made.folds].count(0) == 0
    for fold in made.folds:
        parts = [set(rsna.scans_of(index, getattr(fold, part)).tolist()) for part in splits.PARTS]
        assert sum(map(len, parts)) == len(index.scans) == len(set.union(*parts))
