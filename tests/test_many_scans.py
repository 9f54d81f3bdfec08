"""`predict` on a hundred scans, ten of them bad; the outputs are the same after a kill and a restart."""

import csv
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from tests.expected import PREDICTION_FILES

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def folder(tiny_root, ct_series, tmp_path):
    """A folder of 100 scans, NIfTI in subfolders and DICOM; ten of them are bad, each in a different way."""
    root = tmp_path / "in"
    image = nib.load(tiny_root / "ct_scans" / "050.nii")
    hu = np.asarray(image.dataobj)
    for number in range(82):
        (root / f"ward{number % 3}").mkdir(parents=True, exist_ok=True)
        noisy = hu + np.random.default_rng(number).integers(-2, 3, hu.shape).astype(np.int16)
        path = root / f"ward{number % 3}" / f"scan{number:03d}.nii{'.gz' if number % 2 else ''}"
        nib.save(nib.Nifti1Image(noisy, image.affine), path)
    on_screen = hu.transpose(2, 1, 0)[:, ::-1]
    for number in range(82, 90):
        ct_series(root / f"scan{number:03d}", on_screen, (0.0, 5.0, 10.0, 15.0), StudyInstanceUID=f"1.2.{number}")
    good = (root / "ward0" / "scan000.nii").read_bytes()
    colors = np.zeros((8, 8, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    bad = {
        "cut.nii": good[:3000],
        "cut.nii.gz": gzip.compress(good)[:-2000],
        "text.nii": b"no scan at all",
        "empty.nii.gz": b"",
        "eight_bits.nii": np.clip(hu + 100, 0, 255),
        "constant.nii": np.full_like(hu, -1000),
        "time.nii": np.stack([hu, hu], axis=-1),
        "colors.nii": colors,
    }
    for name, content in bad.items():
        if isinstance(content, bytes):
            (root / "ward1" / name).write_bytes(content)
        else:
            nib.save(nib.Nifti1Image(content, image.affine), root / "ward1" / name)
    for name, table_mm in (("twice", (0.0, 5.0, 5.0, 10.0)), ("broken", (0.0, 5.0, 10.0, 15.0))):
        ct_series(root / name, on_screen, table_mm, StudyInstanceUID=f"1.3.{len(name)}")
    (root / "broken" / "01.dcm").write_bytes((root / "broken" / "01.dcm").read_bytes()[:-700])
    return root


def start(run, folder, output, log):
    words = [sys.executable, "launch.py", "predict", f"--workdir={run}", f"--input={folder}", f"--output={output}"]
    with log.open("w") as file:
        return subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


def contents(output):
    """{scan: {file: bytes}}; prediction.json as a dict without time, memory and the keyed hash."""
    scans = {}
    for folder in filter(pathlib.Path.is_dir, output.iterdir()):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        record = json.loads(files["prediction.json"])
        record |= {"seconds": None, "peak_memory_mb": None, "source": {**record["source"], "hash": None}}
        scans[folder.name] = {**files, "prediction.json": record}
    return scans


def rows_of(output):
    with (output / "worklist.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = dict.fromkeys(("seconds", "peak_memory_mb"))
    return [{**row, **measured, "source": row["source"].rpartition(", ")[0]} for row in rows]


@pytest.mark.faults
def test_ninety_predictions_and_ten_errors_also_after_a_kill(tiny_threshold_run, folder, tmp_path):
    whole = start(tiny_threshold_run, folder, tmp_path / "whole", tmp_path / "whole.log")
    assert whole.wait(timeout=300) == 2
    check(tmp_path / "whole", (tmp_path / "whole.log").read_text())
    killed = start(tiny_threshold_run, folder, tmp_path / "killed", tmp_path / "killed.log")
    while len(list((tmp_path / "killed").glob("scan*"))) < 40:
        time.sleep(0.05)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = {folder.name: folder.stat().st_ino for folder in (tmp_path / "killed").glob("scan*")}
    assert 40 <= len(done) < 90
    assert not (tmp_path / "killed" / "worklist.csv").exists()
    for name in done:
        assert set(os.listdir(tmp_path / "killed" / name)) >= PREDICTION_FILES  # complete, or not there at all
    again = start(tiny_threshold_run, folder, tmp_path / "killed", tmp_path / "again.log")
    assert again.wait(timeout=300) == 2
    text = (tmp_path / "again.log").read_text()
    check(tmp_path / "killed", text, kept=len(done))
    assert text.count(": already done, kept") == len(done)
    assert {name: (tmp_path / "killed" / name).stat().st_ino for name in done} == done
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def check(output, text, kept=0):
    assert (f"{90 - kept} predicted, {kept} kept, 10 skipped" if kept else "90 predicted, 10 skipped") in text
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == len(set(lines)) == 10
    nifti = ("cut.nii:", "cut.nii.gz", "text.nii", "empty", "eight_bits", "constant", "time", "colors")
    for name in (*nifti, "twice", "broken"):
        assert sum(name in line for line in lines) == 1, name
    assert len(contents(output)) == 90
    rows = rows_of(output)
    assert sum(not row["problem"] for row in rows) == 90
    assert sum(bool(row["problem"]) for row in rows) == 10


def test_a_few_good_scans_and_the_ten_bad_ones(tiny_threshold_run, folder, tmp_path):
    """The small version of the test above, which runs every time."""
    for path in [*folder.glob("ward*/scan*"), *folder.glob("scan*")]:
        if path.name not in ("scan000.nii", "scan001.nii.gz", "scan002.nii", "scan003.nii.gz", "scan082", "scan083"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    process = start(tiny_threshold_run, folder, tmp_path / "out", tmp_path / "out.log")
    assert process.wait(timeout=120) == 2
    text = (tmp_path / "out.log").read_text()
    assert "6 predicted, 10 skipped" in text
    assert len(contents(tmp_path / "out")) == 6
    assert len([line for line in text.splitlines() if line.startswith("skipped: ")]) == 10
