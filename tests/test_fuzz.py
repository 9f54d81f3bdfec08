"""Damaged input of every kind gives a result or one clear sentence, in bounded memory and time, and no partial output.

150 cases here, 2,000 with `make fuzz`."""

import csv
import json
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
OPTIONAL_FILES = {"scan.nii.gz", "scan_world.nii.gz", "mask_world.nii.gz"}
MAX_GB = 2.0
FAST_COUNTS = {"scans": 80, "tables": 70}
FULL_COUNTS = {"scans": 1400, "tables": 600}
pytestmark = pytest.mark.xdist_group("predict")  # all share one trained run


@pytest.fixture(scope="module")
def undamaged(tiny_root, ct_series, tmp_path_factory):
    """(contents of some valid NIfTI files, the folder of a valid DICOM series)."""
    scans = [path.read_bytes() for path in sorted((tiny_root / "ct_scans").iterdir())[:3]]
    hu = np.zeros((4, 32, 32), np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, 12:18, 12:18], hu[:, :3] = 1000, 30, 65, -1000
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JANE"}
    tags |= {"PatientID": "DOE-1", "PatientBirthDate": "19500101", "SeriesNumber": 2, "BodyPartExamined": "HEAD"}
    tags |= {"SeriesInstanceUID": "1.2.3.4", "SeriesDescription": "DOE head", "ContrastBolusAgentSequence": []}
    folder = ct_series(tmp_path_factory.mktemp("series") / "s", hu, (0.0, 5.0, 10.0, 18.0), tilt_degrees=10, **tags)
    return scans, folder


def check_sentence(sentence):
    """Asserts that an error message is one line that a user can understand, without patient data."""
    assert 0 < len(sentence) < 700, sentence
    assert "\n" not in sentence
    for word in ("Traceback", "object at 0x", "DOE", "Errno", "NoneType"):
        assert word not in sentence, sentence


def predict(run, cases, output, *, seconds):
    """Runs the command on cases in a new process: (exit status, output, peak memory in GB)."""
    paths = [f"--workdir={run}", "--input", *map(str, cases), f"--output={output}"]
    log = output.with_suffix(".log")
    with log.open("w") as file:
        # An unexpected error is one sentence for the user, but a failure here.
        env = {**os.environ, "ICHJAX_TRACEBACK": "1"}
        command = [sys.executable, "launch.py", "predict", *paths, "--dicom_seg"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=env)
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


def check_scans(run, undamaged, folder, count, seed, *, seconds):
    scans, series = undamaged
    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        make = fuzz.choose(rng, (fuzz.damage_nifti, fuzz.damage_dicom, fuzz.damage_second_series))
        cases.append(make(rng, folder, f"case{number:05d}", scans if make is fuzz.damage_nifti else series))
    status, output, gb = predict(run, cases, folder / "out", seconds=seconds)
    assert status == 2, output[-2000:]
    for word in ("Traceback", "internal error", "Warning"):
        assert word not in output
    assert gb < MAX_GB
    with (folder / "out" / "worklist.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {path.name for path in (folder / "out").iterdir() if path.is_dir()} - {"dicom_seg"}
    assert not [name for name in names if name.startswith(".")]  # temporary folders are removed
    assert names == {row["scan"] for row in rows if row["volume_ml"]}  # some only lack a DICOM Segmentation
    for name in names:
        files = {path.name for path in (folder / "out" / name).iterdir()}
        assert PREDICTION_FILES <= files <= PREDICTION_FILES | OPTIONAL_FILES
    for case in cases:  # none is skipped silently
        stem = case.name.split(".")[0]
        matching = [row for row in rows if row["scan"].startswith(stem) or stem in row["problem"]]
        assert matching or f"{stem}: the same series as one before, predicted once" in output, stem
        for row in matching:
            if row["problem"]:
                check_sentence(row["problem"])
        if (case / "good").is_dir():  # the damaged series costs the other one nothing
            assert any(row["volume_ml"] for row in matching), matching
    for path in (folder / "out").glob("**/*.[jc]s*"):
        assert "DOE" not in path.read_text(), path
    assert "DOE" not in output
    problems = sum(bool(row["problem"]) for row in rows)
    assert 0.1 * count < problems < 0.95 * count  # otherwise the cases are useless
    return len(rows) - problems, problems


def check_tables(roots, folder, count, seed):
    """Reads damaged tables of each layout as a run does; in this process, since no scan is large."""
    rng, results, sentences = np.random.default_rng(seed), 0, []
    for number in range(count):
        root, names = roots[number % len(roots)]
        copy = folder / f"table{number:05d}"
        shutil.copytree(root, copy)
        fuzz.damage_table(rng, copy, fuzz.choose(rng, names))
        try:
            dataset = datasets.read_dataset(copy)
            assert dataset.subjects
            for subject in dataset.subjects[:2]:
                assert isinstance(datasets.load_scan(subject), Scan)
            sentences += dataset.notes
            results += 1
        except InputError as error:
            sentences.append(str(error))
        shutil.rmtree(copy)
    for sentence in sentences:
        check_sentence(sentence)
    assert 0 < results < count


@pytest.fixture(scope="module")
def roots(tiny_root, tmp_path_factory):
    """[(a data set, its tables)] in the nifti layout, the plain layout, nnU-Net's and BIDS."""
    own = tmp_path_factory.mktemp("own")
    shutil.copytree(tiny_root / "ct_scans", own / "images")
    shutil.copytree(tiny_root / "masks", own / "masks")
    for path in [*(own / "images").iterdir()]:
        if not (own / "masks" / path.name).is_file():
            path.unlink()
    rows = [f"{path.stem},{20 + k},{'MF'[k % 2]},1,1,0" for k, path in enumerate(sorted((own / "images").iterdir()))]
    (own / "labels.csv").write_text("\n".join(["id,age_years,sex,slice,IPH,SDH", *rows]) + "\n")
    (own / "label_names.csv").write_text("label,name\n0,background\n1,IPH\n2,subdural hematoma\n3,other\n")
    nnunet, bids = (tmp_path_factory.mktemp(name) for name in ("nnunet", "bids"))
    for scan in sorted((own / "images").iterdir())[:3]:
        person = f"sub-{scan.stem}"
        copies = {
            scan: (nnunet / "imagesTr" / f"{scan.stem}_0000.nii", bids / person / "ct" / f"{person}_ct.nii"),
            own / "masks" / scan.name: (
                nnunet / "labelsTr" / scan.name,
                bids / "derivatives" / "manual" / person / "ct" / f"{person}_dseg.nii",
            ),
        }
        for source, targets in copies.items():
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    labels = {"background": 0, "IVH": 1, "hemorrhage": [1, 2], "SDH": 2}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 3, "file_ending": ".nii"}
    (nnunet / "dataset.json").write_text(json.dumps(description))
    rows = [f"sub-{path.stem}\t{20 + k}\tM" for k, path in enumerate(sorted((own / "images").iterdir())[:3])]
    (bids / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex", *rows]) + "\n")
    (bids / "derivatives" / "dseg.tsv").write_text("index\tname\n0\tbackground\n1\tIVH\n2\tSDH\n")
    made = [
        (tiny_root, ("hemorrhage_diagnosis_raw_ct.csv", "Patient_demographics.csv")),
        (own, ("labels.csv", "label_names.csv")),
        (nnunet, ("dataset.json",)),
        (bids, ("participants.tsv", "derivatives/dseg.tsv")),
    ]
    for root, _ in made:  # whole, all are read
        for subject in datasets.read_dataset(root).subjects:
            datasets.load_scan(subject)
    return made


def test_damaged_scans(tiny_threshold_run, undamaged, tmp_path):
    check_scans(tiny_threshold_run, undamaged, tmp_path, FAST_COUNTS["scans"], seed=1, seconds=150)


def test_damaged_tables(roots, tmp_path):
    check_tables(roots, tmp_path, FAST_COUNTS["tables"], seed=2)


@pytest.mark.fuzz
def test_many_damaged_scans(tiny_threshold_run, undamaged, tmp_path):
    done, problems = check_scans(tiny_threshold_run, undamaged, tmp_path, FULL_COUNTS["scans"], seed=3, seconds=1500)
    print(f"{done} results, {problems} clear sentences")


@pytest.mark.fuzz
def test_many_damaged_tables(roots, tmp_path):
    check_tables(roots, tmp_path, FULL_COUNTS["tables"], seed=4)
