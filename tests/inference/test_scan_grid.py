"""Masks on the scan's own grid, and volumes against a calculation by hand, for NIfTI and DICOM input."""

import json

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError
from ichjax.inference import discover, model
from tests.expected import PREDICTION_FILES, SLICE_RULE_MM2

POSITIONS_MM = (0.0, 5.0, 10.0, 18.0)  # the last gap is wider
WORLD_FILES = {"scan_world.nii.gz", "mask_world.nii.gz"}
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(tiny_threshold_run, tmp_path, capsys):
    """command(*inputs): (exit status, stdout, stderr, output folder)."""

    def call(*inputs):
        words = [f"--workdir={tiny_threshold_run}", "--input", *map(str, inputs), f"--output={tmp_path / 'out'}"]
        status = launch.main(["predict", *words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        assert status != 1, printed.err
        return status, printed.out, printed.err, tmp_path / "out"

    return call


def folders_of(output):
    return {path.name for path in output.iterdir() if path.is_dir()}


def on_screen(root, number):
    """int16 [slices, rows, columns] of a subject; in the file x grows to the left and y to the front."""
    return np.asarray(nib.load(root / "ct_scans" / f"{number:03d}.nii").dataobj).transpose(2, 1, 0)[:, ::-1]


def by_hand(run, hu, folds=(0, 1, 2)):
    """The mask by hand: pixels between the two gray levels of more than half of the folds."""
    gray = np.rint(np.clip((hu.astype(float) + 20) / 120, 0, 1) * 255)
    models = [json.loads((run / f"fold_{fold}" / "model.json").read_text()) for fold in folds]
    return sum((gray >= m["lower"]) & (gray <= m["upper"]) for m in models) > len(folds) / 2


def held_out_fold(run, number):
    """The fold in which a subject is tested."""
    folds = json.loads((run / "splits.json").read_text())["folds"]
    (fold,) = [fold["fold"] for fold in folds if number in fold["test"]]
    return fold


def test_nifti_scans_of_a_folder(command, tiny_root, tiny_threshold_run):
    status, out, _, output = command(tiny_root / "ct_scans")
    assert status == 0
    assert folders_of(output) == {f"{number:03d}" for number in range(49, 58)}
    for number in (49, 54):  # the run's own scans: predicted by the fold that held them out
        fold = held_out_fold(tiny_threshold_run, number)
        folder = output / f"{number:03d}"
        assert {path.name for path in folder.iterdir()} == PREDICTION_FILES
        scan, image = nib.load(tiny_root / "ct_scans" / f"{number:03d}.nii"), nib.load(folder / "mask.nii.gz")
        np.testing.assert_array_equal(image.affine, scan.affine)
        assert image.get_data_dtype() == np.uint8
        mask = np.asarray(image.dataobj)
        np.testing.assert_array_equal(mask, by_hand(tiny_threshold_run, np.asarray(scan.dataobj), [fold]))
        record = json.loads((folder / "prediction.json").read_text())
        assert record["volume_ml"] == pytest.approx(mask.sum() * 6 * 6 * 5 / 1000)
        assert record["slices"] == 4
        large = mask.sum(axis=(0, 1)) * 36 > SLICE_RULE_MM2  # the rule of the run, in mm2
        assert record["positive_slices"] == (np.flatnonzero(large) + 1).tolist()
        assert record["rule_mm2"] == SLICE_RULE_MM2
        assert record["rule_from"] == "evaluate.slice_rule_mm2 of the run's config.json"
        assert record["geometry"] == "exact"
        assert (record["folds"], record["run_folds"], record["own_scan"]) == ([fold], [0, 1, 2], "held out")
        assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")
        assert f"{number:03d}: {record['volume_ml']:.2f} mL, " in out
        assert f"(the run's own scan: held out in fold {fold})" in out
    assert "not for diagnosis" in out


def test_a_tilted_uneven_dicom_series(command, tiny_root, tiny_threshold_run, ct_series, tmp_path):
    hu = on_screen(tiny_root, 49)
    hu[0, 0, 0] += 1  # else it is one of the run's own scans
    folder = ct_series(tmp_path / "case7", hu, POSITIONS_MM, tilt_degrees=20)
    status, _, _, output = command(folder)
    assert status == 0
    assert {path.name for path in (output / "case7").iterdir()} == PREDICTION_FILES | WORLD_FILES | {"scan.nii.gz"}
    scan, image = (nib.load(output / "case7" / name) for name in ("scan.nii.gz", "mask.nii.gz"))
    np.testing.assert_array_equal(np.asarray(scan.dataobj).transpose(2, 1, 0), hu)  # on disk: columns, rows, slices
    mask = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(mask, by_hand(tiny_threshold_run, hu))
    np.testing.assert_array_equal(image.affine, scan.affine)
    assert mask.any()
    # Half the gap to each neighbour along the normal, the full gap at the ends.
    heights_mm = np.array([5, 5, 6.5, 8]) * np.cos(np.radians(20))
    record = json.loads((output / "case7" / "prediction.json").read_text())
    assert record["volume_ml"] == pytest.approx((mask.sum(axis=(1, 2)) * heights_mm).sum() * 6 * 6 / 1000)
    assert record["geometry"].startswith("approximate")


def test_the_longest_series_is_used_and_the_others_are_reported(command, tiny_root, ct_series, tmp_path):
    hu = on_screen(tiny_root, 50)
    ct_series(tmp_path / "study" / "a", hu[:3], POSITIONS_MM[:3], StudyInstanceUID="1.2")
    ct_series(tmp_path / "study" / "b", hu, POSITIONS_MM, StudyInstanceUID="1.2")
    status, out, _, output = command(tmp_path / "study")  # holds no files itself, only folders
    assert status == 0
    assert "study: using series 1 (4 slices, 6.000 mm); skipped: series 2 (3 slices, 6.000 mm)\n" in out
    assert nib.load(output / "study" / "mask.nii.gz").shape == (32, 32, 4)
    _, out, _, _ = command(tmp_path / "study" / "b")
    assert "skipped" not in out


def test_bad_scans_do_not_stop_the_others(command, tiny_root, ct_series, tmp_path):
    good = tiny_root / "ct_scans" / "049.nii"
    (tmp_path / "cut.nii").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "text.nii.gz").write_text("no scan")
    (tmp_path / "empty").mkdir()
    series = ct_series(tmp_path / "series", on_screen(tiny_root, 49), POSITIONS_MM)
    (series / "02.dcm").write_bytes((series / "02.dcm").read_bytes()[:-500])
    bad = [tmp_path / name for name in ("cut.nii", "text.nii.gz", "empty", "series", "nowhere.nii", "nowhere")]
    status, out, err, output = command(*bad[:2], good, *bad[2:])
    assert status == 2
    assert err == ""
    lines = [line for line in out.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == len(bad)
    for path in bad:
        (line,) = [line for line in lines if f"{path.name}: " in line]
        assert "expected" in line or "damaged" in line or "not a readable" in line
    assert folders_of(output) == {"049"}
    assert {path.name for path in (output / "049").iterdir()} == PREDICTION_FILES


def test_only_bad_scans_write_nothing(command, tmp_path):
    status, out, _, output = command(tmp_path / "nowhere")
    assert status == 2
    assert "nowhere: no such file or folder; expected a NIfTI file, or a folder of NIfTI or DICOM files" in out
    assert not output.exists()


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


def test_a_single_dicom_file_is_refused(command, tmp_path):
    (tmp_path / "slice.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    status, out, _, _ = command(tmp_path / "slice.dcm")
    assert status == 2
    assert "slice.dcm: is a single DICOM file; expected the folder that holds its series" in out
