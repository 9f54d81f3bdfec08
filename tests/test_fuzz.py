"""Damaged input of every kind: a result or one clear sentence, within bounded memory and time, and nothing half
written. 200 cases here, 2,000 by `make fuzz`."""

import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ichjax.data import dataset as datasets
from ichjax.data.subject import Scan
from ichjax.errors import InputError
from tests import fuzz
from tests.expected import PREDICTION_FILES

ROOT = pathlib.Path(__file__).parents[1]
MAY_BE = {"scan.nii.gz", "scan_world.nii.gz", "mask_world.nii.gz"}
MOST_GB = 2.0
FEW = {"scans": 130, "tables": 70}
MANY = {"scans": 1400, "tables": 600}
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture(scope="module")
def sound(tiny_root, ct_series, tmp_path_factory):
    """(contents of some NIfTI files, the folder of a DICOM series) that nothing is wrong with."""
    scans = [path.read_bytes() for path in sorted((tiny_root / "ct_scans").iterdir())[:3]]
    hu = np.zeros((4, 32, 32), np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, 12:18, 12:18], hu[:, :3] = 1000, 30, 65, -1000
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JANE"}
    folder = ct_series(tmp_path_factory.mktemp("series") / "s", hu, (0.0, 5.0, 10.0, 18.0), tilt_degrees=10, **tags)
    return scans, folder


def clear(sentence):
    """Whether it is one sentence that a user can make something of."""
    assert 0 < len(sentence) < 700, sentence
    assert "\n" not in sentence
    for word in ("Traceback", "object at 0x", "DOE", "Errno", "NoneType"):
        assert word not in sentence, sentence
    return True


def predict(run, cases, output, *, seconds):
    """Runs the command on cases in a process of its own: (exit status, what it said, GB at most)."""
    words = [
        "launch.py",
        "predict",
        f"--workdir={run}",
        "--input",
        *map(str, cases),
        f"--output={output}",
        "--dicom_seg",
    ]
    log = output.with_suffix(".log")
    with log.open("w") as file:
        # What nobody foresaw is a sentence to a user, and a failure here.
        env = {**os.environ, "ICHJAX_TRACEBACK": "1"}
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=env)
        deadline = time.monotonic() + seconds
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.send_signal(signal.SIGKILL)
                pytest.fail(f"hangs; the last lines: {log.read_text()[-500:]}")
            time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, log.read_text(), usage.ru_maxrss / 1e6


def check_scans(run, sound, folder, count, seed, *, seconds):
    scans, series = sound
    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        make, base = (fuzz.nifti, scans) if rng.integers(2) else (fuzz.dicom, series)
        cases.append(make(rng, folder, f"case{number:05d}", base))
    status, said, gb = predict(run, cases, folder / "out", seconds=seconds)
    assert status == 2, said[-2000:]
    assert "Traceback" not in said
    assert "defect" not in said
    assert "Warning" not in said
    assert gb < MOST_GB
    with (folder / "out" / "worklist.csv").open() as file:
        rows = list(csv.DictReader(file))
    there = {path.name for path in (folder / "out").iterdir() if path.is_dir()} - {"dicom_seg"}
    assert not [name for name in there if name.startswith(".")]  # what is written aside is gone
    assert there == {row["scan"] for row in rows if not row["problem"]}
    for name in there:
        files = {path.name for path in (folder / "out" / name).iterdir()}
        assert PREDICTION_FILES <= files <= PREDICTION_FILES | MAY_BE
    for case in cases:  # none is passed over in silence
        stem = case.name.split(".")[0]
        told = [row for row in rows if row["scan"].startswith(stem) or stem in row["problem"]]
        assert told, stem
        assert all(clear(row["problem"]) for row in told if row["problem"])
    problems = sum(bool(row["problem"]) for row in rows)
    assert 0.1 * count < problems < 0.95 * count  # else the cases show nothing
    return len(rows) - problems, problems


def check_tables(roots, folder, count, seed):
    """Tables of two layouts, read as a run reads them; in this process, as no scan is large."""
    rng, results, sentences = np.random.default_rng(seed), 0, []
    for number in range(count):
        root, names = roots[number % len(roots)]
        place = folder / f"table{number:05d}"
        shutil.copytree(root, place)
        fuzz.table(rng, place, fuzz.one_of(rng, names))
        try:
            dataset = datasets.read_dataset(place)
            assert dataset.subjects
            for subject in dataset.subjects[:2]:
                assert isinstance(datasets.load_scan(subject), Scan)
            assert all(clear(note) for note in dataset.notes)
            results += 1
        except InputError as error:
            sentences.append(str(error))
        shutil.rmtree(place)
    assert all(clear(sentence) for sentence in sentences)
    assert 0 < results < count


@pytest.fixture(scope="module")
def roots(tiny_root, tmp_path_factory):
    """[(a data set, its tables)] in the nifti layout and one's own."""
    own = tmp_path_factory.mktemp("own")
    shutil.copytree(tiny_root / "ct_scans", own / "images")
    shutil.copytree(tiny_root / "masks", own / "masks")
    for path in [*(own / "images").iterdir()]:
        if not (own / "masks" / path.name).is_file():
            path.unlink()
    rows = [f"{path.stem},{20 + k},{'MF'[k % 2]},1,1,0" for k, path in enumerate(sorted((own / "images").iterdir()))]
    (own / "labels.csv").write_text("\n".join(["id,age_years,sex,slice,IPH,SDH", *rows]) + "\n")
    datasets.read_dataset(own)
    return [(tiny_root, ("hemorrhage_diagnosis_raw_ct.csv", "Patient_demographics.csv")), (own, ("labels.csv",))]


def test_damaged_scans(tiny_threshold_run, sound, tmp_path):
    check_scans(tiny_threshold_run, sound, tmp_path, FEW["scans"], seed=1, seconds=150)


def test_damaged_tables(roots, tmp_path):
    check_tables(roots, tmp_path, FEW["tables"], seed=2)


@pytest.mark.fuzz
def test_many_damaged_scans(tiny_threshold_run, sound, tmp_path):
    done, problems = check_scans(tiny_threshold_run, sound, tmp_path, MANY["scans"], seed=3, seconds=1500)
    print(f"{done} results, {problems} clear sentences")


@pytest.mark.fuzz
def test_many_damaged_tables(roots, tmp_path):
    check_tables(roots, tmp_path, MANY["tables"], seed=4)
