"""Prediction of scans from outside the data set: on their own grid, with the volume of a hand calculation."""

import json

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError
from ichjax.inference import discover, model
from tests.expected import PREDICTION_FILES, SLICE_RULE_MM2

TABLE_MM = (0.0, 5.0, 10.0, 18.0)  # the last gap is wider
WORLD = {"scan_world.nii.gz", "mask_world.nii.gz"}
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(tiny_threshold_run, tmp_path, capsys):
    """command(*inputs): (exit status, stdout, stderr, folder of the output)."""

    def call(*inputs):
        words = [f"--workdir={tiny_threshold_run}", "--input", *map(str, inputs), f"--output={tmp_path / 'out'}"]
        status = launch.main(["predict", *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "defect" not in said.err
        return status, said.out, said.err, tmp_path / "out"

    return call


def folders_of(output):
    return {path.name for path in output.iterdir() if path.is_dir()}


def on_screen(root, number):
    """int16 [slices, rows, columns] of a subject; on disk x runs to the left and y to the front."""
    return np.asarray(nib.load(root / "ct_scans" / f"{number:03d}.nii").dataobj).transpose(2, 1, 0)[:, ::-1]


def by_hand(run, hu, folds=(0, 1, 2)):
    """The mask by hand: between the two grey levels of most of the folds."""
    grey = np.rint(np.clip((hu.astype(float) + 20) / 120, 0, 1) * 255)
    models = [json.loads((run / f"fold_{fold}" / "model.json").read_text()) for fold in folds]
    return sum((grey >= m["lower"]) & (grey <= m["upper"]) for m in models) > len(folds) / 2


def fold_that_tests(run, number):
    """In which fold a subject is tested."""
    folds = json.loads((run / "splits.json").read_text())["folds"]
    (found,) = [fold["fold"] for fold in folds if number in fold["test"]]
    return found


def test_nifti_scans_of_a_folder(command, tiny_root, tiny_threshold_run):
    status, out, _, there = command(tiny_root / "ct_scans")
    assert status == 0
    assert folders_of(there) == {f"{number:03d}" for number in range(49, 58)}
    for number in (49, 54):  # of the run's own data: by the fold that held it out
        fold = fold_that_tests(tiny_threshold_run, number)
        folder = there / f"{number:03d}"
        assert {path.name for path in folder.iterdir()} == PREDICTION_FILES
        scan, image = nib.load(tiny_root / "ct_scans" / f"{number:03d}.nii"), nib.load(folder / "mask.nii.gz")
        np.testing.assert_array_equal(image.affine, scan.affine)
        assert image.get_data_dtype() == np.uint8
        mask = np.asarray(image.dataobj)
        np.testing.assert_array_equal(mask, by_hand(tiny_threshold_run, np.asarray(scan.dataobj), [fold]))
        row = json.loads((folder / "prediction.json").read_text())
        assert row["volume_ml"] == pytest.approx(mask.sum() * 6 * 6 * 5 / 1000)
        assert row["slices"] == 4
        large = mask.sum(axis=(0, 1)) * 36 > SLICE_RULE_MM2  # the rule of the run, in mm2
        assert row["positive_slices"] == (np.flatnonzero(large) + 1).tolist()
        assert row["rule_mm2"] == SLICE_RULE_MM2
        assert row["rule_from"] == "evaluate.slice_rule_mm2 of the run's config.json"
        assert row["geometry"] == "exact"
        assert (row["folds"], row["run_folds"], row["own_scan"]) == ([fold], [0, 1, 2], "held out")
        assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")
        assert f"{number:03d}: {row['volume_ml']:.2f} mL, " in out
        assert f"(its own scan: fold {fold} had not seen it)" in out
    assert "not for diagnosis" in out


def test_a_tilted_uneven_dicom_series(command, tiny_root, tiny_threshold_run, ct_series, tmp_path):
    hu = on_screen(tiny_root, 49)
    hu[0, 0, 0] += 1  # else it is one of the run's own scans
    folder = ct_series(tmp_path / "case7", hu, TABLE_MM, tilt_degrees=20)
    status, _, _, there = command(folder)
    assert status == 0
    assert {path.name for path in (there / "case7").iterdir()} == PREDICTION_FILES | WORLD | {"scan.nii.gz"}
    scan, image = (nib.load(there / "case7" / name) for name in ("scan.nii.gz", "mask.nii.gz"))
    np.testing.assert_array_equal(np.asarray(scan.dataobj).transpose(2, 1, 0), hu)  # on disk: columns, rows, slices
    mask = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(mask, by_hand(tiny_threshold_run, hu))
    np.testing.assert_array_equal(image.affine, scan.affine)
    assert mask.any()
    # Half the gap to each neighbour along the normal, the full gap at the ends.
    heights_mm = np.array([5, 5, 6.5, 8]) * np.cos(np.radians(20))
    row = json.loads((there / "case7" / "prediction.json").read_text())
    assert row["volume_ml"] == pytest.approx((mask.sum(axis=(1, 2)) * heights_mm).sum() * 6 * 6 / 1000)
    assert row["geometry"].startswith("approximate")


def test_the_longest_series_is_taken_and_the_others_are_named(command, tiny_root, ct_series, tmp_path):
    hu = on_screen(tiny_root, 50)
    ct_series(tmp_path / "study" / "a", hu[:3], TABLE_MM[:3], StudyInstanceUID="1.2")
    ct_series(tmp_path / "study" / "b", hu, TABLE_MM, StudyInstanceUID="1.2")
    status, out, _, there = command(tmp_path / "study")  # holds no file itself: the folders below are looked into
    assert status == 0
    assert "study: takes series 1 (4 slices, 6.000 mm); left out: series 2 (3 slices, 6.000 mm)\n" in out
    assert nib.load(there / "study" / "mask.nii.gz").shape == (32, 32, 4)
    _, out, _, _ = command(tmp_path / "study" / "b")
    assert "left out" not in out


def test_bad_ones_among_good_cost_nothing_but_themselves(command, tiny_root, ct_series, tmp_path):
    good = tiny_root / "ct_scans" / "049.nii"
    (tmp_path / "cut.nii").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "text.nii.gz").write_text("no scan")
    (tmp_path / "empty").mkdir()
    series = ct_series(tmp_path / "series", on_screen(tiny_root, 49), TABLE_MM)
    (series / "02.dcm").write_bytes((series / "02.dcm").read_bytes()[:-500])
    bad = [tmp_path / name for name in ("cut.nii", "text.nii.gz", "empty", "series", "nowhere.nii", "nowhere")]
    status, out, err, there = command(*bad[:2], good, *bad[2:])
    assert status == 2
    assert err == ""
    lines = [line for line in out.splitlines() if line.startswith("left out: ")]
    assert len(lines) == len(bad)
    for path in bad:
        (line,) = [line for line in lines if f"{path.name}: " in line]
        assert "expected" in line or "damaged" in line or "not a readable" in line or "holds no" in line
    assert folders_of(there) == {"049"}
    assert {path.name for path in (there / "049").iterdir()} == PREDICTION_FILES


def test_only_bad_ones(command, tmp_path):
    status, out, _, there = command(tmp_path / "nowhere")
    assert status == 2
    assert "nowhere: no such file or folder; expected a NIfTI file, or a folder of NIfTI or DICOM files" in out
    assert not there.exists()


def test_a_run_without_a_trained_fold(tiny_threshold_run, tmp_path):
    (tmp_path / "config.json").write_bytes((tiny_threshold_run / "config.json").read_bytes())
    with pytest.raises(InputError, match="no fold is trained"):
        model.load_run(tmp_path)


def test_a_damaged_slice_is_named_with_its_folder(tiny_root, ct_series, tmp_path):
    folder = ct_series(tmp_path / "series", on_screen(tiny_root, 49), (0.0, 5.0, 5.0, 10.0))
    (source,), _ = discover.find_sources([folder])
    assert isinstance(source.series, dicom_series.Series)
    with pytest.raises(InputError, match=r"series: 0\d\.dcm and 0\d\.dcm lie at the same position"):
        source.read()


def test_one_dicom_file_is_answered_with_its_folder(command, tmp_path):
    (tmp_path / "slice.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    status, out, _, _ = command(tmp_path / "slice.dcm")
    assert status == 2
    assert "slice.dcm: one DICOM file, which holds one slice or part of a series; give its folder" in out
