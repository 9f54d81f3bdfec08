"""The interval of a predicted volume in prediction.json, the worklist and on the terminal, and why there is none."""

import csv
import json
import shutil

import numpy as np
import pytest

import ichjax
import launch
from ichjax.experiment.volume_calibration import CALIBRATION_FILE, NOT_CALIBRATED
from ichjax.metrics import volume_interval

ERRORS = volume_interval.FLOOR * np.arange(1, 31) / 10  # of square roots, where all probabilities are 0 or 1


@pytest.fixture
def calibrated(tiny_threshold_run, tmp_path):
    """A copy of the run with 60 calibration subjects, in its first fold: 0 mL are predicted in half, 9 mL in half."""
    run = shutil.copytree(tiny_threshold_run, tmp_path / "run")
    for path in sorted(run.glob(f"fold_*/{CALIBRATION_FILE}")):
        record = json.loads(path.read_text())
        record["subjects"] = [
            {"subject": 1, "truth_ml": (root + error) ** 2, "predicted_ml": root**2, "level_ml": [root**2] * 2}
            for root in (0.0, 3.0)
            for error in (ERRORS.tolist() if path.parent.name == "fold_0" else [])
        ]
        path.write_text(json.dumps(record))
    return run


@pytest.fixture
def others(tiny_root, tmp_path):
    """A folder with scans that the run does not know: 49 bleeds, 51 does not."""
    folder = tmp_path / "others"
    folder.mkdir()
    for number in (49, 51):
        volume = ichjax.read(tiny_root / "ct_scans" / f"{number:03d}.nii")
        ichjax.write(folder / f"{number}.nii.gz", volume.hu + (volume.hu > 0), volume)
    return folder


def test_the_interval_is_in_the_json_the_worklist_and_on_the_terminal(calibrated, others, tmp_path, capsys):
    output = tmp_path / "out"
    words = [
        f"--workdir={calibrated}",
        f"--input={others}",
        f"--output={output}",
        "--fold=0",
    ]  # a mean of folds is not 0 or 1
    assert launch.main(["predict", *words]) == 0
    said = capsys.readouterr().out
    with (output / "worklist.csv").open() as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    for name in ("49", "51"):
        record = json.loads((output / name / "prediction.json").read_text())
        ml, interval = record["volume_ml"], record["volume_interval_ml"]
        error = 2.8 * volume_interval.FLOOR  # ceil(0.9 x 31) is 28; all probabilities are 0 or 1
        assert interval == {
            "low": pytest.approx(max(ml**0.5 - error, 0) ** 2, abs=2e-3),
            "high": pytest.approx((ml**0.5 + error) ** 2, abs=2e-3),
            "coverage": 0.9,
            "calibrated_on": 30,
        }
        assert interval["low"] <= ml <= interval["high"]
        assert "volume_interval_missing" not in record
        text = f"{interval['low']:.1f} to {interval['high']:.1f}"
        assert rows[name]["volume_interval_ml"] == text
        assert f"{name}: {ml:.2f} mL (90 %: {text}), " in said


def test_the_error_of_the_runs_own_scan_in_another_fold_does_not_count(calibrated, others, tiny_root):
    path = calibrated / "fold_0" / CALIBRATION_FILE
    record = json.loads(path.read_text())
    record["subjects"][30]["subject"] = 49  # of those with a predicted hemorrhage
    path.write_text(json.dumps(record))
    trained = ichjax.load_run(calibrated)
    for scan, own_scan, count in (
        (tiny_root / "ct_scans" / "049.nii", "held out", 29),
        (others / "49.nii.gz", "", 30),
    ):
        volume = ichjax.read(scan)
        described = ichjax.describe(trained, volume, ichjax.predict(volume, trained))
        assert described["own_scan"] == own_scan
        assert described["volume_interval_ml"]["calibrated_on"] == count


def test_no_interval_and_why(calibrated, tiny_threshold_run, others, tiny_root):
    volume = ichjax.read(others / "49.nii.gz")

    def reason(run, scan=volume, **fields):
        trained = ichjax.load_run(run, **fields)
        record = ichjax.describe(trained, scan, ichjax.predict(scan, trained))
        assert record["volume_interval_ml"] is None
        return record["volume_interval_missing"]

    assert reason(calibrated, opening_px=3) == "calibrated with other settings: opening_px"
    own = ichjax.read(tiny_root / "ct_scans" / "049.nii")
    assert reason(calibrated, own, fold=other_fold(calibrated, 49)) == "the run was trained on this scan"
    assert reason(tiny_threshold_run) == "7 calibration subjects with a predicted hemorrhage; expected at least 20"
    for path in calibrated.glob(f"fold_*/{CALIBRATION_FILE}"):  # a run of an earlier version
        path.unlink()
    assert reason(calibrated) == NOT_CALIBRATED


def other_fold(run, number):
    """A fold that does not test a subject."""
    folds = json.loads((run / "splits.json").read_text())["folds"]
    return next(fold["fold"] for fold in folds if number not in fold["test"])
